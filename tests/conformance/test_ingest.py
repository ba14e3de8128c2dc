"""Ingest on both stores: each event acts once, on its owner only, in any order, and counts are exact."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from sqlalchemy import text

from tenantry.core.claim import Claim, ses_name
from tenantry.core.event import Report
from tenantry.core.ids import AttemptId, MessageId
from tenantry.core.message import Accepted
from tenantry.core.outcome import Handed
from tenantry.flow.accept import accept
from tenantry.flow.dispatch import claim, settle
from tenantry.flow.ingest import EARLY, ingest
from tests import worlds
from tests.conformance.conftest import Ground

Counts = tuple[list[tuple[str, int, int | None]], list[tuple[int, int, int, int]], list[tuple[str, str]], int]


async def counts(ground: Ground) -> Counts:
    """Return all that events change: facts by address, buckets, suppressions, and events kept."""
    async with ground.store.reading() as step:
        recipients = await step.run("SELECT address, facts, ordinal FROM recipient ORDER BY address, message_id")
        buckets = await step.run("SELECT number, handed, bounced, complained FROM bucket ORDER BY number, handed")
        suppressions = await step.run("SELECT address, cause FROM suppression ORDER BY address, cause")
        events = await step.run("SELECT COUNT(*) FROM event")
    return (
        [tuple(row) for row in recipients],
        [tuple(row) for row in buckets],
        [tuple(row) for row in suppressions],
        events[0][0],
    )


def history(one: Claim, ses_id: str, chance: random.Random) -> list[Report]:
    """A believable set of reports about one message."""
    address = one.to[0]
    reports = [worlds.report("Send", one, ses_id)]
    match chance.randrange(5):
        case 0:
            reports.append(worlds.report("Bounce", one, ses_id, address))
        case 1:
            reports += [worlds.report("Delivery", one, ses_id), worlds.report("Bounce", one, ses_id, address)]
        case 2:
            reports += [worlds.report("Delivery", one, ses_id), worlds.report("Complaint", one, ses_id)]
        case 3:
            soft = worlds.report("Bounce", one, ses_id, address, bounce=("Transient", "MailboxFull"))
            reports += [worlds.report("DeliveryDelay", one, ses_id), soft]
        case _:
            reports.append(worlds.report("Delivery", one, ses_id))
    return reports


async def mailed(ground: Ground, count: int) -> list[tuple[Claim, str]]:
    member = await worlds.member(ground.store)
    wanted = [
        worlds.submission(member, f"a{number}@one.example", f"b{number}@two.example", stream="marketing")
        for number in range(count)
    ]
    assert all(isinstance(answer, Accepted) for answer in await accept(ground.store, wanted))
    return await worlds.handed(ground.store, ground.cell)


async def apply(ground: Ground, reports: Sequence[Report], sizes: random.Random) -> None:
    left = list(reports)
    while left:
        size = sizes.randrange(1, 12)
        await ingest(ground.store, ground.cell, left[:size])
        left = left[size:]


@pytest.mark.parametrize("seed", range(6))
async def test_order_and_repetition_never_matter(ground: Ground, seed: int) -> None:
    """Shuffled, duplicated and cut into other batches, the same reports end in the same facts, counts and lists."""
    chance = random.Random(seed)
    done = await mailed(ground, 30)
    reports = [report for one, ses_id in done for report in history(one, ses_id, chance)]
    await apply(ground, reports, chance)
    first = await counts(ground)
    await apply(ground, chance.sample(reports, len(reports)), chance)
    assert await counts(ground) == first, "repetition changed something"
    for sql in (
        "DELETE FROM event",
        "DELETE FROM suppression",
        "UPDATE bucket SET bounced = 0, complained = 0",
        "UPDATE recipient SET facts = 3, bounced_at = NULL, complained_at = NULL",
    ):
        await ground.as_owner(sql)
    shuffled = chance.sample(reports, len(reports)) + chance.sample(reports, len(reports) // 3)
    await apply(ground, shuffled, chance)
    assert await counts(ground) == first, "another order ended elsewhere"


async def test_events_may_come_before_the_answer_is_written(ground: Ground) -> None:
    """A bounce that is seen before the send is settled hands over and counts; the answer later adds nothing."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    (one,) = (await claim(ground.store, ground.cell, 10)).claims
    await ingest(ground.store, ground.cell, [worlds.report("Bounce", one, "ses-1")])
    before = await counts(ground)
    await settle(ground.store, [Handed(one.attempt_id, "ses-1")])
    assert await counts(ground) == before
    assert before[1] == [(0, 1, 1, 0)]


