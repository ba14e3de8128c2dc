"""A storm of 500s, by a server that lies, over the flows and both stores: few unknowns, and an end by itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import text

from tenantry.app.clock import SystemClock
from tenantry.aws.send import SesSender
from tenantry.aws.session import Credentials, new_session
from tenantry.aws.signed import Limits, SignedClient, Target
from tenantry.core.outcome import Handed, Outcome, Retry, Unknown
from tenantry.flow.dispatch import claim, settle, wake_stranded
from tests import worlds
from tests.aws.liar import Behaviour, Line, answer, handed, lying
from tests.conformance.conftest import Ground

TICK = 0.5  # seconds of the store's time between two turns of a worker
STORM_SECONDS = 300
ROOM = 16  # in flight a worker


@dataclass
class Weather:
    """What SES answers now, and what it has been asked."""

    says: bytes = field(default_factory=lambda: handed("ses-id"))
    calls: int = 0

    async def behave(self, line: Line) -> None:
        """Answer every request by the weather."""
        while True:
            await line.request()
            self.calls += 1
            await line.say(self.says)


@asynccontextmanager
async def sender(behave: Behaviour) -> AsyncIterator[SesSender]:
    clock = SystemClock()
    credentials = Credentials(new_session(("key", "secret")), clock)
    async with lying(behave) as liar:
        client = SignedClient(Target(liar.url, "us-east-1", "ses"), credentials, clock, Limits(connections=2 * ROOM))
        try:
            yield SesSender(client)
        finally:
            await client.close()


class Worker:
    """A dispatcher whose calls end a tick after they began: what it claims is in flight while the others look."""

    def __init__(self, ground: Ground, ses: SesSender) -> None:
        self.ground, self.ses = ground, ses
        self.outcomes: list[Outcome] = []
        self.seen: Counter[type[Outcome]] = Counter()
        self.numbers: set[int] = set()  # of attempts

    async def tick(self) -> None:
        """Take a turn, then settle what the last one came to."""
        await wake_stranded(self.ground.store, self.ground.cell)  # what waits for its time is woken by the sweep
        claims = (await claim(self.ground.store, self.ground.cell, ROOM)).claims
        self.numbers |= {one.number for one in claims}
        ended, self.outcomes = self.outcomes, [await self.ses.send(one) for one in claims]
        if ended:
            await settle(self.ground.store, ended)
        self.seen.update(type(one) for one in self.outcomes)


async def rate(ground: Ground) -> float:
    """The fraction of the granted rate in use."""
    async with ground.store.reading() as step:
        return float(await step.conn.scalar(text("SELECT backoff FROM cell")) or 0.0)


async def shown_rate(ground: Ground) -> float:
    """The same as doctor and the metrics show it."""
    (cell,) = (await ground.store.fleet(worlds.OPERATOR).figures()).cells
    return cell.backoff


async def test_a_storm_of_500s_costs_one_unknown_a_second(ground: Ground) -> None:
    """In five minutes of 500s two workers together lose one message a second, and what was in flight when they began."""
    weather = Weather(says=answer(500, b'{"message":"oops"}'))
    async with sender(weather.behave) as ses:
        workers = [Worker(ground, ses), Worker(ground, ses)]
        member = await worlds.member(ground.store)
        await worlds.accepted(ground.store, member, 500)
        for _ in range(round(STORM_SECONDS / TICK)):
            ground.advance(TICK)
            await asyncio.gather(*(one.tick() for one in workers))
        unknown = sum(one.seen[Unknown] for one in workers)
        assert unknown == weather.calls
        assert STORM_SECONDS / 2 < unknown <= STORM_SECONDS + 4 * ROOM
        weather.says = handed("ses-id")
        for _ in range(round(3 / TICK)):
            ground.advance(TICK)
            await asyncio.gather(*(one.tick() for one in workers))
    assert sum(one.seen[Handed] for one in workers) > 4 * ROOM, "mail flows again within three seconds"
    assert weather.calls == sum(one.seen.total() for one in workers)


async def test_a_burst_of_429_burns_no_attempt_and_passes(ground: Ground) -> None:
    """While SES throttles, every message keeps its attempts; the rate goes down to its floor and comes back by itself."""
    weather = Weather(says=answer(429, b"", "x-amzn-ErrorType: TooManyRequestsException"))
    async with sender(weather.behave) as ses:
        worker = Worker(ground, ses)
        member = await worlds.member(ground.store)
        await worlds.accepted(ground.store, member, 60)
        for _ in range(40):
            ground.advance(TICK)
            await worker.tick()
        assert worker.seen.keys() == {Retry}
        assert worker.seen[Retry] > 60, "each was tried, some again"
        assert await rate(ground) < 0.2
        assert await shown_rate(ground) < 0.2
        weather.says = handed("ses-id")
        for _ in range(100):
            ground.advance(TICK)
            await worker.tick()
        assert worker.seen[Handed] == 60
        assert await shown_rate(ground) == 1.0, "though there has been no turn since that wrote it down"
        await worlds.accepted(ground.store, member, 1)
        await worker.tick()
        assert await rate(ground) == 1.0
    assert worker.numbers == {1}
