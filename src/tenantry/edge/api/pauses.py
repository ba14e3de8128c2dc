"""Owns the routes of pauses and verdicts; leaves opening, fencing and ending to `flow.guard`."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tenantry.core.ids import PauseId, VerdictId
from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.pause import Author, Pause, scope_of
from tenantry.edge.api.fleet_shapes import PauseOut
from tenantry.edge.api.reach import Caller, Operator, Reader, TenantPaging, found, granted, the_id, window
from tenantry.edge.api.shapes import Listing, VerdictOut
from tenantry.edge.errors import RefusedError
from tenantry.flow.guard import end_pause, open_pause

router = APIRouter(prefix="/v1")

NOT_A_SCOPE = Refusal(
    RefusalCode.INVALID_FIELD,
    "Give the id of what to stop: a stream (str_…), tenant (ten_…), pool (pool_…) or cell (cell_…).",
    "scope",
)


_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _readable(reason: str) -> str:
    if _CONTROL.search(reason) or not reason.strip():
        raise ValueError("write words without control characters")
    return reason


Reason = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_readable)]


class PauseIn(BaseModel):
    """What to stop, and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"scope": f"str_{'0' * 32}", "reason": "list under investigation"}]},
    )

    scope: str
    reason: Reason


class EndIn(BaseModel):
    """Why a pause ends."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "list was cleaned"}]})

    reason: Reason


class PausePaging(TenantPaging):
    """Which pauses to list."""

    open: bool = False


@router.post("/pauses", status_code=201)
async def make_pause(caller: Operator, wanted: PauseIn) -> PauseOut:
    """Stop a stream, tenant, pool or cell; returns once nothing is claimed for it any more."""
    try:
        scope = scope_of(wanted.scope)
    except ValueError:
        raise RefusedError(NOT_A_SCOPE) from None
    doors = caller.doors
    return PauseOut.of(granted(await open_pause(doors.store, doors.clock, scope, Author.OPERATOR, wanted.reason)))


@router.get("/pauses")
async def list_pauses(caller: Reader, paging: Annotated[PausePaging, Query()]) -> Listing[PauseOut]:
    """List pauses, newest first; `open=true` leaves out those that ended."""
    if caller.is_operator and paging.tenant is None:
        pauses = await caller.fleet.pauses(open_only=paging.open)
    else:
        pauses = await caller.of(await caller.tenant(paging.tenant)).pauses(open_only=paging.open)
    page = window(pauses, paging, newest_first=True)
    return Listing(items=[PauseOut.of(pause) for pause in page.items], next_cursor=page.next_cursor)


@router.get("/pauses/{pause}")
async def show_pause(caller: Reader, pause: str) -> PauseOut:
    """Show a pause."""
    return PauseOut.of(await pause_for(caller, the_id(PauseId, pause)))


async def pause_for(caller: Caller, pause_id: PauseId) -> Pause:
    """Return a pause that this caller may see: a tenant those of its own scopes, an operator all."""
    if caller.key.tenant_id is None:
        return found(await caller.fleet.pause(pause_id))
    return found(await caller.doors.store.of(caller.key.tenant_id).pause(pause_id))


@router.post("/pauses/{pause}/end")
async def finish_pause(caller: Operator, pause: str, wanted: EndIn) -> PauseOut:
    """End a pause and say why; sending comes back on a ramp."""
    held = await pause_for(caller, the_id(PauseId, pause))
    return PauseOut.of(granted(await end_pause(caller.doors.store, held.id, Author.OPERATOR, wanted.reason)))


@router.get("/verdicts/{verdict}")
async def show_verdict(caller: Reader, verdict: str) -> VerdictOut:
    """Show a verdict with its numbers."""
    verdict_id = the_id(VerdictId, verdict)
    return VerdictOut.of(found(await (await caller.holding(verdict_id)).verdict(verdict_id)))
