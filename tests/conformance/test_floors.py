"""Where the look for a lane's heads begins: it steps over no mail that has gone, and leaves none that came late."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from statistics import median

import pytest

from tenantry.core.claim import Claim
from tenantry.core.outcome import Retry
from tenantry.core.turn import choose
from tenantry.flow.dispatch import claim, hand_back, settle, wake_stranded
from tenantry.store.store import Step
from tests import worlds
from tests.conformance.conftest import Ground, connect

ROOM = 64
LANES, TURNS = 32, 44
BLOCKS = (  # since this connection last told its statistics, which it does between transactions
    "SELECT SUM(pg_stat_get_xact_blocks_fetched(oid)) FROM pg_class"
    " WHERE relname IN ('waiting', 'waiting_in_lane', 'waiting_pkey')"
)

BLOCKS_OF_LANES = (
    "SELECT SUM(pg_stat_get_xact_blocks_fetched(oid)) FROM pg_class WHERE relname = 'lane' OR relname LIKE 'lane\\_%'"
)


async def claims(ground: Ground, room: int = ROOM) -> list[Claim]:
    return list((await claim(ground.store, ground.cell, room)).claims)


class Undone(Exception):
    """What ends a step before its commit."""


async def turn(step: Step, ground: Ground) -> Sequence[Claim]:
    """Take a turn in this step."""
    await step.consume_wakes(ground.cell)
    credit, shares = await step.credit(ground.cell, ROOM)
    lanes = await step.lanes(ground.cell, credit)
    return await step.claim(ground.cell, lanes, choose(lanes, credit, shares), 0)


async def undone_turn(ground: Ground) -> None:
    """Take a turn whose commit does not come."""
    async with ground.store.step(lock=ground.cell) as step:
        assert await turn(step, ground)
        raise Undone


async def accepted_late(ground: Ground, member: worlds.Member, seconds: float) -> str:
    """Accept a message in a step that took so long to commit."""
    ground.advance(-seconds)
    (late,) = await worlds.accepted(ground.store, member)
    ground.advance(seconds)
    return late.id


async def busy_lane(ground: Ground) -> worlds.Member:
    """A lane in which mail has gone for a while and more waits."""
    member = await worlds.member(ground.store)
    for _ in range(4):
        await worlds.accepted(ground.store, member, 2 * ROOM)
        assert len(await claims(ground)) == ROOM
        ground.advance(5)
    return member


async def due_at(ground: Ground, message_id: str) -> datetime:
    async with ground.store.reading() as step:
        found = await step.run(
            "SELECT due_at FROM waiting WHERE message_id IN (SELECT id FROM message WHERE id = :id)",
            id=message_id.partition("_")[2],
        )
        return step.seam.at(found[0][0])


async def test_a_commit_that_took_seconds_goes_first(ground: Ground) -> None:
    """A message accepted before others and committed after them is the next to go: order is by the time of acceptance."""
    member = await busy_lane(ground)
    await claims(ground, 1_000)
    await worlds.accepted(ground.store, member, 2 * ROOM)
    await claims(ground)
    late = await accepted_late(ground, member, 9)
    assert (await claims(ground))[0].message_id == late


async def test_a_commit_that_took_longer_goes_within_a_minute(ground: Ground) -> None:
    """However late it was committed and however busy the lane is, mail is not left behind."""
    member = await busy_lane(ground)
    late = await accepted_late(ground, member, 45)
    waited = 0
    while late not in {one.message_id for one in await claims(ground)}:
        await worlds.accepted(ground.store, member, ROOM)
        ground.advance(5)
        waited += 5
        assert waited <= 60


async def test_a_late_commit_into_an_empty_lane_goes_with_the_next_sweep(ground: Ground) -> None:
    """No lane with mail stays unready: the sweep looks from the beginning, and so does the turn after it."""
    member = await busy_lane(ground)
    while await claims(ground):
        pass
    late = await accepted_late(ground, member, 45)
    taken = await claims(ground)
    if not taken:
        assert await wake_stranded(ground.store, ground.cell) == 1
        taken = await claims(ground)
    assert [one.message_id for one in taken] == [late]


async def test_a_retry_goes_when_it_is_due_in_a_busy_lane(ground: Ground) -> None:
    """Its id is older than all that went past it meanwhile; it goes in the first turn after its wait."""
    member = await busy_lane(ground)
    await claims(ground, 1_000)
    first, *_ = await worlds.accepted(ground.store, member, 5)
    (again, *_) = await claims(ground)
    assert again.message_id == first.id
    await settle(ground.store, [Retry(again.attempt_id, "no connection")])
    due = await due_at(ground, again.message_id)
    while True:
        await worlds.accepted(ground.store, member, 3)
        async with ground.store.reading() as step:
            was_due = step.now >= due
        taken = {one.message_id for one in await claims(ground)}
        if was_due:
            assert first.id in taken
            return
        ground.advance(0.2)


async def test_claims_handed_back_go_with_the_next_turn_of_a_busy_lane(ground: Ground) -> None:
    """What was claimed and not begun is not behind where the lane is looked at."""
    member = await busy_lane(ground)
    await claims(ground, 1_000)
    await worlds.accepted(ground.store, member, 10)
    back = await claims(ground)
    await worlds.accepted(ground.store, member, 10)
    await hand_back(ground.store, [one.attempt_id for one in back])
    assert {one.message_id for one in back} <= {one.message_id for one in await claims(ground)}


async def test_a_turn_that_was_undone_leaves_its_mail_where_it_is_found(ground: Ground) -> None:
    """A floor is what a look found before anything was taken: after a rollback the same mail goes, in order."""
    member = await busy_lane(ground)
    await claims(ground, 1_000)
    sent = await worlds.accepted(ground.store, member, 10)
    for _ in range(3):
        with pytest.raises(Undone):
            await undone_turn(ground)
        ground.advance(5)
    assert [one.message_id for one in await claims(ground)] == [answer.id for answer in sent]


async def test_a_long_reader_does_not_slow_the_turn(postgres: Ground) -> None:
    """While a snapshot keeps the rows of all mail that has gone, a turn reads as few blocks of the queue as before."""
    member = await worlds.member(postgres.store)
    reader = await connect(postgres.owner_url)
    try:
        await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await reader.fetchval("SELECT COUNT(*) FROM cell")
        await blocks_of_turns(postgres, member, 15)
        before = await blocks_of_turns(postgres, member, 5)
        await blocks_of_turns(postgres, member, 60)
        after = await blocks_of_turns(postgres, member, 5)
    finally:
        await reader.close()
    assert after <= before + 30, (before, after)  # 4,000 dead rows and their keys are some 100 blocks, looked at twice


async def test_a_long_reader_does_not_slow_a_turn_of_many_busy_lanes(postgres: Ground) -> None:
    """Each turn leaves an old version of each lane that it moves; the next one steps over none of them."""
    members = [await worlds.member(postgres.store, f"tenant-{number}") for number in range(LANES)]
    for member in members:
        await worlds.accepted(postgres.store, member, TURNS * ROOM // LANES)
    reader = await connect(postgres.owner_url)
    try:
        await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await reader.fetchval("SELECT COUNT(*) FROM cell")
        read = [await blocks_of_a_turn(postgres, BLOCKS_OF_LANES) for _ in range(TURNS - 4)]
    finally:
        await reader.close()
    assert median(read[-8:]) <= 2 * median(read[4:12]), read


async def blocks_of_turns(ground: Ground, member: worlds.Member, turns: int) -> float:
    """Let mail come and go, a turn a second, and return how many blocks of the queue the median turn read."""
    read = []
    for _ in range(turns):
        await worlds.accepted(ground.store, member, ROOM)
        ground.advance(1)
        read.append(await blocks_of_a_turn(ground, BLOCKS))
    return median(read)


async def blocks_of_a_turn(ground: Ground, of: str) -> int:
    """Take a whole turn and return how many blocks it read."""
    async with ground.store.step(lock=ground.cell) as step:
        before = int((await step.run(of))[0][0])
        assert len(await turn(step, ground)) == ROOM
        return int((await step.run(of))[0][0]) - before
