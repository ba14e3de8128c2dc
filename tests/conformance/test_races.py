"""Many at once on both stores: whoever meets on the same rows, nothing is lost, doubled or counted twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy import text

from tenantry.core.message import Accepted
from tenantry.core.outcome import Handed, Retry
from tenantry.core.pause import Author, Pause
from tenantry.flow.accept import accept
from tenantry.flow.dispatch import claim, hand_back, settle, wake_stranded
from tenantry.flow.guard import act, open_pause
from tenantry.flow.ingest import ingest
from tenantry.ports import StoreBusy
from tests import worlds
from tests.conformance.conftest import Ground

T = TypeVar("T")


async def stubborn(make: Callable[[], Awaitable[T]]) -> T:
    """Do it again while the store is busy, as the loops do: a deadlock's loser is told so."""
    for _ in range(20):
        try:
            return await make()
        except StoreBusy:
            await asyncio.sleep(0.01)
    raise AssertionError("the store stayed busy")


async def number(ground: Ground, sql: str) -> int:
    async with ground.store.reading() as step:
        return int(await step.conn.scalar(text(sql)) or 0)


async def test_accept_and_turns_at_once_lose_no_wake(ground: Ground) -> None:
    """While gateways accept and dispatchers claim, every message is claimed once, at the latest after a sweep."""
    member = await worlds.member(ground.store)
    accepted: list[str] = []
    taken: Counter[str] = Counter()

    async def gateway() -> None:
        for _ in range(8):
            answers = await stubborn(lambda: accept(ground.store, [worlds.submission(member) for _ in range(5)]))
            accepted.extend(answer.id for answer in answers if isinstance(answer, Accepted))

    async def dispatcher() -> None:
        for _ in range(12):
            turn = await stubborn(lambda: claim(ground.store, ground.cell, 20))
            taken.update(one.message_id for one in turn.claims)

    await asyncio.gather(gateway(), gateway(), gateway(), dispatcher(), dispatcher())
    await wake_stranded(ground.store, ground.cell)
    while turn := (await claim(ground.store, ground.cell, 100)).claims:
        taken.update(one.message_id for one in turn)
    assert len(accepted) == 120
    assert taken == Counter(accepted)


async def test_settling_and_events_at_once_hand_over_once(ground: Ground) -> None:
    """The answer and the events of each message race: it is handed once, has one place, and its bounce counts once."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 60, stream="marketing")
    claims = list((await claim(ground.store, ground.cell, 100)).claims)
    chance = random.Random(7)
    reports = [
        worlds.report(kind, one, f"ses-{one.attempt_id}") for one in claims for kind in ("Send", "Bounce", "Complaint")
    ]

    async def settler(part: int) -> None:
        for one in claims[part::2]:
            await stubborn(lambda one=one: settle(ground.store, [Handed(one.attempt_id, f"ses-{one.attempt_id}")]))

    async def reader() -> None:
        mine = chance.sample(reports, len(reports))
        while mine:
            batch, mine = mine[:25], mine[25:]
            await stubborn(lambda batch=batch: ingest(ground.store, ground.cell, batch))

    await asyncio.gather(settler(0), settler(1), reader(), reader())
    assert await number(ground, "SELECT COUNT(*) FROM message WHERE state = 'handed'") == 60
    assert await number(ground, "SELECT SUM(handed) FROM bucket") == 60
    assert await number(ground, "SELECT SUM(bounced) FROM bucket") == 60
    assert await number(ground, "SELECT SUM(complained) FROM bucket") == 60
    assert await number(ground, "SELECT COUNT(DISTINCT ordinal) FROM recipient") == 60
    assert await number(ground, "SELECT MAX(ordinal) FROM recipient") == 59
    assert await number(ground, "SELECT handed FROM stream WHERE name = 'marketing'") == 60


async def test_two_guards_open_one_pause(ground: Ground) -> None:
    """Workers that act on the same verdict at once open one pause and mark it once."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 40, stream="marketing")
    done = await worlds.handed(ground.store, ground.cell)
    await ingest(ground.store, ground.cell, [worlds.report("Bounce", one, ses_id) for one, ses_id in done])
    acts = await asyncio.gather(*(stubborn(lambda: act(ground.store, ground.cell)) for _ in range(4)))
    assert sum(len(paused) for paused, _ in acts) == 1
    assert await number(ground, "SELECT COUNT(*) FROM pause") == 1


async def test_no_claim_is_made_after_a_pause_while_turns_go_on(ground: Ground) -> None:
    """Once the pause is acknowledged, no turn that began before or after takes a message of its scope."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 300, stream="marketing")
    claimed_at = []

    async def dispatcher() -> None:
        while not paused.is_set():
            turn = await stubborn(lambda: claim(ground.store, ground.cell, 3))
            claimed_at.extend(one.claimed_at for one in turn.claims)
            await stubborn(lambda turn=turn: hand_back(ground.store, [one.attempt_id for one in turn.claims]))

    paused = asyncio.Event()
    dispatchers = [asyncio.create_task(dispatcher()) for _ in range(3)]
    while len(claimed_at) < 5:
        await asyncio.sleep(0.005)
    pause = await open_pause(ground.store, ground.clock, ("stream", member.marketing), Author.OPERATOR, "stop")
    assert isinstance(pause, Pause)
    for _ in range(5):
        assert not (await stubborn(lambda: claim(ground.store, ground.cell, 10))).claims
    paused.set()
    await asyncio.gather(*dispatchers)
    assert max(claimed_at) <= pause.opened_at
    assert await number(ground, "SELECT COUNT(*) FROM attempt WHERE finished_at IS NULL") == 0
    assert await number(ground, "SELECT COUNT(*) FROM waiting") == 300


async def test_a_late_answer_after_an_event_brings_nothing_back(ground: Ground) -> None:
    """An event proved the hand-off: neither a retry nor going back puts the message into the queue again."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 2)
    first, second = (await claim(ground.store, ground.cell, 10)).claims
    await ingest(
        ground.store, ground.cell, [worlds.report("Send", one, f"ses-{one.attempt_id}") for one in (first, second)]
    )
    await settle(ground.store, [Retry(first.attempt_id, "throttled", burned=False, throttled=True)])
    assert await hand_back(ground.store, [second.attempt_id]) == 0
    ground.advance(3_600)
    await wake_stranded(ground.store, ground.cell)
    assert not (await claim(ground.store, ground.cell, 10)).claims
    assert await number(ground, "SELECT COUNT(*) FROM message WHERE state = 'handed'") == 2
