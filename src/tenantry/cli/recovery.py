"""Owns `tenantry recover`: what is held since the database was restored, and the decision about it."""

from __future__ import annotations

import click

from tenantry.cli import names
from tenantry.cli.api import Api
from tenantry.cli.document import listed
from tenantry.cli.show import Answer, Screen, asks

COLUMNS = ("stream", "messages", "recipients", "oldest")


@click.group(invoke_without_command=True)
@click.pass_context
def recover(context: click.Context) -> None:
    """See and decide about the mail that a restored database may have sent before; without more, the list.

    A database that was restored, copied back or failed over knows less than it did: what waited in it then may have gone. It
    is held until SES's events prove that it went, or you decide: release it (a second copy at worst) or discard it (none at
    worst). New mail flows meanwhile.
    """
    if context.invoked_subcommand is None:
        context.invoke(show)


@recover.command("list")
@asks
def show(api: Api) -> Answer:
    """List the held mail by stream."""
    found = api.get("/v1/recovery").many("items")
    called = names.scope_names(api) if found else {}

    def screen_of(screen: Screen) -> None:
        rows = [
            (
                called.get(one.text("stream_id"), one.text("stream_id")),
                f"{one.number('messages') or 0:,.0f}",
                f"{one.number('recipients') or 0:,.0f}",
                screen.moment(one.text("oldest_at")),
            )
            for one in found
        ]
        screen.table(COLUMNS, rows, "nothing is held: the database has not gone back in time")

    return Answer(listed(found), screen_of)


@recover.command()
@click.argument("cell", metavar="CELL")
@asks
def begin(api: Api, cell: str) -> Answer:
    """Hold what waits in a cell (cell:NAME), after a restore that looks like the original: a snapshot of a volume or machine.

    Most restores are noticed by themselves. Start the gateway alone, call this, and then start the workers. Called again, it
    holds what was accepted meanwhile.
    """
    return _decide(api, "begin", cell, "held more: see `tenantry recover list`")


@recover.command()
@click.argument("scope", metavar="ID_OR_NAME")
@asks
def release(api: Api, scope: str) -> Answer:
    """Send the held mail of a stream (acme/marketing), a tenant (acme) or a cell (cell:NAME), marked as possible duplicates."""
    return _decide(api, "release", scope, "released")


@recover.command()
@click.argument("scope", metavar="ID_OR_NAME")
@asks
def discard(api: Api, scope: str) -> Answer:
    """Cancel the held mail of a stream, a tenant or a cell: it may have gone before, and will not go again."""
    return _decide(api, "discard", scope, "discarded")


def _decide(api: Api, verb: str, scope: str, done: str) -> Answer:
    made = api.post(f"/v1/recovery/{verb}", {"scope": names.thing(api, scope)})
    return Answer(dict(made.raw), lambda screen: screen.line(f"{made.number('messages') or 0:,.0f} messages {done}"))
