"""Owns the routes that operators watch the whole by: pools, cells, the plan, waits and doctor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from tenantry.core.tenant import PoolKind, Tenant
from tenantry.edge.api.fleet_shapes import CellOut, ChangeOut, FindingOut, PoolOut, WaitsOut
from tenantry.edge.api.reach import Operator, Paging, Reader, TenantPaging, granted, window
from tenantry.edge.api.shapes import Listing
from tenantry.flow.examine import examine_fleet
from tenantry.flow.manage import add_pool

router = APIRouter(prefix="/v1")


class PoolIn(BaseModel):
    """A pool of dedicated IPs to make."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "tier-a", "kind": "standard"}]})

    name: str
    kind: PoolKind


@router.post("/pools", status_code=201)
async def make_pool(caller: Operator, wanted: PoolIn) -> PoolOut:
    """Make a pool."""
    return PoolOut.of(granted(await add_pool(caller.doors.store, caller.key.id, wanted.name, wanted.kind)))


@router.get("/pools")
async def list_pools(caller: Operator, paging: Annotated[Paging, Query()]) -> Listing[PoolOut]:
    """List pools."""
    page = window(await caller.fleet.pools(), paging)
    return Listing(items=[PoolOut.of(pool) for pool in page.items], next_cursor=page.next_cursor)


@router.get("/cells")
async def list_cells(caller: Operator, paging: Annotated[Paging, Query()]) -> Listing[CellOut]:
    """List cells with their rate, quota and status."""
    page = window(await caller.fleet.cells(), paging)
    return Listing(items=[CellOut.of(cell) for cell in page.items], next_cursor=page.next_cursor)


@router.get("/plan")
async def show_plan(caller: Operator) -> Listing[ChangeOut]:
    """List what provision would change in SES now, in its order."""
    return Listing(items=[ChangeOut.of(change) for change in await caller.fleet.changes()])


@router.get("/waits")
async def list_waits(caller: Reader, paging: Annotated[TenantPaging, Query()]) -> Listing[WaitsOut]:
    """List each stream's recipients by state, and how long its mail waited."""

    async def read(tenant: Tenant) -> Sequence[WaitsOut]:
        store = caller.of(tenant)
        streams = {stream.id: stream for stream in await store.streams()}
        waits = [row for row in await store.waits() if row.stream_id in streams]
        return [WaitsOut.of(tenant, streams[row.stream_id], row) for row in waits]

    page = await caller.gather(paging, read)
    return Listing(items=list(page.items), next_cursor=page.next_cursor)


@router.get("/doctor")
async def examine(caller: Operator) -> Listing[FindingOut]:
    """List what is wrong, why it matters and what to do, worst first."""
    return Listing(items=[FindingOut.of(row) for row in await examine_fleet(caller.fleet, caller.doors.clock)])
