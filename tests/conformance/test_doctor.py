"""What doctor and metrics read, on both stores: queues, stops, feeds, the database, and mail that does not balance."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from sqlalchemy import text

from tenantry.core.figures import Balance, CellFigures, Figures, WaitingFigures
from tenantry.core.ids import MessageId, TenantId
from tenantry.core.outcome import Handed, Outcome, Refused, Retry, Unknown
from tenantry.core.pause import Author, PauseState
from tenantry.core.tenant import StreamClass
from tenantry.flow.dispatch import claim, settle, wake_stranded
from tenantry.flow.guard import drain_all
from tenantry.flow.ingest import ingest
from tenantry.store.bootstrap import ensure_partitions
from tenantry.store.conservation import balance
from tenantry.store.revision import head
from tests import worlds
from tests.conformance.conftest import Ground

MAIL, ADS = StreamClass.TRANSACTIONAL, StreamClass.MARKETING


async def figures(ground: Ground) -> Figures:
    return await ground.store.fleet(worlds.OPERATOR).figures()


async def cell(ground: Ground) -> CellFigures:
    (only,) = (await figures(ground)).cells
    return only


async def execute(ground: Ground, sql: str, **values: object) -> None:
    """Change the database behind everybody's back."""
    async with ground.store.step() as step:
        await step.conn.execute(text(sql), {name: step.seam.raw(value) for name, value in values.items()})


async def test_a_cell_is_blind_when_mail_is_handed_over_and_nothing_is_heard(ground: Ground) -> None:
    """An idle cell is not blind, nor one whose events are on their way or have come; one without them is."""
    ground.advance(3_600)
    assert not (await cell(ground)).blind
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 2)
    (first, ses_id), *_ = await worlds.handed(ground.store, ground.cell)
    assert not (await cell(ground)).blind
    ground.advance(400)
    assert (await cell(ground)).blind
    await ingest(ground.store, ground.cell, [worlds.report("Send", first, ses_id)])
    assert not (await cell(ground)).blind
    ground.advance(3_600)
    assert not (await cell(ground)).blind
    await worlds.accepted(ground.store, member)
    await worlds.handed(ground.store, ground.cell)
    ground.advance(400)
    assert (await cell(ground)).blind


async def test_the_feeds_lag_is_the_way_of_the_events_that_came_last(ground: Ground) -> None:
    """It is what the latest events took from SES to their commit, and nothing once none came for a while."""
    member = await worlds.member(ground.store)
    assert (await cell(ground)).feed_lag_seconds is None
    await worlds.accepted(ground.store, member)
    (one, ses_id), *_ = await worlds.handed(ground.store, ground.cell)
    ground.advance(90)
    await ingest(ground.store, ground.cell, [worlds.report("Send", one, ses_id)])
    lag = (await cell(ground)).feed_lag_seconds
    assert lag is not None
    assert 90 <= lag < 100
    ground.advance(601)
    assert (await cell(ground)).feed_lag_seconds is None


async def test_waiting_mail_is_counted_by_class_and_by_what_holds_it(ground: Ground) -> None:
    """Each class has its number and the age of its oldest, what a pause holds beside what is free to go."""
    acme, other = await worlds.member(ground.store), await worlds.member(ground.store, "other")
    assert (await figures(ground)).waiting == ()
    (oldest, _) = await worlds.accepted(ground.store, acme, 2)
    ground.advance(5)
    await worlds.accepted(ground.store, other, 3)
    await worlds.accepted(ground.store, other, 4, stream="marketing")
    async with ground.store.step(lock=ground.cell) as step:
        await step.open_pause(("stream", other.marketing), Author.OPERATOR, "a test", None)
    found = {(one.stream_class, one.held): one for one in (await figures(ground)).waiting}
    assert {key: one.messages for key, one in found.items()} == {(MAIL, False): 5, (ADS, True): 4}
    assert abs(found[MAIL, False].oldest_at - oldest.accepted_at) <= timedelta(milliseconds=1)
    assert found[ADS, True].oldest_at - found[MAIL, False].oldest_at > timedelta(seconds=4)
    await worlds.handed(ground.store, ground.cell)
    assert [_shown(one) for one in (await figures(ground)).waiting] == [("main", ADS, True, 4)]


