"""Owns `tenantry pause`, `pauses`, `reinstate`, `explain` and `reputation`; leaves judging to the guard."""

from __future__ import annotations

import click

from tenantry.cli import names
from tenantry.cli.api import Api, part
from tenantry.cli.document import Document, listed
from tenantry.cli.failure import ExitCode, Failure
from tenantry.cli.show import Answer, Screen, asks, percent

PAUSE_COLUMNS = ("state", "scope", "author", "opened", "reason", "id")
RATE_COLUMNS = ("stream", "handed", "bounced", "rate", "99 % bounds", "complained", "rate", "99 % bounds", "state")


@click.command()
@click.argument("scope", metavar="ID_OR_NAME")
@click.option("--reason", required=True, help="Why; shown to whoever asks.")
@asks
def pause(api: Api, scope: str, reason: str) -> Answer:
    """Stop a stream (acme/marketing), a tenant (acme), a pool (pool:NAME) or a cell (cell:NAME); its mail waits.

    Answers once no more mail can be claimed for it; SES is told next (`fenced`).
    """
    made = api.post("/v1/pauses", {"scope": names.thing(api, scope), "reason": reason})

    def show(screen: Screen) -> None:
        show_pause(screen, made)
        screen.line(f"End it:  tenantry reinstate {made.text('id')} --reason ...")

    return Answer(dict(made.raw), show)


@click.command()
@click.argument("tenant", required=False)
@click.option("--all", "ended_too", is_flag=True, help="Ended ones too.")
@asks
def pauses(api: Api, tenant: str | None, ended_too: bool) -> Answer:
    """List the open pauses, newest first."""
    found = api.every("/v1/pauses", tenant=tenant, open=None if ended_too else "true")
    called = names.scope_names(api, tenant) if found else {}

    def show(screen: Screen) -> None:
        rows = [
            (
                progress(p),
                called.get(p.text("scope_id"), p.text("scope_id")),
                p.text("author"),
                screen.moment(p.text("opened_at")),
                p.text("reason"),
                p.text("id"),
            )
            for p in found
        ]
        screen.table(PAUSE_COLUMNS, rows, "nothing is paused")

    return Answer(listed(found), show)


@click.command()
@click.argument("target", metavar="PAUSE_OR_SCOPE")
@click.option("--reason", required=True, help="What has changed; kept with the pause.")
@asks
def reinstate(api: Api, target: str, reason: str) -> Answer:
    """End a pause (by its id), or every open pause of a stream, tenant, pool or cell; a stream comes back on a ramp."""
    if names.kind_of(target) == "pause":
        ended = [_end(api, target, reason)]
        return Answer(dict(ended[0].raw), lambda screen: show_pause(screen, ended[0]))
    scope = names.thing(api, target)
    found = [p.text("id") for p in api.every("/v1/pauses", open="true") if p.text("scope_id") == scope]
    if not found:
        raise Failure(
            ExitCode.REFUSED, "not_found", f"{target} has no open pause of its own; `tenantry pauses` lists them"
        )
    ended = [_end(api, each, reason) for each in found]

    def show(screen: Screen) -> None:
        for each in ended:
            show_pause(screen, each)

    return Answer(listed(ended), show)


@click.command()
@click.argument("target", metavar="ID_OR_NAME")
@asks
def explain(api: Api, target: str) -> Answer:
    """Say why mail waits or why something was stopped: a message, stream, pause, verdict or tenant."""
    told = api.get(f"/v1/explain/{part(names.thing(api, target))}")

    def show(screen: Screen) -> None:
        screen.line(told.text("summary"), style="bold")
        for sentence in told.texts("sentences"):
            screen.line(f"  {sentence}")
        if see := told.texts("see"):
            screen.line(f"See: {' '.join(see)}", style="dim")

    return Answer(dict(told.raw), show)


@click.command()
@click.argument("target", metavar="TENANT_OR_STREAM", required=False)
@asks
def reputation(api: Api, target: str | None) -> Answer:
    """Show bounce and complaint rates with their bounds, and the guard's verdicts: of a stream, a tenant, or all."""
    one = target is not None and ("/" in target or names.kind_of(target) == "stream")
    streams = [names.stream(api, target)] if one and target else api.every("/v1/streams", tenant=target)
    owners = names.tenant_names(api)
    found = [api.get(f"/v1/streams/{part(each.text('id'))}/reputation") for each in streams]
    called = [f"{owners.get(each.text('tenant_id'), '?')}/{each.text('name')}" for each in streams]

    def show(screen: Screen) -> None:
        screen.table(RATE_COLUMNS, [_rates(name, each) for name, each in zip(called, found, strict=True)])
        for name, each in zip(called, found, strict=True):
            for verdict in each.many("verdicts")[: None if one else 1]:
                screen.line(f"{name}  {verdict.text('action')}  {screen.moment(verdict.text('at'))}", style="bold")
                screen.line(f"  {verdict.text('words')}\n  {verdict.text('id')}")

    return Answer(dict(found[0].raw) if one else listed(found), show)


def show_pause(screen: Screen, pause: Document) -> None:
    """Show one pause."""
    screen.line(f"{pause.text('id')}  {progress(pause)}", style="bold")
    screen.facts(
        [
            ("scope", f"{pause.text('scope_kind')} {pause.text('scope_id')}"),
            ("author", pause.text("author")),
            ("reason", pause.text("reason")),
            ("opened", screen.moment(pause.text("opened_at"))),
            ("local", screen.moment(pause.text("local_at"))),
            ("fenced", screen.moment(pause.text("fenced_at"))),
            ("ended", screen.moment(pause.text("ended_at"))),
            ("end reason", pause.text("end_reason")),
        ]
    )


def progress(pause: Document) -> str:
    """Say how far a pause holds; one that was ended keeps holding until SES has been told."""
    ending = pause.text("end_reason") and pause.text("state") != "ended"
    return "ending" if ending else pause.text("state")


def _end(api: Api, id: str, reason: str) -> Document:
    return api.post(f"/v1/pauses/{part(id)}/end", {"reason": reason})


def _rates(name: str, reputation: Document) -> tuple[str, ...]:
    limit, stage = reputation.number("limit"), reputation.number("ramp_stage")
    state = (
        f"probation {(limit or 0) * 100:.0f} %"
        if stage is not None
        else ""
        if limit is None
        else f"throttled {limit * 100:.0f} %"
    )
    return (
        name,
        str(reputation.count("handed")),
        str(reputation.count("bounced")),
        percent(reputation.number("bounce_rate")),
        _bounds(reputation, "bounce_bounds"),
        f"{reputation.count('complained')} of {reputation.count('reporting')}",
        percent(reputation.number("complaint_rate")),
        _bounds(reputation, "complaint_bounds"),
        state,
    )


def _bounds(reputation: Document, name: str) -> str:
    value = reputation.raw.get(name)
    numbers = [each for each in value if isinstance(each, int | float)] if isinstance(value, list) else []
    return " – ".join(percent(each) for each in numbers)
