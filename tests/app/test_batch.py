"""The group commit: submissions that come together share a commit, and each caller gets its own answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sqlalchemy import text

from tenantry.app.batch import ALONE_BYTES, Batcher
from tenantry.core.message import Accepted, Refusal
from tenantry.ports import StoreBusy
from tests import worlds
from tests.app.conftest import Desk


@dataclass
class Bell:
    """Counts the commits."""

    rung: int = 0

    def __call__(self) -> None:
        self.rung += 1


async def kept(desk: Desk) -> int:
    async with desk.store.reading() as step:
        return int(await step.conn.scalar(text("SELECT COUNT(*) FROM message")) or 0)


async def test_what_comes_together_shares_commits(desk: Desk) -> None:
    """A hundred callers at once are answered by few commits, each caller with its own message."""
    member, bell = await worlds.member(desk.store), Bell()
    batcher = Batcher(desk.store, 64, 1, bell)
    answers = await asyncio.gather(*(batcher.accept(worlds.submission(member)) for _ in range(100)))
    assert len({answer.id for answer in answers if isinstance(answer, Accepted)}) == 100 == await kept(desk)
    assert bell.rung == 2


async def test_each_caller_gets_the_answer_to_its_own(desk: Desk) -> None:
    """In a mixed batch the refused and the accepted are not confused."""
    member = await worlds.member(desk.store)
    batcher = Batcher(desk.store, 64, 2, Bell())
    good = worlds.submission(member)
    wanted = [good._replace(stream="nowhere") if number % 3 == 0 else good for number in range(30)]
    answers = await asyncio.gather(*(batcher.accept(one) for one in wanted))
    assert [isinstance(answer, Refusal) for answer in answers] == [number % 3 == 0 for number in range(30)]


async def test_a_caller_that_comes_back_at_once_is_answered(desk: Desk) -> None:
    """Whoever submits in the very moment in which the last batch is done waits for nobody else's submission."""
    member = await worlds.member(desk.store)
    batcher = Batcher(desk.store, 64, 1, Bell())
    async with asyncio.timeout(5):
        for _ in range(10):
            assert isinstance(await batcher.accept(worlds.submission(member)), Accepted)


async def test_large_content_commits_alone(desk: Desk) -> None:
    """Nobody waits for a neighbour's megabytes to reach the disk."""
    member, bell = await worlds.member(desk.store), Bell()
    small = worlds.submission(member)
    large = small._replace(content=b'"' + b"x" * ALONE_BYTES + b'"')
    batcher = Batcher(desk.store, 64, 1, bell)
    await asyncio.gather(*(batcher.accept(one) for one in (small, small, large, large, small, small)))
    assert bell.rung == 4


async def test_a_caller_that_went_away_harms_no_other(desk: Desk) -> None:
    """A client that hung up while its batch was committed costs its neighbours nothing."""
    member = await worlds.member(desk.store)
    batcher = Batcher(desk.store, 64, 1, Bell())
    callers = [asyncio.create_task(batcher.accept(worlds.submission(member))) for _ in range(5)]
    await asyncio.sleep(0)
    callers[2].cancel()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [isinstance(answer, Accepted) for answer in answers] == [True, True, False, True, True]


async def test_a_busy_store_is_said_to_each_caller_and_mends(desk: Desk) -> None:
    """While the store cannot commit every caller hears so and nothing is kept; afterwards mail is taken again."""
    member = await worlds.member(desk.store)
    batcher = Batcher(desk.store, 64, 2, Bell())
    await desk.impatient()
    with desk.busy():
        answers = await asyncio.gather(
            *(batcher.accept(worlds.submission(member)) for _ in range(5)), return_exceptions=True
        )
    assert all(isinstance(answer, StoreBusy) for answer in answers), answers
    assert await kept(desk) == 0
    assert isinstance(await batcher.accept(worlds.submission(member)), Accepted)
