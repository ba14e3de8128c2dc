"""The breaker on both stores: one state for all workers of a cell, written only when it changes."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from tenantry.core.breaker import FAILURES_TO_OPEN
from tenantry.core.claim import Claim
from tenantry.core.outcome import Handed, Hold, Outcome, Refused, Retry, Unknown
from tenantry.core.reading import CellOutlook
from tenantry.core.turn import Ending
from tenantry.flow.dispatch import abandon, claim, settle
from tenantry.flow.ingest import ingest
from tests import worlds
from tests.conformance.conftest import Ground


async def claims(ground: Ground, room: int = 1_000) -> list[Claim]:
    return list((await claim(ground.store, ground.cell, room)).claims)


def lost(found: list[Claim]) -> list[Outcome]:
    return [Unknown(one.attempt_id, "SES answered 500") for one in found]


async def is_open(ground: Ground) -> bool:
    async with ground.store.reading() as step:
        return await step.conn.scalar(text("SELECT breaker_opened_at FROM cell")) is not None


async def opened(ground: Ground, waiting: int = 10) -> worlds.Member:
    """A cell whose breaker has just opened, with so many messages waiting."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, FAILURES_TO_OPEN + waiting)
    settled = await settle(ground.store, lost(await claims(ground, FAILURES_TO_OPEN)))
    assert (settled.opened, settled.closed) == (1, 0)
    return member


async def test_one_message_a_second_is_tried(ground: Ground) -> None:
    """Five unknowns in a row stop the cell; from then on a second brings one message, whoever asks and how often."""
    await opened(ground)
    assert (await claim(ground.store, ground.cell, 100)).ending is Ending.CLOSED
    for _ in range(3):
        ground.advance(1.0)
        turns = await asyncio.gather(*(claims(ground) for _ in range(4)))
        assert sorted(len(turn) for turn in turns) == [0, 0, 0, 1]
        await settle(ground.store, lost([one for turn in turns for one in turn]))
        ground.advance(0.2)
        assert await claims(ground) == []


@pytest.mark.parametrize("kind", ["handed", "refused", "throttled", "held"])
async def test_an_answer_opens_the_way(ground: Ground, kind: str) -> None:
    """Yes, no and wait show that SES answers: everything may start again at once."""
    await opened(ground)
    ground.advance(1.0)
    (probe,) = await claims(ground)
    outcome: dict[str, Outcome] = {
        "handed": Handed(probe.attempt_id, "ses-id"),
        "refused": Refused(probe.attempt_id, "no"),
        "throttled": Retry(probe.attempt_id, "slower", burned=False, throttled=True),
        "held": Retry(probe.attempt_id, "not verified", hold=Hold.UNVERIFIED, burned=False),
    }
    settled = await settle(ground.store, [outcome[kind]])
    assert (settled.opened, settled.closed) == (0, 1)
    assert len(await claims(ground)) == 9


async def test_an_answer_that_an_event_has_overtaken_opens_the_way(ground: Ground) -> None:
    """Where the feed is quicker than SES's answer, the event settles the probe, and its answer counts all the same."""
    await opened(ground)
    ground.advance(1.0)
    (probe,) = await claims(ground)
    await ingest(ground.store, ground.cell, [worlds.report("Send", probe, "ses-id")])
    settled = await settle(ground.store, [Handed(probe.attempt_id, "ses-id")])
    assert (settled.opened, settled.closed) == (0, 1)
    assert len(await claims(ground)) == 9


async def test_failures_add_up_over_batches_and_workers(ground: Ground) -> None:
    """Two workers that settle at the same time count in one row; an answer in between starts anew."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 20)
    found = await claims(ground)
    await settle(ground.store, lost(found[:4]))
    await settle(ground.store, [Handed(found[4].attempt_id, "ses-id")])
    await settle(ground.store, lost(found[5:9]))
    assert not await is_open(ground)
    await asyncio.gather(*(settle(ground.store, lost([one])) for one in found[9:12]))
    assert await is_open(ground)


async def test_no_connection_counts_as_no_answer(ground: Ground) -> None:
    """Where nothing can be reached the queue does not go round and round: one message a second is tried."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 10)
    found = await claims(ground, FAILURES_TO_OPEN)
    await settle(ground.store, [Retry(one.attempt_id, "no connection", burned=False) for one in found])
    assert await claims(ground) == []
    ground.advance(1.0)
    assert len(await claims(ground)) == 1


async def test_a_dead_worker_is_not_sess_silence(ground: Ground) -> None:
    """What a worker left open when it died is unknown, and stops nobody else."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 20)
    await claims(ground, 10)
    assert await abandon(ground.store, ground.cell) == 10
    assert len(await claims(ground)) == 10


async def test_a_probe_that_was_not_used_is_not_spent(ground: Ground) -> None:
    """A turn that finds no mail, or looks into a lane in vain, leaves the probe to the next one."""
    await opened(ground, waiting=0)
    ground.advance(1.0)
    assert await claims(ground) == []
    async with ground.store.step() as step:
        await step.conn.execute(text("UPDATE lane SET ready = true"))
    assert await claims(ground) == []
    member = await worlds.member(ground.store, "other")
    await worlds.accepted(ground.store, member, 2)
    assert len(await claims(ground)) == 1


async def test_it_is_seen_by_operators_and_tenants(ground: Ground) -> None:
    """Since when SES has not answered is among the figures, and no secret from the tenants; an answer ends it."""
    member = await opened(ground)
    mine, fleet = ground.store.of(member.tenant_id), ground.store.fleet(worlds.OPERATOR)
    since = (await mine.outlook()).unanswered_since
    assert since is not None
    assert [cell.breaker_opened_at for cell in (await fleet.figures()).cells] == [since]
    ground.advance(1.0)
    (probe,) = await claims(ground)
    await settle(ground.store, [Handed(probe.attempt_id, "ses-id")])
    assert await mine.outlook() == CellOutlook()
    assert [cell.breaker_opened_at for cell in (await fleet.figures()).cells] == [None]


@pytest.mark.parametrize("ground", ["postgres"], indirect=True)
async def test_in_good_weather_nobody_waits_for_the_cell(ground: Ground) -> None:
    """Settling answers neither reads nor writes the cell's row under its lock: a turn may go on at the same time."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 8)
    found = await claims(ground)
    handed = [Handed(one.attempt_id, f"ses-{number}") for number, one in enumerate(found[:4])]
    async with ground.store.step(lock=ground.cell), asyncio.timeout(5):
        assert (
            await settle(ground.store, [*handed, *lost(found[4:5]), Handed(found[5].attempt_id, "ses")])
        ).unknown == 1
