"""Owns the routes of recovery: the mail that a restored database may have sent before, and what is decided about it."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from tenantry.core.ids import CellId, StreamId, TenantId
from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.recovery import HeldMail
from tenantry.edge.api.reach import Operator, as_id, granted
from tenantry.edge.api.shapes import Listing, Shape
from tenantry.edge.errors import RefusedError
from tenantry.flow import recover

router = APIRouter(prefix="/v1/recovery")
NOT_A_SCOPE = Refusal(
    RefusalCode.INVALID_FIELD, "Give the id of a stream (str_…), a tenant (ten_…) or a cell (cell_…).", "scope"
)

NOT_A_CELL = Refusal(
    RefusalCode.INVALID_FIELD, "Give the id of a cell (cell_…): a database is restored as a whole.", "scope"
)


class HeldOut(Shape):
    """Held mail of one stream."""

    tenant_id: str
    stream_id: str
    messages: int
    recipients: int
    oldest_at: datetime

    @classmethod
    def of(cls, held: HeldMail) -> HeldOut:
        """Show held mail."""
        return cls(
            tenant_id=held.tenant_id,
            stream_id=held.stream_id,
            messages=held.messages,
            recipients=held.recipients,
            oldest_at=held.oldest_at,
        )


class DecisionIn(BaseModel):
    """Whose held mail is meant."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"scope": f"str_{'0' * 32}"}]})

    scope: str


class DecisionOut(Shape):
    """How many messages it was."""

    messages: int


@router.get("")
async def list_held(caller: Operator) -> Listing[HeldOut]:
    """List the mail that is held since the database was restored, by stream; events take out what they prove was sent."""
    return Listing(items=[HeldOut.of(one) for one in await caller.fleet.held()])


@router.post("/begin")
async def begin(caller: Operator, wanted: DecisionIn) -> DecisionOut:
    """Hold what waits in a cell: its database was put back to an earlier state in a way that it cannot notice by itself.

    Call it after a snapshot was restored and before a worker starts. Called again, it holds what was accepted meanwhile.
    """
    cell = as_id(CellId, wanted.scope)
    if cell is None:
        raise RefusedError(NOT_A_CELL)
    return DecisionOut(messages=granted(await recover.begin(caller.doors.store, cell)))


@router.post("/release")
async def release(caller: Operator, wanted: DecisionIn) -> DecisionOut:
    """Send held mail, marked as a possible duplicate."""
    return DecisionOut(messages=granted(await recover.release(caller.doors.store, _scope(wanted.scope))))


@router.post("/discard")
async def discard(caller: Operator, wanted: DecisionIn) -> DecisionOut:
    """Cancel held mail: it may have gone before, and will not go again."""
    return DecisionOut(messages=granted(await recover.discard(caller.doors.store, _scope(wanted.scope))))


def _scope(text: str) -> CellId | TenantId | StreamId:
    found = as_id(StreamId, text) or as_id(TenantId, text) or as_id(CellId, text)
    if found is None:
        raise RefusedError(NOT_A_SCOPE)
    return found
