"""Owns what the operator sees over all tenants: pools, cells, the plan, the doctor's findings."""

from __future__ import annotations

import click

from tenantry.cli.api import Api
from tenantry.cli.document import Document, listed
from tenantry.cli.failure import ExitCode
from tenantry.cli.show import Answer, Screen, asks

MARKS = {"ok": "\N{CHECK MARK}", "notice": "\N{BULLET}", "warning": "!", "error": "\N{BALLOT X}"}
STYLES = {"ok": "green", "notice": "cyan", "warning": "yellow", "error": "red"}


@click.group()
def pool() -> None:
    """Groups of dedicated IPs, and the shared one."""


@pool.command("add")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["standard", "managed"]),
    default="standard",
    show_default=True,
    help="Whether you manage warm-up and scaling (standard), or SES does (managed).",
)
@asks
def add_pool(api: Api, name: str, kind: str) -> Answer:
    """Make a pool of dedicated IPs."""
    made = api.post("/v1/pools", {"name": name, "kind": kind})
    return Answer(dict(made.raw), lambda screen: screen.line(f"pool {name} ({kind})  {made.text('id')}", style="bold"))


@pool.command("list")
@asks
def list_pools(api: Api) -> Answer:
    """List the pools."""
    found = api.every("/v1/pools")
    rows = [(p.text("name"), p.text("kind"), p.text("id")) for p in found]
    return Answer(listed(found), lambda screen: screen.table(("pool", "kind", "id"), rows))


@click.group()
def cell() -> None:
    """SES accounts, each in one Region, with what SES grants them."""


@cell.command("list")
@asks
def list_cells(api: Api) -> Answer:
    """List the cells with their rate, quota and standing at Amazon."""
    found = api.every("/v1/cells")

    def show(screen: Screen) -> None:
        screen.table(
            ("cell", "region", "rate", "24 hours", "sent", "standing", "seen", "id"), [_cell(screen, c) for c in found]
        )

    return Answer(listed(found), show)


def _cell(screen: Screen, cell: Document) -> tuple[str, ...]:
    quota = cell.number("quota_24h") or 0
    return (
        cell.text("name"),
        cell.text("region"),
        f"{cell.number('rate_per_second') or 0:g}/s",
        "unlimited" if quota < 0 else f"{quota:,.0f}",
        f"{cell.number('sent_24h') or 0:,.0f}",
        cell.text("enforcement") if cell.flag("sending_enabled") else "sending is off",
        screen.moment(cell.text("seen_at")),
        cell.text("id"),
    )


@click.command()
@asks
def plan(api: Api) -> Answer:
    """Show the changes that would make SES look as wanted; none once all is in place."""
    changes = api.get("/v1/plan").many("items")
    rows = [
        (c.text("urgency"), c.text("action"), c.text("kind"), c.text("name"), ", ".join(c.texts("differs")))
        for c in changes
    ]

    def show(screen: Screen) -> None:
        screen.table(("urgency", "action", "kind", "name", "differs"), rows, "nothing to do: SES looks as wanted")

    return Answer(listed(changes), show)


@click.command()
@asks
def doctor(api: Api) -> Answer:
    """Look at everything, and say what is wrong, why it matters and what to do; exit code 1 when something is an error.

    Each finding ends with its entry in docs/runbook.md.
    """
    findings = api.get("/v1/doctor").many("items")
    levels = {finding.text("level") for finding in findings}

    def show(screen: Screen) -> None:
        for each in findings:
            level = each.text("level")
            screen.line(f"{MARKS.get(level, '?')} {each.text('what')}  [{each.text('check')}]", style=STYLES.get(level))
            for said in (each.text("why"), each.text("do")):
                if said and level != "ok":
                    screen.line(f"    {said}")

    return Answer(listed(findings), show, ExitCode.REFUSED if "error" in levels else ExitCode.OK)
