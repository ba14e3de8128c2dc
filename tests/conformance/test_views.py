"""What people read, on both stores: sums that conserve, pages that are whole, and nothing of anybody else."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from sqlalchemy import text

from tenantry.core.ids import MessageId, PauseId, StreamId, VerdictId
from tenantry.core.outcome import Handed, Outcome, Refused, Retry, Unknown
from tenantry.core.reading import CellOutlook
from tenantry.core.tenant import DkimMode, NewIdentity
from tenantry.flow.dispatch import claim, settle
from tenantry.flow.guard import act
from tenantry.flow.ingest import ingest
from tenantry.ports import AccountReading, MessageFilter, StoreConflict
from tenantry.store.bootstrap import ensure_partitions
from tenantry.store.partitions import week_of
from tests import worlds
from tests.conformance.conftest import Ground


@pytest.mark.parametrize("seed", range(4))
async def test_accepted_recipients_equal_the_sum_over_all_states(ground: Ground, seed: int) -> None:
    """After any history every accepted recipient is in exactly one state, stream by stream."""
    chance = random.Random(seed)
    member = await worlds.member(ground.store)
    accepted = 0
    for _ in range(8):
        await worlds.accepted(ground.store, member, count := chance.randrange(1, 20))
        accepted += count
        claims = (await claim(ground.store, ground.cell, chance.randrange(1, 15))).claims
        outcomes: list[Outcome] = []
        for one in claims:
            kind = chance.randrange(6)
            outcomes.append(
                [
                    Handed(one.attempt_id, f"ses-{one.attempt_id}"),
                    Retry(one.attempt_id, "later"),
                    Refused(one.attempt_id, "never"),
                    Unknown(one.attempt_id, "cut"),
                ][min(kind, 3) if kind else 0]
            )
        await settle(ground.store, outcomes[: len(outcomes) // 2 + 1])
        reports = [
            worlds.report(chance.choice(["Delivery", "Bounce", "Complaint"]), one, f"ses-{one.attempt_id}")
            for one, outcome in zip(claims, outcomes, strict=True)
            if isinstance(outcome, Handed)
        ]
        await ingest(ground.store, ground.cell, reports)
    waits = {view.stream_id: view for view in await ground.store.of(member.tenant_id).waits()}
    view = waits[member.transactional]
    assert view.accepted == accepted == sum(view.states.values()), view.states


async def test_a_foreign_id_answers_exactly_like_a_random_one(ground: Ground) -> None:
    """Another tenant's message, stream, pause and verdict are as if they were not there."""
    ours, theirs = await worlds.member(ground.store), await worlds.member(ground.store, "other")
    await worlds.accepted(ground.store, theirs, 40, stream="marketing")
    done = await worlds.handed(ground.store, ground.cell)
    await ingest(ground.store, ground.cell, [worlds.report("Bounce", one, ses_id) for one, ses_id in done])
    ((pause,), _) = await act(ground.store, ground.cell)
    assert pause.verdict_id is not None
    mine, own = ground.store.of(ours.tenant_id), ground.store.of(theirs.tenant_id)
    random_digits = "a" * 32
    assert await own.message(done[0][0].message_id) is not None
    assert await mine.message(done[0][0].message_id) is None is await mine.message(MessageId(f"msg_{random_digits}"))
    assert await own.stream(theirs.marketing) is not None
    assert await mine.stream(theirs.marketing) is None is await mine.stream(StreamId(f"str_{random_digits}"))
    assert await own.pause(pause.id) is not None
    assert await mine.pause(pause.id) is None is await mine.pause(PauseId(f"pau_{random_digits}"))
    assert await own.verdict(pause.verdict_id) is not None
    assert await mine.verdict(pause.verdict_id) is None is await mine.verdict(VerdictId(f"ver_{random_digits}"))
    assert await own.reputation(theirs.marketing) is not None
    assert await mine.reputation(theirs.marketing) is None
    assert await mine.identity("other.example") is None
    assert not await mine.revoke_key(theirs.key_id)
    assert (await mine.messages(MessageFilter(), None, 50)).items == []
    assert await mine.pauses(open_only=False) == []


