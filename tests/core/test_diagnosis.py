"""What doctor says: each trouble is found at its limit and not before it, explained, and the worst stands first."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tenantry.core.admission import KEPT
from tenantry.core.diagnosis import HOLD_LIMIT, WAIT_LIMIT, Examination, diagnose
from tenantry.core.figures import (
    Balance,
    BuriedWorker,
    CellFigures,
    DatabaseFigures,
    Figures,
    PauseFigures,
    WaitingFigures,
    WorkerFigures,
)
from tenantry.core.finding import MEANINGS, Check, Finding, Level
from tenantry.core.ids import MessageId, PauseId, StreamId, TenantId
from tenantry.core.pause import Author, Pause, PauseState
from tenantry.core.tenant import StreamClass
from tests.worlds import NOON

DIGITS = "0" * 32
CELL = CellFigures(
    name="main",
    rate_per_second=14.0,
    backoff=1.0,
    quota_24h=50_000.0,
    sent_24h=100.0,
    sending_enabled=True,
    enforcement="HEALTHY",
    seen_at=NOON,
    events_at=NOON,
    feed_lag_seconds=1.0,
    blind=False,
    breaker_opened_at=None,
    recovering_since=None,
    open_claims=3,
    oldest_claim_at=NOON,
    stranded_lanes=0,
    due_verdicts=0,
)
SQLITE = DatabaseFigures("sqlite", "3.40.1", 10**6, "0002", "0002", behind=False, free_bytes=10**11, disk_bytes=10**12)
POSTGRES = DatabaseFigures(
    "postgresql",
    "16.4 (Debian 16.4-1)",
    10**9,
    "0002",
    "0002",
    behind=False,
    connections=10,
    connections_max=100,
    oldest_transaction_seconds=0.2,
    oldest_transaction_pid=7,
    partitions_until=NOON + timedelta(days=30),
)
WELL = Figures(
    at=NOON,
    waiting=(),
    cells=(CELL,),
    pauses=(),
    workers=(WorkerFigures("main", "host", 1, NOON),),
    buried=(),
    database=SQLITE,
    unknown_messages=0,
    overdue_unknowns=0,
    oldest_unknown_at=None,
    unprovisioned_streams=0,
    pending_identities=0,
    failed_identities=0,
    quarantined_events=0,
)
PAUSE = Pause(PauseId(f"pau_{DIGITS}"), "stream", StreamId(f"str_{DIGITS}"), Author.GUARD, "12 % bounce", NOON)
WHOLE = Balance(10, {}, None)


def ago(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def looked(figures: Figures, balance: Balance = WHOLE, clock: float | None = 0.0) -> list[Finding]:
    """Return what was found, the state of the database left out."""
    findings = diagnose(Examination(figures, (), balance, clock))
    assert [one.check for one in findings].count(Check.DATABASE) == 1
    return [one for one in findings if one.check is not Check.DATABASE]


def cell(**changes: object) -> Figures:
    return replace(WELL, cells=(replace(CELL, **changes),))


def database(base: DatabaseFigures = POSTGRES, **changes: object) -> Figures:
    return replace(WELL, database=replace(base, **changes))


def waiting(stream_class: StreamClass, age: timedelta, *, held: bool = False) -> Figures:
    return replace(WELL, waiting=(WaitingFigures("main", stream_class, held, 1_200, NOON - age),))


def paused(state: PauseState, seconds: float) -> Figures:
    return replace(WELL, pauses=(PauseFigures(Author.GUARD, state, 2, NOON - ago(seconds)),))


MAIL, ADS = StreamClass.TRANSACTIONAL, StreamClass.MARKETING
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("figures", [WELL, database()])
def test_a_healthy_fleet_has_one_good_finding(figures: Figures) -> None:
    """Doctor always says something, and what database it looked at."""
    assert [(one.level, one.check) for one in looked(figures)] == [(Level.OK, Check.ALL_WELL)]
    assert figures.database.version in diagnose(Examination(figures, (), WHOLE))[-1].what


@pytest.mark.parametrize(
    ("figures", "level", "check", "words"),
    [
        (replace(WELL, workers=()), Level.ERROR, Check.NO_WORKER, "No worker runs"),
        (database(SQLITE, behind=True, revision="0001"), Level.ERROR, Check.SCHEMA_BEHIND, "at 0001"),
        (database(SQLITE, behind=True, revision=""), Level.ERROR, Check.SCHEMA_BEHIND, "at nothing"),
        (cell(recovering_since=NOON - ago(90)), Level.ERROR, Check.RECOVERING, "for 1 min 30 s"),
        (cell(breaker_opened_at=NOON - ago(7)), Level.ERROR, Check.BREAKER_OPEN, "open for 7 s"),
        (cell(sending_enabled=False), Level.ERROR, Check.CELL_STOPPED, "stopped cell main"),
        (cell(enforcement="PROBATION"), Level.ERROR, Check.CELL_REVIEWED, "under PROBATION"),
        (cell(seen_at=NOON - ago(601)), Level.WARNING, Check.CELL_UNREAD, "has not been read"),
        (cell(seen_at=None), Level.WARNING, Check.CELL_UNREAD, "has not been read"),
        (cell(sent_24h=45_000.0), Level.WARNING, Check.CELL_QUOTA, "90% of its 24-hour quota"),
        (cell(backoff=0.49), Level.WARNING, Check.CELL_THROTTLED, "49% of its 14 recipients a second"),
        (cell(blind=True), Level.ERROR, Check.FEED_BLIND, "hears nothing"),
        (cell(feed_lag_seconds=3_700.0), Level.WARNING, Check.FEED_LAG, "1 h 1 min late"),
        (cell(stranded_lanes=2), Level.ERROR, Check.STRANDED_LANES, "2 lanes"),
        (cell(oldest_claim_at=NOON - ago(121)), Level.WARNING, Check.OPEN_CLAIMS, "3 claims of cell main are open"),
        (cell(due_verdicts=1), Level.WARNING, Check.DUE_VERDICTS, "1 verdicts"),
        (waiting(MAIL, WAIT_LIMIT[MAIL] + SECOND), Level.WARNING, Check.WAITING_LONG, "1,200 transactional messages"),
        (waiting(ADS, WAIT_LIMIT[ADS] + SECOND), Level.WARNING, Check.WAITING_LONG, "oldest for 6 h"),
        (waiting(MAIL, HOLD_LIMIT[MAIL] + SECOND), Level.ERROR, Check.WAITING_LONG, "oldest for 6 h"),
        (waiting(ADS, HOLD_LIMIT[ADS] + SECOND, held=True), Level.WARNING, Check.HELD_LONG, "for 1 d 12 h"),
        (
            paused(PauseState.OPENING, 16),
            Level.ERROR,
            Check.PAUSE_OPENING,
            "2 pauses by the guard are not acknowledged",
        ),
        (paused(PauseState.LOCAL, 61), Level.ERROR, Check.PAUSE_UNFENCED, "not confirmed by SES"),
        (replace(WELL, unknown_messages=3), Level.NOTICE, Check.UNKNOWN_OUTCOMES, "3 messages"),
        (replace(WELL, unknown_messages=3, overdue_unknowns=3), Level.WARNING, Check.UNKNOWN_OVERDUE, "3 messages"),
        (replace(WELL, quarantined_events=2), Level.WARNING, Check.QUARANTINE, "2 events"),
        (replace(WELL, failed_identities=1), Level.WARNING, Check.IDENTITY_FAILED, "1 identities"),
        (replace(WELL, pending_identities=2), Level.NOTICE, Check.IDENTITY_PENDING, "2 identities"),
        (replace(WELL, unprovisioned_streams=2), Level.NOTICE, Check.UNPROVISIONED, "2 streams"),
        (database(version="14.9"), Level.ERROR, Check.DATABASE_VERSION, "postgresql 14.9"),
        (database(SQLITE, version="3.37.2"), Level.ERROR, Check.DATABASE_VERSION, "sqlite 3.37.2"),
        (database(oldest_transaction_seconds=61.0), Level.WARNING, Check.LONG_TRANSACTION, "pid 7"),
        (database(connections=90), Level.WARNING, Check.CONNECTIONS, "90 of 100"),
        (database(partitions_until=NOON + timedelta(days=6)), Level.WARNING, Check.PARTITIONS, "until 2026-11-30"),
        (database(partitions_until=NOON), Level.ERROR, Check.PARTITIONS, "until 2026-11-24"),
        (database(partitions_until=None), Level.ERROR, Check.PARTITIONS, "are not there"),
        (database(SQLITE, free_bytes=1_900_000_000), Level.WARNING, Check.DISK_SPACE, "1.9 GB left"),
        (database(refuses="disk full"), Level.ERROR, Check.NO_WRITES, "could not write seconds ago: disk full"),
        (database(SQLITE, free_bytes=400_000_000), Level.ERROR, Check.DISK_SPACE, "400.0 MB left"),
    ],
)
def test_what_is_wrong_is_found(figures: Figures, level: Level, check: Check, words: str) -> None:
    """Each trouble has one finding of its level, in its own words, that says why it matters and what to do."""
    (finding,) = looked(figures)
    assert (finding.level, finding.check) == (level, check)
    assert words in finding.what
    assert finding.why and finding.do


@pytest.mark.parametrize(
    "figures",
    [
        cell(sent_24h=44_999.0),
        cell(quota_24h=-1.0, sent_24h=10**9),
        cell(backoff=0.5),
        cell(seen_at=NOON - ago(600)),
        cell(feed_lag_seconds=120.0),
        cell(feed_lag_seconds=None, events_at=None),
        cell(oldest_claim_at=NOON - ago(120)),
        cell(open_claims=0, oldest_claim_at=None),
        waiting(MAIL, WAIT_LIMIT[MAIL]),
        waiting(ADS, WAIT_LIMIT[ADS]),
        waiting(MAIL, HOLD_LIMIT[MAIL], held=True),
        paused(PauseState.OPENING, 15),
        paused(PauseState.LOCAL, 60),
        paused(PauseState.FENCED, 10**6),
        database(oldest_transaction_seconds=60.0),
        database(connections=89),
        database(partitions_until=NOON + timedelta(days=7)),
        database(SQLITE, free_bytes=2_000_000_000),
    ],
)
def test_nothing_is_found_within_the_limits(figures: Figures) -> None:
    """What is as it may be is not reported: a doctor who cries is not heard."""
    assert [one.check for one in looked(figures)] == [Check.ALL_WELL]


def test_a_worker_whose_loops_fail_is_named() -> None:
    """Whoever asks doctor anywhere hears of another process's trouble; of one that is silent, only that it is."""
    failing = replace(WELL.workers[0], trouble="ingest (FeedUnavailable)")
    (finding,) = looked(replace(WELL, workers=(failing,)))
    assert (finding.level, finding.check) == (Level.WARNING, Check.LOOP_FAILING)
    assert finding.what.endswith("ingest (FeedUnavailable)")
    silent = replace(failing, seen_at=NOON - ago(31))
    assert {one.check for one in looked(replace(WELL, workers=(silent,)))} == {Check.DEAD_WORKER, Check.NO_WORKER}


