"""Owns what one process counts of its own work, as Prometheus metrics; leaves the fleet's figures to fleet_metrics.

No label is a tenant, a stream or an address, so that the number of series does not grow with either. The hot paths pay
for one addition a batch; what is measured a message (accept, send, ingest lag) goes into plain lists, since an
observation of the library's own histogram takes 2 µs and one of these 0.15.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tenantry.app.health import Loops
from tenantry.app.observer import CellObserver, DoorObserver
from tenantry.core.event import Report
from tenantry.core.message import Accepted, RefusalCode
from tenantry.core.turn import Ending
from tenantry.flow.accept import Answer
from tenantry.flow.dispatch import Claimed
from tenantry.flow.ingest import Ingested
from tenantry.ports import Clock, Settled

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LAG_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
KINDS = ("Send", "Delivery", "Bounce", "Complaint", "Reject", "DeliveryDelay", "Open", "Click", "Subscription",
         "Rendering Failure")  # fmt: skip
OTHER = "other"  # SES's future words are not ours to make series of
OUTCOMES = ("handed", "retry", "throttled", "refused", "unknown")


class Spread:
    """One series of a histogram in plain lists; only the process's one loop adds to it."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """bounds: the upper ends of its buckets, rising, without infinity."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Add one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_all(self, values: Sequence[float]) -> None:
        """Add many."""
        counts, bounds = self._counts, self._bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self._sum += sum(values)

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Return the cumulative counts by bound, infinity last, and the sum, as Prometheus shows them."""
        names = [*(str(bound) for bound in self._bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self._counts)), strict=True)), self._sum


class Spreads(Collector):
    """A histogram with its series."""

    def __init__(self, registry: CollectorRegistry, name: str, about: str, bounds: Sequence[float]) -> None:
        """Its only label, cell, stands where a series has one."""
        self._name, self._about, self._bounds = name, about, bounds
        self._series: dict[str | None, Spread] = {}
        registry.register(self)

    def of(self, cell: str | None = None) -> Spread:
        """Return the series of this cell, made where it is missing."""
        return self._series.setdefault(cell, Spread(self._bounds))

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        family = HistogramMetricFamily(self._name, self._about, labels=[] if None in self._series else ["cell"])
        for cell, spread in self._series.items():
            family.add_metric([] if cell is None else [cell], *spread.buckets())
        yield family

    def describe(self) -> Iterable[Metric]:
        """See Collector: named without being asked for its counts."""
        return [HistogramMetricFamily(self._name, self._about)]


class Meter(DoorObserver):
    """Everything that a process counts; implements what doors and batcher tell, and hands out one observer a cell."""

    def __init__(self, registry: CollectorRegistry, clock: Clock, version: str) -> None:
        """Register all metrics, and the library's own of process, interpreter and garbage collection."""
        self._clock = clock
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody reads
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        Info("tenantry_build", "The version that runs.", registry=registry).info({"version": version})
        self._accepted = Counter("tenantry_accepted_messages_total", "Messages accepted.", registry=registry)
        self._repeated = Counter(
            "tenantry_repeated_submissions_total", "Submissions answered as an earlier, equal one.", registry=registry
        )
        refused = Counter(
            "tenantry_refused_submissions_total",
            "Submissions refused, and calls that broke, by code.",
            ["code"],
            registry=registry,
        )
        self._refused = {code: refused.labels(code.value) for code in RefusalCode}
        self._accept_seconds = Spreads(
            registry, "tenantry_accept_seconds", "From the decoded submission to its committed answer.", SECONDS
        ).of()
        self._accept_batch = Spreads(
            registry, "tenantry_accept_batch_submissions", "Submissions that share a commit.", SIZES
        ).of()
        self._cells = CellMetrics(registry)

    def instant(self) -> float:
        return self._clock.monotonic()

    def committed(self, began: Sequence[float], answers: Sequence[Answer]) -> None:
        now = self._clock.monotonic()
        self._accept_seconds.add_all([now - instant for instant in began])
        self._accept_batch.add(len(answers))
        accepted = [answer.repeated for answer in answers if isinstance(answer, Accepted)]
        repeated = sum(accepted)
        self._accepted.inc(len(accepted) - repeated)
        if repeated:
            self._repeated.inc(repeated)

    def refused(self, code: RefusalCode) -> None:
        self._refused[code].inc()

    def cell(self, name: str) -> CellMeter:
        """Return the observer of one cell, its series bound."""
        return CellMeter(self._cells, self._clock, name)


