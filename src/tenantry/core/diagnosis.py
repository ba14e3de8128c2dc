"""Owns what is wrong with a fleet: from its figures to findings, worst first; leaves counting to the store.

Every limit of doctor stands here, and the alerts of docs/alerts.yml use the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tenantry.core.figures import Balance, CellFigures, DatabaseFigures, Figures
from tenantry.core.finding import Check, Finding, Level, found
from tenantry.core.pause import Pause, PauseState
from tenantry.core.tenant import StreamClass

READING_AGE = timedelta(minutes=10)
HEALTHY = ("HEALTHY", "")  # what SES says of an account that nobody reviews
QUOTA_SHARE = 0.9
THROTTLED_BELOW = 0.5  # of the granted rate
LAG_SECONDS = 120.0
WAIT_LIMIT = {StreamClass.TRANSACTIONAL: timedelta(minutes=5), StreamClass.MARKETING: timedelta(hours=6)}
"""How long mail that nothing holds may wait before somebody should look."""
HOLD_LIMIT = {StreamClass.TRANSACTIONAL: timedelta(hours=6), StreamClass.MARKETING: timedelta(hours=36)}
"""Half of the time after which held mail expires."""
OPENING_LIMIT = timedelta(seconds=15)
FENCE_LIMIT = timedelta(seconds=60)
CLAIM_LIMIT = timedelta(minutes=2)
SILENT_WORKER = timedelta(seconds=30)
CLOCK_WARNING_SECONDS, CLOCK_ERROR_SECONDS = 5.0, 60.0
LONG_TRANSACTION_SECONDS = 60.0
CONNECTION_SHARE = 0.9
PARTITIONS_AHEAD = timedelta(days=7)
DISK_WARNING_BYTES, DISK_ERROR_BYTES = 2 * 10**9, 500 * 10**6
LEAST_VERSION = {"postgresql": (15,), "sqlite": (3, 38)}
PAUSES_SHOWN = 10
TENANTS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Examination:
    """All that doctor looks at.

    clock_seconds: by how much this process's clock is surely ahead of the database's (negative: behind); None where one
    machine's clock is both.
    """

    figures: Figures
    pauses: Sequence[Pause]
    balance: Balance
    clock_seconds: float | None = None


def diagnose(examination: Examination) -> tuple[Finding, ...]:
    """Return all findings, worst first; a fleet without any trouble gets one that says so, and its database's state."""
    figures = examination.figures
    findings = [
        *_conservation(examination.balance),
        *_workers(figures),
        *(one for cell in figures.cells for one in _cell(cell, figures.at)),
        *_waiting(figures),
        *_stops(figures, examination.pauses),
        *_counts(figures),
        *_clock(examination.clock_seconds),
        *_database(figures.database, figures.at),
    ]
    if not findings:
        findings.append(found(Level.OK, Check.ALL_WELL, "Nothing is wrong"))
    findings.append(found(Level.OK, Check.DATABASE, _state(figures.database)))
    order = list(Level)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.level)))


def _conservation(balance: Balance) -> Iterator[Finding]:
    if balance.differences:
        shown = ", ".join(sorted(balance.differences)[:TENANTS_SHOWN])
        rest = len(balance.differences) - TENANTS_SHOWN
        yield found(
            Level.ERROR,
            Check.CONSERVATION,
            f"{sum(balance.differences.values()):,} accepted recipients of {len(balance.differences):,} tenants are lost or"
            f" doubled: {shown}{f' and {rest:,} more' if rest > 0 else ''}",
        )
    if balance.before is not None and balance.since is not None:
        yield found(
            Level.NOTICE,
            Check.CONSERVATION_PARTLY,
            f"Only the last {balance.messages:,} messages of the day were checked for lost and doubled recipients",
        )


def _workers(figures: Figures) -> Iterator[Finding]:
    silent = [one for one in figures.workers if figures.at - one.seen_at > SILENT_WORKER]
    for one in silent:
        yield found(
            Level.WARNING,
            Check.DEAD_WORKER,
            f"Worker {one.name} (pid {one.pid} on {one.host}) has been silent for {_span(figures.at - one.seen_at)}",
        )
    for one in figures.workers:
        if one.trouble and one not in silent:
            yield found(
                Level.WARNING,
                Check.LOOP_FAILING,
                f"Loops of worker {one.name} (pid {one.pid} on {one.host}) fail again and again: {one.trouble}",
            )
    if len(silent) == len(figures.workers):
        yield found(Level.ERROR, Check.NO_WORKER, "No worker runs")
    for gone in figures.buried:
        yield found(
            Level.NOTICE,
            Check.BURIED_WORKER,
            f"Worker {gone.name} (pid {gone.pid} on {gone.host}) died {_span(figures.at - gone.seen_at)} ago, was noticed"
            f" {_span(gone.at - gone.seen_at)} later; workers that live now: {len(figures.workers) - len(silent)}",
        )


