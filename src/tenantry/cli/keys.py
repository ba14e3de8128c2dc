"""Owns `tenantry key`: the pairs that open every door; leaves keeping a secret to whoever it is shown to, once."""

from __future__ import annotations

import click

from tenantry.cli.api import Api, part
from tenantry.cli.document import Json, listed
from tenantry.cli.failure import Failure, wrong_use
from tenantry.cli.show import Answer, Screen, asks

SNIPPET = """\
import boto3

ses = boto3.client("sesv2", endpoint_url="{url}", region_name="us-east-1",
                   aws_access_key_id="{id}", aws_secret_access_key="{secret}")
print(ses.send_email(
    FromEmailAddress="{sender}",
    Destination={{"ToAddresses": ["success@simulator.amazonses.com"]}},
    Content={{"Simple": {{"Subject": {{"Data": "Hello"}}, "Body": {{"Text": {{"Data": "It works."}}}}}}}},
)["MessageId"])"""


@click.group()
def key() -> None:
    """Pairs of id and secret that open every door: REST, the SES wire, SMTP."""


@key.command("create")
@click.argument("tenant", required=False)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["send", "read", "manage", "operate"]),
    help="What it may do; repeatable; send and read when left out.",
)
@click.option("--operator", is_flag=True, help="Make an operator's key instead, which sees every tenant.")
@asks
def create_key(api: Api, tenant: str | None, scopes: tuple[str, ...], operator: bool) -> Answer:
    """Make a key for a tenant; its secret is shown this once."""
    if operator == bool(tenant):
        raise wrong_use("name the tenant whose key it will be, or give --operator")
    sender = _sender(api, tenant)
    wanted: list[Json] = [*(scopes or (("operate",) if operator else ("send", "read")))]
    made = api.post("/v1/keys", {"tenant": tenant, "scopes": wanted})

    def show(screen: Screen) -> None:
        screen.facts(
            [("id", made.text("id")), ("secret", made.text("secret")), ("scopes", ", ".join(made.texts("scopes")))]
        )
        screen.line("The secret is shown this once. REST takes both as `Authorization: Bearer ID.SECRET`.")
        if not operator:
            screen.line("\nWith plain boto3:\n", style="bold")
            filled = SNIPPET.format(url=api.profile.url, id=made.text("id"), secret=made.text("secret"), sender=sender)
            screen.line(filled)

    return Answer(dict(made.raw), show)


def _sender(api: Api, tenant: str | None) -> str:
    """Return an address that the snippet can send from; asked before the key is made, whose secret must not be lost."""
    try:
        names = [each.text("name") for each in api.some("/v1/identities", 1, tenant=tenant)] if tenant else []
    except Failure:  # what is wrong with the tenant is said when the key is made
        names = []
    return "hello@YOUR-DOMAIN" if not names else names[0] if "@" in names[0] else f"hello@{names[0]}"


@key.command("list")
@click.argument("tenant", required=False)
@asks
def list_keys(api: Api, tenant: str | None) -> Answer:
    """List a tenant's keys, or the operators' own."""
    found = api.every("/v1/keys", tenant=tenant)

    def show(screen: Screen) -> None:
        rows = [
            (
                k.text("id"),
                ", ".join(k.texts("scopes")),
                screen.moment(k.text("created_at")),
                screen.moment(k.text("revoked_at")),
            )
            for k in found
        ]
        screen.table(("id", "scopes", "made", "revoked"), rows)

    return Answer(listed(found), show)


@key.command("rotate")
@click.argument("id")
@click.option(
    "--overlap-hours", type=click.IntRange(0, 720), default=24, show_default=True, help="The old key goes on so long."
)
@asks
def rotate_key(api: Api, id: str, overlap_hours: int) -> Answer:
    """Make a key in the place of another, which ends after the overlap; the new secret is shown this once."""
    made = api.post(f"/v1/keys/{part(id)}/rotate", {"overlap_seconds": overlap_hours * 3_600})

    def show(screen: Screen) -> None:
        screen.facts(
            [("id", made.text("id")), ("secret", made.text("secret")), ("scopes", ", ".join(made.texts("scopes")))]
        )
        screen.line(f"The secret is shown this once. {id} opens doors for {overlap_hours} more hours.")

    return Answer(dict(made.raw), show)


@key.command("revoke")
@click.argument("id")
@asks
def revoke_key(api: Api, id: str) -> Answer:
    """Make a key open no door any more."""
    api.delete(f"/v1/keys/{part(id)}")
    return Answer({"id": id, "revoked": True}, lambda screen: screen.line(f"{id} opens no door any more"))