def _shown(one: WaitingFigures) -> tuple[str, StreamClass, bool, int]:
    return one.cell, one.stream_class, one.held, one.messages


async def test_what_recovery_holds_is_held_mail(ground: Ground) -> None:
    """Mail that a restored database may have sent waits for a decision, not for a turn; new mail is free to go."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 2)
    async with ground.store.step(lock=ground.cell) as step:
        assert await step.begin_recovery(ground.cell) == 2
    ground.advance(5)
    await worlds.accepted(ground.store, member, 3)
    seen = await figures(ground)
    assert sorted(_shown(one) for one in seen.waiting) == [("main", MAIL, False, 3), ("main", MAIL, True, 2)]
    assert (seen.cells[0].stranded_lanes, seen.cells[0].recovering_since is not None) == (0, True)


async def test_what_is_tried_again_and_again_stays_old(ground: Ground) -> None:
    """A message that SES throttles is as old as its acceptance, however often its turn is put off."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    for _ in range(3):
        ground.advance(2)
        await wake_stranded(ground.store, ground.cell)
        (one,) = (await claim(ground.store, ground.cell, 9)).claims
        await settle(ground.store, [Retry(one.attempt_id, "slow down", burned=False, throttled=True)])
    seen = await figures(ground)
    assert seen.at - seen.waiting[0].oldest_at >= timedelta(seconds=6)


async def test_stranded_lanes_are_those_that_nothing_holds(ground: Ground) -> None:
    """A lane whose due mail nobody serves is counted after two seconds, and not while a pause is open."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    assert (await cell(ground)).stranded_lanes == 0
    ground.advance(5)
    assert (await cell(ground)).stranded_lanes == 1
    async with ground.store.step(lock=ground.cell) as step:
        await step.open_pause(("tenant", member.tenant_id), Author.OPERATOR, "a test", None)
    assert (await cell(ground)).stranded_lanes == 0


async def test_unknown_outcomes_and_open_claims_are_as_old_as_their_attempt(ground: Ground) -> None:
    """A claim is open until it is settled; an unknown message is overdue 15 minutes after its attempt ended."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 2)
    first, second = (await claim(ground.store, ground.cell, 9)).claims
    ground.advance(30)
    seen = await figures(ground)
    assert (seen.cells[0].open_claims, seen.unknown_messages) == (2, 0)
    assert seen.cells[0].oldest_claim_at is not None
    assert seen.at - seen.cells[0].oldest_claim_at >= timedelta(seconds=30)
    await settle(ground.store, [Unknown(first.attempt_id, "cut"), Handed(second.attempt_id, "ses-2")])
    seen = await figures(ground)
    assert (seen.cells[0].open_claims, seen.unknown_messages, seen.overdue_unknowns) == (0, 1, 0)
    ground.advance(901)
    seen = await figures(ground)
    assert (seen.unknown_messages, seen.overdue_unknowns) == (1, 1)
    assert seen.oldest_unknown_at is not None
    assert timedelta(seconds=901) <= seen.at - seen.oldest_unknown_at < timedelta(seconds=960)