def test_a_silent_worker_is_named_while_another_one_lives() -> None:
    """One dead worker among living ones is a warning with its host; when all are silent, nobody sends."""
    dead = WorkerFigures("main", "box-3", 4711, NOON - ago(31))
    (finding,) = looked(replace(WELL, workers=(*WELL.workers, dead)))
    assert (finding.level, finding.check) == (Level.WARNING, Check.DEAD_WORKER)
    assert "pid 4711 on box-3" in finding.what
    assert {one.check for one in looked(replace(WELL, workers=(dead,)))} == {Check.DEAD_WORKER, Check.NO_WORKER}


def test_a_worker_that_died_is_told_though_another_one_took_over() -> None:
    """Who looks after the event learns which process died, when, how soon that was noticed, and what still runs."""
    gone = BuriedWorker("main", "box-3", 4711, NOON - ago(600), NOON - ago(595))
    (finding,) = looked(replace(WELL, buried=(gone,)))
    assert (finding.level, finding.check) == (Level.NOTICE, Check.BURIED_WORKER)
    assert (
        finding.what
        == "Worker main (pid 4711 on box-3) died 10 min ago, was noticed 5 s later; workers that live now: 1"
    )


def test_lost_and_doubled_mail_is_the_gravest_finding() -> None:
    """Tenants whose mail does not balance are named, the first few by their ids; a look that was cut short says so."""
    differences = {TenantId(f"ten_{number:032x}"): 2 for number in range(7)}
    balance = Balance(500, differences, MessageId(f"msg_{DIGITS}"), NOON)
    lost, partly = looked(WELL, balance)
    assert (lost.level, lost.check) == (Level.ERROR, Check.CONSERVATION)
    assert lost.what.startswith("14 accepted recipients of 7 tenants are lost or doubled: ten_0000")
    assert lost.what.endswith("and 2 more")
    assert (partly.level, partly.check) == (Level.NOTICE, Check.CONSERVATION_PARTLY)
    assert "500 messages" in partly.what


