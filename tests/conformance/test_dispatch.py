"""Dispatch on both stores: fair turns, credit, claims that nobody else holds, and outcomes written down once."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime

from sqlalchemy import text

from tenantry.core.claim import Claim
from tenantry.core.ids import TenantId
from tenantry.core.outcome import Handed, Hold, Outcome, Refused, Retry, Unknown
from tenantry.core.tenant import NewStream, StreamClass
from tenantry.flow.accept import accept
from tenantry.flow.dispatch import abandon, claim, hand_back, settle, wake_stranded
from tenantry.flow.ingest import ingest
from tenantry.ports import MessageFilter, Suppression
from tests import worlds
from tests.conformance.conftest import Ground


async def claims(ground: Ground, room: int = 1_000) -> list[Claim]:
    return list((await claim(ground.store, ground.cell, room)).claims)


async def state(ground: Ground, one: Claim) -> str:
    view = await ground.store.of(one.tenant_id).message(one.message_id)
    assert view is not None
    return view.state


async def now(ground: Ground) -> datetime:
    async with ground.store.reading() as step:
        return step.now


async def execute(ground: Ground, sql: str) -> None:
    async with ground.store.step() as step:
        await step.conn.execute(text(sql))


async def test_a_message_is_claimed_once(ground: Ground) -> None:
    """Two dispatchers that look at the same moment get each message once."""
    member = await worlds.member(ground.store)
    sent = await worlds.accepted(ground.store, member, 40)
    turns = await asyncio.gather(*(claims(ground) for _ in range(4)))
    taken = Counter(one.message_id for turn in turns for one in turn)
    assert taken == Counter(answer.id for answer in sent)


async def test_a_claim_holds_all_that_the_send_needs(ground: Ground) -> None:
    """Recipients by kind, content bytes, tags and names are those of the submission."""
    member = await worlds.member(ground.store)
    wanted = worlds.submission(member, "Ann <ann@there.example>")._replace(
        cc=("cc@there.example",),
        bcc=("bcc@there.example",),
        reply_to=("answers@acme.example",),
        tags={"campaign": "spring"},
    )
    await accept(ground.store, [wanted])
    (one,) = await claims(ground)
    assert (one.to, one.cc, one.bcc) == (wanted.to, wanted.cc, wanted.bcc)
    assert (one.content, one.tags, one.reply_to) == (wanted.content, wanted.tags, wanted.reply_to)
    assert (one.tenant_id, one.stream_id, one.number) == (member.tenant_id, member.transactional, 1)


async def test_messages_of_a_lane_go_oldest_first(ground: Ground) -> None:
    """Within a stream the order of acceptance is the order of hand-over."""
    member = await worlds.member(ground.store)
    sent = await worlds.accepted(ground.store, member, 30)
    got: list[Claim] = []
    while turn := await claims(ground, room=7):
        got += turn
    assert [one.message_id for one in got] == [answer.id for answer in sent]


async def test_no_lane_with_mail_stays_unready(ground: Ground) -> None:
    """A wake that was lost is made up for by the sweep; without it the mail would wait for ever."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    await execute(ground, "DELETE FROM wake")
    assert await claims(ground) == []
    assert await wake_stranded(ground.store, ground.cell) == 1
    assert len(await claims(ground)) == 1


async def test_an_emptied_lane_wakes_again(ground: Ground) -> None:
    """After a lane ran dry the next message leaves a wake, and the next turn takes it."""
    member = await worlds.member(ground.store)
    for _ in range(3):
        await worlds.accepted(ground.store, member, 2)
        assert len(await claims(ground)) == 2
        assert await claims(ground) == []


async def test_the_rate_is_never_overrun(ground: Ground) -> None:
    """Over any time the recipients claimed are at most the bucket and the granted rate times that time."""
    await execute(ground, "UPDATE cell SET rate_per_second = 40, tokens = 10")
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 200)
    began = await now(ground)
    taken = 0
    for _ in range(20):
        taken += len(await claims(ground))
        assert taken <= 10 + 40 * (await now(ground) - began).total_seconds()
        ground.advance(0.1)
    assert taken >= 0.9 * 40 * 1.9


async def test_a_message_counts_by_its_recipients(ground: Ground) -> None:
    """Cost is recipients: a bucket of ten covers one message to ten, not ten of them."""
    await execute(ground, "UPDATE cell SET rate_per_second = 40, tokens = 10")
    member = await worlds.member(ground.store)
    to = tuple(f"p{number}@there.example" for number in range(10))
    await accept(ground.store, [worlds.submission(member, *to) for _ in range(5)])
    assert len(await claims(ground)) == 1