async def test_an_event_acts_on_its_owner_only(ground: Ground) -> None:
    """A report that names another stream's set, or mail that is not ours, has no effect and is kept aside."""
    done = await mailed(ground, 2)
    other = await worlds.member(ground.store, "other")
    (one, ses_id) = done[0]
    before = await counts(ground)
    honest = worlds.report("Bounce", one, ses_id)
    forged = honest._replace(tags={**honest.tags, "ses:configuration-set": (ses_name(other.marketing),)})
    unknown = honest._replace(
        digest=b"x",
        ses_id="nobody",
        message_id=MessageId("msg_" + "1" * 32),
        attempt_id=AttemptId("att_" + "1" * 32),
    )
    ingested = await ingest(ground.store, ground.cell, [forged, unknown])
    assert ingested.foreign == 2
    assert await counts(ground) == before
    async with ground.store.reading() as step:
        assert await step.conn.scalar(text("SELECT COUNT(*) FROM quarantine")) == 2


async def test_a_delay_that_is_seen_before_its_mail_is_handed_comes_again(ground: Ground) -> None:
    """SES's own id is all that a DeliveryDelay names: until it is known here the report is left in the queue, for minutes."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    (one,) = (await claim(ground.store, ground.cell, 10)).claims
    async with ground.store.reading() as step:
        now = step.now
    bare = worlds.report("DeliveryDelay", one, "ses-1")._replace(tags={}, message_id=None, attempt_id=None, at=now)
    before = await counts(ground)
    ingested = await ingest(ground.store, ground.cell, [bare])
    assert (ingested.reports, ingested.foreign, ingested.early) == (0, 0, {bare.digest})
    assert await counts(ground) == before
    await settle(ground.store, [Handed(one.attempt_id, "ses-1")])
    again = await ingest(ground.store, ground.cell, [bare])
    assert (again.new, again.early) == (1, frozenset())
    nobodys = bare._replace(ses_id="nobody", digest=b"old", at=now - EARLY)
    assert (await ingest(ground.store, ground.cell, [nobodys])).foreign == 1


async def test_an_event_without_our_tags_is_found_by_its_ses_id(ground: Ground) -> None:
    """Some events of SES carry few tags: the id that SES gave is enough."""
    ((one, ses_id), *_) = await mailed(ground, 1)
    bare = worlds.report("Delivery", one, ses_id)._replace(tags={}, message_id=None, attempt_id=None)
    assert (await ingest(ground.store, ground.cell, [bare])).new == 1


async def test_unknown_kinds_are_kept_and_harmless(ground: Ground) -> None:
    """A kind of event that nobody knows yet is stored and changes no recipient."""
    ((one, ses_id), *_) = await mailed(ground, 1)
    before = await counts(ground)
    await ingest(ground.store, ground.cell, [worlds.report("Levitation", one, ses_id)])
    after = await counts(ground)
    assert after[:3] == before[:3]
    assert after[3] == before[3] + 1


async def test_a_complaint_that_names_several_counts_once(ground: Ground) -> None:
    """Providers redact: SES names everybody at the domain, and the message counts one complaint."""
    done = await mailed(ground, 3)
    await ingest(ground.store, ground.cell, [worlds.report("Complaint", one, ses_id) for one, ses_id in done])
    assert [row[3] for row in (await counts(ground))[1]] == [3]


async def test_a_bounce_suppresses_for_the_tenant_and_a_complaint_for_its_stream(ground: Ground) -> None:
    """After them the tenant's next mail to the bounced, and the stream's to the angry, is not sent."""
    ((one, ses_id), *_) = await mailed(ground, 1)
    gone, angry = one.to
    reports = [worlds.report("Bounce", one, ses_id, gone), worlds.report("Complaint", one, ses_id, angry)]
    await ingest(ground.store, ground.cell, reports)
    member = worlds.Member(one.tenant_id, await key_of(ground, one), "", "acme.example", one.stream_id, one.stream_id)
    marketing, transactional = await accept(
        ground.store,
        [worlds.submission(member, gone, angry, stream=stream) for stream in ("marketing", "transactional")],
    )
    assert isinstance(marketing, Accepted)
    assert isinstance(transactional, Accepted)
    assert set(marketing.suppressed) == {gone, angry}
    assert set(transactional.suppressed) == {gone}


async def key_of(ground: Ground, one: Claim) -> worlds.KeyId:
    (key,) = await ground.store.of(one.tenant_id).keys()
    return key.id


async def test_poison_is_kept_aside_and_harms_no_neighbour(ground: Ground) -> None:
    """What cannot be read goes raw to quarantine in the same commit as its healthy neighbours."""
    ((one, ses_id), *_) = await mailed(ground, 1)
    report = worlds.report("Delivery", one, ses_id)
    ingested = await ingest(ground.store, ground.cell, [report], [("{broken\0", "the body is not JSON")])
    assert ingested.new == 1
    async with ground.store.reading() as step:
        rows = await step.run("SELECT reason, raw FROM quarantine")
    assert [tuple(row) for row in rows] == [("the body is not JSON", "{broken\\0")]