@pytest.mark.parametrize(
    ("seconds", "level", "words"),
    [(5.5, Level.WARNING, "5 s ahead of"), (-61.0, Level.ERROR, "1 min 1 s behind"), (0.0, None, ""), (None, None, "")],
)
def test_clocks_that_differ_are_found(seconds: float | None, level: Level | None, words: str) -> None:
    """A few seconds are a warning, a minute is an error; which way is said."""
    finding = looked(WELL, clock=seconds)[0]
    assert finding.check is (Check.CLOCK_DIFFERENCE if level else Check.ALL_WELL)
    assert level is None or (finding.level is level and words in finding.what)


def test_the_worst_is_shown_first() -> None:
    """Findings stand in the order of their level, the database's state last."""
    figures = replace(cell(stranded_lanes=1, due_verdicts=1), pending_identities=1)
    findings = diagnose(Examination(figures, [PAUSE], WHOLE))
    levels = [one.level for one in findings]
    assert levels == sorted(levels, key=list(Level).index)
    assert (findings[0].level, findings[-1].check) == (Level.ERROR, Check.DATABASE)


def test_a_thousand_pauses_do_not_hide_the_rest() -> None:
    """Open pauses are shown one by one up to ten; the others are counted, and an ended one is none."""
    ended = replace(PAUSE, ended_at=NOON)
    findings = diagnose(Examination(WELL, [ended, *[PAUSE] * 1_000], WHOLE))
    pauses = [one for one in findings if one.check is Check.PAUSE_OPEN]
    assert len(pauses) == 11
    assert "12 % bounce" in pauses[0].why
    assert "990 more" in pauses[-1].what


def test_every_check_is_explained() -> None:
    """No check is without its why and its what to do, but for the plain state of the database."""
    assert set(MEANINGS) == set(Check)
    assert [check for check, words in MEANINGS.items() if not all(words)] == [Check.DATABASE]


@pytest.mark.parametrize("stream_class", StreamClass)
def test_somebody_looks_before_mail_expires(stream_class: StreamClass) -> None:
    """The limits lie well within the time for which mail of the class is kept."""
    assert WAIT_LIMIT[stream_class] < HOLD_LIMIT[stream_class] == KEPT[stream_class] / 2
