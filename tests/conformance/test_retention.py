"""Forgetting on both stores: what is due goes, piece by piece; what is not settled, or stands behind a verdict, stays."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta

import pytest

from tenantry.core.ids import MessageId
from tenantry.core.outcome import Unknown
from tenantry.core.pause import Author
from tenantry.core.tenant import PoolKind
from tenantry.flow.dispatch import claim, settle, wake_stranded
from tenantry.flow.guard import act, end_pause, open_pause
from tenantry.flow.ingest import ingest
from tenantry.flow.recover import notice
from tenantry.ports import StoreBusy
from tenantry.store.bootstrap import ensure_partitions
from tenantry.store.partitions import week_of, weekly_partitions
from tenantry.store.retention import AGAIN, Forgotten, Retention, Terms
from tests import worlds
from tests.conformance.conftest import Ground, connect

DAY = 86_400.0
LONG_AGO = 120 * DAY  # past the 90 days, the week that is dropped whole, and the grace after that
A_WEEK_AGO = 100 * DAY  # past the 90 days and the end of its week, and not yet past the grace
MAIL = ("message", "recipient", "content", "event", "attempt")


@pytest.fixture
async def past(ground: Ground) -> Ground:
    """A store of 120 days ago."""
    ground.advance(-LONG_AGO)
    return ground


async def forget(ground: Ground, retention: Retention | None = None, rounds: int = 400) -> Counter[str]:
    """Let retention do all that there is to do now."""
    retention = retention or Retention(ground.store, Terms())
    gone: Counter[str] = Counter()
    for _ in range(rounds):
        done = await retention.round()
        gone.update(done.gone)
        if not done.more:
            return gone
    raise AssertionError(f"retention comes to no end: {gone}")


async def sizes(ground: Ground) -> dict[str, int]:
    async with ground.store.reading() as step:
        return {table: (await step.run(f"SELECT COUNT(*) FROM {table}"))[0][0] for table in MAIL}


async def ids(ground: Ground, sql: str = "SELECT id FROM message") -> set[MessageId]:
    async with ground.store.reading() as step:
        return {step.seam.id(MessageId, row[0]) for row in await step.run(sql)}


async def delivered(ground: Ground, member: worlds.Member, count: int, stream: str | None = None) -> set[MessageId]:
    """Let messages be accepted, handed over and reported as delivered, a second after what was before."""
    ground.advance(1)
    await worlds.accepted(ground.store, member, count, stream)
    done = await worlds.handed(ground.store, ground.cell)
    await ingest(ground.store, ground.cell, [worlds.report("Delivery", one, ses_id) for one, ses_id in done])
    return {one.message_id for one, _ in done}


async def unsettled(ground: Ground, member: worlds.Member) -> set[MessageId]:
    """Leave four messages unknown, and three waiting."""
    ground.advance(1)
    await worlds.accepted(ground.store, member, 4)
    claims = (await claim(ground.store, ground.cell, 4)).claims
    await settle(ground.store, [Unknown(one.attempt_id, "cut") for one in claims])
    await worlds.accepted(ground.store, member, 3)
    return await ids(ground, "SELECT id FROM message WHERE settled_at IS NULL")


async def test_all_that_is_due_goes_and_nothing_that_is_not_settled(past: Ground) -> None:
    """Handed mail past its retention vanishes with recipients, content, events and attempts; open mail stays whole."""
    member = await worlds.member(past.store)
    await delivered(past, member, 25)
    stays = await unsettled(past, member)
    assert len(stays) == 7
    past.advance(LONG_AGO)
    gone = await forget(past)
    assert gone["messages"] == 25
    assert await ids(past) == stays
    assert await sizes(past) == {"message": 7, "recipient": 7, "content": 7, "event": 0, "attempt": 4}
    await wake_stranded(past.store, past.cell)
    assert len(await worlds.handed(past.store, past.cell)) == 3, "what waits can still go"


async def test_young_mail_stays_but_for_content_and_raw_events(past: Ground) -> None:
    """Within the retention messages, recipients, events and attempts stay; content and raw text have shorter lives."""
    member = await worlds.member(past.store)
    past.advance(LONG_AGO - 10 * DAY)
    kept = await delivered(past, member, 6)
    past.advance(10 * DAY - 3_600)
    young = await delivered(past, member, 2)
    past.advance(3_600)
    gone = await forget(past)
    assert (gone["content"], gone["raw"], gone["messages"]) == (6, 6, 0)
    assert await ids(past) == kept | young
    assert await sizes(past) == {"message": 8, "recipient": 8, "content": 2, "event": 8, "attempt": 8}
    async with past.store.reading() as step:
        raw = await step.run("SELECT message_id FROM event WHERE raw <> ''")
        assert {step.seam.id(MessageId, row[0]) for row in raw} == young


async def test_content_of_mail_that_was_settled_late_counts_from_then(past: Ground) -> None:
    """Mail that waited for days keeps its content for its days after settling."""
    member = await worlds.member(past.store)
    await worlds.accepted(past.store, member, 2)
    past.advance(5 * DAY)
    assert await forget(past) == Counter() and (await sizes(past))["content"] == 2
    await worlds.handed(past.store, past.cell)
    past.advance(2 * DAY)
    assert (await forget(past))["content"] == 0
    past.advance(2 * DAY)
    assert (await forget(past))["content"] == 2


async def test_a_tenant_has_a_retention_of_its_own(past: Ground) -> None:
    """One tenant's mail goes after its ten days; a neighbour's, and the one's who keeps it longest, stays."""
    short, plain, long = [await worlds.member(past.store, name) for name in ("short", "plain", "long")]
    await past.as_owner("UPDATE tenant SET retention_days = 10 WHERE name = 'short'")
    await past.as_owner("UPDATE tenant SET retention_days = 400 WHERE name = 'long'")
    old_short, old_plain, old_long = [await delivered(past, one, 3) for one in (short, plain, long)]
    past.advance(20 * DAY)
    assert (await forget(past))["messages"] == 3
    assert await ids(past) == old_plain | old_long
    assert (await sizes(past))["attempt"] == 6, "attempts go with their message"
    past.advance(100 * DAY)
    await forget(past)
    assert await ids(past) == old_long
    assert not old_short & old_long


