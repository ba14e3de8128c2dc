"""The pipeline over real sockets: nobody waits for the slowest, and no outcome is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import pytest

from tenantry.app import pipeline as pipelines
from tenantry.app.clock import SystemClock
from tenantry.app.loop import Backoff, forever
from tenantry.app.pipeline import Flow, Pipeline
from tenantry.aws.send import SesSender
from tenantry.aws.session import Credentials, new_session
from tenantry.aws.signed import Limits, SignedClient, Target
from tenantry.core.claim import Claim
from tenantry.core.outcome import Handed, Outcome, Refused
from tenantry.flow.accept import accept
from tenantry.flow.dispatch import claim
from tenantry.ports import Clock, MessageFilter, Ses
from tests import worlds
from tests.app.conftest import Desk
from tests.aws.liar import Behaviour, Liar, Line, answer, handed, lying

GOOD = handed("ses-id")


async def takes_mail(line: Line) -> None:
    """Answer every send at once, but for mail to hang@there.example: say nothing to that."""
    while True:
        _, body = await line.request()
        if b"hang@" in body:
            await line.stay()
        await line.say(GOOD)


@asynccontextmanager
async def ses(behave: Behaviour, deadline_seconds: float = 5.0) -> AsyncIterator[tuple[SesSender, Liar]]:
    clock = SystemClock()
    async with lying(behave) as server:
        limits = Limits(connections=64, deadline_seconds=deadline_seconds)
        credentials = Credentials(new_session(("key", "secret")), clock)
        client = SignedClient(Target(server.url, "us-east-1", "ses"), credentials, clock, limits)
        try:
            yield SesSender(client), server
        finally:
            await client.close()


@asynccontextmanager
async def running(pipeline: Pipeline) -> AsyncIterator[None]:
    """Run the pipeline's loops as the worker does, until the block ends."""
    backoff = Backoff(SystemClock(), 0.01)
    rounds = (pipeline.claim_round, pipeline.settle_round)
    tasks = [asyncio.create_task(forever("dispatch", backoff, one_round)) for one_round in rounds]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, and fail when it does not come true in good time."""
    async with asyncio.timeout(10):
        while not await holds():
            await asyncio.sleep(0.01)


def counting(desk: Desk, member: worlds.Member, state: str, count: int) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        page = await desk.store.of(member.tenant_id).messages(MessageFilter(state=state), None, 100)
        return len(page.items) == count

    return holds


def pipeline_of(desk: Desk, adapter: Ses, clock: Clock | None = None, flow: Flow | None = None) -> Pipeline:
    return Pipeline(desk.store, adapter, clock or desk.clock, desk.cell, flow or Flow())


async def test_mail_flows_from_accept_to_handed(desk: Desk) -> None:
    """What is accepted is claimed, sent once and settled with SES's id, without anybody asking."""
    member = await worlds.member(desk.store)
    async with ses(takes_mail) as (adapter, server), running(pipeline_of(desk, adapter)):
        sent = await worlds.accepted(desk.store, member, 40)
        await until(counting(desk, member, "handed", 40))
        assert len(server.requests) == 40
    view = await desk.store.of(member.tenant_id).message(sent[0].id)
    assert view is not None
    assert view.ses_id == "ses-id"


async def test_one_hanging_send_holds_nobody(desk: Desk) -> None:
    """While one call says nothing, all other mail, that accepted later too, is sent and settled."""
    member = await worlds.member(desk.store)
    await accept(desk.store, [worlds.submission(member, "hang@there.example")])
    async with ses(takes_mail) as (adapter, _), running(pipeline_of(desk, adapter)):
        for total in (30, 60, 90):
            await worlds.accepted(desk.store, member, 30)
            await until(counting(desk, member, "handed", total))
        assert await counting(desk, member, "claimed", 1)()


async def test_many_hanging_sends_leave_the_rest_of_the_room(desk: Desk) -> None:
    """Where most calls say nothing, what room is left in flight is still used for the others."""
    member = await worlds.member(desk.store)
    await accept(desk.store, [worlds.submission(member, "hang@there.example") for _ in range(14)])
    async with ses(takes_mail, 60.0) as (adapter, _), running(pipeline_of(desk, adapter, flow=Flow(in_flight=16))):
        await until(counting(desk, member, "claimed", 14))
        for total in (5, 10):
            await worlds.accepted(desk.store, member, 5)
            await until(counting(desk, member, "handed", total))


