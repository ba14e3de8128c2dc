"""Each flow is all or nothing: a step that fails at its commit leaves the world as it was, and doing it again is enough."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from tenantry.core.claim import Claim
from tenantry.core.ids import CellId
from tenantry.core.message import Refusal
from tenantry.core.outcome import Handed, Retry, Unknown
from tenantry.core.pause import Author, PauseState
from tenantry.flow.dispatch import abandon, claim, hand_back, settle
from tenantry.flow.guard import Ramp, act, climb, drain_all, end_pause, open_pause
from tenantry.flow.ingest import ingest
from tenantry.ports import StoreBusy
from tenantry.store.engine import Opening, open_store
from tenantry.store.vault import Vault
from tests import worlds

TABLES = ("message", "recipient", "waiting", "attempt", "lane", "wake", "cell", "stream", "bucket", "event")
TABLES += ("suppression", "verdict", "pause", "quarantine")


@dataclass
class Scene:
    """A store that fails when told to, with its cell, its clock and one tenant."""

    failing: worlds.FailingStore
    cell: CellId
    clock: worlds.FixedClock
    member: worlds.Member

    async def everything(self) -> dict[str, list[object]]:
        """Return all rows that flows write."""
        async with self.failing.real.reading() as step:
            found = {
                table: (await step.conn.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2"))).all() for table in TABLES
            }
        return {table: [tuple(row) for row in rows] for table, rows in found.items()}

    async def claims(self, count: int, stream: str | None = None) -> list[Claim]:
        await worlds.accepted(self.failing.real, self.member, count, stream=stream)
        return list((await claim(self.failing.real, self.cell, 100)).claims)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    clock = worlds.FixedClock()
    store = await open_store(Opening(f"sqlite:///{tmp_path}/t.db", Vault([Vault.new_key()]), clock.wall))
    cell = await worlds.cell(store)
    yield Scene(worlds.FailingStore(store), cell, clock, await worlds.member(store))
    await store.close()


DOWN = StoreBusy("the power went")


async def test_a_turn_that_fails_takes_nothing(scene: Scene) -> None:
    """Neither messages nor credit are gone, and the next turn takes the same mail with the same numbers."""
    await worlds.accepted(scene.failing.real, scene.member, 5)
    before = await scene.everything()
    with pytest.raises(StoreBusy):
        await claim(scene.failing.next_fails(DOWN), scene.cell, 100)
    assert await scene.everything() == before
    again = (await claim(scene.failing.real, scene.cell, 100)).claims
    assert [one.number for one in again] == [1] * 5


async def test_settling_that_fails_settles_nothing(scene: Scene) -> None:
    """Every outcome of the commit is still to be written; written then, each counts once."""
    first, second, third = await scene.claims(3)
    outcomes = [Handed(first.attempt_id, "ses-1"), Retry(second.attempt_id, "later"), Unknown(third.attempt_id, "cut")]
    before = await scene.everything()
    with pytest.raises(StoreBusy):
        await settle(scene.failing.next_fails(DOWN), outcomes)
    assert await scene.everything() == before
    await settle(scene.failing.real, outcomes)
    async with scene.failing.real.reading() as step:
        states = (await step.conn.execute(text("SELECT state FROM message ORDER BY id"))).scalars().all()
        assert states == ["handed", "waiting", "unknown"]
        assert await step.conn.scalar(text("SELECT SUM(handed) FROM bucket")) == 1


async def test_going_back_that_fails_leaves_the_claims(scene: Scene) -> None:
    """Claims stay open until they are really back; what nobody gives back is unknown, not lost."""
    claims = await scene.claims(2)
    before = await scene.everything()
    for flow in (
        lambda store: hand_back(store, [one.attempt_id for one in claims]),
        lambda store: abandon(store, scene.cell),
    ):
        with pytest.raises(StoreBusy):
            await flow(scene.failing.next_fails(DOWN))
        assert await scene.everything() == before
    assert await abandon(scene.failing.real, scene.cell) == 2


async def test_a_batch_of_events_that_fails_leaves_no_trace(scene: Scene) -> None:
    """Facts, counts, suppressions and verdicts come together or not at all, and a second try is the first."""
    await worlds.accepted(scene.failing.real, scene.member, 40, stream="marketing")
    done = await worlds.handed(scene.failing.real, scene.cell)
    reports = [worlds.report("Bounce", one, ses_id) for one, ses_id in done]
    before = await scene.everything()
    with pytest.raises(StoreBusy):
        await ingest(scene.failing.next_fails(DOWN), scene.cell, reports, [("{", "broken")])
    assert await scene.everything() == before
    assert (await ingest(scene.failing.real, scene.cell, reports)).verdicts == 1
    async with scene.failing.real.reading() as step:
        assert await step.conn.scalar(text("SELECT SUM(bounced) FROM bucket")) == 40


async def test_a_guard_that_dies_is_due_again_and_pauses_once(scene: Scene) -> None:
    """A crash between verdict and pause leaves the verdict due: the next guard opens the pause, and no other does."""
    await worlds.accepted(scene.failing.real, scene.member, 40, stream="marketing")
    done = await worlds.handed(scene.failing.real, scene.cell)
    await ingest(scene.failing.real, scene.cell, [worlds.report("Bounce", one, ses_id) for one, ses_id in done])
    before = await scene.everything()
    with pytest.raises(StoreBusy):
        await act(scene.failing.next_fails(DOWN), scene.cell)
    assert await scene.everything() == before
    ((pause,), _) = await act(scene.failing.real, scene.cell)
    assert pause.author is Author.GUARD
    assert await act(scene.failing.real, scene.cell) == ([], [])


async def test_a_pause_that_was_opened_and_not_acknowledged_is_finished_by_others(scene: Scene) -> None:
    """The opener dies after its first commit: the pause holds already, and another process acknowledges it."""
    scope = ("stream", scene.member.marketing)
    with pytest.raises(StoreBusy):
        await open_pause(scene.failing.next_fails(None, DOWN), scene.clock, scope, Author.OPERATOR, "stop")
    await worlds.accepted(scene.failing.real, scene.member, 3, stream="marketing")
    assert not (await claim(scene.failing.real, scene.cell, 10)).claims
    (pause_id,) = await drain_all(scene.failing.real, scene.cell)
    async with scene.failing.real.reading() as step:
        pause = await step.pause(pause_id)
    assert pause is not None
    assert pause.state is PauseState.LOCAL


async def test_an_end_that_fails_ends_nothing(scene: Scene) -> None:
    """A stream is not half reinstated: the new cohort, its limit and the pause's end belong together."""
    await worlds.accepted(scene.failing.real, scene.member, 40, stream="marketing")
    done = await worlds.handed(scene.failing.real, scene.cell)
    await ingest(scene.failing.real, scene.cell, [worlds.report("Bounce", one, ses_id) for one, ses_id in done])
    ((pause,), _) = await act(scene.failing.real, scene.cell)
    before = await scene.everything()
    with pytest.raises(StoreBusy):
        await end_pause(scene.failing.next_fails(DOWN), pause.id, Author.OPERATOR, "mended")
    assert await scene.everything() == before
    for _ in range(2):  # asking twice begins one cohort
        assert not isinstance(await end_pause(scene.failing.real, pause.id, Author.OPERATOR, "mended"), Refusal)
    stream = await scene.failing.real.of(scene.member.tenant_id).stream("marketing")
    assert stream is not None
    assert stream.cohort == 1


async def test_a_climb_that_fails_leaves_the_stage(scene: Scene) -> None:
    """A stream's ramp moves by whole stages, once each."""
    real = scene.failing.real
    async with real.step() as step:
        await step.set_limit(scene.member.marketing, 0.1, 0)
    scene.clock.advance(10)
    await worlds.accepted(real, scene.member, 3, stream="marketing")
    assert await worlds.handed(real, scene.cell)
    scene.clock.advance(3_600)
    before = await scene.everything()
    with pytest.raises(StoreBusy):
        await climb(scene.failing.next_fails(DOWN), scene.cell, Ramp(60.0))
    assert await scene.everything() == before
    assert await climb(real, scene.cell, Ramp(60.0)) == [scene.member.marketing]
    assert await climb(real, scene.cell, Ramp(60.0)) == []
