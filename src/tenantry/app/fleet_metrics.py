"""Owns the fleet's figures as Prometheus metrics: read from the store when somebody scrapes, kept for some seconds.

Whichever process is asked reads them, so that they are there as long as one process is; in a query take `max by` over the
instances, not the sum. A look reads queues, open claims, pauses and cells, which costs about 0.25 s a million waiting
messages, and one portion of the conservation check, which costs 0.2 s (store/conservation.py says why portions). It is
bounded three ways: one look at a time however many ask; a scrape waits for it for a few seconds and then says that it has
no news; and the next one begins only after a rest of twenty times what this one took.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from math import inf

import structlog
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tenantry.core.diagnosis import HEALTHY, SILENT_WORKER
from tenantry.core.figures import CellFigures, DatabaseFigures, Figures
from tenantry.core.ids import MessageId, TenantId
from tenantry.core.pause import Author, PauseState
from tenantry.core.tenant import StreamClass
from tenantry.flow.examine import clock_difference
from tenantry.ports import Clock, FleetStore

KEPT_SECONDS = 5.0
WAIT_SECONDS = 5.0  # Prometheus gives a scrape 10
REST = 20.0  # times what a look took


@dataclass(slots=True)
class Walk:
    """The conservation check's walk over the last day, over and over."""

    before: MessageId | None = None
    messages: int = 0
    found: dict[TenantId, int] = field(default_factory=dict)
    whole: Mapping[TenantId, int] = field(default_factory=dict)  # what the last whole walk found
    ended_at: datetime | None = None

    async def go_on(self, fleet: FleetStore, now: datetime) -> None:
        """Check one more portion."""
        portion = await fleet.balance(self.before)
        self.messages += portion.messages
        for tenant, recipients in portion.differences.items():
            self.found[tenant] = self.found.get(tenant, 0) + recipients
        self.before = portion.before
        if self.before is None:
            self.whole, self.ended_at, self.found = self.found, now, {}

    @property
    def differences(self) -> Mapping[TenantId, int]:
        """The tenants that do not balance, of the last whole walk and the present one."""
        return {**self.whole, **self.found}


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look found, and what it took."""

    figures: Figures
    clock_seconds: float
    seconds: float
    at: float  # monotonic, when it ended


class FleetMetrics(Collector):
    """Reads the fleet's figures for whoever scrapes."""

    def __init__(self, registry: CollectorRegistry, fleet: FleetStore, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._walk = Walk()
        self._look: _Look | None = None
        self._fresh = False
        self._looking: asyncio.Task[_Look] | None = None
        self._failed = Counter(
            "tenantry_fleet_read_failures_total", "Looks at the fleet that failed or took too long.", registry=registry
        )
        self._log = structlog.get_logger(loop="metrics")
        registry.register(self)

    async def refresh(self) -> None:
        """Look again where the last look is old; never raises, and takes a few seconds at most."""
        if self._look is not None and self._clock.monotonic() - self._look.at < max(
            KEPT_SECONDS, REST * self._look.seconds
        ):
            return
        if self._looking is None:
            self._looking = asyncio.create_task(self._see())
        done, _ = await asyncio.wait({self._looking}, timeout=WAIT_SECONDS)
        if not done:
            self._no_news("it takes too long")
            return
        asked, self._looking = self._looking, None
        if asked.exception() is not None:
            self._no_news(str(asked.exception()))
            return
        self._look, self._fresh = asked.result(), True

    def _no_news(self, why: str) -> None:
        self._fresh = False
        self._failed.inc()
        self._log.warning("the fleet could not be read", error=why)

    async def _see(self) -> _Look:
        began = self._clock.monotonic()
        figures = await self._fleet.figures()
        await self._walk.go_on(self._fleet, figures.at)
        away = await clock_difference(self._fleet, self._clock)
        ended = self._clock.monotonic()
        return _Look(figures, away, ended - began, ended)

    def describe(self) -> list[Metric]:
        """See Collector: nothing is read for it."""
        return [GaugeMetricFamily(name, about, labels=labels) for name, (about, *labels) in FLEET.items()]

    def collect(self) -> Iterator[Metric]:
        """See Collector: what the last look found; nothing where there is no news, so that nobody trusts old figures."""
        if self._look is None or not self._fresh:
            return
        sheet = Sheet()
        _mail(sheet, self._look.figures)
        for cell in self._look.figures.cells:
            _cell(sheet, cell, self._look.figures.at)
        _database(sheet, self._look.figures.database)
        unbalanced = self._walk.differences
        sheet.put("tenantry_unbalanced_tenants", len(unbalanced))
        sheet.put("tenantry_unbalanced_recipients", sum(unbalanced.values()))
        sheet.put("tenantry_conservation_checked_messages", self._walk.messages)
        sheet.put("tenantry_conservation_walk_timestamp_seconds", self._walk.ended_at)
        sheet.put("tenantry_clock_difference_seconds", self._look.clock_seconds)
        sheet.put("tenantry_fleet_read_seconds", self._look.seconds)
        sheet.put("tenantry_fleet_read_age_seconds", self._clock.monotonic() - self._look.at)
        yield from sheet.families.values()


_PER_CELL, _PER_LANE, _PER_PAUSE = ("cell",), ("cell", "stream_class", "held"), ("author", "state")
FLEET: Mapping[str, tuple[str, ...]] = {
    "tenantry_waiting_messages": ("Messages that wait, by whether a gate holds them.", *_PER_LANE),
    "tenantry_waiting_oldest_seconds": ("Since the oldest of them was accepted; 0: none waits.", *_PER_LANE),
    "tenantry_unknown_messages": ("Messages whose outcome is unknown.",),
    "tenantry_unknown_overdue_messages": ("Those of them that have been so for over 15 minutes.",),
    "tenantry_unknown_oldest_seconds": ("Since the oldest of them became so; 0: there is none.",),
    "tenantry_open_pauses": ("Pauses that stand, by who opened them and how far they hold.", *_PER_PAUSE),
    "tenantry_open_pauses_oldest_seconds": ("Since the oldest of them was opened; 0: there is none.", *_PER_PAUSE),
    "tenantry_workers": ("Workers that did not say that they ended: live, or silent for over 30 s.", "state"),
    "tenantry_unprovisioned_streams": ("Streams that SES does not have yet.",),
    "tenantry_pending_identities": ("Identities that SES has not verified yet.",),
    "tenantry_failed_identities": ("Identities whose verification failed.",),
    "tenantry_quarantine_events": ("Events that lie in quarantine.",),
    "tenantry_unbalanced_tenants": ("Tenants of whom an accepted recipient is lost or doubled, of the last day's mail.",),
    "tenantry_unbalanced_recipients": ("Their recipients that are lost or doubled.",),
    "tenantry_conservation_checked_messages": ("Messages that this process has checked for it since it began.",),
    "tenantry_conservation_walk_timestamp_seconds": ("When it was last through with a whole day; missing: not yet.",),
    "tenantry_cell_rate_recipients_per_second": ("Recipients a second that SES grants.", *_PER_CELL),
    "tenantry_cell_backoff_ratio": ("Fraction of the granted rate in use: below 1 since SES throttled.", *_PER_CELL),
    "tenantry_cell_quota_recipients": ("Recipients in 24 hours that SES grants; +Inf: no limit.", *_PER_CELL),
    "tenantry_cell_sent_recipients": ("Recipients of the last 24 hours.", *_PER_CELL),
    "tenantry_cell_sending_enabled": ("1 while SES lets the account send.", *_PER_CELL),
    "tenantry_cell_healthy": ("1 while Amazon does not review the account.", *_PER_CELL),
    "tenantry_cell_account_age_seconds": ("Since the account was last read; +Inf: never.", *_PER_CELL),
    "tenantry_cell_breaker_open": ("1 while calls end without an answer and only one a second is tried.", *_PER_CELL),
    "tenantry_cell_recovering": ("1 while the queue holds what a restored database may have sent.", *_PER_CELL),
    "tenantry_open_claims": ("Claims whose outcome is not written down.", *_PER_CELL),
    "tenantry_open_claims_oldest_seconds": ("Since the oldest of them was made; 0: there is none.", *_PER_CELL),
    "tenantry_stranded_lanes": ("Lanes with due mail that nobody serves though nothing holds them.", *_PER_CELL),
    "tenantry_due_verdicts": ("Verdicts that nobody acted on yet.", *_PER_CELL),
    "tenantry_feed_silence_seconds": ("Since the last event; +Inf: none has ever come.", *_PER_CELL),
    "tenantry_feed_blind": ("1 while mail is handed over and nothing is heard.", *_PER_CELL),
    "tenantry_feed_lag_seconds": ("The longest that a recent event took to arrive; missing: none came lately.", *_PER_CELL),
    "tenantry_database_size_bytes": ("Size of the database.",),
    "tenantry_database_free_bytes": ("SQLite: what its disk has left.",),
    "tenantry_database_connections": ("PostgreSQL: connections of the whole server.",),
    "tenantry_database_connections_max": ("PostgreSQL: how many it takes.",),
    "tenantry_database_oldest_transaction_seconds": ("PostgreSQL: since the longest open transaction began.",),
    "tenantry_database_schema_behind": ("1 when the schema lacks what this process needs.",),
    "tenantry_database_partitions_until_timestamp_seconds": ("PostgreSQL: until when every mail table has partitions.",),
    "tenantry_clock_difference_seconds": ("By how much this process's clock is ahead of the database's.",),
    "tenantry_fleet_read_seconds": ("How long the last look at the fleet took.",),
    "tenantry_fleet_read_age_seconds": ("Since the last look ended.",),
}  # fmt: skip
"""What is read from the store: by name, what it is and its labels."""


class Sheet:
    """Gauges being filled in."""

    def __init__(self) -> None:
        self.families: dict[str, GaugeMetricFamily] = {}

    def put(self, name: str, value: float | datetime | None, *labels: str) -> None:
        """Add one value of a gauge of FLEET; a time as seconds since the epoch, None as nothing."""
        about, *names = FLEET[name]
        if value is not None:
            family = self.families.setdefault(name, GaugeMetricFamily(name, about, labels=names))
            family.add_metric(labels, value.timestamp() if isinstance(value, datetime) else float(value))


def _age(now: datetime, at: datetime | None, never: float) -> float:
    return never if at is None else max(0.0, (now - at).total_seconds())


def _mail(sheet: Sheet, figures: Figures) -> None:
    now = figures.at
    waiting = {(one.cell, one.stream_class, one.held): one for one in figures.waiting}
    for key in product((cell.name for cell in figures.cells), StreamClass, (False, True)):
        lane, labels = waiting.get(key), (key[0], key[1].value, "yes" if key[2] else "no")
        sheet.put("tenantry_waiting_messages", lane.messages if lane else 0, *labels)
        sheet.put("tenantry_waiting_oldest_seconds", _age(now, lane.oldest_at if lane else None, 0), *labels)
    pauses = {(one.author, one.state): one for one in figures.pauses}
    for author, state in product(Author, (PauseState.OPENING, PauseState.LOCAL, PauseState.FENCED)):
        pause = pauses.get((author, state))
        sheet.put("tenantry_open_pauses", pause.pauses if pause else 0, author.value, state.value)
        oldest = _age(now, pause.oldest_at if pause else None, 0)
        sheet.put("tenantry_open_pauses_oldest_seconds", oldest, author.value, state.value)
    silent = sum(now - one.seen_at > SILENT_WORKER for one in figures.workers)
    sheet.put("tenantry_workers", len(figures.workers) - silent, "live")
    sheet.put("tenantry_workers", silent, "silent")
    sheet.put("tenantry_unknown_messages", figures.unknown_messages)
    sheet.put("tenantry_unknown_overdue_messages", figures.overdue_unknowns)
    sheet.put("tenantry_unknown_oldest_seconds", _age(now, figures.oldest_unknown_at, 0))
    sheet.put("tenantry_unprovisioned_streams", figures.unprovisioned_streams)
    sheet.put("tenantry_pending_identities", figures.pending_identities)
    sheet.put("tenantry_failed_identities", figures.failed_identities)
    sheet.put("tenantry_quarantine_events", figures.quarantined_events)


def _cell(sheet: Sheet, cell: CellFigures, now: datetime) -> None:
    for name, value in (
        ("tenantry_cell_rate_recipients_per_second", cell.rate_per_second),
        ("tenantry_cell_backoff_ratio", cell.backoff),
        ("tenantry_cell_quota_recipients", inf if cell.quota_24h < 0 else cell.quota_24h),
        ("tenantry_cell_sent_recipients", cell.sent_24h),
        ("tenantry_cell_sending_enabled", cell.sending_enabled),
        ("tenantry_cell_healthy", cell.enforcement in HEALTHY),
        ("tenantry_cell_account_age_seconds", _age(now, cell.seen_at, inf)),
        ("tenantry_cell_breaker_open", cell.breaker_opened_at is not None),
        ("tenantry_cell_recovering", cell.recovering_since is not None),
        ("tenantry_open_claims", cell.open_claims),
        ("tenantry_open_claims_oldest_seconds", _age(now, cell.oldest_claim_at, 0)),
        ("tenantry_stranded_lanes", cell.stranded_lanes),
        ("tenantry_due_verdicts", cell.due_verdicts),
        ("tenantry_feed_silence_seconds", _age(now, cell.events_at, inf)),
        ("tenantry_feed_blind", cell.blind),
        ("tenantry_feed_lag_seconds", cell.feed_lag_seconds),
    ):
        sheet.put(name, value, cell.name)


def _database(sheet: Sheet, database: DatabaseFigures) -> None:
    sheet.put("tenantry_database_size_bytes", database.size_bytes)
    sheet.put("tenantry_database_free_bytes", database.free_bytes)
    sheet.put("tenantry_database_connections", database.connections)
    sheet.put("tenantry_database_connections_max", database.connections_max)
    sheet.put("tenantry_database_oldest_transaction_seconds", database.oldest_transaction_seconds)
    sheet.put("tenantry_database_schema_behind", database.behind)
    sheet.put("tenantry_database_partitions_until_timestamp_seconds", database.partitions_until)
