"""The guard on both stores: verdicts stand, pauses hold from the moment they are opened, ramps climb on clean stages."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy import text

from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.outcome import Handed
from tenantry.core.pause import Author, Pause, PauseState, ScopeId
from tenantry.core.policy import Action
from tenantry.flow.dispatch import claim, settle, wake_stranded
from tenantry.flow.guard import Ramp, act, climb, drain, end_pause, open_pause
from tenantry.flow.ingest import ingest
from tests import worlds
from tests.conformance.conftest import Ground

PEOPLE = itertools.count()  # each mail to somebody new: a bounce would keep the next one back


async def mail(ground: Ground, member: worlds.Member, count: int, bad: int, kind: str = "Bounce") -> int:
    """Send count marketing mails of which the first bad ones bounce or complain; return the verdicts written."""
    people = [f"p{next(PEOPLE)}@there.example" for _ in range(count)]
    await worlds.accept(ground.store, [worlds.submission(member, one, stream="marketing") for one in people])
    await wake_stranded(ground.store, ground.cell)
    done = await worlds.handed(ground.store, ground.cell)
    reports = [
        worlds.report(kind if place < bad else "Delivery", one, ses_id) for place, (one, ses_id) in enumerate(done)
    ]
    return (await ingest(ground.store, ground.cell, reports)).verdicts


async def opened(ground: Ground, kind: str, scope: ScopeId, author: Author = Author.OPERATOR) -> Pause:
    pause = await open_pause(ground.store, ground.clock, (kind, scope), author, "a reason")
    assert isinstance(pause, Pause)
    return pause


async def claimed(ground: Ground) -> int:
    await wake_stranded(ground.store, ground.cell)
    return len((await claim(ground.store, ground.cell, 1_000)).claims)


async def end(ground: Ground, pause: Pause) -> None:
    """End a pause all the way, as provision does once SES shows sending enabled."""
    assert not isinstance(await end_pause(ground.store, pause.id, Author.OPERATOR, "mended"), Refusal)
    async with ground.store.step() as step:
        now = {"now": step.seam.raw(step.now)}
        await step.conn.execute(text("UPDATE pause SET ended_at = :now WHERE end_reason IS NOT NULL"), now)
    ground.advance(1)  # a stream on a ramp gathers its first tokens


async def test_a_rotten_list_is_paused_with_its_numbers(ground: Ground) -> None:
    """Evidence over the bar opens the guard's pause on that stream, once, and says why in numbers."""
    member = await worlds.member(ground.store)
    assert await mail(ground, member, 40, bad=20) == 1
    paused, _ = await act(ground.store, ground.cell)
    assert await act(ground.store, ground.cell) == ([], [])
    (pause,) = paused
    assert (pause.scope_id, pause.author) == (member.marketing, Author.GUARD)
    assert "20 of 40 recipients bounced" in pause.reason
    assert pause.verdict_id is not None
    verdict = await ground.store.of(member.tenant_id).verdict(pause.verdict_id)
    assert verdict is not None
    assert (verdict.n, verdict.x, verdict.line, verdict.pause_id) == (40, 20, 0.05, pause.id)


async def test_a_healthy_stream_is_left_alone(ground: Ground) -> None:
    """A rate below the line never gives a verdict, however often it is looked at."""
    member = await worlds.member(ground.store)
    for _ in range(6):
        assert await mail(ground, member, 50, bad=1) == 0
    assert await act(ground.store, ground.cell) == ([], [])


async def test_observe_writes_down_and_never_acts(ground: Ground) -> None:
    """Under the policy observe a crossing is stored and nobody is stopped."""
    member = await worlds.member(ground.store)
    async with ground.store.step() as step:
        await step.conn.execute(text("UPDATE stream SET policy = 'observe'"))
    assert await mail(ground, member, 40, bad=20) == 1
    assert await act(ground.store, ground.cell) == ([], [])
    reputation = await ground.store.of(member.tenant_id).reputation(member.marketing)
    assert reputation is not None
    assert [verdict.action for verdict in reputation.verdicts] == ["pause"]


