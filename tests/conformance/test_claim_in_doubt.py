"""A connection that is lost at the commit of a turn strands no mail: what was claimed there goes back, proven not begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from tenantry.app.clock import SystemClock
from tenantry.app.loop import Backoff, forever
from tenantry.app.pipeline import Flow, Pipeline
from tenantry.core.claim import Claim
from tenantry.core.outcome import Handed, Outcome, Unknown
from tenantry.flow.dispatch import claim, hand_back, settle
from tenantry.flow.sweep import bury
from tenantry.store.engine import Opening, open_store
from tenantry.store.session import enroll
from tenantry.store.store import Store
from tests import worlds
from tests.conformance.conftest import LOGIN, VAULT, Ground, connect, database
from tests.conformance.cutting import Cutter, Loss, cutting


@asynccontextmanager
async def through_a_cutter(ground: Ground) -> AsyncIterator[tuple[Store, Cutter]]:
    """Open the ground's database once more, through a door that can lose a commit."""
    owner = await connect(ground.owner_url)
    name = await owner.fetchval("SELECT current_database()")
    await owner.close()
    async with cutting(database(ground.owner_url, name, LOGIN)) as cutter:
        store = await open_store(Opening(cutter.url, VAULT, ground.clock.wall, create=False))
        try:
            yield store, cutter
        finally:
            cutter.hang_up()
            await store.close()


async def counts(ground: Ground) -> dict[str, int]:
    async with ground.store.reading() as step:
        found = await step.run(
            "SELECT (SELECT COUNT(*) FROM waiting), (SELECT COUNT(*) FROM attempt WHERE finished_at IS NULL),"
            " (SELECT COUNT(*) FROM message WHERE state = 'unknown')"
        )
    return dict(zip(("waiting", "open", "unknown"), found[0], strict=True))


class Ledger:
    """Takes every message, and remembers each call."""

    def __init__(self) -> None:
        self.calls: list[Claim] = []

    async def send(self, claimed: Claim) -> Outcome:
        """See ports.Ses."""
        self.calls.append(claimed)
        return Handed(claimed.attempt_id, f"ses-{len(self.calls)}")


@pytest.mark.parametrize("loss", Loss)
async def test_claims_whose_commit_is_in_doubt_go_back_and_are_sent_once(postgres: Ground, loss: Loss) -> None:
    """Whether the server had committed or had heard nothing: each message goes to SES once, and soon."""
    member = await worlds.member(postgres.store)
    await worlds.accepted(postgres.store, member, 5)
    async with through_a_cutter(postgres) as (store, cutter):
        ses = Ledger()
        pipeline = Pipeline(store, ses, SystemClock(), postgres.cell, Flow())
        backoff = Backoff(SystemClock(), 0.05)
        cutter.lose = loss
        rounds = (pipeline.claim_round, pipeline.settle_round)
        tasks = [asyncio.create_task(forever("dispatch", backoff, one_round)) for one_round in rounds]
        async with asyncio.timeout(10):
            while not cutter.lost:
                await asyncio.sleep(0.01)
            if loss is Loss.QUESTION:  # the transaction is open, and holds the cell
                assert not ses.calls
                cutter.hang_up()
            while len(ses.calls) < 5 or (await counts(postgres))["open"]:
                await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len({one.message_id for one in ses.calls}) == len(ses.calls) == 5
        assert {one.number for one in ses.calls} == {1}, "no attempt was burned"
    assert await counts(postgres) == {"waiting": 0, "open": 0, "unknown": 0}


async def test_a_turn_in_doubt_says_which_claims_it_may_have_made(postgres: Ground) -> None:
    """The caller alone knows that their calls never began."""
    member = await worlds.member(postgres.store)
    await worlds.accepted(postgres.store, member, 3)
    async with through_a_cutter(postgres) as (store, cutter):
        cutter.lose = Loss.ANSWER
        doubted = await claim(store, postgres.cell, 10)
        assert len(doubted.claims) == 3 and not doubted.may_begin
        assert (await counts(postgres))["open"] == 3
        attempts = [one.attempt_id for one in doubted.claims]
        assert await hand_back(store, attempts, postgres.cell) == 3
        assert await hand_back(store, attempts, postgres.cell) == 0, "twice is once"
        assert await counts(postgres) == {"waiting": 3, "open": 0, "unknown": 0}
        cutter.lose = Loss.QUESTION
        doubted = await claim(store, postgres.cell, 10)
        assert not doubted.may_begin
        cutter.hang_up()
        assert await hand_back(store, [one.attempt_id for one in doubted.claims], postgres.cell) == 0
        assert await counts(postgres) == {"waiting": 3, "open": 0, "unknown": 0}


async def test_who_was_declared_dead_may_still_say_that_it_never_began(postgres: Ground) -> None:
    """Others had to take its claims for lost; its word is proof, and they wait again."""
    member = await worlds.member(postgres.store)
    await worlds.accepted(postgres.store, member, 2)
    me = await enroll(postgres.store, "main", "0", lambda _: None)
    held = (await claim(postgres.store, postgres.cell, 10, me.number)).claims
    async with postgres.store.step() as step:
        await step.conn.execute(text("SET LOCAL ROLE NONE"))
        killed = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = :number"
        await step.conn.execute(text(killed), {"number": me.number})
    async with asyncio.timeout(5):
        while not await bury(postgres.store):
            await asyncio.sleep(0.02)
    assert (await counts(postgres))["unknown"] == 2
    first, second = held
    assert await hand_back(postgres.store, [first.attempt_id]) == 1
    assert await counts(postgres) == {"waiting": 1, "open": 0, "unknown": 1}
    async with postgres.store.step() as step:
        await step.resend([second.message_id])
    (again, other) = (await claim(postgres.store, postgres.cell, 10)).claims
    assert {again.number, other.number} == {1, 2}
    later = next(one for one in (again, other) if one.message_id == second.message_id)
    assert await hand_back(postgres.store, [second.attempt_id]) == 1
    assert (await counts(postgres))["waiting"] == 0, "a later attempt has gone for it"
    await settle(postgres.store, [Unknown(later.attempt_id, "cut")])
    assert (await counts(postgres))["unknown"] == 1