async def test_a_hanging_send_ends_as_unknown(desk: Desk) -> None:
    """After the deadline the message is unknown, and it is not sent again."""
    member = await worlds.member(desk.store)
    await accept(desk.store, [worlds.submission(member, "hang@there.example")])
    async with ses(takes_mail, 0.2) as (adapter, server), running(pipeline_of(desk, adapter)):
        await until(counting(desk, member, "unknown", 1))
        await worlds.accepted(desk.store, member, 1)
        await until(counting(desk, member, "handed", 1))
        assert len(server.requests) == 2


async def test_a_storm_costs_one_message_a_second_and_ends_by_itself(desk: Desk) -> None:
    """While SES fails, what was in flight is lost and then a message a second; once it answers, all the rest goes out."""
    storm, calls = asyncio.Event(), Counter[bool]()

    async def behave(line: Line) -> None:
        while True:
            await line.request()
            calls[storm.is_set()] += 1
            await line.say(answer(500, b"") if storm.is_set() else GOOD)

    member = await worlds.member(desk.store)
    await worlds.accepted(desk.store, member, 200)
    storm.set()
    async with ses(behave) as (adapter, _), running(pipeline_of(desk, adapter, flow=Flow(in_flight=8))):
        await asyncio.sleep(3.5)
        lost = calls[True]
        assert lost <= 4 + 2 * 8, "what was claimed before the first answers were written down, and one a second"
        storm.clear()
        await until(counting(desk, member, "unknown", lost))
        await until(counting(desk, member, "waiting", 0))
        await until(counting(desk, member, "claimed", 0))
    assert calls[False] == 200 - lost


async def test_no_more_are_in_flight_than_allowed(desk: Desk) -> None:
    """The number in flight is kept, however much waits and however slow SES is."""
    member = await worlds.member(desk.store)
    await accept(desk.store, [worlds.submission(member, "hang@there.example") for _ in range(10)])
    flow = Flow(in_flight=4)
    async with ses(takes_mail) as (adapter, server), running(pipeline_of(desk, adapter, flow=flow)):
        await until(counting(desk, member, "claimed", 4))
        await asyncio.sleep(0.1)
        assert len(server.requests) == 4
        assert await counting(desk, member, "waiting", 6)()


async def test_outcomes_are_kept_while_the_store_is_busy(desk: Desk) -> None:
    """A store that cannot commit for a while costs time: what SES answered meanwhile is written down after."""
    member = await worlds.member(desk.store)
    await worlds.accepted(desk.store, member, 5)
    async with ses(takes_mail) as (adapter, server):
        pipeline = pipeline_of(desk, adapter)
        await pipeline.claim_round()
        await desk.impatient()
        with desk.busy():
            settling = asyncio.create_task(pipeline.settle_round())

            async def all_sent() -> bool:
                return len(server.requests) == 5

            await until(all_sent)
            await asyncio.sleep(0.3)
            assert not settling.done()
        await settling
        await pipeline.drain()
    assert await counting(desk, member, "handed", 5)()


async def test_an_outcome_that_cannot_be_stored_harms_no_other(desk: Desk) -> None:
    """One impossible outcome in a commit costs itself only: its neighbours are settled, the loop goes on."""

    @dataclass
    class Poisonous:
        """A port that breaks its promise for one message: bytes are no text."""

        calls: int = 0

        async def send(self, one: Claim) -> Outcome:
            self.calls += 1
            poison = self.calls == 3
            return Refused(one.attempt_id, cast(str, b"no")) if poison else Handed(one.attempt_id, f"ses-{self.calls}")

    member = await worlds.member(desk.store)
    await worlds.accepted(desk.store, member, 8)
    pipeline = pipeline_of(desk, Poisonous())
    await pipeline.claim_round()
    await pipeline.drain()
    assert await counting(desk, member, "handed", 7)()
    assert await counting(desk, member, "unknown", 1)()


@dataclass
class Lagging(worlds.FixedClock):
    """A clock on which every look costs a second."""

    def monotonic(self) -> float:
        """See ports.Clock."""
        self.elapsed += 1.0
        return self.elapsed