async def test_the_mail_behind_a_verdict_stays_while_it_stands(past: Ground) -> None:
    """While the guard's pause is open its verdict can be recomputed, recipient by recipient; once it is over, it goes."""
    member = await worlds.member(past.store)
    other = await delivered(past, member, 5)
    await worlds.accepted(past.store, member, 40, "marketing")
    done = await worlds.handed(past.store, past.cell)
    reports = [worlds.report("Bounce" if place < 20 else "Delivery", *one) for place, one in enumerate(done)]
    await ingest(past.store, past.cell, reports)
    ((pause,), _) = await act(past.store, past.cell)
    assert pause.verdict_id is not None
    past.advance(LONG_AGO)
    await forget(past)
    evidence = await ids(past)
    assert evidence == {one.message_id for one, _ in done} and not evidence & other
    verdict = await past.store.of(member.tenant_id).verdict(pause.verdict_id)
    assert verdict is not None
    async with past.store.reading() as step:
        ((n, x),) = await step.run(
            "SELECT COUNT(*), COUNT(bounced_at) FROM recipient WHERE stream_id = :stream AND cohort = :cohort"
            " AND ordinal >= :first AND ordinal < :last",
            stream=member.marketing,
            cohort=verdict.cohort,
            first=verdict.block_start,
            last=verdict.block_start + verdict.block_size,
        )
    assert (n, x) == (verdict.n, verdict.x)
    await end_pause(past.store, pause.id, Author.OPERATOR, "mended")
    await past.as_owner("UPDATE pause SET ended_at = opened_at")
    past.advance(2 * 3_600)
    gone = await forget(past)
    assert await ids(past) == set()
    assert (gone["verdicts"], gone["pauses"], gone["buckets"]) == (1, 1, 1), (
        "a cohort that is over leaves nothing behind"
    )


async def test_the_mail_behind_a_young_verdict_stays_though_its_pause_is_over(past: Ground) -> None:
    """A verdict that came late, on old mail, can be recomputed for as long as the verdict itself is kept."""
    member = await worlds.member(past.store)
    await worlds.accepted(past.store, member, 40, "marketing")
    done = await worlds.handed(past.store, past.cell)
    past.advance(LONG_AGO - 50 * DAY)
    reports = [worlds.report("Bounce" if place < 20 else "Delivery", *one) for place, one in enumerate(done)]
    await ingest(past.store, past.cell, reports)
    ((pause,), _) = await act(past.store, past.cell)
    await end_pause(past.store, pause.id, Author.OPERATOR, "mended")
    await past.as_owner("UPDATE pause SET ended_at = opened_at")
    past.advance(50 * DAY)
    await forget(past)
    assert len(await ids(past)) == 40
    past.advance(60 * DAY)
    await forget(past)
    assert await ids(past) == set()


