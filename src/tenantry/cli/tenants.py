"""Owns `tenantry tenant` and `tenantry stream`; leaves what a tenant may have to the API."""

from __future__ import annotations

import click

from tenantry.cli import names
from tenantry.cli.api import Api
from tenantry.cli.document import Document, Json, listed
from tenantry.cli.failure import wrong_use
from tenantry.cli.identities import show_records
from tenantry.cli.show import Answer, Screen, asks, seconds

STREAM_COLUMNS = ("stream", "class", "state", "policy", "accepted", "waiting", "wait p50", "wait p99", "id")


def labels_of(pairs: tuple[str, ...], flag: str) -> dict[str, str]:
    """Read NAME=VALUE flags."""
    split = [pair.partition("=") for pair in pairs]
    if wrong := [name for name, equals, _ in split if not (name and equals)]:
        raise wrong_use(f"{flag} takes NAME=VALUE, not {wrong[0]!r}")
    return {name: value for name, _, value in split}


@click.group()
def tenant() -> None:
    """Customers, brands or business units: the unit of isolation and of blame."""


@tenant.command("add")
@click.argument("name")
@click.option("--domain", help="Domain that it sends from; made as its first identity.")
@click.option(
    "--dkim", type=click.Choice(["byodkim", "easy"]), help="Who holds the domain's DKIM key (byodkim: we do)."
)
@click.option("--pool", help="Pool of both streams; `shared` when left out.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Label such as unit=retail; repeatable.")
@asks
def add_tenant(
    api: Api, name: str, domain: str | None, dkim: str | None, pool: str | None, labels: tuple[str, ...]
) -> Answer:
    """Make a tenant with both streams and, with --domain, its identity; prints the DNS records to publish."""
    given: dict[str, Json] = {**labels_of(labels, "--label")}
    made = api.post("/v1/tenants", {"name": name, "domain": domain, "dkim": dkim, "pool": pool, "labels": given})

    def show(screen: Screen) -> None:
        screen.line(f"tenant {name}  {_part(made, 'tenant').text('id')}", style="bold")
        screen.table(
            ("stream", "class", "id"), [(s.text("name"), s.text("class"), s.text("id")) for s in made.many("streams")]
        )
        if identity := made.one("identity"):
            show_records(screen, identity)
            screen.line(f"\nLook again:   tenantry identity show {identity.text('name')}")
        screen.line(f"Next:         tenantry key create {name}")

    return Answer(dict(made.raw), show)


@tenant.command("list")
@asks
def list_tenants(api: Api) -> Answer:
    """List the tenants."""
    found = api.every("/v1/tenants")
    rows = [(t.text("name"), t.text("account"), _labels(t), t.text("created_at"), t.text("id")) for t in found]

    def show(screen: Screen) -> None:
        told = [(name, account, labels, screen.moment(made), own) for name, account, labels, made, own in rows]
        screen.table(
            ("tenant", "virtual account", "labels", "made", "id"), told, "no tenant yet: tenantry tenant add NAME"
        )

    return Answer(listed(found), show)


@tenant.command("show")
@click.argument("name")
@asks
def show_tenant(api: Api, name: str) -> Answer:
    """Show a tenant (name or id) with its streams, identities and open pauses."""
    one = names.tenant(api, name)
    own = one.text("id")
    streams, identities = api.every("/v1/streams", tenant=own), api.every("/v1/identities", tenant=own)
    pauses, waits = api.every("/v1/pauses", tenant=own, open="true"), api.every("/v1/waits", tenant=own)

    def show(screen: Screen) -> None:
        screen.facts(
            [
                ("tenant", one.text("name")),
                ("id", own),
                ("virtual account", one.text("account")),
                ("labels", _labels(one)),
                ("made", screen.moment(one.text("created_at"))),
            ]
        )
        screen.table(STREAM_COLUMNS, stream_rows(streams, waits, pauses))
        rows = [(i.text("name"), i.text("status"), i.text("dkim"), i.text("id")) for i in identities]
        screen.table(("identity", "status", "DKIM", "id"), rows, "no identity yet: tenantry identity add")
        for pause in pauses:
            screen.line(
                f"{pause.text('state')}: {pause.text('reason')}  ({pause.text('author')}, {pause.text('id')})", "red"
            )

    extra = {
        "streams": listed(streams),
        "identities": listed(identities),
        "pauses": listed(pauses),
        "waits": listed(waits),
    }
    return Answer({**one.raw, **extra}, show)


