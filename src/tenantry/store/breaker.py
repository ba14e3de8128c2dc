"""Owns the breaker's state in a cell's row, which all workers of the cell share; leaves the decision to core.breaker."""

from __future__ import annotations

from collections.abc import Sequence

from tenantry.core.breaker import CALM, Breaker, after
from tenantry.core.ids import CellId
from tenantry.core.outcome import Outcome
from tenantry.store.seam import DriverRow, Queries, Seam

BREAKER = "breaker_failures, breaker_opened_at, breaker_probed_at"


def read_breaker(seam: Seam, row: DriverRow) -> Breaker:
    """Read the columns of BREAKER."""
    failures, opened_at, probed_at = row
    return Breaker(
        failures,
        seam.at(opened_at) if opened_at is not None else None,
        seam.at(probed_at) if probed_at is not None else None,
    )


class BreakerQueries(Queries):
    """What settling writes to the cell."""

    async def weigh(self, cell: CellId, outcomes: Sequence[Outcome], *, healthy: bool) -> int:
        """Let the cell's breaker know what came of calls; return 1 when that opened it, -1 when it closed it, else 0.

        healthy: its row showed no failure a moment ago. The row is locked only where something may change, so that in
        good weather nobody waits for it.
        """
        if healthy and after(CALM, outcomes, self.now) == CALM:
            return 0
        lock = " FOR UPDATE" if self.seam.name == "postgresql" else ""
        row = (await self.run(f"SELECT {BREAKER} FROM cell WHERE id = :cell{lock}", cell=cell))[0]
        before = read_breaker(self.seam, row)
        now = after(before, outcomes, self.now)
        if now != before:
            await self.run(
                "UPDATE cell SET breaker_failures = :failures, breaker_opened_at = :opened, breaker_probed_at = :probed"
                " WHERE id = :cell",
                failures=now.failures,
                opened=now.opened_at,
                probed=now.probed_at,
                cell=cell,
            )
        return (now.opened_at is not None) - (before.opened_at is not None)
