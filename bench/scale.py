"""What grows with the number of messages that wait and of tenants, and what does not: processor time a turn, and a message."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from bench.crowd import Crowd, Member, crowd
from bench.figures import Figure, Size, median
from bench.world import OPERATOR
from tenantry.app.loop import settle_heap
from tenantry.core.claim import Claim
from tenantry.core.event import Fact, Report
from tenantry.core.outcome import Handed
from tenantry.flow.accept import accept
from tenantry.flow.dispatch import claim, settle, wake_stranded
from tenantry.flow.guard import Ramp, act, climb
from tenantry.flow.ingest import ingest
from tenantry.flow.provision import PORTION
from tenantry.flow.sweep import sweep
from tenantry.ports import Places

FEW = 1_000  # messages that wait, to compare with
MANY = {Size.QUICK: 20_000, Size.USUAL: 100_000, Size.LONG: 1_000_000}
TURNS = 50
ROOM = 64  # messages a turn
BATCH = 1_000  # submissions a commit, where a queue is only filled
DOOR_BATCH = 64  # the same as the doors gather them

SMALL_CROWD = 100
LARGE_CROWD = {Size.QUICK: 2_000, Size.USUAL: 20_000, Size.LONG: 100_000}
MESSAGES = {Size.QUICK: 1_920, Size.USUAL: 6_400, Size.LONG: 12_800}
ROUNDS = 3


async def waiting_figures(kind: str, size: Size) -> list[Figure]:
    """Compare a turn with much mail waiting to one with little, in one lane and over a thousand."""
    figures = []
    for name, tenants in (("one lane", 1), ("a thousand lanes", 1_000)):
        async with crowd(kind, tenants) as made:
            made.members = made.members[:tenants]
            await fill(made, FEW + 3 * TURNS * ROOM)
            few = await _turns(made, FEW)
            await fill(made, MANY[size])
            unseen = await _turns(made, MANY[size])
            await made.analyse()
            many = await _turns(made, MANY[size])
        figures.append(
            Figure(
                f"turn, {name}",
                kind,
                f"CPU a turn, {MANY[size]:,} waiting / {FEW:,}",
                max(many, unseen) / few,
                1.2,
                False,
                f"{few * 1e3:.2f} ms, {unseen * 1e3:.2f} ms before the database's statistics know of it,"
                f" {many * 1e3:.2f} ms after; turns of {ROOM} messages, claimed and settled",
            )
        )
    return figures


async def fill(made: Crowd, count: int, members: Sequence[Member] = ()) -> None:
    """Let so many messages wait, accepted in large batches by the store's own step, tenant after tenant."""
    people = members or made.members
    for start in range(0, count, BATCH):
        await accept(
            made.store,
            [people[number % len(people)].submission(f"p{number}@there.example")
             for number in range(start, min(start + BATCH, count))],
        )  # fmt: skip


