"""Owns recovery: a database that went back in time holds what it may have sent, until events or a person decide.

Leaves the marks by which that is noticed to the stores, and SES's own stops to provision, which keeps them.
"""

from __future__ import annotations

from tenantry.core.ids import CellId, StreamId, TenantId
from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.recovery import went_back
from tenantry.ports import Store, StoreStep


async def notice(store: Store, cell: CellId) -> str | None:
    """Look whether the database went back in time; if so, hold the cell's mail and say why. Call it before any claim.

    What was open or waiting then may have gone already. What is accepted from now on flows.
    """
    async with store.step(lock=cell) as step:
        return await look(step, cell)


async def look(step: StoreStep, cell: CellId) -> str | None:
    """Do the same within a step that holds the cell's lock."""
    why = went_back(await step.marks(cell))
    if why:
        await step.begin_recovery(cell)
    await step.stamp(cell)
    return why


async def begin(store: Store, cell: CellId) -> int | Refusal:
    """Hold what waits in a cell because a person says that the database went back; return how many messages more are held.

    Once more, it holds what was accepted meanwhile, and nothing twice. On SQLite every cell of the file is meant.
    """
    async with store.reading() as step:
        if await step.scope_owner("cell", cell) is None:
            return Refusal(RefusalCode.NOT_FOUND, f"There is no cell {cell}.", "scope")
    async with store.step(lock=cell) as step:
        held = await step.begin_recovery(cell)
        await step.end_recovery()  # where there is nothing to decide
    return held


async def release(store: Store, scope: CellId | TenantId | StreamId) -> int | Refusal:
    """Let held mail of a scope go, marked as possible duplicates; return how many messages."""
    return await _decide(store, scope, send=True)


async def discard(store: Store, scope: CellId | TenantId | StreamId) -> int | Refusal:
    """Cancel held mail of a scope; return how many messages."""
    return await _decide(store, scope, send=False)


async def _decide(store: Store, scope: CellId | TenantId | StreamId, *, send: bool) -> int | Refusal:
    kind = {CellId: "cell", TenantId: "tenant", StreamId: "stream"}[type(scope)]
    async with store.reading() as step:
        owner = await step.scope_owner(kind, scope)
    if owner is None:
        return Refusal(RefusalCode.NOT_FOUND, f"There is no {kind} {scope}.", "scope")
    async with store.step(lock=owner[0]) as step:
        decided = await step.decide_held(scope, send=send)
        await step.end_recovery()
    return decided
