"""A database that cuts connections off is busy for who holds one, and for nobody afterwards."""

from __future__ import annotations

import asyncio

import pytest

from tenantry.ports import StoreBusy
from tests.conformance.conftest import Ground

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid {which}"


async def test_a_lost_connection_is_busy_and_the_next_step_has_another(ground: Ground) -> None:
    """A kept connection that was cut off in a step, or while it lay idle, is given up."""
    if ground.store.alone:
        pytest.skip("nobody cuts off a file")
    with pytest.raises(StoreBusy):
        async with ground.store.step() as step:
            await step.run(CUT.replace("{which}", "= pg_backend_pid()"))
    gathered = asyncio.Barrier(3)

    async def hold() -> None:
        async with ground.store.step() as step:
            await gathered.wait()
            assert await step.run("SELECT 1") == [(1,)]

    await asyncio.gather(hold(), hold(), hold())  # three kept connections from here on
    async with ground.store.step() as step:
        await step.run(CUT.replace("{which}", "<> pg_backend_pid()"))
    await asyncio.sleep(0.1)  # the end of a connection is heard of on the loop
    await asyncio.gather(hold(), hold(), hold())
