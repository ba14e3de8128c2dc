"""Sweep on both stores: what waited too long ends or goes again, by rule, and nothing else is touched."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from tenantry.core.claim import Claim
from tenantry.core.message import MessageState
from tenantry.core.outcome import Handed, Retry, Unknown
from tenantry.flow.dispatch import claim, settle, wake_stranded
from tenantry.flow.ingest import ingest
from tenantry.flow.sweep import Swept, bury, sweep
from tenantry.ports import StoreBusy
from tenantry.store.session import Presence, enroll
from tests import worlds
from tests.conformance.conftest import Ground

HOUR = 3_600.0
DAY = 24 * HOUR


async def claims(ground: Ground, worker: int = 0) -> list[Claim]:
    return list((await claim(ground.store, ground.cell, 100, worker)).claims)


async def state(ground: Ground, member: worlds.Member, one: Claim) -> str:
    view = await ground.store.of(member.tenant_id).message(one.message_id)
    assert view is not None
    return view.state


async def states(ground: Ground) -> dict[str, int]:
    async with ground.store.reading() as step:
        found = await step.conn.execute(text("SELECT state, count(*) AS number FROM message GROUP BY state"))
        return {row.state: row.number for row in found}


async def lost(ground: Ground, member: worlds.Member) -> Claim:
    """Hand in a message whose outcome is unknown."""
    await worlds.accepted(ground.store, member)
    (one,) = await claims(ground)
    await settle(ground.store, [Unknown(one.attempt_id, "timeout")])
    return one


async def proof(ground: Ground, member: worlds.Member, stream: str = "transactional") -> None:
    """Hand over a later message of the stream and hear of it."""
    ground.advance(1)
    await worlds.accepted(ground.store, member, stream=stream)
    (later,) = await claims(ground)
    await settle(ground.store, [Handed(later.attempt_id, f"ses-{later.number}{later.attempt_id}")])
    await ingest(ground.store, ground.cell, [worlds.report("Send", later, f"ses-{later.number}{later.attempt_id}")])


# ---- expiry


async def test_mail_that_waited_longer_than_its_class_allows_expires(ground: Ground) -> None:
    """Transactional mail is kept for hours, marketing mail for days; each recipient says what became of it."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 3)
    await worlds.accepted(ground.store, member, 2, stream="marketing")
    ground.advance(11 * HOUR)
    assert not await sweep(ground.store, ground.cell)
    ground.advance(2 * HOUR)
    assert (await sweep(ground.store, ground.cell)).expired == 3
    assert await states(ground) == {"expired": 3, "waiting": 2}
    assert len(await claims(ground)) == 2
    waits = {one.stream_id: one.states for one in await ground.store.of(member.tenant_id).waits()}
    assert waits[member.transactional] == {"expired": 3}
    assert not await sweep(ground.store, ground.cell)


async def test_a_retry_that_would_come_too_late_expires_at_once(ground: Ground) -> None:
    """It would only wait to be thrown away."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    ground.advance(12 * HOUR - 1)
    (one,) = await claims(ground)
    await settle(ground.store, [Retry(one.attempt_id, "no connection")])
    assert await state(ground, member, one) == MessageState.EXPIRED


async def test_expiry_is_bounded_in_a_round_and_finds_the_rest_later(ground: Ground) -> None:
    """A turn never waits for more than some hundred messages to be expired."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 600)
    ground.advance(DAY)
    rounds = [(await sweep(ground.store, ground.cell)).expired for _ in range(3)]
    assert rounds == [500, 100, 0]


# ---- unknown outcomes


async def test_an_unknown_goes_again_once_the_silence_is_proven(ground: Ground) -> None:
    """Marked as a possible duplicate, with the next attempt's number: fifteen minutes, and a later event of its stream."""
    member = await worlds.member(ground.store)
    one = await lost(ground, member)
    await proof(ground, member)
    ground.advance(14 * 60)
    assert not await sweep(ground.store, ground.cell)
    ground.advance(61)
    assert (await sweep(ground.store, ground.cell)).resent == 1
    (again,) = await claims(ground)
    assert (again.message_id, again.number) == (one.message_id, 2)
    view = await ground.store.of(member.tenant_id).message(one.message_id)
    assert view is not None
    assert view.possible_duplicate
    await settle(ground.store, [Handed(again.attempt_id, "ses-2")])
    assert await state(ground, member, one) == "handed"


async def test_a_busy_stream_is_proven_by_the_mail_that_had_time_to_report(ground: Ground) -> None:
    """Hundreds were handed over a moment ago and have no event yet: they prove nothing, and hide nothing."""
    member = await worlds.member(ground.store)
    one = await lost(ground, member)
    await proof(ground, member)
    ground.advance(16 * 60)
    await worlds.accepted(ground.store, member, 250)
    await worlds.handed(ground.store, ground.cell)
    assert (await sweep(ground.store, ground.cell)).resent == 1
    assert [again.message_id for again in await claims(ground)] == [one.message_id]