async def test_complaints_pause_only_from_two_domains(ground: Ground) -> None:
    """One domain's people, or one provider's mistake, is not enough evidence against a tenant."""
    member = await worlds.member(ground.store)
    assert await mail(ground, member, 60, bad=10, kind="Complaint") == 0


async def test_weaker_evidence_throttles(ground: Ground) -> None:
    """Between the two bars a stream is slowed to a tenth of the rate, not stopped."""
    member = await worlds.member(ground.store)
    assert await mail(ground, member, 50, bad=10) == 1
    paused, throttled = await act(ground.store, ground.cell)
    assert (paused, throttled) == ([], [member.marketing])
    stream = await ground.store.of(member.tenant_id).stream("marketing")
    assert stream is not None
    assert (stream.limit, stream.ramp_stage) == (0.1, 0)


@pytest.mark.parametrize("kind", ["stream", "tenant", "pool", "cell"])
async def test_after_a_pause_is_acknowledged_nothing_is_claimed_for_it(ground: Ground, kind: str) -> None:
    """A pause of any scope holds its mail and nobody else's, until it has ended."""
    member, other = await worlds.member(ground.store), await worlds.member(ground.store, "other")
    stream = await ground.store.of(member.tenant_id).stream("marketing")
    assert stream is not None
    await worlds.accepted(ground.store, member, 5, stream="marketing")
    await worlds.accepted(ground.store, other, 5)
    scopes: dict[str, ScopeId] = {
        "stream": stream.id,
        "tenant": member.tenant_id,
        "pool": stream.pool_id,
        "cell": ground.cell,
    }
    pause = await opened(ground, kind, scopes[kind])
    assert pause.state is PauseState.LOCAL
    assert await claimed(ground) == (0 if kind in ("pool", "cell") else 5)
    await end(ground, pause)
    assert await claimed(ground) == (10 if kind in ("pool", "cell") else 5)


async def test_a_pause_of_one_stream_leaves_the_tenants_other_alone(ground: Ground) -> None:
    """Marketing's pause never stops transactional mail."""
    member = await worlds.member(ground.store)
    await opened(ground, "stream", member.marketing)
    await worlds.accepted(ground.store, member, 5, stream="marketing")
    await worlds.accepted(ground.store, member, 5)
    assert await claimed(ground) == 5


async def test_a_pause_waits_for_older_claims_and_not_longer_than_their_deadline(ground: Ground) -> None:
    """It is acknowledged when no older claim is open, or when their deadline has passed."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 2, stream="marketing")
    first, second = (await claim(ground.store, ground.cell, 10)).claims
    async with ground.store.step(lock=ground.cell) as step:
        pause = await step.open_pause(("stream", member.marketing), Author.OPERATOR, "a reason", None)
    assert pause is not None
    assert not await drain(ground.store, pause.id)
    await settle(ground.store, [Handed(first.attempt_id, "ses-1")])
    assert not await drain(ground.store, pause.id)
    ground.advance(11)
    assert await drain(ground.store, pause.id)
    assert second.attempt_id


async def test_authors_are_independent(ground: Ground) -> None:
    """Sending needs all clear: ending one author's pause leaves the other's in force."""
    member = await worlds.member(ground.store)
    ours = await opened(ground, "stream", member.marketing)
    theirs = await opened(ground, "stream", member.marketing, Author.GUARD)
    assert (await opened(ground, "stream", member.marketing)).id == ours.id
    await worlds.accepted(ground.store, member, 1, stream="marketing")
    await end(ground, ours)
    assert await claimed(ground) == 0
    await end(ground, theirs)
    assert await claimed(ground) == 1


async def test_the_guard_cannot_end_an_operators_pause(ground: Ground) -> None:
    """Each author ends its own; only an operator may end another's."""
    member = await worlds.member(ground.store)
    pause = await opened(ground, "stream", member.marketing)
    refused = await end_pause(ground.store, pause.id, Author.GUARD, "no")
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.FORBIDDEN
    await end(ground, pause)
    again = await end_pause(ground.store, pause.id, Author.OPERATOR, "twice")
    assert isinstance(again, Refusal)
    assert again.code is RefusalCode.CONFLICT