def _cell(cell: CellFigures, now: datetime) -> Iterator[Finding]:
    if cell.recovering_since is not None:
        yield found(
            Level.ERROR,
            Check.RECOVERING,
            f"Cell {cell.name} has been in recovery for {_span(now - cell.recovering_since)}",
        )
    yield from _account(cell, now)
    yield from _feed(cell)
    if cell.breaker_opened_at is not None:
        yield found(
            Level.ERROR,
            Check.BREAKER_OPEN,
            f"The breaker of cell {cell.name} has been open for {_span(now - cell.breaker_opened_at)}",
        )
    if cell.stranded_lanes:
        said = f"{cell.stranded_lanes:,} lanes of cell {cell.name} hold due mail that nobody serves"
        yield found(Level.ERROR, Check.STRANDED_LANES, said)
    if cell.oldest_claim_at is not None and now - cell.oldest_claim_at > CLAIM_LIMIT:
        yield found(
            Level.WARNING,
            Check.OPEN_CLAIMS,
            f"{cell.open_claims:,} claims of cell {cell.name} are open, the oldest for {_span(now - cell.oldest_claim_at)}",
        )
    if cell.due_verdicts:
        yield found(
            Level.WARNING, Check.DUE_VERDICTS, f"{cell.due_verdicts:,} verdicts in cell {cell.name} wait to be acted on"
        )


def _account(cell: CellFigures, now: datetime) -> Iterator[Finding]:
    if not cell.sending_enabled:
        yield found(Level.ERROR, Check.CELL_STOPPED, f"SES has stopped cell {cell.name}")
    if cell.enforcement not in HEALTHY:
        yield found(Level.ERROR, Check.CELL_REVIEWED, f"Cell {cell.name} is under {cell.enforcement}")
    if cell.quota_24h > 0 and cell.sent_24h >= QUOTA_SHARE * cell.quota_24h:
        share = cell.sent_24h / cell.quota_24h
        yield found(Level.WARNING, Check.CELL_QUOTA, f"Cell {cell.name} has used {share:.0%} of its 24-hour quota")
    if cell.backoff < THROTTLED_BELOW:
        yield found(
            Level.WARNING,
            Check.CELL_THROTTLED,
            f"Cell {cell.name} uses {cell.backoff:.0%} of its {cell.rate_per_second:g} recipients a second since SES throttles",
        )
    if cell.seen_at is None or now - cell.seen_at > READING_AGE:
        yield found(Level.WARNING, Check.CELL_UNREAD, f"Cell {cell.name} has not been read lately")


def _feed(cell: CellFigures) -> Iterator[Finding]:
    if cell.blind:
        yield found(Level.ERROR, Check.FEED_BLIND, f"Cell {cell.name} hands mail over and hears nothing of it")
    if cell.feed_lag_seconds is not None and cell.feed_lag_seconds > LAG_SECONDS:
        lag = _span(timedelta(seconds=cell.feed_lag_seconds))
        yield found(Level.WARNING, Check.FEED_LAG, f"Events of cell {cell.name} arrive {lag} late")


def _waiting(figures: Figures) -> Iterator[Finding]:
    for one in figures.waiting:
        check, limits = (Check.HELD_LONG, HOLD_LIMIT) if one.held else (Check.WAITING_LONG, WAIT_LIMIT)
        age = figures.at - one.oldest_at
        if age > limits[one.stream_class]:
            grave = not one.held and age > HOLD_LIMIT[one.stream_class]
            yield found(
                Level.ERROR if grave else Level.WARNING,
                check,
                f"{one.messages:,} {one.stream_class} messages of cell {one.cell} {'are held' if one.held else 'wait'},"
                f" the oldest for {_span(age)}",
            )


def _stops(figures: Figures, pauses: Sequence[Pause]) -> Iterator[Finding]:
    for one in figures.pauses:
        age = figures.at - one.oldest_at
        said = f"{one.pauses:,} pauses by the {one.author} are not"
        if one.state is PauseState.OPENING and age > OPENING_LIMIT:
            yield found(Level.ERROR, Check.PAUSE_OPENING, f"{said} acknowledged, the oldest for {_span(age)}")
        if one.state is PauseState.LOCAL and age > FENCE_LIMIT:
            yield found(Level.ERROR, Check.PAUSE_UNFENCED, f"{said} confirmed by SES, the oldest for {_span(age)}")
    standing = [pause for pause in pauses if pause.ended_at is None]
    for pause in standing[:PAUSES_SHOWN]:
        yield Finding(
            Level.NOTICE,
            Check.PAUSE_OPEN,
            f"The {pause.scope_kind} {pause.scope_id} is paused by the {pause.author} ({pause.state})",
            pause.reason,
            f"See `tenantry explain {pause.id}`; `tenantry reinstate` ends it.",
        )
    if len(standing) > PAUSES_SHOWN:
        yield found(Level.NOTICE, Check.PAUSE_OPEN, f"{len(standing) - PAUSES_SHOWN:,} more pauses are open")


