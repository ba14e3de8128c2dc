"""What a new database needs is made once, however many processes start on it at the same time."""

from __future__ import annotations

import asyncio

from tenantry.store.bootstrap import ensure_cell, ensure_partitions
from tests.conformance.conftest import Ground


async def test_processes_that_start_together_make_a_cell_once(ground: Ground) -> None:
    """Three workers on a new database agree on the cell, and none of them fails."""
    for name in ("other", "another"):  # the second time all connections are there, so that nobody comes too late
        cells = await asyncio.gather(*(ensure_cell(ground.store, name, "eu-west-1") for _ in range(3)))
        assert len(set(cells)) == 1


async def test_processes_that_start_together_make_partitions_once(ground: Ground) -> None:
    """Three workers on a new database make its partitions between them, and none of them fails."""
    made = await asyncio.gather(*(ensure_partitions(ground.store) for _ in range(3)))
    assert sorted(made)[:2] == [0, 0]
    assert await ensure_partitions(ground.store) == 0