async def _turns(made: Crowd, _: int) -> float:
    """Return the median processor time of a turn with its settling, over groups of turns."""
    groups = []
    for _ in range(5):
        before = made.cpu()
        for _ in range(TURNS // 5):
            taken = await _turn(made)
            assert len(taken) == ROOM, len(taken)
        groups.append((made.cpu() - before) / (TURNS // 5))
    return median(groups)


async def _turn(made: Crowd, room: int = ROOM) -> Sequence[Claim]:
    taken = (await claim(made.store, made.cell, room)).claims
    await settle(made.store, [Handed(one.attempt_id, f"ses-{one.attempt_id}") for one in taken])
    return taken


# ---- tenants


async def tenant_figures(kind: str, size: Size) -> list[Figure]:
    """Compare what a message costs among many tenants with what it costs among few."""
    few, many = SMALL_CROWD, LARGE_CROWD[size]
    small = await _costs(kind, few, size)
    large = await _costs(kind, many, size)
    figures = [
        Figure(
            f"tenants, {name}",
            kind,
            f"CPU a message, {many:,} tenants / {few:,}",
            large[name] / small[name],
            1.2,
            False,
            f"{small[name] * 1e6:.0f} us and {large[name] * 1e6:.0f} us; medians of {ROUNDS} rounds of {MESSAGES[size]:,}"
            " messages of tenants at random, one after another without doors and cloud",
        )
        for name in ("accept", "dispatch", "ingest")
    ]
    loops = [name for name in small if name not in ("accept", "dispatch", "ingest")]
    detail = "; ".join(f"{name} {small[name] * 1e3:.1f} and {large[name] * 1e3:.1f} ms" for name in loops)
    steady = sum(large[name] * EACH_SECOND[name] for name in EACH_SECOND)
    return [
        *figures,
        Figure(
            "tenants, loops",
            kind,
            f"a core, with {many:,} tenants and no mail",
            steady,
            0.05,
            False,
            f"CPU a round: {detail}",
        ),
    ]


EACH_SECOND = {
    "provision": 4.0,
    "walk": 0.25,
    "stranded": 1.0,
    "sweep": 1.0,
    "guard": 10.0,
    "ramp": 1.0,
    "scrape": 0.05,
}
"""How often a worker does what its loops do; Prometheus scrapes each 15 seconds or so."""


async def _loops(made: Crowd) -> dict[str, list[float]]:
    """Return what a round of each loop costs when it finds nothing to do."""
    fleet, silence, places = made.store.fleet(OPERATOR), timedelta(minutes=15), Places()

    async def look(walk: bool) -> None:
        async with made.store.reading() as step:
            await step.survey(made.cell, places, PORTION, walk=walk)

    rounds: dict[str, Callable[[], Awaitable[object]]] = {
        "provision": lambda: look(False),
        "walk": lambda: look(True),
        "stranded": lambda: wake_stranded(made.store, made.cell),
        "sweep": lambda: sweep(made.store, made.cell, silence),
        "guard": lambda: act(made.store, made.cell),
        "ramp": lambda: climb(made.store, made.cell, Ramp()),
        "scrape": fleet.figures,
    }
    found: dict[str, list[float]] = {}
    for name, one_round in rounds.items():
        await one_round()
        before = made.cpu()
        for _ in range(10):
            await one_round()
        found[name] = [(made.cpu() - before) / 10]
    return found


async def _costs(kind: str, tenants: int, size: Size) -> dict[str, float]:
    costs: dict[str, list[float]] = {"accept": [], "dispatch": [], "ingest": []}
    count = MESSAGES[size]
    chance = random.Random(1)
    async with crowd(kind, tenants) as made:
        settle_heap()  # as every process does
        await fill(made, tenants)  # everybody has been here before
        while await _turn(made, BATCH):
            pass
        await made.analyse()
        for _ in range(ROUNDS):
            before = made.cpu()
            for start in range(0, count, DOOR_BATCH):
                await accept(
                    made.store,
                    [chance.choice(made.members).submission(f"p{one}@there.example")
                     for one in range(start, start + DOOR_BATCH)],
                )  # fmt: skip
            costs["accept"].append((made.cpu() - before) / count)
            before, claims = made.cpu(), list[Claim]()
            while taken := await _turn(made):
                claims += taken
            assert len(claims) == count, len(claims)
            costs["dispatch"].append((made.cpu() - before) / count)
            before = made.cpu()
            for start in range(0, count, DOOR_BATCH):
                await ingest(made.store, made.cell, [_delivered(one) for one in claims[start : start + DOOR_BATCH]])
            costs["ingest"].append((made.cpu() - before) / count)
        costs |= await _loops(made)
    return {name: median(found) for name, found in costs.items()}


def _delivered(one: Claim) -> Report:
    """Return what the reading of SES's event of a delivery gives."""
    ses_id = f"ses-{one.attempt_id}"
    digest = sha256(ses_id.encode()).digest()
    return Report("Delivery", Fact.DELIVERED, ses_id, digest, datetime.now(UTC), one.to, {}, False, False, {}, "{}",
                  one.message_id, one.attempt_id)  # fmt: skip