async def test_mail_is_held_until_ses_is_on_again(ground: Ground) -> None:
    """Ending begins in SES: until SES shows sending enabled the lanes stay shut."""
    member = await worlds.member(ground.store)
    pause = await opened(ground, "stream", member.marketing)
    await worlds.accepted(ground.store, member, 1, stream="marketing")
    await end_pause(ground.store, pause.id, Author.OPERATOR, "mended")
    assert await claimed(ground) == 0
    await end(ground, pause)
    assert await claimed(ground) == 1


async def test_reinstatement_counts_from_zero_on_a_ramp(ground: Ground) -> None:
    """After the guard's pause a stream comes back at a tenth, and climbs with each clean stage to its full rate."""
    member = await worlds.member(ground.store)
    await mail(ground, member, 40, bad=20)
    ((pause,), _) = await act(ground.store, ground.cell)
    await end(ground, pause)
    reputation = await ground.store.of(member.tenant_id).reputation(member.marketing)
    assert reputation is not None
    assert (reputation.cohort, reputation.handed, reputation.limit) == (1, 0, 0.1)
    limits: list[float | None] = []
    for _ in range(4):
        assert await climb(ground.store, ground.cell, Ramp(60.0)) == [], "a stage takes its time"
        assert await mail(ground, member, 5, bad=0) == 0
        ground.advance(61)
        assert await climb(ground.store, ground.cell, Ramp(60.0)) == [member.marketing], limits
        stream = await ground.store.of(member.tenant_id).stream("marketing")
        assert stream is not None
        limits.append(stream.limit)
    assert limits == [0.25, 0.5, 1.0, None]


async def test_a_new_stage_does_not_count_the_time_before_it(ground: Ground) -> None:
    """What a lane gathered at the old limit stays what it was: a stage is no flood at its beginning."""
    member = await worlds.member(ground.store)
    async with ground.store.step() as step:
        await step.conn.execute(text("UPDATE cell SET rate_per_second = 100, tokens = 25"))
        await step.set_limit(member.marketing, 0.1, 0)
    ground.advance(60)
    async with ground.store.step() as step:
        await step.set_limit(member.marketing, 1.0, 3)
        began = step.now
    await worlds.accepted(ground.store, member, 20, stream="marketing")
    taken = await claimed(ground)
    async with ground.store.reading() as step:
        assert taken <= 100 * (step.now - began).total_seconds() + 1


async def test_a_relapse_pauses_again(ground: Ground) -> None:
    """On probation new evidence stops the stream again: the old cohort is not needed for it."""
    member = await worlds.member(ground.store)
    await mail(ground, member, 40, bad=20)
    ((pause,), _) = await act(ground.store, ground.cell)
    await end(ground, pause)
    async with ground.store.step() as step:
        await step.set_limit(member.marketing, 1.0, 3)
    ground.advance(1)
    await mail(ground, member, 40, bad=40)
    ((again,), _) = await act(ground.store, ground.cell)
    assert again.id != pause.id


async def test_a_verdict_of_an_older_cohort_is_not_acted_on(ground: Ground) -> None:
    """Whoever was reinstated meanwhile is not stopped by what was before."""
    member = await worlds.member(ground.store)
    await mail(ground, member, 40, bad=20)
    async with ground.store.step() as step:
        await step.begin_cohort(member.marketing, 0.1, 0)
    assert await act(ground.store, ground.cell) == ([], [])


async def test_the_worst_of_a_stage_is_known(ground: Ground) -> None:
    """The ramp asks what verdicts since a stage began ask for."""
    member = await worlds.member(ground.store)
    async with ground.store.reading() as step:
        since = step.now
    ground.advance(1)
    await mail(ground, member, 40, bad=20)
    async with ground.store.reading() as step:
        assert await step.worst_since(member.marketing, 0, since) is Action.PAUSE
        assert await step.worst_since(member.marketing, 0, step.now) is Action.KEEP


async def test_what_does_not_exist_cannot_be_paused(ground: Ground) -> None:
    """A random id is refused by name and opens nothing."""
    stranger = worlds.StreamId("str_" + "e" * 32)
    refused = await open_pause(ground.store, ground.clock, ("stream", stranger), Author.OPERATOR, "no")
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.NOT_FOUND
