"""Owns `tenantry identity`: domains and addresses with the DNS records to publish; leaves verification to SES."""

from __future__ import annotations

import click

from tenantry.cli import names
from tenantry.cli.api import Api, part
from tenantry.cli.document import Document, listed
from tenantry.cli.failure import ExitCode, Failure
from tenantry.cli.show import Answer, Screen, asks


@click.group()
def identity() -> None:
    """Domains and addresses that a tenant may send from."""


@identity.command("add")
@click.argument("tenant")
@click.argument("name", metavar="DOMAIN_OR_ADDRESS")
@click.option("--dkim", type=click.Choice(["byodkim", "easy"]), help="Who holds the DKIM key (byodkim: we do).")
@asks
def add_identity(api: Api, tenant: str, name: str, dkim: str | None) -> Answer:
    """Give a tenant a domain or address to send from; prints the DNS records to publish."""
    made = api.post("/v1/identities", {"tenant": tenant, "name": name, "dkim": dkim})

    def show(screen: Screen) -> None:
        show_records(screen, made)
        screen.line(f"\nLook again:   tenantry identity show {made.text('name')}")

    return Answer(dict(made.raw), show)


@identity.command("show")
@click.argument("name", metavar="NAME_OR_ID")
@click.option("--tenant", help="Its tenant; found when left out.")
@asks
def show_identity(api: Api, name: str, tenant: str | None) -> Answer:
    """Show an identity, its verification, and each DNS record with SES's own word for it."""
    one = _found(api, name, tenant)

    def show(screen: Screen) -> None:
        show_records(screen, one)
        screen.facts(
            [
                ("made", screen.moment(one.text("created_at"))),
                ("verified", screen.moment(one.text("verified_at"))),
                ("id", one.text("id")),
            ]
        )

    return Answer(dict(one.raw), show)


@identity.command("list")
@click.argument("tenant", required=False)
@asks
def list_identities(api: Api, tenant: str | None) -> Answer:
    """List the identities of one tenant, or of all."""
    found = api.every("/v1/identities", tenant=tenant)

    def show(screen: Screen) -> None:
        rows = [
            (i.text("name"), i.text("status"), i.text("dkim"), screen.moment(i.text("verified_at")), i.text("id"))
            for i in found
        ]
        screen.table(("identity", "status", "DKIM", "verified", "id"), rows)

    return Answer(listed(found), show)


def show_records(screen: Screen, identity: Document) -> None:
    """Show an identity with its DNS records, each to copy and with its own tick."""
    screen.line(f"{identity.text('name')}  {identity.text('status')}", style="bold")
    records = identity.many("records")
    if not records and identity.text("dkim") == "easy" and "@" not in identity.text("name"):
        screen.line("SES has not given the DKIM records yet.")
    for record in records:
        status, purpose = record.text("status"), record.text("purpose")
        tick = "\N{CHECK MARK}" if status in {"SUCCESS", "verified"} else "\N{HORIZONTAL ELLIPSIS}"
        unseen = "advice; SES does not look at it" if purpose == "dmarc" else "not seen by SES yet"
        screen.line(f"{tick} {purpose} ({status or unseen})")
        screen.facts(
            [("  type", record.text("type")), ("  name", record.text("name")), ("  value", record.text("value"))]
        )


def _found(api: Api, name: str, tenant: str | None) -> Document:
    """Read an identity; the operator need not say whose it is, since nobody else can hold the same."""
    if tenant or names.kind_of(name):
        return api.get(f"/v1/identities/{part(name)}", tenant=tenant)
    for each in api.every("/v1/identities"):
        if each.text("name") == name.lower():
            return each
    raise Failure(ExitCode.REFUSED, "not_found", f"there is no identity {name!r}; `tenantry identity list` shows them")
