"""Counts by bucket and by day: kept as mail goes, by provider, and the same as its recipients say when they are recounted."""

from __future__ import annotations

import random

from sqlalchemy import text

from tenantry.core.claim import Claim
from tenantry.flow.dispatch import wake_stranded
from tenantry.flow.ingest import ingest
from tests import worlds
from tests.conformance.conftest import Ground

DAY = 86_400


async def send(
    ground: Ground, member: worlds.Member, people: list[str], stream: str = "marketing"
) -> list[tuple[Claim, str]]:
    await worlds.accept(ground.store, [worlds.submission(member, one, stream=stream) for one in people])
    await wake_stranded(ground.store, ground.cell)
    return await worlds.handed(ground.store, ground.cell)


async def test_a_day_counts_what_was_sent_on_it(ground: Ground) -> None:
    """A bounce and a complaint belong to the day and provider of their mail's sending, however late they are told."""
    member = await worlds.member(ground.store)
    first = await send(ground, member, [f"p{n}@gmail.com" for n in range(3)] + [f"p{n}@hotmail.com" for n in range(4)])
    ground.advance(DAY)
    await send(ground, member, ["z@there.example"])
    ground.advance(DAY)
    told = {claim.message_id: (claim, ses) for claim, ses in first}
    last = list(told.values())[-1]
    reports = [worlds.report("Bounce", *first[0]), worlds.report("Complaint", *last)]
    await ingest(ground.store, ground.cell, reports * 2)
    await ingest(ground.store, ground.cell, reports)
    days = await ground.store.of(member.tenant_id).mail_days(3)
    assert sorted(one.provider for one in days) == ["gmail", "microsoft", "others"]
    assert {one.provider: tuple(one.counts) for one in days} == {
        "gmail": (3, 0, 1, 0),
        "microsoft": (4, 4, 0, 1),
        "others": (1, 1, 0, 0),
    }
    assert len({one.day for one in days}) == 2
    assert await ground.store.of(member.tenant_id).mail_days(2) == [one for one in days if one.provider == "others"]


async def test_live_counts_are_what_a_recount_gives(ground: Ground) -> None:
    """After mail of many kinds, late, doubled and shuffled reports, the check finds no difference."""
    chance = random.Random(7)
    member, other = await worlds.member(ground.store), await worlds.member(ground.store, "other")
    done = []
    for _ in range(4):
        for whose, stream in ((member, "marketing"), (member, "transactional"), (other, "marketing")):
            people = [
                f"p{chance.random()}@{chance.choice(['gmail.com', 'aol.com', 'x.example', 'simulator.amazonses.com'])}"
                for _ in range(40)
            ]
            done += await send(ground, whose, people, stream)
        ground.advance(DAY / 2)
    reports = [
        worlds.report(chance.choice(["Delivery", "Bounce", "Complaint"]), claim, ses_id)
        for claim, ses_id in done
        for _ in range(chance.choice([1, 1, 2]))
    ]
    chance.shuffle(reports)
    for start in range(0, len(reports), 100):
        await ingest(ground.store, ground.cell, reports[start : start + 100])
    for whose, streams in ((member, 2), (other, 1)):
        checked = await ground.store.of(whose.tenant_id).count_check(7)
        assert checked.differences == ()
        assert 0 < checked.recipients <= 160 * streams
    assert checked.counts > 4


async def test_a_count_that_went_wrong_is_named(ground: Ground) -> None:
    """A bucket or a day that says otherwise than its recipients is told with both figures; another tenant's is not."""
    member, other = await worlds.member(ground.store), await worlds.member(ground.store, "other")
    for whose in (member, other):
        await send(ground, whose, [f"p{n}@gmx.de" for n in range(60)])
    async with ground.store.step() as step:
        wrong = {"stream": step.seam.raw(member.marketing)}
        await step.conn.execute(text("UPDATE mail_day SET bounced = 2 WHERE stream_id = :stream"), wrong)
        await step.conn.execute(text("DELETE FROM bucket WHERE stream_id = :stream AND number = 1"), wrong)
    ground.advance(1)
    checked = await ground.store.of(member.tenant_id).count_check(7)
    bucket, day = checked.differences
    assert (bucket.key.number, bucket.kept.handed, bucket.counted.handed) == (1, 0, 10)
    assert (day.key.provider, day.kept.bounced, day.counted.bounced) == ("gmx", 2, 0)
    assert (await ground.store.of(other.tenant_id).count_check(7)).differences == ()
