"""The store's clock jumps by an hour or a day, forwards or backwards, on both stores: nothing is sent twice.

What a jump may do is said where it does it: forwards while nobody looks, mail expires early; backwards, mail that is due
waits until the clock has come so far again (SQLite's time never goes back: `app/clock.py`).
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from tenantry.core.claim import Claim
from tenantry.core.message import Accepted, MessageState
from tenantry.core.outcome import Handed, Unknown
from tenantry.core.pause import Author, Pause
from tenantry.flow.accept import accept
from tenantry.flow.dispatch import claim, settle, wake_stranded
from tenantry.flow.guard import open_pause
from tenantry.flow.ingest import ingest
from tenantry.flow.sweep import Calm, sweep
from tenantry.ports import AccountReading
from tests import worlds
from tests.conformance.conftest import Ground

HOUR, DAY = 3_600.0, 86_400.0
JUMPS = [HOUR, -HOUR, DAY, -DAY]
SILENCE = timedelta(minutes=15)


def jump(ground: Ground, seconds: float) -> None:
    """Set the store's clock; the monotonic clock of this process knows nothing of it."""
    elapsed = ground.clock.elapsed
    ground.advance(seconds)
    ground.clock.elapsed = elapsed


async def claims(ground: Ground, room: int = 100) -> list[Claim]:
    return list((await claim(ground.store, ground.cell, room)).claims)


async def state(ground: Ground, member: worlds.Member, one: Claim) -> str:
    view = await ground.store.of(member.tenant_id).message(one.message_id)
    assert view is not None
    return view.state


async def hand(ground: Ground, one: Claim) -> None:
    await settle(ground.store, [Handed(one.attempt_id, f"ses-{one.attempt_id}")])


@pytest.mark.parametrize("seconds", JUMPS)
async def test_a_jump_sends_nothing_twice(ground: Ground, seconds: float) -> None:
    """Mail that waits, is claimed, is unknown, or was handed over before the jump is sent once; what expires says so."""
    member, calm = await worlds.member(ground.store), Calm(ground.clock)
    await worlds.accepted(ground.store, member, 8)
    first = await claims(ground, 6)
    on_the_way, lost, *done = first
    await settle(ground.store, [Unknown(lost.attempt_id, "timeout")])
    for one in done:
        await hand(ground, one)
        await ingest(ground.store, ground.cell, [worlds.report("Send", one, f"ses-{one.attempt_id}")])
    await sweep(ground.store, ground.cell, calm=calm)
    jump(ground, seconds)
    sent, expired = Counter(one.message_id for one in first), 0
    for _ in range(5):
        expired += (await sweep(ground.store, ground.cell, calm=calm)).expired
        for one in await claims(ground):
            sent[one.message_id] += 1
            await hand(ground, one)
        ground.advance(1)
    assert await state(ground, member, on_the_way) == "claimed", "five minutes have not passed"
    await hand(ground, on_the_way)  # its answer comes at last
    assert await state(ground, member, on_the_way) == MessageState.HANDED
    assert max(sent.values()) == 1
    assert expired == 0, "nothing has waited as long as it may"
    if seconds < 0:
        jump(ground, -seconds)  # the time is there again
        await wake_stranded(ground.store, ground.cell)
        for one in await claims(ground):
            sent[one.message_id] += 1
    assert (len(sent) + expired, max(sent.values())) == (8, 1)
    states = Counter([await state(ground, member, one) for one in first])
    assert states[MessageState.UNKNOWN] == 1, (
        "what was lost before stays lost until it is heard of, or silence has lasted"
    )


async def test_a_claim_is_stuck_after_minutes_that_passed(ground: Ground) -> None:
    """What nobody settles is given up five minutes after a jump, whatever its claim's age seems to be."""
    member, calm = await worlds.member(ground.store), Calm(ground.clock)
    await worlds.accepted(ground.store, member)
    (one,) = await claims(ground)
    await sweep(ground.store, ground.cell, calm=calm)
    jump(ground, HOUR)
    for _ in range(5):
        assert (await sweep(ground.store, ground.cell, calm=calm)).given_up == 0
        ground.advance(60)
    assert (await sweep(ground.store, ground.cell, calm=calm)).given_up == 1
    assert await state(ground, member, one) == MessageState.UNKNOWN


