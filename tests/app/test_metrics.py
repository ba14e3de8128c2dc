"""What a process counts: numbers that add up, durations in their buckets, and no series for a tenant."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tenantry.app.fleet_metrics import FLEET, FleetMetrics
from tenantry.app.health import Loops
from tenantry.app.metrics import SECONDS, LoopMetrics, Meter, Spreads
from tenantry.core.ids import MessageId
from tenantry.core.message import Accepted, Refusal, RefusalCode
from tenantry.core.outcome import Unknown
from tenantry.core.pause import Author
from tenantry.core.turn import Ending
from tenantry.flow.accept import Answer
from tenantry.flow.dispatch import Claimed, claim, settle
from tenantry.flow.ingest import Ingested
from tenantry.ports import Settled, StoreBusy
from tests import worlds
from tests.app.conftest import Desk

DIGITS = "0" * 32
YES = Accepted(MessageId(f"msg_{DIGITS}"), "transactional", worlds.NOON, ())


def shown(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """Return what a scraper reads: each sample's value by its name and the values of its labels, in the order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def clock() -> worlds.FixedClock:
    return worlds.FixedClock()


@pytest.fixture
def meter(registry: CollectorRegistry, clock: worlds.FixedClock) -> Meter:
    return Meter(registry, clock, "0.0.test")


@given(st.lists(st.floats(0, 20)))
def test_a_spread_is_the_librarys_own_histogram(values: list[float]) -> None:
    """Adding one by one or many at once shows exactly what an observation each of prometheus_client would."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    spread = Spreads(ours, "x_seconds", "about", SECONDS).of()
    histogram = Histogram("x_seconds", "about", buckets=SECONDS, registry=theirs)
    for value in values[::2]:
        spread.add(value)
    spread.add_all(values[1::2])
    for value in values:
        histogram.observe(value)
    seen, wanted = shown(ours), {name: value for name, value in shown(theirs).items() if "created" not in name[0]}
    assert seen.keys() == wanted.keys()
    assert all(math.isclose(seen[name], wanted[name]) for name in seen)


def test_a_batch_of_answers_is_counted_once(
    meter: Meter, registry: CollectorRegistry, clock: worlds.FixedClock
) -> None:
    """Accepted and repeated submissions have their own numbers; each submission has its own wait."""
    answers: list[Answer] = [YES, YES, YES._replace(repeated=True), Refusal(RefusalCode.NO_RECIPIENTS, "x")]
    early = meter.instant()
    clock.advance(0.5)
    meter.committed([early, early, meter.instant(), meter.instant()], answers)
    seen = shown(registry)
    assert seen["tenantry_accepted_messages_total",] == 2
    assert seen["tenantry_repeated_submissions_total",] == 1
    assert seen["tenantry_accept_seconds_bucket", "0.001"] == 2
    assert seen["tenantry_accept_seconds_bucket", "0.5"] == seen["tenantry_accept_seconds_count",] == 4
    assert seen["tenantry_accept_batch_submissions_sum",] == 4


def test_every_refusal_has_its_series_from_the_start(meter: Meter, registry: CollectorRegistry) -> None:
    """A rate can be taken of the first refusal of a code, since its series was 0 before."""
    assert {name[1] for name in shown(registry) if name[0] == "tenantry_refused_submissions_total"} == set(RefusalCode)
    meter.refused(RefusalCode.BUSY)
    assert shown(registry)["tenantry_refused_submissions_total", "busy"] == 1


async def test_turns_and_calls_add_up(
    meter: Meter, registry: CollectorRegistry, clock: worlds.FixedClock, desk: Desk
) -> None:
    """A turn's claims are counted when it ends, idle turns by their ending; calls under way are asked for when scraped."""
    cell = meter.cell("main")
    await worlds.accepted(desk.store, await worlds.member(desk.store), 3)
    began, calls = clock.monotonic(), [1, 2]
    cell.in_flight(lambda: len(calls))
    claimed = await claim(desk.store, desk.cell, 2)
    cell.turned(began, claimed)
    seen = shown(registry)
    assert seen["tenantry_sends_in_flight", "main"] == seen["tenantry_claims_total", "main"] == 2
    assert seen["tenantry_turns_total", "main", claimed.ending.value] == 1
    clock.advance(0.2)
    cell.sent(began)
    calls.pop()
    cell.late(2)
    cell.turned(began, Claimed((), Ending.NO_MAIL))
    seen = shown(registry)
    assert seen["tenantry_sends_in_flight", "main"] == 1
    assert seen["tenantry_late_claims_total", "main"] == 2
    assert seen["tenantry_turn_claims_count", "main"] == 1
    assert seen["tenantry_turn_seconds_count", "main"] == 2
    assert seen["tenantry_send_seconds_bucket", "main", "0.1"] == 0
    assert seen["tenantry_send_seconds_bucket", "main", "0.25"] == 1


