"""Owns the routes of tenants, streams and identities; leaves what may be changed to `flow.manage`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from tenantry.core.ids import IdentityId, StreamId
from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.tenant import DkimMode, Identity, NewIdentity, NewStream, NewTenant, StreamClass
from tenantry.edge.api.reach import (
    Caller,
    Changer,
    Operator,
    Paging,
    Reader,
    TenantPaging,
    TenantQuery,
    found,
    granted,
)
from tenantry.edge.api.shapes import IdentityOut, Listing, MadeTenantOut, ReputationOut, StreamOut, TenantOut
from tenantry.edge.errors import RefusedError
from tenantry.flow.manage import add_identity, add_stream, add_tenant, dns_records

router = APIRouter(prefix="/v1")


class TenantIn(BaseModel):
    """A tenant to make: with a domain it gets the identity too."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "acme", "domain": "acme.example"}]}
    )

    name: str
    labels: dict[str, str] = {}
    domain: str | None = None
    dkim: DkimMode = DkimMode.BYODKIM
    pool: str = "shared"


class StreamIn(BaseModel):
    """A stream to make."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"tenant": "acme", "name": "news", "class": "marketing"}]}
    )

    name: str
    stream_class: StreamClass = Field(alias="class")
    tenant: str | None = None
    pool: str = "shared"
    policy: str = "standard"
    is_default: StrictBool = False


class IdentityIn(BaseModel):
    """An identity to make: a domain or an address."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"tenant": "acme", "name": "acme.example"}]}
    )

    name: str
    dkim: DkimMode = DkimMode.BYODKIM
    tenant: str | None = None


@router.post("/tenants", status_code=201)
async def make_tenant(caller: Operator, wanted: TenantIn) -> MadeTenantOut:
    """Make a tenant with both streams, and the identity when a domain is given."""
    domain = NewIdentity(wanted.domain, wanted.dkim, allotted=True) if wanted.domain is not None else None
    made = granted(
        await add_tenant(caller.doors.store, caller.key.id, NewTenant(wanted.name, wanted.labels), domain, wanted.pool)
    )
    return MadeTenantOut(
        tenant=TenantOut.of(made.tenant),
        streams=[StreamOut.of(stream) for stream in made.streams],
        identity=_shown(made.identity) if made.identity else None,
    )


@router.get("/tenants")
async def list_tenants(caller: Reader, paging: Annotated[Paging, Query()]) -> Listing[TenantOut]:
    """List tenants; a tenant's key sees its own."""
    if not caller.is_operator:
        return Listing(items=[TenantOut.of(await caller.tenant(None))])
    page = await caller.fleet.tenants(paging.cursor, paging.limit)
    return Listing(items=[TenantOut.of(tenant) for tenant in page.items], next_cursor=page.next_cursor)


@router.get("/tenants/{tenant}")
async def show_tenant(caller: Reader, tenant: str) -> TenantOut:
    """Show a tenant by name or id."""
    return TenantOut.of(await caller.tenant(tenant))


@router.post("/streams", status_code=201)
async def make_stream(caller: Changer, wanted: StreamIn) -> StreamOut:
    """Make a stream; what its mail is called, its pool and its policy are the operator's to give."""
    if refused := _beyond_tenant(caller, wanted):
        raise RefusedError(refused)
    new = NewStream(wanted.name, wanted.stream_class, wanted.pool, wanted.policy, wanted.is_default)
    return StreamOut.of(granted(await add_stream(caller.doors.store, await caller.tenant(wanted.tenant), new)))


def _beyond_tenant(caller: Caller, wanted: StreamIn) -> Refusal | None:
    """Refuse a tenant what would let it slip out of its limits: a better class, other IPs, another policy."""
    if caller.is_operator:
        return None
    given = (("class", wanted.stream_class, "marketing"), ("pool", wanted.pool, "shared"))
    for field, value, own in (*given, ("policy", wanted.policy, "standard")):
        if value != own:
            message = f"Ask the operator: a tenant's own key makes streams with {field} {own} only."
            return Refusal(RefusalCode.FORBIDDEN, message, field)
    return None


@router.get("/streams")
async def list_streams(caller: Reader, paging: Annotated[TenantPaging, Query()]) -> Listing[StreamOut]:
    """List streams."""
    page = await caller.listing(paging, lambda store: store.streams())
    return Listing(items=[StreamOut.of(stream) for stream in page.items], next_cursor=page.next_cursor)


@router.get("/streams/{stream}")
async def show_stream(caller: Reader, stream: str, query: Annotated[TenantQuery, Query()]) -> StreamOut:
    """Show a stream by name or id."""
    store = await caller.where(StreamId, stream, query.tenant)
    return StreamOut.of(found(await store.stream(stream)))


@router.get("/streams/{stream}/reputation")
async def show_reputation(caller: Reader, stream: str, query: Annotated[TenantQuery, Query()]) -> ReputationOut:
    """Show what a stream's mail amounted to, with its verdicts."""
    store = await caller.where(StreamId, stream, query.tenant)
    held = found(await store.stream(stream))
    return ReputationOut.of(held, found(await store.reputation(held.id)))


# Whose domain it is of cannot be told by the tenant's word, and SES may count the address as verified with its domain.
_ADDRESS_OF_A_TENANT = Refusal(
    RefusalCode.FORBIDDEN, "Ask the operator: single addresses are allotted, a tenant's own key adds domains.", "name"
)


@router.post("/identities", status_code=201)
async def make_identity(caller: Changer, wanted: IdentityIn) -> IdentityOut:
    """Make an identity; the answer has the DNS records to publish."""
    if "@" in wanted.name and not caller.is_operator:
        raise RefusedError(_ADDRESS_OF_A_TENANT)
    tenant = await caller.tenant(wanted.tenant)
    asked = NewIdentity(wanted.name, wanted.dkim, allotted=caller.is_operator)
    return _shown(granted(await add_identity(caller.doors.store, tenant, asked)))


@router.get("/identities")
async def list_identities(caller: Reader, paging: Annotated[TenantPaging, Query()]) -> Listing[IdentityOut]:
    """List identities."""
    page = await caller.listing(paging, lambda store: store.identities())
    return Listing(items=[_shown(identity) for identity in page.items], next_cursor=page.next_cursor)


@router.get("/identities/{identity}")
async def show_identity(caller: Reader, identity: str, query: Annotated[TenantQuery, Query()]) -> IdentityOut:
    """Show an identity by name or id, with its DNS records and SES's own word on each."""
    store = await caller.where(IdentityId, identity, query.tenant)
    return _shown(found(await store.identity(identity)))


def _shown(identity: Identity) -> IdentityOut:
    return IdentityOut.of(identity, dns_records(identity))