async def test_pauses_are_counted_by_author_and_state(ground: Ground) -> None:
    """A pause counts from its opening until its end begins, as far as it holds by then."""
    member = await worlds.member(ground.store)
    async with ground.store.step(lock=ground.cell) as step:
        pause = await step.open_pause(("stream", member.marketing), Author.OPERATOR, "a test", None)
    assert pause is not None
    assert [(one.author, one.state, one.pauses) for one in (await figures(ground)).pauses] == [
        (Author.OPERATOR, PauseState.OPENING, 1)
    ]
    await drain_all(ground.store, ground.cell)
    assert [one.state for one in (await figures(ground)).pauses] == [PauseState.LOCAL]
    await execute(ground, "UPDATE pause SET fenced_at = opened_at")
    (fenced,) = (await figures(ground)).pauses
    assert (fenced.state, fenced.oldest_at) == (PauseState.FENCED, pause.opened_at)
    async with ground.store.step(lock=ground.cell) as step:
        await step.end_pause(pause.id, "it is over")
    assert (await figures(ground)).pauses == ()


async def test_workers_are_those_that_did_not_say_that_they_ended(ground: Ground) -> None:
    """Each has its host and the time at which it last showed life."""
    columns = "INSERT INTO worker (name, host, pid, version, started_at, seen_at, ended_at) VALUES"
    await execute(ground, f"{columns} ('main', 'box-1', 7, '0.1', :now, :now, NULL)", now=worlds.NOON)
    await execute(ground, f"{columns} ('main', 'box-2', 8, '0.1', :now, :now, :now)", now=worlds.NOON)
    assert [(one.host, one.pid, one.seen_at) for one in (await figures(ground)).workers] == [("box-1", 7, worlds.NOON)]


async def test_what_is_set_aside_or_not_set_up_is_counted(ground: Ground) -> None:
    """Quarantined events, streams that SES lacks and identities that it has not verified have their numbers."""
    await worlds.member(ground.store)
    await ingest(ground.store, ground.cell, [], [("nonsense", "not JSON")])
    seen = await figures(ground)
    assert (seen.quarantined_events, seen.unprovisioned_streams, seen.pending_identities) == (1, 0, 0)
    await execute(ground, "UPDATE stream SET provisioned_at = NULL")
    await execute(ground, "UPDATE identity SET status = 'pending'")
    seen = await figures(ground)
    assert (seen.unprovisioned_streams, seen.pending_identities, seen.failed_identities) == (2, 1, 0)


async def test_the_database_tells_its_own_state(ground: Ground) -> None:
    """Version, size and schema are there on both; each has what only it has."""
    await ensure_partitions(ground.store)
    seen = await figures(ground)
    state = seen.database
    assert state.kind == ground.store.seam.name
    assert state.size_bytes > 100_000
    assert (state.revision, state.behind) == (head(), False)
    if state.kind == "sqlite":
        assert state.version.startswith("3.")
        assert 0 < (state.free_bytes or 0) < (state.disk_bytes or 0)
        return
    assert int(state.version.split(".")[0]) >= 15
    assert 0 < (state.connections or 0) < (state.connections_max or 0)
    assert state.partitions_until is not None
    assert timedelta(days=28) < state.partitions_until - seen.at <= timedelta(days=35)


async def test_a_transaction_that_stays_open_is_seen(ground: Ground) -> None:
    """On PostgreSQL the longest one of this database is there, with the process that holds it; our own is none."""
    if ground.store.seam.name == "sqlite":
        assert (await figures(ground)).database.oldest_transaction_seconds is None
        return
    assert ((await figures(ground)).database.oldest_transaction_seconds or 0.0) == 0.0
    async with ground.store.reading() as step:
        pid = await step.conn.scalar(text("SELECT pg_backend_pid()"))
        state = (await figures(ground)).database
    assert state.oldest_transaction_pid == pid
    assert (state.oldest_transaction_seconds or 0.0) > 0.0


@pytest.mark.parametrize(("revision", "behind"), [("0001", True), ("9999", False)])
async def test_an_older_schema_is_behind_and_a_newer_one_is_not(ground: Ground, revision: str, behind: bool) -> None:
    """While a fleet is renewed process by process the older programs go on with the newer schema."""
    await ground.as_owner(f"UPDATE alembic_version SET version_num = '{revision}'")
    state = (await figures(ground)).database
    assert (state.revision, state.behind) == (revision, behind)


