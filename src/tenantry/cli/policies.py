"""Owns `tenantry policy`: what is shipped, what is wrong with a text, and what it would have done."""

from __future__ import annotations

from pathlib import Path

import click

from tenantry.cli.api import Api
from tenantry.cli.document import Document, Json
from tenantry.cli.failure import ExitCode, Failure
from tenantry.cli.show import Answer, Screen, asks, end, print_json

FOUND = ("policy", "stream", "throttled", "paused", "left before", "bad among it", "mail after", "bad among it", "")


def policy_text(file: Path) -> str:
    """Return what a file says, or fail as a command does."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(ExitCode.USAGE, "cannot_read", f"{file} cannot be read: {error}") from error


@click.group()
def policy() -> None:
    """What tenants are held to: shipped policies, a linter, and a backtest."""


@policy.command("list")
@asks
def list_policies(api: Api) -> Answer:
    """List the shipped policies."""
    found = api.get("/v1/policies").many("items")

    def show(screen: Screen) -> None:
        rows = [(one.text("name"), str(one.count("version")), "yes" if one.raw.get("acts") else "no") for one in found]
        screen.table(("policy", "version", "acts"), rows)

    return Answer([dict(one.raw) for one in found], show)


@policy.command("show")
@click.argument("name")
@asks
def show_policy(api: Api, name: str) -> Answer:
    """Print a shipped policy as text."""
    found = [one for one in api.get("/v1/policies").many("items") if one.text("name") == name]
    if not found:
        raise Failure(
            ExitCode.REFUSED, "not_found", f"no policy {name!r} is shipped; `tenantry policy list` lists them"
        )
    return Answer(dict(found[0].raw), lambda screen: screen.line(found[0].text("text").rstrip()))


@policy.command("lint")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def lint_policy(file: Path, as_json: bool) -> None:
    """Say what is wrong with a policy's text, by line and reason."""
    from tenantry.core.policy import Policy
    from tenantry.core.policy_text import read_policy

    try:
        found = read_policy(policy_text(file))
    except Failure as failure:
        end(failure, as_json)
    if not isinstance(found, Policy):
        end(Failure(ExitCode.REFUSED, "invalid_policy", "\n".join(map(str, found))), as_json)
    if as_json:
        print_json({"policy": found.name})
    else:
        Screen().line(f"{found.name}: nothing is wrong with it")


@policy.command("backtest")
@click.option(
    "--policy",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The policy to try.",
)
@click.option("--days", default=28, show_default=True, type=click.IntRange(1, 90), help="Of the last days.")
@click.option("--tenant", help="Of one tenant; of all when left out.")
@asks
def backtest(api: Api, file: Path, days: int, tenant: str | None) -> Answer:
    """Say whom a policy would have stopped over the last days, and when; changes nothing."""
    wanted: dict[str, Json] = {"text": policy_text(file), "days": days, "whose": tenant}
    told = api.post("/v1/policies/backtest", wanted)
    found = told.many("found")

    def show(screen: Screen) -> None:
        screen.line(f"{told.count('streams')} streams over {told.count('days')} days", style="bold")
        screen.table(FOUND, [_row(screen, one) for one in found], "nobody would have been slowed or stopped")
        for one in found:
            if one.text("policy") == told.text("policy") and one.text("words"):
                screen.line(f"{one.text('tenant')}/{one.text('stream')}: {one.text('words')}")

    return Answer(dict(told.raw), show)


def _row(screen: Screen, one: Document) -> tuple[str, ...]:
    paused = one.text("paused_at")
    return (
        one.text("policy"),
        f"{one.text('tenant')}/{one.text('stream')}",
        screen.moment(one.text("throttled_at")),
        screen.moment(paused),
        str(one.count("before")),
        str(one.count("bad_before")),
        str(one.count("after")),
        str(one.count("bad_after")),
        "" if not paused else "wrongly stopped" if one.raw.get("wrong") else "saved",
    )