async def test_claims_that_come_late_go_back(desk: Desk) -> None:
    """A turn that took longer than it may is not sent: a pause may have been acknowledged meanwhile."""
    member = await worlds.member(desk.store)
    await worlds.accepted(desk.store, member, 3)
    async with ses(takes_mail) as (adapter, server):
        await pipeline_of(desk, adapter, Lagging()).claim_round()
        assert server.requests == []
    assert await counting(desk, member, "waiting", 3)()
    again = (await claim(desk.store, desk.cell, 10)).claims
    assert [one.number for one in again] == [1, 1, 1]


async def test_a_graceful_stop_leaves_nothing_open(desk: Desk) -> None:
    """Draining waits for the sends under way and settles them."""
    member = await worlds.member(desk.store)
    await worlds.accepted(desk.store, member, 5)
    async with ses(takes_mail) as (adapter, _):
        pipeline = pipeline_of(desk, adapter)
        await pipeline.claim_round()
        await pipeline.drain()
    assert await counting(desk, member, "handed", 5)()


async def test_a_stop_while_the_store_is_busy_loses_nothing(desk: Desk) -> None:
    """Outcomes that were being written when the loops were cancelled are written by the drain."""
    member = await worlds.member(desk.store)
    await worlds.accepted(desk.store, member, 5)
    async with ses(takes_mail) as (adapter, server):
        pipeline = pipeline_of(desk, adapter)
        await desk.impatient()
        await pipeline.claim_round()

        async def all_sent() -> bool:
            return len(server.requests) == 5

        await until(all_sent)
        with desk.busy():
            settling = asyncio.create_task(pipeline.settle_round())
            await asyncio.sleep(0.1)
            settling.cancel()
            await asyncio.gather(settling, return_exceptions=True)
        await pipeline.drain()
    assert await counting(desk, member, "handed", 5)()


async def test_a_stop_in_the_middle_of_a_turn_leaves_no_claim_open(desk: Desk) -> None:
    """Whenever the loops are cancelled, what a turn took and nobody began to send waits again, no attempt burned."""
    member = await worlds.member(desk.store)
    await worlds.accepted(desk.store, member, 3)
    async with ses(takes_mail) as (adapter, server):
        for step in range(12):
            pipeline = pipeline_of(desk, adapter, flow=Flow(claim_ahead_seconds=0.0))  # so that no turn is sent
            turn = asyncio.create_task(pipeline.claim_round())
            await asyncio.sleep(step * 0.001)
            turn.cancel()
            await asyncio.gather(turn, return_exceptions=True)
            assert await counting(desk, member, "waiting", 3)(), f"cancelled after {step} ms"
        assert server.requests == []
    assert [one.number for one in (await claim(desk.store, desk.cell, 10)).claims] == [1, 1, 1]


async def answers_one_after_the_other(line: Line) -> None:
    """Answer each send a little later than the one before it."""
    _, body = await line.request()
    await asyncio.sleep(0.02 * int(body.partition(b'":["')[2].partition(b"@")[0]))
    await line.say(GOOD)
    await line.stay()


async def test_outcomes_that_come_close_together_share_a_commit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One round of settling writes down what ends while it gathers, and begins once nothing is under way any more."""
    monkeypatch.setattr(pipelines, "GATHER_SECONDS", 60.0)
    member = await worlds.member(desk.store)
    await accept(desk.store, [worlds.submission(member, f"{number}@there.example") for number in range(4)])
    async with ses(answers_one_after_the_other) as (adapter, _):
        flowing = pipeline_of(desk, adapter)
        await flowing.claim_round()
        async with asyncio.timeout(40):
            await flowing.settle_round()
        assert await counting(desk, member, "handed", 4)()


async def test_half_the_room_is_enough_for_a_commit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the other half hangs, what has ended is settled without waiting for more."""
    monkeypatch.setattr(pipelines, "GATHER_SECONDS", 60.0)
    member = await worlds.member(desk.store)
    people = ["hang@there.example"] * 4 + [f"{number}@there.example" for number in range(4)]
    await accept(desk.store, [worlds.submission(member, to) for to in people])
    async with ses(takes_mail) as (adapter, _):
        flowing = pipeline_of(desk, adapter, flow=Flow(in_flight=8))
        await flowing.claim_round()
        async with asyncio.timeout(40):
            await flowing.settle_round()
        assert await counting(desk, member, "handed", 4)()