async def history(ground: Ground, seed: int) -> worlds.Member:
    """Let a tenant's mail go every way."""
    chance = random.Random(seed)
    member = await worlds.member(ground.store)
    for _ in range(5):
        await worlds.accepted(ground.store, member, chance.randrange(2, 12))
        claims = (await claim(ground.store, ground.cell, chance.randrange(2, 10))).claims
        outcomes: list[Outcome] = []
        for one in claims:
            outcome = chance.choice([Handed, Handed, Retry, Refused, Unknown])
            outcomes.append(outcome(one.attempt_id, f"ses-{one.attempt_id}"))
        await settle(ground.store, outcomes[: len(outcomes) // 2 + 1])
        ground.advance(chance.randrange(3))
    return member


async def walk(ground: Ground, most: int) -> tuple[int, dict[TenantId, int]]:
    """Check the whole day in portions; return how many messages that were, and what does not balance."""
    before: MessageId | None = None
    messages, differences = 0, dict[TenantId, int]()
    while True:
        async with ground.store.reading() as step:
            portion: Balance = await balance(step, before, most)
        messages += portion.messages
        for tenant, recipients in portion.differences.items():
            differences[tenant] = differences.get(tenant, 0) + recipients
        if (before := portion.before) is None:
            return messages, differences


@pytest.mark.parametrize("seed", range(3))
async def test_mail_on_its_way_balances(ground: Ground, seed: int) -> None:
    """After any history, with claims open and outcomes unknown, every recipient is in one place; portions miss nobody."""
    assert await walk(ground, 3) == (0, {})
    await history(ground, seed)
    async with ground.store.reading() as step:
        accepted = await step.conn.scalar(text("SELECT count(*) FROM message"))
    for most in (1, 3, 10_000):
        assert await walk(ground, most) == (accepted, {})


BREAKS = {
    "a waiting message has left its lane": "DELETE FROM waiting WHERE message_id = (SELECT min(CAST(message_id AS text))"
    " {uuid} FROM waiting)",
    "a claim is gone without an outcome": "DELETE FROM attempt WHERE id = (SELECT min(CAST(id AS text)) {uuid} FROM attempt"
    " WHERE finished_at IS NULL)",
    "a handed message waits again": "INSERT INTO waiting (message_id, stream_id, due_at, cost, attempts)"
    " SELECT id, stream_id, accepted_at, 1, 1 FROM message WHERE state = 'handed' ORDER BY id DESC LIMIT 1",
    "a claimed message waits too": "INSERT INTO waiting (message_id, stream_id, due_at, cost, attempts)"
    " SELECT message_id, stream_id, claimed_at, 1, 1 FROM attempt WHERE finished_at IS NULL LIMIT 1",
    "a recipient is gone": "DELETE FROM recipient WHERE message_id = (SELECT max(CAST(id AS text)) {uuid} FROM message)",
}


@pytest.mark.parametrize("what", BREAKS)
async def test_a_lost_or_doubled_recipient_is_found(ground: Ground, what: str) -> None:
    """Whichever way a message is lost or doubled, its tenant is named and its one recipient counted; others are not."""
    other = await worlds.member(ground.store, "other")
    await worlds.accepted(ground.store, other, 3)
    await worlds.handed(ground.store, ground.cell)
    ground.advance(1)
    member = await history(ground, seed=1)
    assert (await walk(ground, 10_000))[1] == {}
    broken = BREAKS[what].replace("{uuid}", "::uuid" if ground.store.seam.name == "postgresql" else "")
    await execute(ground, broken)
    assert (await walk(ground, 7))[1] == {member.tenant_id: 1}


async def test_only_the_last_day_is_checked(ground: Ground) -> None:
    """What is older is left to the walks of its own day: a look costs the same after a year."""
    await history(ground, seed=2)
    ground.advance(86_401)
    assert await walk(ground, 10) == (0, {})