async def test_the_room_in_flight_is_kept(ground: Ground) -> None:
    """A turn takes no more messages than may be in flight."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 20)
    assert len(await claims(ground, room=3)) == 3
    assert await claims(ground, room=0) == []


async def test_the_days_quota_keeps_a_reserve_for_transactional(ground: Ground) -> None:
    """Marketing stops a tenth before the day's quota, transactional at it; nothing goes beyond."""
    await execute(ground, "UPDATE cell SET quota_24h = 100, sent_24h = 85")
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 30, stream="marketing")
    assert len(await claims(ground)) == 5
    await worlds.accepted(ground.store, member, 30)
    assert len(await claims(ground)) == 10
    assert await claims(ground) == []


async def test_a_cell_that_may_not_send_claims_nothing(ground: Ground) -> None:
    """Sending switched off, or an account shut down, stops claims without burning attempts."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    await execute(ground, "UPDATE cell SET sending_enabled = false")
    assert await claims(ground) == []
    await execute(ground, "UPDATE cell SET sending_enabled = true, enforcement = 'SHUTDOWN'")
    assert await claims(ground) == []
    await execute(ground, "UPDATE cell SET enforcement = 'HEALTHY'")
    (one,) = await claims(ground)
    assert one.number == 1


async def test_tenants_share_and_more_streams_buy_no_more(ground: Ground) -> None:
    """A tenant with ten busy streams gets as much as a tenant with one, turn after turn."""
    many, one = await worlds.member(ground.store, "many"), await worlds.member(ground.store, "one")
    names = [f"s{number}" for number in range(9)]
    for name in names:
        await ground.store.of(many.tenant_id).add_stream(NewStream(name, StreamClass.TRANSACTIONAL))
    await worlds.verify(ground.store)
    for name in [*names, "transactional"]:
        await worlds.accepted(ground.store, many, 20, stream=name)
    await worlds.accepted(ground.store, one, 200)
    got: Counter[TenantId] = Counter()
    for _ in range(10):
        got.update(claimed.tenant_id for claimed in await claims(ground, room=20))
    assert abs(got[many.tenant_id] - got[one.tenant_id]) <= 20


async def test_a_flood_does_not_delay_a_newcomer(ground: Ground) -> None:
    """A tenant that comes after another's flood is served in the next turn."""
    flood, quiet = await worlds.member(ground.store, "flood"), await worlds.member(ground.store, "quiet")
    await worlds.accepted(ground.store, flood, 300)
    assert len(await claims(ground, room=100)) == 100
    await worlds.accepted(ground.store, quiet, 5)
    turn = await claims(ground, room=20)
    assert sum(one.tenant_id == quiet.tenant_id for one in turn) == 5


async def test_a_throttled_stream_keeps_to_its_fraction(ground: Ground) -> None:
    """At a tenth of the rate a stream gets a tenth of it, and its neighbours the rest."""
    await execute(ground, "UPDATE cell SET rate_per_second = 100, tokens = 0")
    slow, free = await worlds.member(ground.store, "slow"), await worlds.member(ground.store, "free")
    async with ground.store.step() as step:
        await step.set_limit(slow.transactional, 0.1, 0)
    await worlds.accepted(ground.store, slow, 100)
    await worlds.accepted(ground.store, free, 400)
    got: Counter[TenantId] = Counter()
    began = await now(ground)
    for _ in range(40):
        ground.advance(0.1)
        await wake_stranded(ground.store, ground.cell)
        got.update(one.tenant_id for one in await claims(ground))
    elapsed = (await now(ground) - began).total_seconds()
    bucket = 10  # a second of its own rate may have gathered before
    assert 0.9 * 10 * elapsed - 1 <= got[slow.tenant_id] <= 10 * elapsed + bucket + 1, got
    assert got[free.tenant_id] >= 300


async def test_what_was_suppressed_since_acceptance_is_taken_out(ground: Ground) -> None:
    """Suppression is looked at again at the claim; a message left with nobody is settled, not sent."""
    member = await worlds.member(ground.store)
    await accept(
        ground.store,
        [worlds.submission(member, "a@there.example", "b@there.example"), worlds.submission(member, "b@there.example")],
    )
    async with ground.store.step() as step:
        await step.suppress([Suppression(member.tenant_id, None, "b@there.example", "bounce")])
    (one,) = await claims(ground)
    assert one.to == ("a@there.example",)
    page = await ground.store.of(member.tenant_id).messages(MessageFilter(state="suppressed"), None, 10)
    assert [view.id for view in page.items if view.id != one.message_id] == [view.id for view in page.items]
    assert len(page.items) == 1


