"""A step that is cancelled in the middle of a statement leaves a store that works, on each database."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from tests.conformance.conftest import Ground

SLOW = {
    "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1000000) SELECT COUNT(*) FROM c",
    "postgresql": "SELECT pg_sleep(1)",
}


@pytest.mark.parametrize("by_driver", [True, False], ids=["on the driver", "by SQLAlchemy"])
async def test_a_cancelled_step_is_undone_and_holds_nobody_up(ground: Ground, by_driver: bool) -> None:
    """A stop in the middle of a step is a stop; what the step did is gone, and the next step can begin at once."""
    began = asyncio.Event()

    async def work() -> None:
        async with ground.store.step() as step:
            await step.conn.execute(text("UPDATE cell SET region = 'nowhere'"))
            began.set()
            slow = SLOW[step.dialect]
            await (step.run(slow) if by_driver else step.conn.execute(text(slow)))

    task = asyncio.create_task(work())
    await began.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5), ground.store.step() as step:
        assert await step.run("SELECT COUNT(*) FROM cell WHERE region = 'nowhere'") == [(0,)]