@click.group()
def stream() -> None:
    """A tenant's mail of one purpose, with its own configuration set, pool and reputation."""


@stream.command("add")
@click.argument("name", metavar="TENANT/STREAM")
@click.option(
    "--class",
    "stream_class",
    type=click.Choice(["transactional", "marketing"]),
    required=True,
    help="What the mail is for.",
)
@click.option("--pool", help="Pool by name; `shared` when left out.")
@click.option("--policy", help="Limits that it is held to; `standard` when left out.")
@click.option("--default", "is_default", is_flag=True, help="Use it for mail that names no stream.")
@asks
def add_stream(
    api: Api, name: str, stream_class: str, pool: str | None, policy: str | None, is_default: bool
) -> Answer:
    """Make a stream, named like acme/news."""
    owner, own_name = names.split(name)
    wanted = {"tenant": owner, "name": own_name, "class": stream_class, "pool": pool, "policy": policy}
    made = api.post("/v1/streams", {**wanted, **({"is_default": True} if is_default else {})})

    def show(screen: Screen) -> None:
        screen.line(f"stream {own_name}  {made.text('id')}", style="bold")
        screen.line(f'Use it:  "stream": "{own_name}" in REST, ConfigurationSetName="{own_name}" with an AWS SDK')

    return Answer(dict(made.raw), show)


@stream.command("list")
@click.argument("tenant_name", metavar="TENANT", required=False)
@asks
def list_streams(api: Api, tenant_name: str | None) -> Answer:
    """List the streams of one tenant, or of all, with what waits in them."""
    streams, waits = api.every("/v1/streams", tenant=tenant_name), api.every("/v1/waits", tenant=tenant_name)
    pauses = api.every("/v1/pauses", tenant=tenant_name, open="true")

    def show(screen: Screen) -> None:
        screen.table(STREAM_COLUMNS, stream_rows(streams, waits, pauses))

    merged = {wait.text("stream_id"): wait for wait in waits}
    told = [
        Document({**s.raw, "waits": dict(merged[s.text("id")].raw) if s.text("id") in merged else None})
        for s in streams
    ]
    return Answer(listed(told), show)


def stream_rows(streams: list[Document], waits: list[Document], pauses: list[Document]) -> list[tuple[str, ...]]:
    """Return a row a stream: its state and how its mail fares."""
    by_stream = {wait.text("stream_id"): wait for wait in waits}
    stopped = {pause.text("scope_id"): pause.text("state") for pause in pauses}
    rows: list[tuple[str, ...]] = []
    for each in streams:
        wait = by_stream.get(each.text("id"), Document({}))
        owner = wait.text("tenant")
        rows.append(
            (
                f"{owner}/{each.text('name')}" if owner else each.text("name"),
                each.text("class"),
                state_of(each, stopped),
                each.text("policy"),
                str(wait.count("accepted")),
                str(wait.counts("states").get("waiting", 0)),
                seconds(wait.number("wait_p50_seconds")),
                seconds(wait.number("wait_p99_seconds")),
                each.text("id"),
            )
        )
    return rows


def state_of(stream: Document, stopped: dict[str, str]) -> str:
    """Say in a word or two whether a stream may send."""
    if stop := next(
        (stopped[stream.text(key)] for key in ("id", "tenant_id", "pool_id", "cell_id") if stream.text(key) in stopped),
        None,
    ):
        return "paused" if stop == "fenced" else f"pausing ({stop})"
    limit, stage = stream.number("limit"), stream.number("ramp_stage")
    if stage is not None:
        return f"probation, {(limit or 0) * 100:.0f} % of the rate"
    if limit is not None:
        return f"throttled to {limit * 100:.0f} %"
    return "ok" if stream.text("provisioned_at") else "being set up"


def _part(document: Document, name: str) -> Document:
    return document.one(name) or Document({})


def _labels(tenant: Document) -> str:
    return ", ".join(f"{name}={value}" for name, value in tenant.pairs("labels").items())
