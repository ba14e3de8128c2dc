"""A database that cuts connections off is busy for who holds one, and for nobody afterwards."""

from __future__ import annotations

import asyncio

import pytest

from tenantry.ports import StoreBusy, StoreInDoubt
from tenantry.store.store import Step
from tests.conformance.conftest import Ground


async def cut(step: Step, which: str) -> None:
    """End backends of this database, as the login itself: the role of the step may not."""
    await step.run("SELECT set_config('role', 'none', true)")
    await step.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE datname = current_database() AND usename = session_user AND pid {which}"
    )


async def lose_before_the_commit(ground: Ground) -> None:
    async with ground.store.step() as step:
        async with ground.store.step() as other:
            await cut(other, f"= {(await step.run('SELECT pg_backend_pid()'))[0][0]}")
        await asyncio.sleep(0.1)  # the end of a connection is heard of on the loop


async def test_a_lost_connection_is_busy_and_the_next_step_has_another(ground: Ground) -> None:
    """A kept connection that was cut off in a step, or while it lay idle, is given up."""
    if ground.store.alone:
        pytest.skip("nobody cuts off a file")
    with pytest.raises(StoreBusy):
        async with ground.store.step() as step:
            await cut(step, "= pg_backend_pid()")
    with pytest.raises(StoreInDoubt):  # the server may have done it: nobody may say that nothing happened
        await lose_before_the_commit(ground)
    gathered = asyncio.Barrier(3)

    async def hold() -> None:
        async with ground.store.step() as step:
            await gathered.wait()
            assert await step.run("SELECT 1") == [(1,)]

    await asyncio.gather(hold(), hold(), hold())  # three kept connections from here on
    async with ground.store.step() as step:
        await cut(step, "<> pg_backend_pid()")
    await asyncio.sleep(0.1)  # the end of a connection is heard of on the loop
    await asyncio.gather(hold(), hold(), hold())
