"""Whether a process lives and can work: who would restart it, or send it work, is told the truth and no secrets."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import cast

import pytest

from tenantry.app.health import (
    BROKEN_SECONDS,
    OUTAGE_SECONDS,
    STUCK_SECONDS,
    Loops,
    Readiness,
    Troubles,
    health_page,
    ready_page,
)
from tenantry.edge.watch import Page
from tenantry.ports import FeedUnavailable, StoreBusy
from tenantry.store.revision import head, is_behind
from tests import worlds
from tests.app.conftest import Desk


def body(page: Page) -> dict[str, object]:
    return cast(dict[str, object], json.loads(page.body))


@pytest.fixture
def clock() -> worlds.FixedClock:
    return worlds.FixedClock()


@pytest.fixture
def loops(clock: worlds.FixedClock) -> Loops:
    return Loops(clock)


def test_a_process_whose_loops_run_lives(loops: Loops, clock: worlds.FixedClock) -> None:
    """Good rounds, and failures that ended, leave nothing to see."""
    for name in ("claim", "settle"):
        loop = loops.watch("main", name)
        loop.began()
        loop.failed(StoreBusy("away"))
        clock.advance(OUTAGE_SECONDS * 2)
        loop.began()
        loop.done()
    page = health_page(loops, "1.2.3")
    assert page.status == 200
    assert body(page) == {"status": "ok", "version": "1.2.3", "loops": 2, "failing": []}


@pytest.mark.parametrize(
    ("error", "patience"), [(ValueError("secret of acme"), BROKEN_SECONDS), (StoreBusy("db.internal"), OUTAGE_SECONDS)]
)
def test_a_loop_that_fails_beyond_patience_is_named(
    loops: Loops, clock: worlds.FixedClock, error: Exception, patience: float
) -> None:
    """It is shown while it fails, makes the answer 503 beyond patience, and never with the words of the error."""
    loop = loops.watch("main", "guard")
    loop.failed(error)
    clock.advance(patience)
    loop.failed(error)
    page = health_page(loops, "1")
    assert (page.status, [one["what"] for one in body(page)["failing"]]) == (200, ["failing"])
    clock.advance(1)
    page = health_page(loops, "1")
    assert page.status == 503
    (shown,) = body(page)["failing"]
    assert (shown["loop"], shown["cell"], shown["failing_seconds"]) == ("guard", "main", patience + 1)
    assert shown["what"] == f"failing for {patience + 1:.0f} s"
    assert str(error).encode() not in page.body


@pytest.mark.parametrize(("name", "status"), [("claim", 503), ("settle", 200), ("partitions", 200)])
def test_a_round_that_never_ends_is_noticed(loops: Loops, clock: worlds.FixedClock, name: str, status: int) -> None:
    """A loop whose rounds are short is stuck after ten minutes in one; others wait for mail for as long as it takes."""
    loops.watch("main", name).began()
    clock.advance(STUCK_SECONDS)
    assert health_page(loops, "1").status == 200
    clock.advance(1)
    page = health_page(loops, "1")
    assert page.status == status
    assert len(body(page)["failing"]) == (status == 503)


async def test_a_process_with_its_database_is_ready(desk: Desk) -> None:
    """Each check is named with ok; the one word beside them is for people."""
    page = await ready_page(Readiness(desk.store, worlds.FixedClock()))
    assert page.status == 200
    assert body(page) == {
        "status": "ready",
        "checks": {"database": "ok", "writes": "ok", "migrations": "ok", "draining": "ok"},
    }


async def test_a_process_that_ends_is_not_ready(desk: Desk) -> None:
    """As soon as it begins to end it asks for no more work, while its database still answers."""
    readiness = Readiness(desk.store, worlds.FixedClock())
    assert (await ready_page(readiness)).status == 200
    readiness.draining = True
    page = await ready_page(readiness)
    assert (page.status, body(page)["checks"]["database"]) == (503, "ok")


async def test_a_database_that_does_not_answer_in_a_second_is_not_ready(desk: Desk) -> None:
    """Probes do not pile up: the one question that waits is answered once, and the process is ready again."""
    clock = worlds.FixedClock()
    readiness = Readiness(desk.store, clock)
    async with AsyncExitStack() as everyone:
        for _ in range(4):  # every reading connection
            await everyone.enter_async_context(desk.store.reading())
        page = await ready_page(readiness)
        assert page.status == 503
        assert body(page)["checks"]["database"] == "no answer within 1 s"
    clock.advance(1)
    assert (await ready_page(readiness)).status == 200


async def test_a_schema_that_is_behind_is_not_ready(desk: Desk) -> None:
    """What to do is said; a second later the new state is seen, and not before, however many ask."""
    clock = worlds.FixedClock()
    readiness = Readiness(desk.store, clock)
    async with desk.store.step() as step:
        await step.run("UPDATE alembic_version SET version_num = '0001'")
    page = await ready_page(readiness)
    assert page.status == 503
    assert "tenantry migrate" in body(page)["checks"]["migrations"]
    async with desk.store.step() as step:
        await step.run("UPDATE alembic_version SET version_num = :head", head=head())
    assert (await ready_page(readiness)).status == 503
    clock.advance(1)
    assert (await ready_page(readiness)).status == 200


async def test_a_database_that_is_none_of_ours_is_not_ready(desk: Desk) -> None:
    """Its error is not shown to whoever asks."""
    async with desk.store.step() as step:
        await step.run("DROP TABLE alembic_version")
    page = await ready_page(Readiness(desk.store, worlds.FixedClock()))
    assert (page.status, body(page)["checks"]["database"]) == (503, "it cannot be read")
    assert b"alembic" not in page.body


def test_only_older_schemas_are_behind() -> None:
    """None at all and an earlier revision of ours are; ours and one of the future are not."""
    assert [is_behind(revision) for revision in (None, "0001", head(), "9999")] == [True, True, False, False]


def test_other_processes_hear_of_loops_that_keep_failing() -> None:
    """Not of one bad round, nor of what somebody's error said; no longer once a round ends well."""
    clock = worlds.FixedClock()
    troubles = Troubles(clock)
    seen = Loops(clock).watch("main", "ingest")
    loop = troubles.of("ingest", seen)
    loop.began()
    loop.failed(FeedUnavailable("ann@there.example"))
    assert troubles.now() is None and seen.failures == 1
    clock.advance(25)
    loop.failed(FeedUnavailable("again"))
    assert troubles.now() == "ingest (FeedUnavailable)"
    loop.done()
    assert troubles.now() is None and seen.failing_since is None