class LoopMetrics(Collector):
    """Shows the loops of this process; they themselves count nothing twice."""

    def __init__(self, registry: CollectorRegistry, loops: Loops) -> None:
        self._loops = loops
        registry.register(self)

    def describe(self) -> list[Metric]:
        """See Collector."""
        return list(self._families())

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        failures, failing, done = self._families()
        for loop in self._loops:
            labels = [loop.cell, loop.name]
            failures.add_metric(labels, loop.failures)
            failing.add_metric(labels, loop.failing_seconds)
            if loop.done_at is not None:
                done.add_metric(labels, loop.done_at)
        yield from (failures, failing, done)

    def _families(self) -> tuple[CounterMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
        labels = ["cell", "loop"]
        return (
            CounterMetricFamily("tenantry_loop_failures_total", "Rounds that failed.", labels=labels),
            GaugeMetricFamily(
                "tenantry_loop_failing_seconds", "Since a round failed, with no good one after it; 0: all is well.",
                labels=labels,
            ),
            GaugeMetricFamily(
                "tenantry_loop_last_success_timestamp_seconds", "When a round last ended well.", labels=labels
            ),
        )  # fmt: skip


class CellMetrics:
    """The metrics whose label is a cell."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(name, about, ["cell", *labels], registry=registry)

        def spreads(name: str, about: str, bounds: Sequence[float]) -> Spreads:
            return Spreads(registry, name, about, bounds)

        self.turns = counter("tenantry_turns_total", "Turns, by why they took no more.", "ending")
        self.claims = counter("tenantry_claims_total", "Messages claimed.")
        self.late = counter("tenantry_late_claims_total", "Claims that were not begun in time and went back.")
        self.attempts = counter("tenantry_attempts_total", "Calls to SES, by what they amount to.", "outcome")
        self.events = counter("tenantry_events_total", "Events ingested, by SES's word.", "kind")
        self.repeated = counter("tenantry_duplicate_events_total", "Events that had come before.")
        self.quarantined = counter("tenantry_quarantined_events_total", "Events put aside, by why.", "reason")
        self.in_flight = Gauge("tenantry_sends_in_flight", "Calls to SES under way.", ["cell"], registry=registry)
        self.turn_seconds = spreads("tenantry_turn_seconds", "How long a turn takes.", SECONDS)
        self.turn_claims = spreads("tenantry_turn_claims", "Messages that one turn claims; idle turns left out.", SIZES)
        self.send_seconds = spreads("tenantry_send_seconds", "From the start of a call to SES to its end.", SECONDS)
        self.settle_seconds = spreads("tenantry_settle_seconds", "How long one settling commit takes.", SECONDS)
        self.settle_batch = spreads("tenantry_settle_batch_outcomes", "Outcomes that share a commit.", SIZES)
        self.ingest_batch = spreads("tenantry_ingest_batch_events", "Events that share a commit.", SIZES)
        self.ingest_lag = spreads(
            "tenantry_ingest_lag_seconds", "From the time in an event to its commit here.", LAG_SECONDS
        )


class CellMeter(CellObserver):
    """Counts one cell's work."""

    def __init__(self, metrics: CellMetrics, clock: Clock, name: str) -> None:
        self._clock = clock
        self._turns = {ending: metrics.turns.labels(name, ending.value) for ending in Ending}
        self._claims, self._late = metrics.claims.labels(name), metrics.late.labels(name)
        self._attempts = {outcome: metrics.attempts.labels(name, outcome) for outcome in OUTCOMES}
        self._events = {kind: metrics.events.labels(name, kind) for kind in (*KINDS, OTHER)}
        self._repeated = metrics.repeated.labels(name)
        self._foreign = metrics.quarantined.labels(name, "foreign")
        self._unreadable = metrics.quarantined.labels(name, "unreadable")
        self._turn_seconds, self._turn_claims = metrics.turn_seconds.of(name), metrics.turn_claims.of(name)
        self._send_seconds = metrics.send_seconds.of(name)
        self._settle_seconds, self._settle_batch = metrics.settle_seconds.of(name), metrics.settle_batch.of(name)
        self._ingest_batch, self._ingest_lag = metrics.ingest_batch.of(name), metrics.ingest_lag.of(name)
        self._in_flight = metrics.in_flight.labels(name)

    def in_flight(self, calls: Callable[[], int]) -> None:
        self._in_flight.set_function(calls)

    def turned(self, began: float, claimed: Claimed) -> None:
        self._turn_seconds.add(self._clock.monotonic() - began)
        self._turns[claimed.ending].inc()
        if count := len(claimed.claims):
            self._turn_claims.add(count)
            self._claims.inc(count)

    def late(self, claims: int) -> None:
        self._late.inc(claims)

    def sent(self, began: float) -> None:
        self._send_seconds.add(self._clock.monotonic() - began)

    def settled(self, began: float, settled: Settled) -> None:
        self._settle_seconds.add(self._clock.monotonic() - began)
        retried = settled.retried - settled.throttled
        numbers = (settled.handed, retried, settled.throttled, settled.refused, settled.unknown)
        self._settle_batch.add(sum(numbers))
        for outcome, number in zip(OUTCOMES, numbers, strict=True):
            if number:
                self._attempts[outcome].inc(number)

    def ingested(self, reports: Sequence[Report], done: Ingested, unreadable: int = 0) -> None:
        now = self._clock.wall()
        self._ingest_batch.add(len(reports) + unreadable)
        self._ingest_lag.add_all([max(0.0, (now - one.at).total_seconds()) for one in reports])
        for kind, number in Tally(one.kind for one in reports).items():
            self._events.get(kind, self._events[OTHER]).inc(number)
        if repeated := done.reports - done.new - done.foreign:
            self._repeated.inc(repeated)
        if done.foreign:
            self._foreign.inc(done.foreign)
        if unreadable:
            self._unreadable.inc(unreadable)