async def test_mail_of_before_a_jump_expires_after_its_own_time(ground: Ground) -> None:
    """A day forwards: what waited then has its 12 hours all the same, and what came after the jump, too."""
    member, calm = await worlds.member(ground.store), Calm(ground.clock)
    (old,) = await worlds.accepted(ground.store, member)
    await sweep(ground.store, ground.cell, calm=calm)
    jump(ground, DAY)
    await sweep(ground.store, ground.cell, calm=calm)
    ground.advance(60)
    (new,) = await worlds.accepted(ground.store, member)
    ends = {}
    for minute in range(0, 15 * 60, 30):
        await sweep(ground.store, ground.cell, calm=calm)
        for one in (old, new):
            view = await ground.store.of(member.tenant_id).message(one.id)
            assert view is not None
            if view.state == MessageState.EXPIRED:
                ends.setdefault(one.id, minute / 60)
        ground.advance(1_800)
    assert sorted(ends) == sorted([old.id, new.id])
    assert all(12.0 <= hours <= 13.0 for hours in ends.values()), ends


async def test_what_a_jump_expires_says_so(ground: Ground) -> None:
    """A day forwards while nobody looked: the message ends as expired, and its own words say that it was too old."""
    member = await worlds.member(ground.store)
    (mail,) = await worlds.accepted(ground.store, member)
    jump(ground, DAY)
    assert (await sweep(ground.store, ground.cell)).expired == 1
    view = await ground.store.of(member.tenant_id).message(mail.id)
    assert view is not None
    assert (view.state, bool(view.reason)) == (MessageState.EXPIRED, True)


@pytest.mark.parametrize("seconds", [HOUR, DAY, -HOUR])
async def test_a_jump_is_no_silence(ground: Ground, seconds: float) -> None:
    """Unknown mail with a proven feed goes again once silence has lasted by a clock that nobody sets, and is marked then."""
    member, calm = await worlds.member(ground.store), Calm(ground.clock)
    await worlds.accepted(ground.store, member)
    (lost,) = await claims(ground)
    await settle(ground.store, [Unknown(lost.attempt_id, "timeout")])
    ground.advance(1)
    await worlds.accepted(ground.store, member)
    (later,) = await claims(ground)
    await hand(ground, later)
    await ingest(ground.store, ground.cell, [worlds.report("Send", later, f"ses-{later.attempt_id}")])
    await sweep(ground.store, ground.cell, calm=calm)
    jump(ground, seconds)
    for _ in range(14):
        assert (await sweep(ground.store, ground.cell, calm=calm)).resent == 0
        ground.advance(60)
    assert await state(ground, member, lost) == MessageState.UNKNOWN
    if seconds < 0:
        jump(ground, -seconds)
        assert (await sweep(ground.store, ground.cell, calm=calm)).resent == 0
    ground.advance(SILENCE.total_seconds() + 60)
    assert (await sweep(ground.store, ground.cell, calm=calm)).resent == 1
    view = await ground.store.of(member.tenant_id).message(lost.message_id)
    assert view is not None and view.possible_duplicate


@pytest.mark.parametrize("seconds", JUMPS)
async def test_a_key_gives_its_first_answer_for_as_long_as_it_is_promised(ground: Ground, seconds: float) -> None:
    """A jump within the 24 hours, or backwards, changes no answer; one beyond them ends the promise as time would."""
    member = await worlds.member(ground.store)
    (first,) = await accept(ground.store, [worlds.submission(member, key="order-1")])
    jump(ground, seconds)
    (again,) = await accept(ground.store, [worlds.submission(member, key="order-1")])
    assert isinstance(first, Accepted) and isinstance(again, Accepted)
    assert (again.id == first.id) is (seconds < DAY)
    (third,) = await accept(ground.store, [worlds.submission(member, key="order-1")])
    assert isinstance(third, Accepted)
    assert third.id == again.id


@pytest.mark.parametrize("seconds", [-HOUR, -DAY])
async def test_a_clock_that_is_set_back_stops_nobody(ground: Ground, seconds: float) -> None:
    """The rate's tokens are all spent, at a time that is now in the future: mail that comes in goes all the same."""
    member = await worlds.member(ground.store)
    slow = AccountReading(2.0, -1.0, 0.0, True, "HEALTHY")
    async with ground.store.step() as step:
        await step.set_account(ground.cell, slow)
    await worlds.accepted(ground.store, member, 20)
    while await claims(ground):
        pass
    jump(ground, seconds)
    await worlds.accepted(ground.store, member, 5)
    taken = 0
    for _ in range(10):
        taken += len(await claims(ground))
        ground.advance(1)
    assert taken == 5


@pytest.mark.parametrize("seconds", JUMPS)
async def test_a_pause_outlives_a_jump(ground: Ground, seconds: float) -> None:
    """After its acknowledgement nothing of its scope is claimed, whatever the clock does."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 3)
    pause = await open_pause(ground.store, ground.clock, ("stream", member.transactional), Author.OPERATOR, "to look")
    assert isinstance(pause, Pause)
    jump(ground, seconds)
    await worlds.accepted(ground.store, member, 3)
    assert await claims(ground) == []
    assert [one.id for one in await ground.store.fleet(worlds.OPERATOR).pauses(open_only=True)] == [pause.id]