async def test_without_proof_of_a_healthy_feed_an_unknown_is_held(ground: Ground) -> None:
    """Silence of a feed that is silent for everybody proves nothing; nor does another stream's event."""
    member = await worlds.member(ground.store)
    one = await lost(ground, member)
    await proof(ground, member, "marketing")
    ground.advance(DAY)
    assert not await sweep(ground.store, ground.cell)
    assert await state(ground, member, one) == "unknown"


async def test_an_earlier_event_proves_nothing(ground: Ground) -> None:
    """The feed may have broken after it."""
    member = await worlds.member(ground.store)
    await proof(ground, member)
    one = await lost(ground, member)
    ground.advance(DAY)
    assert not await sweep(ground.store, ground.cell)
    assert await state(ground, member, one) == "unknown"


async def test_a_stream_may_prefer_none_to_two(ground: Ground) -> None:
    """Where a second copy is worse than none, an unknown waits for an event or a person."""
    member = await worlds.member(ground.store)
    async with ground.store.step() as step:
        await step.conn.execute(text("UPDATE stream SET on_unknown = 'hold'"))
    one = await lost(ground, member)
    await proof(ground, member)
    ground.advance(DAY)
    assert not await sweep(ground.store, ground.cell)
    assert await state(ground, member, one) == "unknown"


async def test_an_event_that_comes_after_all_wins_over_the_resend(ground: Ground) -> None:
    """Its message was handed over the first time: what was queued again is not sent."""
    member = await worlds.member(ground.store)
    one = await lost(ground, member)
    await proof(ground, member)
    ground.advance(16 * 60)
    await sweep(ground.store, ground.cell)
    await ingest(ground.store, ground.cell, [worlds.report("Send", one, "ses-late")])
    assert await claims(ground) == []
    assert await state(ground, member, one) == "handed"


async def test_each_copy_of_what_was_sent_again_is_known_by_its_ses_id(ground: Ground) -> None:
    """The first call's answer was lost and the second's is written down: a delay of the first, which names no more, is ours."""
    member = await worlds.member(ground.store)
    one = await lost(ground, member)
    await proof(ground, member)
    ground.advance(16 * 60)
    await sweep(ground.store, ground.cell)
    (again,) = await claims(ground)
    await settle(ground.store, [Handed(again.attempt_id, "ses-2")])
    await ingest(ground.store, ground.cell, [worlds.report("Send", one, "ses-late")])
    delay = worlds.report("DeliveryDelay", one, "ses-late")._replace(tags={}, message_id=None, attempt_id=None)
    told = await ingest(ground.store, ground.cell, [delay])
    assert (told.new, told.foreign, told.early) == (1, 0, frozenset())
    assert await state(ground, member, one) == "handed"


async def test_ses_answer_that_is_written_late_settles_its_unknown(ground: Ground) -> None:
    """A worker that was declared dead knew better."""
    member = await worlds.member(ground.store)
    one = await lost(ground, member)
    await settle(ground.store, [Handed(one.attempt_id, "ses-1")])
    assert await state(ground, member, one) == "handed"


# ---- who held a claim