async def test_a_verdict_of_the_cohort_that_counts_stays(past: Ground) -> None:
    """A crossing stands once: were a throttle's verdict forgotten, the same block would throttle again."""
    member = await worlds.member(past.store)
    await past.as_owner("UPDATE stream SET policy = 'observe'")
    await worlds.accepted(past.store, member, 40, "marketing")
    done = await worlds.handed(past.store, past.cell)
    reports = [worlds.report("Bounce" if place < 20 else "Delivery", *one) for place, one in enumerate(done)]
    await ingest(past.store, past.cell, reports)
    past.advance(LONG_AGO)
    gone = await forget(past)
    assert gone["verdicts"] == 0
    assert await ids(past) == set(), "it acts on nobody, and is past its time: its mail goes"


async def test_a_round_is_bounded_and_another_process_goes_on(past: Ground) -> None:
    """No round deletes more than its piece; one that stops halfway loses nothing, and the next one ends the work."""
    member = await worlds.member(past.store)
    await delivered(past, member, 30)
    stays = await unsettled(past, member)
    past.advance(LONG_AGO)
    first = Retention(past.store, Terms(), most=4)
    done: list[Forgotten] = [await first.round() for _ in range(3)]
    assert all(count <= 4 for one in done for count in one.gone.values()) and done[-1].more
    assert 0 < len(await ids(past)) - len(stays) < 30
    await forget(past, Retention(past.store, Terms(), most=4))
    assert await ids(past) == stays
    assert (await sizes(past))["event"] == 0


async def test_names_poison_and_ended_pauses_go_in_their_time(past: Ground) -> None:
    """Idempotency names go when they expire, poison with the raw events, pauses that ended with the mail."""
    member = await worlds.member(past.store)
    wanted = [worlds.submission(member, f"p{number}@there.example", key=f"k{number}") for number in range(5)]
    await worlds.accept(past.store, wanted)
    async with past.store.step() as step:
        await step.quarantine([("raw", "no JSON")])
    pool = await past.store.fleet(worlds.OPERATOR).add_pool("mine", PoolKind.STANDARD)
    ended = await open_pause(past.store, past.clock, ("pool", pool.id), Author.OPERATOR, "a reason")
    open_ = await open_pause(past.store, past.clock, ("tenant", member.tenant_id), Author.OPERATOR, "a reason")
    await past.as_owner("UPDATE pause SET ended_at = opened_at WHERE scope_kind = 'pool'")
    past.advance(DAY / 2)
    assert not any((await forget(past)).values())
    past.advance(DAY)
    assert (await forget(past))["names"] == 5
    past.advance(7 * DAY)
    assert (await forget(past))["quarantine"] == 1
    past.advance(LONG_AGO)
    assert (await forget(past))["pauses"] == 1
    fleet = past.store.fleet(worlds.OPERATOR)
    left = await fleet.pauses(open_only=False)
    assert [one.id for one in left] == [getattr(open_, "id", None)] and getattr(ended, "id", None) is not None


async def test_forgetting_all_mail_looks_like_no_restore(past: Ground) -> None:
    """The newest attempt stays, though its mail is gone: by it a database knows itself after a quiet quarter."""
    member = await worlds.member(past.store)
    assert await notice(past.store, past.cell) is None
    await delivered(past, member, 3)
    past.advance(LONG_AGO)
    await forget(past)
    assert await ids(past) == set() and (await sizes(past))["attempt"] == 1
    assert await notice(past.store, past.cell) is None


async def test_retention_rests_when_there_is_nothing_to_do(past: Ground) -> None:
    """Where nothing is due a round looks once, and then not again for an hour."""
    retention = Retention(past.store, Terms())
    await forget(past, retention)
    assert (await retention.round()).gone == {}
    past.advance(2 * 3_600)
    assert set((await retention.round()).gone) >= {"content", "messages", "weeks"}


# ---- PostgreSQL: weeks


async def weeks_of(ground: Ground) -> list[tuple[str, str]]:
    async with ground.store.reading() as step:
        return [(table, f"{week:%Y%m%d}") for table, week in await weekly_partitions(step.conn)]


