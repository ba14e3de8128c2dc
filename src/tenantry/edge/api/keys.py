"""Owns the routes of keys; leaves which scopes a key may have to `flow.manage`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from tenantry.core.ids import KeyId
from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.tenant import Scope
from tenantry.edge.api.reach import Caller, Changer, TenantPaging, found, granted, the_id, window
from tenantry.edge.api.shapes import KeyOut, Listing, MadeKeyOut
from tenantry.edge.errors import NOT_FOUND, RefusedError
from tenantry.flow.manage import add_key
from tenantry.flow.manage import rotate_key as renew_key

router = APIRouter(prefix="/v1")


class KeyIn(BaseModel):
    """A key to make."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"tenant": "acme", "scopes": ["send", "read"]}]}
    )

    scopes: list[Scope]
    tenant: str | None = None


class RotationIn(BaseModel):
    """How long the old key goes on beside the new one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"overlap_seconds": 86_400}]})

    overlap_seconds: Annotated[int, Field(ge=0, le=2_592_000)] = 86_400


@router.post("/keys", status_code=201)
async def make_key(caller: Changer, wanted: KeyIn) -> MadeKeyOut:
    """Make a key; its secret is in this answer and nowhere else."""
    scopes = frozenset(wanted.scopes)
    if refused := _escalation(caller, scopes, wanted.tenant):
        raise RefusedError(refused)
    for_operator = caller.is_operator and wanted.tenant is None
    tenant_id = None if for_operator else (await caller.tenant(wanted.tenant)).id
    operator = caller.key.id if caller.is_operator else None
    key, secret = granted(await add_key(caller.doors.store, operator, tenant_id, scopes))
    return MadeKeyOut.with_secret(key, secret)


def _escalation(caller: Caller, scopes: frozenset[Scope], tenant: str | None) -> Refusal | None:
    """Refuse to make a key that could do more than the one that makes it; operators hand out a tenant's scopes."""
    own = caller.key.scopes
    if Scope.OPERATE in own or (caller.is_operator and tenant is not None) or scopes <= own:
        return None
    lacking = ", ".join(sorted(scopes - own))
    return Refusal(RefusalCode.FORBIDDEN, f"Leave out {lacking}: this key does not have it itself.", "scopes")


@router.get("/keys")
async def list_keys(caller: Changer, paging: Annotated[TenantPaging, Query()]) -> Listing[KeyOut]:
    """List keys: a tenant's, or (an operator who names no tenant) the operators' own."""
    if caller.is_operator and paging.tenant is None:
        page = window(await caller.fleet.keys(), paging)
    else:
        page = await caller.listing(paging, lambda store: store.keys())
    return Listing(items=[KeyOut.of(key) for key in page.items], next_cursor=page.next_cursor)


@router.post("/keys/{key}/rotate", status_code=201)
async def rotate_key(caller: Changer, key: str, wanted: RotationIn) -> MadeKeyOut:
    """Make a key in the place of another; the old one opens doors until the overlap is over."""
    key_id = the_id(KeyId, key)
    owner = caller.key.tenant_id or await caller.fleet.owner(key_id)
    keys = await (caller.doors.store.of(owner).keys() if owner else caller.fleet.keys())
    old = found(next((one for one in keys if one.id == key_id), None))
    if refused := _escalation(caller, old.scopes, str(owner) if owner else None):
        raise RefusedError(refused)
    operator = caller.key.id if caller.is_operator else None
    made, secret = granted(await renew_key(caller.doors.store, operator, old, wanted.overlap_seconds))
    return MadeKeyOut.with_secret(made, secret)


@router.delete("/keys/{key}", status_code=204)
async def revoke_key(caller: Changer, key: str) -> Response:
    """Revoke a key; it opens no door a second later."""
    key_id = the_id(KeyId, key)
    owner = caller.key.tenant_id or await caller.fleet.owner(key_id)
    revoked = await (caller.doors.store.of(owner).revoke_key(key_id) if owner else caller.fleet.revoke_key(key_id))
    if not revoked:
        raise RefusedError(NOT_FOUND)
    return Response(status_code=204)
