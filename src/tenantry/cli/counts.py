"""Owns `tenantry counts`: a tenant's mail by day and provider, and the check of what is kept against its recipients."""

from __future__ import annotations

import click

from tenantry.cli import names
from tenantry.cli.api import Api, part
from tenantry.cli.document import Document, listed
from tenantry.cli.failure import ExitCode, Failure
from tenantry.cli.show import Answer, Screen, asks

COLUMNS = ("day", "stream", "provider", "handed", "reporting", "bounced", "complained")


@click.command()
@click.argument("tenant")
@click.option(
    "--days", default=7, show_default=True, type=click.IntRange(1, 31), help="Of the last days, today being one."
)
@click.option("--check", is_flag=True, help="Count the recipients anew; exit with 1 where a kept count differs.")
@asks
def counts(api: Api, tenant: str, days: int, check: bool) -> Answer:
    """Show what a tenant sent by day of sending, stream and receiving provider, with its bounces and complaints."""
    path = f"/v1/tenants/{part(tenant)}/counts"
    called = names.scope_names(api, tenant)
    if check:
        return _checked(api.get(f"{path}/check", days=str(days)), called)
    found = api.get(path, days=str(days)).many("items")

    def show(screen: Screen) -> None:
        rows = [
            (
                one.text("day"),
                called.get(one.text("stream_id"), one.text("stream_id")),
                one.text("provider"),
                *(str(one.count(name)) for name in COLUMNS[3:]),
            )
            for one in found
        ]
        screen.table(COLUMNS, rows, "nothing was sent")

    return Answer(listed(found), show)


def _checked(told: Document, called: dict[str, str]) -> Answer:
    different = told.many("differences")
    if different:
        first = different[0]
        raise Failure(
            ExitCode.REFUSED,
            "counts_differ",
            f"{len(different)} of {told.count('counts')} counts are kept otherwise than their recipients say; the first is of"
            f" {called.get(first.text('stream_id'), first.text('stream_id'))}, {_where(first)}:"
            f" kept {first.raw.get('kept')}, counted {first.raw.get('counted')}",
        )

    def show(screen: Screen) -> None:
        screen.line(f"{told.count('counts')} counts over {told.count('recipients')} recipients: none differs")

    return Answer(dict(told.raw), show)


def _where(one: Document) -> str:
    if one.raw.get("day"):
        return f"{one.text('day')} to {one.text('provider')}"
    return f"recipients from {one.count('first_recipient') + 1} in sending order"