async def test_a_week_past_every_retention_is_dropped_whole(postgres: Ground) -> None:
    """Partitions vanish once their whole week is past; what is not settled moves over first and can still go out."""
    postgres.advance(-A_WEEK_AGO)
    await ensure_partitions(postgres.store)
    member = await worlds.member(postgres.store)
    await delivered(postgres, member, 25)
    stays = await unsettled(postgres, member)
    async with postgres.store.reading() as step:
        week = f"{week_of(step.now):%Y%m%d}"
    before = await weeks_of(postgres)
    assert sum(name == week for _, name in before) == 4
    postgres.advance(A_WEEK_AGO)
    gone = await forget(postgres)
    assert gone["weeks"] >= 4 and gone["messages"] == 0, "no row was deleted one by one"
    left = await weeks_of(postgres)
    assert left and all(name > week for _, name in left)
    assert await ids(postgres) == stays
    assert await sizes(postgres) == {"message": 7, "recipient": 7, "content": 7, "event": 0, "attempt": 4}
    await wake_stranded(postgres.store, postgres.cell)
    assert len(await worlds.handed(postgres.store, postgres.cell)) == 3
    await ensure_partitions(postgres.store)
    await delivered(postgres, member, 3)


async def test_a_week_stays_while_anybody_keeps_mail_for_longer(postgres: Ground) -> None:
    """One tenant with 400 days keeps the weeks; its neighbours' mail goes row by row."""
    postgres.advance(-A_WEEK_AGO)
    await ensure_partitions(postgres.store)
    keeper, plain = [await worlds.member(postgres.store, name) for name in ("keeper", "plain")]
    await postgres.as_owner("UPDATE tenant SET retention_days = 400 WHERE name = 'keeper'")
    kept = await delivered(postgres, keeper, 3)
    await delivered(postgres, plain, 3)
    postgres.advance(A_WEEK_AGO)
    gone = await forget(postgres)
    assert (gone["weeks"], gone["messages"]) == (0, 3)
    assert await ids(postgres) == kept


async def test_a_long_reader_stops_neither_the_turn_nor_the_rest_of_retention(postgres: Ground) -> None:
    """While somebody reads in one transaction for minutes, turns go on, rows go, and the week waits; then it goes too."""
    postgres.advance(-A_WEEK_AGO)
    await ensure_partitions(postgres.store)
    member = await worlds.member(postgres.store)
    await delivered(postgres, member, 10)
    postgres.advance(A_WEEK_AGO)
    await ensure_partitions(postgres.store)
    reader = await connect(postgres.owner_url)
    try:
        await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert await reader.fetchval("SELECT COUNT(*) FROM message") == 10
        retention = Retention(postgres.store, Terms())
        began = time.perf_counter()
        left: list[str] = []
        while (done := await retention.round()).more:
            left += done.left
        assert "weeks" in left + done.left and time.perf_counter() - began < 10
        took = []
        for _ in range(20):
            await worlds.accepted(postgres.store, member, 5)
            at = time.perf_counter()
            assert len(await worlds.handed(postgres.store, postgres.cell)) == 5
            took.append(time.perf_counter() - at)
        assert sorted(took)[10] < 1.0
        assert await reader.fetchval("SELECT COUNT(*) FROM message") == 10, "it still sees what it saw"
    finally:
        await reader.close()
    postgres.advance(AGAIN.total_seconds() + 1)
    gone = await forget(postgres, retention)
    assert gone["weeks"] >= 4
    assert len(await ids(postgres)) == 100


async def test_making_partitions_gives_way_to_a_long_reader(postgres: Ground) -> None:
    """Whoever makes the weeks ahead gives up within its moment, so that nobody waits behind it."""
    member = await worlds.member(postgres.store)
    reader = await connect(postgres.owner_url)
    try:
        await reader.execute("BEGIN; SELECT COUNT(*) FROM message")
        with pytest.raises(StoreBusy):
            await ensure_partitions(postgres.store)
        await worlds.accepted(postgres.store, member, 3)
    finally:
        await reader.close()
    assert await ensure_partitions(postgres.store) == 4 * 4 + 1, "what came meanwhile lies elsewhere, and stops no week"


def test_the_shortest_terms_are_still_terms() -> None:
    """The defaults keep mail for a quarter, content and raw events for days."""
    assert (Terms().days, Terms().content_days, Terms().raw_days) == (90, 3, 7)
    assert timedelta(days=Terms().content_days) < timedelta(days=Terms().days)