def test_outcomes_are_counted_by_what_they_amount_to(meter: Meter, registry: CollectorRegistry) -> None:
    """A throttle is a retry of its own kind: the outcomes add up to the batch."""
    cell = meter.cell("main")
    cell.settled(0.0, Settled(handed=5, retried=3, refused=1, unknown=2, throttled=2))
    seen = shown(registry)
    outcomes = {name[2]: value for name, value in seen.items() if name[0] == "tenantry_attempts_total"}
    assert outcomes == {"handed": 5, "retry": 1, "throttled": 2, "refused": 1, "unknown": 2}
    assert seen["tenantry_settle_batch_outcomes_sum", "main"] == sum(outcomes.values())


async def test_events_are_counted_by_kind_and_by_how_late_they_are(
    meter: Meter, registry: CollectorRegistry, clock: worlds.FixedClock, desk: Desk
) -> None:
    """Words of SES that are not known yet share one series; a clock that is behind makes no negative lag."""
    await worlds.accepted(desk.store, await worlds.member(desk.store), 1)
    ((one, ses_id),) = await worlds.handed(desk.store, desk.cell)
    late = [
        worlds.report("Send", one, ses_id)._replace(at=clock.at - timedelta(seconds=seconds)) for seconds in (2, -2)
    ]
    odd = late[0]._replace(kind="Teleport")
    meter.cell("main").ingested([*late, odd], Ingested(reports=3, new=1, foreign=1, verdicts=0), unreadable=2)
    seen = shown(registry)
    assert seen["tenantry_events_total", "main", "Send"] == 2
    assert seen["tenantry_events_total", "main", "other"] == 1
    assert seen["tenantry_duplicate_events_total", "main"] == 1
    assert seen["tenantry_quarantined_events_total", "main", "foreign"] == 1
    assert seen["tenantry_quarantined_events_total", "main", "unreadable"] == 2
    assert seen["tenantry_ingest_lag_seconds_bucket", "main", "0.1"] == 1
    assert seen["tenantry_ingest_lag_seconds_sum", "main"] == 4
    assert seen["tenantry_ingest_batch_events_sum", "main"] == 5


def test_loops_show_how_they_fare(registry: CollectorRegistry, clock: worlds.FixedClock) -> None:
    """Failures are counted for ever, the failing time ends with a good round, and the last success has its time."""
    loops = Loops(clock)
    LoopMetrics(registry, loops)
    loop = loops.watch("main", "claim")
    loop.failed(StoreBusy("away"))
    clock.advance(30)
    seen = shown(registry)
    assert seen["tenantry_loop_failures_total", "main", "claim"] == 1
    assert seen["tenantry_loop_failing_seconds", "main", "claim"] == 30
    assert ("tenantry_loop_last_success_timestamp_seconds", "main", "claim") not in seen
    loop.done()
    seen = shown(registry)
    assert seen["tenantry_loop_failing_seconds", "main", "claim"] == 0
    assert seen["tenantry_loop_last_success_timestamp_seconds", "main", "claim"] == clock.at.timestamp()


async def fleet_of(desk: Desk, registry: CollectorRegistry, clock: worlds.FixedClock) -> FleetMetrics:
    metrics = FleetMetrics(registry, desk.store.fleet(worlds.OPERATOR), clock)
    await metrics.refresh()
    return metrics