def _counts(figures: Figures) -> Iterator[Finding]:
    recent = figures.unknown_messages - figures.overdue_unknowns
    for number, level, check, what in (
        (figures.overdue_unknowns, Level.WARNING, Check.UNKNOWN_OVERDUE, "messages have been unknown for over 15 minutes"),
        (recent, Level.NOTICE, Check.UNKNOWN_OUTCOMES, "messages have an unknown outcome"),
        (figures.failed_identities, Level.WARNING, Check.IDENTITY_FAILED, "identities failed verification"),
        (figures.quarantined_events, Level.WARNING, Check.QUARANTINE, "events were put aside"),
        (figures.pending_identities, Level.NOTICE, Check.IDENTITY_PENDING, "identities are not verified yet"),
        (figures.unprovisioned_streams, Level.NOTICE, Check.UNPROVISIONED, "streams are not set up in SES yet"),
    ):  # fmt: skip
        if number > 0:
            yield found(level, check, f"{number:,} {what}")


def _clock(seconds: float | None) -> Iterator[Finding]:
    if seconds is not None and abs(seconds) > CLOCK_WARNING_SECONDS:
        level = Level.ERROR if abs(seconds) > CLOCK_ERROR_SECONDS else Level.WARNING
        side = "ahead of" if seconds > 0 else "behind"
        away = _span(timedelta(seconds=abs(seconds)))
        yield found(level, Check.CLOCK_DIFFERENCE, f"The clock of this process is {away} {side} the database's")


def _database(database: DatabaseFigures, now: datetime) -> Iterator[Finding]:
    if database.refuses:
        yield found(Level.ERROR, Check.NO_WRITES, f"The database could not write seconds ago: {database.refuses}")
    if database.behind:
        yield found(
            Level.ERROR,
            Check.SCHEMA_BEHIND,
            f"The schema is at {database.revision or 'nothing'}, this program needs {database.head}",
        )
    if _numbers(database.version) < LEAST_VERSION[database.kind]:
        yield found(Level.ERROR, Check.DATABASE_VERSION, f"{database.kind} {database.version} is too old")
    longest = database.oldest_transaction_seconds
    if longest is not None and longest > LONG_TRANSACTION_SECONDS:
        yield found(
            Level.WARNING,
            Check.LONG_TRANSACTION,
            f"A transaction (pid {database.oldest_transaction_pid}) has been open for {_span(timedelta(seconds=longest))}",
        )
    taken, most = database.connections, database.connections_max
    if taken and most and taken >= CONNECTION_SHARE * most:
        yield found(Level.WARNING, Check.CONNECTIONS, f"{taken} of {most} connections are taken")
    if database.kind == "postgresql":
        yield from _partitions(database.partitions_until, now)
    if database.free_bytes is not None and database.free_bytes < DISK_WARNING_BYTES:
        level = Level.ERROR if database.free_bytes < DISK_ERROR_BYTES else Level.WARNING
        said = f"The disk of the data folder has {_size(database.free_bytes)} left"
        yield found(level, Check.DISK_SPACE, said)


def _partitions(until: datetime | None, now: datetime) -> Iterator[Finding]:
    if until is None or until < now + PARTITIONS_AHEAD:
        level = Level.ERROR if until is None or until <= now else Level.WARNING
        said = "are not there" if until is None else f"are made until {until:%Y-%m-%d} only"
        yield found(level, Check.PARTITIONS, f"The partitions of the mail tables {said}")


def _state(database: DatabaseFigures) -> str:
    parts = [f"{database.kind} {database.version}", _size(database.size_bytes), f"schema {database.revision or 'none'}"]
    if database.connections is not None:
        parts.append(f"{database.connections} of {database.connections_max} connections")
    if database.free_bytes is not None:
        parts.append(f"{_size(database.free_bytes)} free on its disk")
    return f"The database: {', '.join(parts)}"


def _numbers(version: str) -> tuple[int, ...]:
    """Read `16.4 (Debian ...)` or `3.40.1` as numbers."""
    return tuple(int(part) for part in version.split()[0].split(".") if part.isdigit())


def _span(time: timedelta) -> str:
    """Say a length of time with its two largest units at most."""
    seconds = int(time.total_seconds())
    for unit, size, lesser, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            rest = seconds % size // part
            return f"{seconds // size} {unit}" + (f" {rest} {lesser}" if rest else "")
    return f"{seconds} s"


def _size(count: int) -> str:
    """Say a number of bytes in the unit that leaves one to three digits before the point."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1_000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1_000
    return f"{value:.1f} TB"
