"""Owns reading what a person types for a thing: `acme`, `acme/marketing`, `pool:tier-a`, `cell:main`, or any id.

Leaves to the API whether it exists for this key.
"""

from __future__ import annotations

from tenantry.cli.api import Api, part
from tenantry.cli.document import Document
from tenantry.cli.failure import ExitCode, Failure, wrong_use

KINDS = {
    "ten": "tenant",
    "str": "stream",
    "idn": "identity",
    "key": "key",
    "pool": "pool",
    "cell": "cell",
    "msg": "message",
    "att": "attempt",
    "ver": "verdict",
    "pau": "pause",
}
DIGITS = 32


def kind_of(text: str) -> str | None:
    """Return the kind of thing that an id names, or None for a name."""
    prefix, _, digits = text.partition("_")
    return KINDS.get(prefix) if len(digits) == DIGITS and not digits.strip("0123456789abcdef") else None


def split(text: str) -> tuple[str | None, str]:
    """Read `tenant/thing` as (tenant, thing); an id or a bare name has no tenant."""
    owner, slash, name = text.partition("/")
    if not slash:
        return None, text
    if not (owner and name):
        raise wrong_use(f"{text!r} must be an id, or look like acme/marketing")
    return owner, name


def tenant(api: Api, text: str) -> Document:
    """Return a tenant by name or id."""
    return api.get(f"/v1/tenants/{part(text)}")


def stream(api: Api, text: str) -> Document:
    """Return a stream by id, by `tenant/stream`, or for a tenant's own key by its name."""
    owner, name = split(text)
    return api.get(f"/v1/streams/{part(name)}", tenant=owner)


def thing(api: Api, text: str) -> str:
    """Return the id of what is named, for routes that take ids alone."""
    if kind_of(text):
        return text
    kind, colon, name = text.partition(":")
    if colon and kind in {"pool", "cell"}:
        return _listed(api, kind, name)
    return (stream if "/" in text else tenant)(api, text).text("id")


def _listed(api: Api, kind: str, name: str) -> str:
    found = [each.text("id") for each in api.every(f"/v1/{kind}s") if each.text("name") == name]
    if not found:
        raise Failure(
            ExitCode.REFUSED, "not_found", f"there is no {kind} named {name!r}; `tenantry {kind} list` shows them"
        )
    return found[0]


def tenant_names(api: Api) -> dict[str, str]:
    """Return the name of every tenant by id; a tenant's own key sees one."""
    return {each.text("id"): each.text("name") for each in api.every("/v1/tenants")}


def scope_names(api: Api, tenant_name: str | None = None) -> dict[str, str]:
    """Return what a person would call each tenant and stream, by id."""
    owners = tenant_names(api)
    streams = api.every("/v1/streams", tenant=tenant_name)
    return owners | {s.text("id"): f"{owners.get(s.text('tenant_id'), '?')}/{s.text('name')}" for s in streams}