async def test_the_fleets_figures_are_read_when_asked_for(desk: Desk, registry: CollectorRegistry) -> None:
    """Every figure that SQLite has is there for the cell, zeros included, and what waits and is unknown is counted."""
    member = await worlds.member(desk.store)
    await worlds.accepted(desk.store, member, 4)
    (one,) = (await claim(desk.store, desk.cell, 1)).claims
    await settle(desk.store, [Unknown(one.attempt_id, "cut")])
    async with desk.store.step(lock=desk.cell) as step:
        await step.open_pause(("stream", member.marketing), Author.OPERATOR, "a test", None)
    await fleet_of(desk, registry, worlds.FixedClock())
    seen = shown(registry)
    of_others = {"connections", "transaction", "partitions"}  # PostgreSQL's
    lacking = {name for name in FLEET if name not in {sample[0] for sample in seen}}
    assert {name for name in lacking if not any(word in name for word in of_others)} == {"tenantry_feed_lag_seconds"}
    assert seen["tenantry_waiting_messages", "main", "no", "transactional"] == 3
    assert seen["tenantry_waiting_messages", "main", "yes", "marketing"] == 0
    assert seen["tenantry_unknown_messages",] == 1
    assert seen["tenantry_open_pauses", "operator", "opening"] == 1
    assert seen["tenantry_open_pauses", "guard", "fenced"] == 0
    assert seen["tenantry_cell_quota_recipients", "main"] == math.inf
    assert seen["tenantry_unbalanced_tenants",] == 0
    assert seen["tenantry_conservation_checked_messages",] == 4


async def test_no_series_grows_with_the_tenants(desk: Desk, registry: CollectorRegistry, meter: Meter) -> None:
    """With another tenant, and mail of both, there are the same series as before."""
    meter.cell("main")
    clock = worlds.FixedClock()
    await worlds.accepted(desk.store, await worlds.member(desk.store), 2)
    fleet = await fleet_of(desk, registry, clock)
    before = set(shown(registry))
    await worlds.accepted(desk.store, await worlds.member(desk.store, "other"), 2, stream="marketing")
    clock.advance(60)
    await fleet.refresh()
    assert set(shown(registry)) == before
    assert shown(registry)["tenantry_waiting_messages", "main", "no", "marketing"] == 2


async def test_many_scrapes_cost_one_look(desk: Desk, registry: CollectorRegistry) -> None:
    """Within some seconds nobody looks again; a lost recipient is seen at the next look."""
    clock = worlds.FixedClock()
    member = await worlds.member(desk.store)
    await worlds.accepted(desk.store, member, 2)
    fleet = await fleet_of(desk, registry, clock)
    async with desk.store.step() as step:
        await step.run("DELETE FROM waiting")
    await fleet.refresh()
    assert shown(registry)["tenantry_waiting_messages", "main", "no", "transactional"] == 2
    clock.advance(5.1)
    await fleet.refresh()
    seen = shown(registry)
    assert seen["tenantry_waiting_messages", "main", "no", "transactional"] == 0
    assert (seen["tenantry_unbalanced_tenants",], seen["tenantry_unbalanced_recipients",]) == (1, 2)


async def test_old_figures_are_not_shown_as_new(desk: Desk, registry: CollectorRegistry) -> None:
    """When the database cannot be read its figures are gone from the page, and the failure is counted."""
    clock = worlds.FixedClock()
    fleet = await fleet_of(desk, registry, clock)
    assert ("tenantry_unknown_messages",) in shown(registry)
    async with desk.store.step() as step:
        await step.run("ALTER TABLE quarantine RENAME TO elsewhere")
    clock.advance(60)
    await fleet.refresh()
    seen = shown(registry)
    assert not any(name in seen for name in ((one,) for one in FLEET))
    assert seen["tenantry_fleet_read_failures_total",] == 1
    async with desk.store.step() as step:
        await step.run("ALTER TABLE elsewhere RENAME TO quarantine")
    await fleet.refresh()
    assert ("tenantry_unknown_messages",) in shown(registry)


def test_metrics_have_names_of_the_trade(registry: CollectorRegistry, meter: Meter) -> None:
    """Each of ours begins with tenantry_, no label is a tenant, a stream or an address, and each says what it is."""
    meter.cell("main")
    LoopMetrics(registry, Loops(worlds.FixedClock()))
    allowed = {"cell", "stream_class", "outcome", "code", "loop", "kind", "ending", "reason", "held", "author", "state"}
    for name, (about, *labels) in FLEET.items():
        assert name.startswith("tenantry_") and about.endswith(".") and set(labels) <= allowed, name
    for family in registry.collect():
        if family.name.startswith(("python_", "process_")):
            continue
        assert family.name.startswith("tenantry_") and family.documentation.endswith("."), family.name
        for sample in family.samples:
            assert set(sample.labels) <= allowed | {"le", "version"}, sample
