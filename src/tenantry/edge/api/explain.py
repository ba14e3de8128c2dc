"""Owns the route that answers "why": it reads what an explanation draws on; the sentences are `core.explanation`'s."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from tenantry.core.explanation import (
    Explanation,
    Surroundings,
    explain_message,
    explain_pause,
    explain_stream,
    explain_tenant,
    explain_verdict,
    route_pauses,
)
from tenantry.core.ids import MessageId, PauseId, StreamId, TenantId, VerdictId
from tenantry.core.pause import Pause
from tenantry.core.tenant import Stream
from tenantry.edge.api.fleet_shapes import ExplanationOut
from tenantry.edge.api.pauses import pause_for
from tenantry.edge.api.reach import Caller, Reader, as_id, found
from tenantry.edge.errors import NOT_FOUND, RefusedError
from tenantry.ports import TenantStore

router = APIRouter(prefix="/v1")


@router.get("/explain/{thing}")
async def explain(caller: Reader, thing: str) -> ExplanationOut:
    """Say why a message, stream, pause, verdict or tenant is as it is."""
    return ExplanationOut.of(await _explanation(caller, thing))


async def _explanation(caller: Caller, thing: str) -> Explanation:
    if message_id := as_id(MessageId, thing):
        return await _of_message(caller, message_id)
    if stream_id := as_id(StreamId, thing):
        return await _of_stream(caller, stream_id)
    if pause_id := as_id(PauseId, thing):
        return await _of_pause(caller, pause_id)
    if verdict_id := as_id(VerdictId, thing):
        return await _of_verdict(caller, verdict_id)
    if tenant_id := as_id(TenantId, thing):
        return await _of_tenant(caller, tenant_id)
    raise RefusedError(NOT_FOUND)


async def _of_message(caller: Caller, message_id: MessageId) -> Explanation:
    store = await caller.holding(message_id)
    view = found(await store.message(message_id))
    stream = found(await store.stream(view.stream_id))
    return explain_message(view, await _surroundings(caller, store, stream))


async def _of_stream(caller: Caller, stream_id: StreamId) -> Explanation:
    store = await caller.holding(stream_id)
    stream = found(await store.stream(stream_id))
    waits = next((row for row in await store.waits() if row.stream_id == stream_id), None)
    reputation = found(await store.reputation(stream_id))
    return explain_stream(await _surroundings(caller, store, stream), reputation, waits)


async def _of_pause(caller: Caller, pause_id: PauseId) -> Explanation:
    pause = await pause_for(caller, pause_id)
    if pause.verdict_id is None:
        return explain_pause(pause, None)
    store = await caller.holding(pause.verdict_id)
    return explain_pause(pause, await store.verdict(pause.verdict_id))


async def _of_verdict(caller: Caller, verdict_id: VerdictId) -> Explanation:
    store = await caller.holding(verdict_id)
    verdict = found(await store.verdict(verdict_id))
    return explain_verdict(verdict, await store.pause(verdict.pause_id) if verdict.pause_id else None)


async def _of_tenant(caller: Caller, tenant_id: TenantId) -> Explanation:
    tenant = await caller.tenant(tenant_id)
    store = caller.of(tenant)
    pauses = await _open_pauses(caller, store)
    return explain_tenant(tenant, await store.streams(), await store.identities(), pauses)


async def _surroundings(caller: Caller, store: TenantStore, stream: Stream) -> Surroundings:
    pauses = route_pauses(stream, await _open_pauses(caller, store))
    wanted = [pause.verdict_id for pause in pauses if pause.verdict_id]
    verdicts = [await store.verdict(verdict_id) for verdict_id in wanted]
    return Surroundings(stream, pauses, {verdict.id: verdict for verdict in verdicts if verdict}, await store.outlook())


async def _open_pauses(caller: Caller, store: TenantStore) -> Sequence[Pause]:
    """Read what stops a tenant's mail; only an operator sees pauses of pools and cells, which are others' too."""
    return await (caller.fleet if caller.is_operator else store).pauses(open_only=True)
