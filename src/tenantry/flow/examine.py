"""Owns examine: everything that doctor looks at, read and judged; leaves what each look costs to the store."""

from __future__ import annotations

from tenantry.core.diagnosis import Examination, diagnose
from tenantry.core.figures import Balance
from tenantry.core.finding import Finding
from tenantry.core.ids import TenantId
from tenantry.ports import Clock, FleetStore

BALANCE_SECONDS = 3.0


async def examine_fleet(fleet: FleetStore, clock: Clock) -> tuple[Finding, ...]:
    """Look at the whole fleet and return the findings, worst first; takes a few seconds at most with very much mail."""
    return diagnose(
        Examination(
            figures=await fleet.figures(),
            pauses=await fleet.pauses(open_only=True),
            balance=await _balance(fleet, clock),
            clock_seconds=await clock_difference(fleet, clock),
        )
    )


async def _balance(fleet: FleetStore, clock: Clock) -> Balance:
    """Check the day's mail portion by portion, newest first, until it is whole or the time is over."""
    began = clock.monotonic()
    total = await fleet.balance(None)
    while total.before is not None and clock.monotonic() - began < BALANCE_SECONDS:
        more = await fleet.balance(total.before)
        differences: dict[TenantId, int] = dict(total.differences)
        for tenant, recipients in more.differences.items():
            differences[tenant] = differences.get(tenant, 0) + recipients
        total = Balance(total.messages + more.messages, differences, more.before, more.since or total.since)
    return total


async def clock_difference(fleet: FleetStore, clock: Clock) -> float:
    """Return by how many seconds this process's clock is surely ahead of the database's; negative: behind.

    The database was asked between two looks at our clock: whatever lies between them is no difference.
    """
    before = clock.wall()
    there = await fleet.time()
    after = clock.wall()
    if there < before:
        return (before - there).total_seconds()
    return min(0.0, (after - there).total_seconds())