@pytest.mark.parametrize("name", ["sub.other.example", "a.b.other.example", "ceo@other.example", "example"])
async def test_nobody_takes_a_name_in_or_around_anothers_domain(ground: Ground, name: str) -> None:
    """A sub-domain, an address or a parent of what another tenant holds is refused, unless the operator allots it."""
    ours = await worlds.member(ground.store)
    await worlds.member(ground.store, "other")
    mine = ground.store.of(ours.tenant_id)
    with pytest.raises(StoreConflict):
        await mine.add_identity(NewIdentity(name, DkimMode.EASY))
    assert await mine.identity(name) is None
    await mine.add_identity(NewIdentity("sub.acme.example", DkimMode.EASY))
    await mine.add_identity(NewIdentity("another.example", DkimMode.EASY))
    await mine.add_identity(NewIdentity(name, DkimMode.EASY, allotted=True))
    assert await mine.identity(name) is not None


async def test_pages_are_whole_and_newest_first(ground: Ground) -> None:
    """Following the cursors shows every message once."""
    member = await worlds.member(ground.store)
    sent = [answer.id for answer in await worlds.accepted(ground.store, member, 23)]
    seen: list[MessageId] = []
    cursor = None
    while True:
        page = await ground.store.of(member.tenant_id).messages(MessageFilter(), cursor, 5)
        seen += [view.id for view in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == sent[::-1]


async def test_messages_are_found_by_recipient_and_state(ground: Ground) -> None:
    """Support asks by address: the filter finds that mail and no other."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 5)
    await worlds.handed(ground.store, ground.cell)
    await worlds.accepted(ground.store, member, 2)
    mine = ground.store.of(member.tenant_id)
    assert len((await mine.messages(MessageFilter(recipient="P0@there.example"), None, 50)).items) == 2
    assert len((await mine.messages(MessageFilter(state="handed"), None, 50)).items) == 5
    assert len((await mine.messages(MessageFilter(state="waiting"), None, 50)).items) == 2


@pytest.mark.parametrize(
    ("reading", "stopped"),
    [
        (worlds.PLENTY, False),
        (replace(worlds.PLENTY, enforcement="PROBATION"), False),
        (replace(worlds.PLENTY, enforcement="SHUTDOWN"), True),
        (replace(worlds.PLENTY, sending_enabled=False), True),
    ],
)
async def test_a_tenant_learns_whether_its_cell_sends(ground: Ground, reading: AccountReading, stopped: bool) -> None:
    """A stopped account is no secret from those whose mail it holds, and then nothing is claimed; a review changes nothing."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 1)
    async with ground.store.step() as step:
        await step.set_account(ground.cell, reading)
    assert await ground.store.of(member.tenant_id).outlook() == CellOutlook(stopped=stopped)
    assert len((await claim(ground.store, ground.cell, 10)).claims) == (0 if stopped else 1)


async def test_the_timeline_tells_all_in_order(ground: Ground) -> None:
    """What happened to a message is there, oldest first."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    ((one, ses_id),) = await worlds.handed(ground.store, ground.cell)
    await ingest(ground.store, ground.cell, [worlds.report("Send", one, ses_id), worlds.report("Bounce", one, ses_id)])
    view = await ground.store.of(member.tenant_id).message(one.message_id)
    assert view is not None
    told = [entry.what for entry in view.timeline]
    assert told[0] == "accepted"
    assert {"claimed", "handed", "Send", "Bounce"} <= set(told)
    times = [entry.at for entry in view.timeline]
    assert times == sorted(times)


async def test_partitions_are_made_ahead_and_take_the_mail(ground: Ground) -> None:
    """On PostgreSQL this week's and the next weeks' partitions exist, and new mail lies in its own week."""
    if ground.store.seam.name == "sqlite":
        assert await ensure_partitions(ground.store) == 0, "SQLite has none to make"
        return
    assert await ensure_partitions(ground.store) == 5 * 4
    assert await ensure_partitions(ground.store) == 0
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    async with ground.store.reading() as step:
        assert await step.conn.scalar(text("SELECT COUNT(*) FROM message")) == 1
        place = await step.conn.scalar(text("SELECT tableoid::regclass::text FROM message"))
        assert place == f"message_{week_of(step.now):%Y%m%d}"
