"""Owns what the doors that send have in common: who calls with what, whose name is given, and the answer after the commit.

Leaves what a body means to each door, who may send what to admission.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Receive, Scope

from tenantry.core.ids import TenantId
from tenantry.core.message import Accepted, Refusal, RefusalCode, Submission
from tenantry.core.tenant import Key
from tenantry.edge import errors
from tenantry.edge.asgi import header, read_body
from tenantry.edge.auth import Keyring, barred_from_sending
from tenantry.edge.doors import Doors
from tenantry.edge.raw_message import Raw
from tenantry.flow.accept import busy
from tenantry.ports import StoreBusy, StoreRejected

NO_QUERY = Refusal(RefusalCode.INVALID_FIELD, "Remove the query: all of a message stands in the body.", "query")


async def read_call(doors: Doors, keyring: Keyring, scope: Scope, receive: Receive) -> tuple[Key, bytes] | Refusal:
    """Return the key that may send and the body of a REST call, or the first thing that is wrong with it."""
    key = await keyring.bearer(header(scope, b"authorization"))
    if isinstance(key, Refusal):
        return key
    if refused := barred_from_sending(key):
        return refused
    if scope["query_string"]:
        return NO_QUERY
    body = await read_body(scope, receive, doors.max_body_bytes)
    return errors.too_large(doors.max_body_bytes) if body is None else (key, body)


async def submit(doors: Doors, submission: Submission) -> Accepted | Refusal:
    """Accept by the batch that all doors share; a busy store, and what it cannot keep, are refusals."""
    try:
        return await doors.accept(submission)
    except StoreBusy as error:
        return busy(error)
    except StoreRejected:
        return errors.UNKEEPABLE


async def submit_raw(doors: Doors, key: Key, raw: Raw) -> Accepted | Refusal:
    """Accept raw mail, unless its headers name a tenant that is not the caller's own."""
    try:
        if raw.tenant_name is not None and await foreign_tenant(doors, key.tenant_id, (raw.tenant_name,)):
            return Refusal(RefusalCode.NOT_FOUND, f"Tenant {raw.tenant_name[:64]} does not exist.", "X-SES-TENANT")
    except StoreBusy as error:
        return busy(error)
    return await submit(doors, raw.submission)


async def foreign_tenant(doors: Doors, tenant_id: TenantId | None, names: Iterable[str]) -> str | None:
    """Return the first of these names that is not the tenant's own name or id, whether or not anybody has it."""
    tenant = await doors.store.of(tenant_id).tenant() if tenant_id else None
    own = {tenant.name, str(tenant.id)} if tenant else set()
    return next((name for name in names if name not in own), None)