async def test_a_handed_message_is_settled_once(ground: Ground) -> None:
    """A second outcome of the same attempt, of any kind, changes nothing."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    (one,) = await claims(ground)
    assert await state(ground, one) == "claimed"
    await settle(ground.store, [Handed(one.attempt_id, "ses-1")])
    late: list[Outcome] = [
        Unknown(one.attempt_id, "late"),
        Refused(one.attempt_id, "late"),
        Retry(one.attempt_id, "late"),
    ]
    for outcome in late:
        await settle(ground.store, [outcome])
    assert await state(ground, one) == "handed"
    reputation = await ground.store.of(member.tenant_id).reputation(member.transactional)
    assert reputation is not None
    assert reputation.handed == 1
    assert await claims(ground) == []


async def test_a_retry_waits_longer_each_time_and_burns_attempts(ground: Ground) -> None:
    """Proven not accepted: the message waits, a moment at first, and comes again with the next number."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    numbers = []
    for _ in range(3):
        (one,) = await claims(ground)
        numbers.append(one.number)
        await settle(ground.store, [Retry(one.attempt_id, "no connection")])
        await wake_stranded(ground.store, ground.cell)
        assert await claims(ground) == []
        ground.advance(60)
        await wake_stranded(ground.store, ground.cell)
    assert numbers == [1, 2, 3]


async def test_a_throttle_burns_no_attempt_and_slows_the_cell(ground: Ground) -> None:
    """SES's throttling is nobody's failure: the message comes again as it was, the cell's rate is cut and recovers."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    (one,) = await claims(ground)
    await settle(ground.store, [Retry(one.attempt_id, "Maximum sending rate exceeded", burned=False, throttled=True)])
    async with ground.store.reading() as step:
        cut = await step.conn.scalar(text("SELECT backoff FROM cell"))
    assert cut == 0.7
    ground.advance(10)
    await wake_stranded(ground.store, ground.cell)
    (again,) = await claims(ground)
    assert (again.message_id, again.number) == (one.message_id, 1)
    async with ground.store.reading() as step:
        assert await step.conn.scalar(text("SELECT backoff FROM cell")) == 1.0


async def test_a_hold_is_named(ground: Ground) -> None:
    """A message that SES would take later waits with the reason why."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    (one,) = await claims(ground)
    await settle(ground.store, [Retry(one.attempt_id, "not verified", hold=Hold.UNVERIFIED, burned=False)])
    view = await ground.store.of(member.tenant_id).message(one.message_id)
    assert view is not None
    assert (view.state, view.hold) == ("waiting", "unverified")


async def test_a_refusal_is_final_and_says_why(ground: Ground) -> None:
    """What SES will never take is settled with SES's words."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    (one,) = await claims(ground)
    await settle(ground.store, [Refused(one.attempt_id, "MessageRejected: no such luck")])
    view = await ground.store.of(member.tenant_id).message(one.message_id)
    assert view is not None
    assert (view.state, view.reason) == ("refused", "MessageRejected: no such luck")


async def test_claims_handed_back_go_again_as_they_were(ground: Ground) -> None:
    """A claim that was not begun in time burns no attempt and is ready at once."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 3)
    first = await claims(ground)
    assert await hand_back(ground.store, [one.attempt_id for one in first]) == 3
    again = await claims(ground)
    assert {(one.message_id, one.number) for one in again} == {(one.message_id, 1) for one in first}
    assert not {one.attempt_id for one in again} & {one.attempt_id for one in first}


async def test_what_a_dead_worker_held_is_unknown_and_never_sent_again(ground: Ground) -> None:
    """An open claim of a process that is gone may have reached SES."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 2)
    held = await claims(ground)
    assert await abandon(ground.store, ground.cell) == 2
    assert [await state(ground, one) for one in held] == ["unknown", "unknown"]
    ground.advance(86_400)
    await wake_stranded(ground.store, ground.cell)
    assert await claims(ground) == []


async def test_an_event_settles_an_unknown(ground: Ground) -> None:
    """Any event with the attempt's tag proves that the mail was handed over; it counts once."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    (one,) = await claims(ground)
    await settle(ground.store, [Unknown(one.attempt_id, "timeout")])
    assert await state(ground, one) == "unknown"
    await ingest(ground.store, ground.cell, [worlds.report("Send", one, "ses-1")])
    view = await ground.store.of(member.tenant_id).message(one.message_id)
    assert view is not None
    assert (view.state, view.ses_id) == ("handed", "ses-1")
    await settle(ground.store, [Handed(one.attempt_id, "ses-1")])
    reputation = await ground.store.of(member.tenant_id).reputation(member.transactional)
    assert reputation is not None
    assert reputation.handed == 1


async def test_the_simulator_never_counts(ground: Ground) -> None:
    """Mail to SES's mailbox simulator takes no place in the sending order."""
    member = await worlds.member(ground.store)
    await accept(ground.store, [worlds.submission(member, "bounce@simulator.amazonses.com", "ann@there.example")])
    ((one, ses_id),) = await worlds.handed(ground.store, ground.cell)
    await ingest(ground.store, ground.cell, [worlds.report("Bounce", one, ses_id, "bounce@simulator.amazonses.com")])
    reputation = await ground.store.of(member.tenant_id).reputation(member.transactional)
    assert reputation is not None
    assert (reputation.handed, reputation.bounced) == (1, 0)
    async with ground.store.step() as step:
        assert await step.conn.scalar(text("SELECT COUNT(*) FROM suppression")) == 0