async def test_a_claim_whose_outcome_nobody_writes_becomes_unknown(ground: Ground) -> None:
    """After minutes no send can be under way any more."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    (one,) = await claims(ground)
    ground.advance(299)
    assert not await sweep(ground.store, ground.cell)
    ground.advance(2)
    assert (await sweep(ground.store, ground.cell)).given_up == 1
    assert await state(ground, member, one) == "unknown"


async def enrolled(ground: Ground) -> Presence:
    return await enroll(ground.store, "main", "0", lambda _: None)


async def test_the_claims_of_a_dead_worker_become_unknown_and_nobody_elses(ground: Ground) -> None:
    """Its connection ends with it, and its lock with the connection: any other worker notices."""
    if ground.store.alone:  # SQLite: one process, which gives up what it finds open when it starts
        return
    member = await worlds.member(ground.store)
    dead, living = await enrolled(ground), await enrolled(ground)
    await worlds.accepted(ground.store, member, 2)
    (first,) = (await claim(ground.store, ground.cell, 1, dead.number)).claims
    (second,) = (await claim(ground.store, ground.cell, 1, living.number)).claims
    assert await bury(ground.store) == []
    await _kill(ground, dead)
    assert (await _until_dead(ground)) == [dead.number]
    assert await state(ground, member, first) == "unknown"
    assert await state(ground, member, second) == "claimed"
    (told,) = (await ground.store.fleet(worlds.OPERATOR).figures()).buried
    assert told.seen_at <= told.at
    assert not dead.alive
    assert living.alive
    assert await bury(ground.store) == []
    await living.close()


async def test_a_worker_that_ends_in_good_order_is_not_buried(ground: Ground) -> None:
    """It said that it ends, so nobody asks what became of it."""
    one = await enrolled(ground)
    await one.beat()
    await one.close()
    assert await bury(ground.store) == []
    assert (await ground.store.fleet(worlds.OPERATOR).figures()).buried == ()


async def test_a_worker_tells_what_fails_in_it_until_it_is_mended(ground: Ground) -> None:
    """Its row carries it, so that doctor hears of it wherever it is asked."""
    one = await enrolled(ground)
    for trouble in ("ingest (FeedUnavailable)", None):
        await one.beat(trouble)
        (seen,) = (await ground.store.fleet(worlds.OPERATOR).figures()).workers
        assert seen.trouble == trouble
    await one.close()


async def test_workers_that_ended_long_ago_are_forgotten(ground: Ground) -> None:
    """A week after its end nobody asks any more; those that live, or ended lately, are kept."""
    old, recent = await enrolled(ground), await enrolled(ground)
    await old.close()
    await recent.close()
    ended = "now() - interval '8 days'" if ground.owner_url else f"ended_at - {8 * 86_400 * 10**6}"
    await ground.as_owner(f"UPDATE worker SET ended_at = {ended} WHERE id = {old.number}")
    new = await enrolled(ground)
    async with ground.store.reading() as step:
        kept = [row[0] for row in await step.run("SELECT id FROM worker ORDER BY id")]
    assert kept == [recent.number, new.number]
    await new.close()


async def test_a_round_with_nothing_to_do_waits_for_no_turn(ground: Ground) -> None:
    """Looking delays nobody: the cell's lock is asked for only when something has to be written."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 3)
    assert len(await claims(ground)) == 3
    async with ground.store.step(lock=ground.cell):
        async with asyncio.timeout(2):
            assert not await sweep(ground.store, ground.cell)
            assert not await wake_stranded(ground.store, ground.cell)


async def test_one_worker_leads_a_cell_and_another_takes_over(ground: Ground) -> None:
    """What must run once in a cell moves when its worker dies."""
    if ground.store.alone:
        one = await enrolled(ground)
        assert await one.leads(ground.cell)
        return
    first, second = await enrolled(ground), await enrolled(ground)
    assert await asyncio.gather(*(first.leads(ground.cell) for _ in range(5)), first.beat()) == [True] * 5 + [None]
    assert not await second.leads(ground.cell)
    await _kill(ground, first)
    for _ in range(200):
        if await second.leads(ground.cell):
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("nobody took over")
    try:
        await first.beat()
    except StoreBusy:
        pass
    else:
        raise AssertionError("a worker without its lock must notice")
    await second.close()


async def test_a_worker_that_shows_no_life_is_cut_off(ground: Ground) -> None:
    """A stopped process keeps its connection: whoever is alive ends it, and with it its locks."""
    if ground.store.alone:
        return
    stopped, living = await enrolled(ground), await enrolled(ground)
    async with ground.store.step() as step:
        await step.conn.execute(
            text("UPDATE worker SET seen_at = clock_timestamp() - interval '20 seconds' WHERE id = :id"),
            {"id": stopped.number},
        )
    await living.beat()
    assert await _until_dead(ground) == [stopped.number]
    await living.close()


async def test_accept_in_another_process_wakes_the_worker(ground: Ground) -> None:
    """On PostgreSQL a message for an idle lane is told at once to whoever serves its cell."""
    if ground.store.alone:
        return
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await enroll(ground.store, "main", "0", heard.put_nowait)
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    assert await asyncio.wait_for(heard.get(), 5) == ground.cell
    await listener.close()


async def _kill(ground: Ground, presence: Presence) -> None:
    """End a presence's connection, as the death of its process does."""
    async with ground.store.step() as step:
        if ground.store.seam.walls:
            await step.conn.execute(text("SET LOCAL ROLE NONE"))  # a login may end what is its own
        killed = await step.conn.execute(
            text(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND objid = :number"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            ),
            {"number": presence.number},
        )
        assert killed.scalar_one() == 1


async def _until_dead(ground: Ground) -> list[int]:
    for _ in range(200):
        if dead := await bury(ground.store):
            return dead
        await asyncio.sleep(0.02)
    return []


def test_a_round_without_work_says_so() -> None:
    """Logs stay silent then."""
    assert not Swept()
    assert Swept(expired=1)
    assert Swept(dead=(7,))
