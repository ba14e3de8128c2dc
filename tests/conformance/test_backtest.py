"""Backtests on both stores: a replay of what is stored ends as the guard did, and says what a policy had saved or spoiled."""

from __future__ import annotations

from sqlalchemy import text

from tenantry.core.backtest import BASELINES, replay
from tenantry.core.policy import POLICIES, LineKind
from tenantry.flow.dispatch import wake_stranded
from tenantry.flow.ingest import ingest
from tests import worlds
from tests.conformance.conftest import Ground


async def mail(ground: Ground, member: worlds.Member, start: int, count: int, bad: int, kind: str = "Bounce") -> None:
    """Send to people with these numbers, of whom the first bad ones bounce a minute later."""
    people = [f"p{start + n}@d{n % 3}.example" for n in range(count)]
    await worlds.accept(ground.store, [worlds.submission(member, one, stream="marketing") for one in people])
    await wake_stranded(ground.store, ground.cell)
    done = await worlds.handed(ground.store, ground.cell)
    ground.advance(60)
    await ingest(ground.store, ground.cell, [worlds.report(kind, *one) for one in done[:bad]])


async def test_a_replay_under_the_policy_in_force_ends_as_the_guard_did(ground: Ground) -> None:
    """It pauses on the block of the stored verdict, with the same words; the mail sent later is what it had saved."""
    member = await worlds.member(ground.store)
    await mail(ground, member, 0, 50, bad=1)
    await mail(ground, member, 100, 50, bad=25)
    ground.advance(3_600)
    await mail(ground, member, 200, 100, bad=40)
    (history,) = [one for one in await ground.store.of(member.tenant_id).histories(28) if one.stream == "marketing"]
    shown = await ground.store.of(member.tenant_id).reputation(member.marketing)
    assert shown is not None
    told = replay(history, POLICIES["standard"])
    assert told.paused_at is not None
    assert (told.before, told.after, told.bad_before, told.bad_after, told.wrong) == (100, 100, 26, 40, False)
    assert any(one.action == "pause" and one.block_start == 50 for one in shown.verdicts)
    assert "recipients bounced" in told.words
    assert all(replay(history, one).paused_at is None for one in BASELINES if one.lines[0].min_recipients == 1_000)


async def test_a_healthy_stream_is_left_alone_by_evidence_and_not_by_every_ratio(ground: Ground) -> None:
    """A small unlucky start is forgiven by the evidence; a policy that stops it there is told as wrong."""
    member = await worlds.member(ground.store)
    await mail(ground, member, 0, 50, bad=3)
    ground.advance(3_600)
    await mail(ground, member, 100, 250, bad=2)
    (history,) = [one for one in await ground.store.of(member.tenant_id).histories(28) if one.stream == "marketing"]
    assert replay(history, POLICIES["standard"]).paused_at is None
    hasty = next(one for one in BASELINES if one.name == "warn-4-suspend-8")
    assert replay(history, hasty).paused_at is None  # it waits for 200 recipients
    assert len(history.bad) == 5
    assert {one.kind for one in history.bad} == {LineKind.BOUNCE}


async def test_a_history_holds_a_complaint_once_and_nobody_elses(ground: Ground) -> None:
    """What replays judge is what the guard counted: a message's complaint once, of this tenant alone."""
    member, other = await worlds.member(ground.store), await worlds.member(ground.store, "other")
    await mail(ground, member, 0, 20, bad=4, kind="Complaint")
    await mail(ground, other, 0, 20, bad=7, kind="Complaint")
    async with ground.store.reading() as step:
        counted = await step.conn.scalar(text("SELECT SUM(complained) FROM bucket"))
    histories = await ground.store.of(member.tenant_id).histories(28)
    assert sum(len(one.bad) for one in histories) == 4
    assert counted == 11
    assert {one.kind for history in histories for one in history.bad} == {LineKind.COMPLAINT}
