"""How PostgreSQL plans: a turn, a commit and a batch of events go by key, whatever its statistics say of a queue that grew."""

from __future__ import annotations

from tenantry.flow.dispatch import claim
from tenantry.store.dispatch import HEADS, IDLE
from tenantry.store.floors import BEGINNING
from tenantry.store.seam import relation
from tests import worlds
from tests.conformance.conftest import Ground

WAITING = 3_000


async def test_a_turn_reads_no_whole_table_however_much_waits(postgres: Ground) -> None:
    """With most of the queue in one lane, whether statistics know it or not, the look for its head is one by index, in order."""
    member = await worlds.member(postgres.store)
    for _ in range(WAITING // 1_000):
        await worlds.accepted(postgres.store, member, 1_000)
    await _goes_by_key(postgres, member)
    await postgres.as_owner("ANALYZE")
    await _goes_by_key(postgres, member)
    assert len((await claim(postgres.store, postgres.cell, 64)).claims) == 64


async def _goes_by_key(postgres: Ground, member: worlds.Member) -> None:
    async with postgres.store.step() as step:
        lanes = relation("w(stream_id uuid, floor timestamptz)", [(member.transactional, BEGINNING)])
        for sql, more in ((HEADS["postgresql"], {"depth": 64}), (IDLE, {})):
            plan = "\n".join(row[0] for row in await step.run(f"EXPLAIN {sql}", lanes, now=step.now, **more))
            assert "Seq Scan" not in plan, plan
            assert "Hash" not in plan, plan
            assert "Bitmap" not in plan, plan


async def test_what_people_read_is_planned_as_usual(postgres: Ground) -> None:
    """Only what writes goes by key: a look over everything may read whole tables."""
    async with postgres.store.reading() as step:
        assert (await step.run("SHOW enable_seqscan"))[0][0] == "on"
    for lines in (postgres.store.step, postgres.store.accepting):
        async with lines() as step:
            assert (await step.run("SHOW enable_seqscan"))[0][0] == "off"
