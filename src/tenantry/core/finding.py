"""Owns what doctor can find: each check with why it matters and what to do; leaves deciding whether it is so to diagnosis.

Each check has its entry in docs/runbook.md under its own name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is; members stand in the order in which they are shown."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"
    OK = "ok"


class Check(StrEnum):
    """What is looked at; stable names, each an entry of the runbook."""

    CONSERVATION = "conservation"
    CONSERVATION_PARTLY = "conservation_partly"
    NO_WORKER = "no_worker"
    DEAD_WORKER = "dead_worker"
    BURIED_WORKER = "buried_worker"
    LOOP_FAILING = "loop_failing"
    SCHEMA_BEHIND = "schema_behind"
    RECOVERING = "recovering"
    BREAKER_OPEN = "breaker_open"
    CELL_STOPPED = "cell_stopped"
    CELL_REVIEWED = "cell_reviewed"
    CELL_UNREAD = "cell_unread"
    CELL_QUOTA = "cell_quota"
    CELL_THROTTLED = "cell_throttled"
    FEED_BLIND = "feed_blind"
    FEED_LAG = "feed_lag"
    STRANDED_LANES = "stranded_lanes"
    WAITING_LONG = "waiting_long"
    HELD_LONG = "held_long"
    PAUSE_OPENING = "pause_opening"
    PAUSE_UNFENCED = "pause_unfenced"
    PAUSE_OPEN = "pause_open"
    UNKNOWN_OVERDUE = "unknown_overdue"
    UNKNOWN_OUTCOMES = "unknown_outcomes"
    OPEN_CLAIMS = "open_claims"
    DUE_VERDICTS = "due_verdicts"
    QUARANTINE = "quarantine"
    IDENTITY_FAILED = "identity_failed"
    IDENTITY_PENDING = "identity_pending"
    UNPROVISIONED = "unprovisioned"
    CLOCK_DIFFERENCE = "clock_difference"
    DATABASE_VERSION = "database_version"
    LONG_TRANSACTION = "long_transaction"
    CONNECTIONS = "connections"
    PARTITIONS = "partitions"
    DISK_SPACE = "disk_space"
    NO_WRITES = "no_writes"
    DATABASE = "database"
    ALL_WELL = "all_well"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know: what it is, why it matters, what to do."""

    level: Level
    check: Check
    what: str
    why: str
    do: str


_RUNS = "Look whether a worker runs and what its log says."
MEANINGS: dict[Check, tuple[str, str]] = {
    Check.CONSERVATION: (
        "Every accepted recipient must be in exactly one place: lost mail is never sent, doubled mail is sent twice.",
        "Keep the database as it is, take a backup, and look at these tenants' messages with `tenantry message list`.",
    ),
    Check.CONSERVATION_PARTLY: (
        "There is more mail than one look can check in its time; `tenantry_unbalanced_tenants` walks over all of a day.",
        "Nothing; look at that metric for the rest.",
    ),
    Check.BURIED_WORKER: (
        "What it had claimed and not settled became unknown: SES's events settle it, and nothing of it is sent again blindly.",
        "See its log and its host's (out of memory?) for why it died. This notice goes an hour after.",
    ),
    Check.NO_WORKER: ("Mail is accepted and waits: nobody sends it.", "Start `tenantry worker`, or see why it ended."),
    Check.DEAD_WORKER: (
        "It showed no life and did not say that it ended; what it had claimed stays open until another worker buries it.",
        "See whether its process and host live. Another worker takes over by itself: if there is none, start one.",
    ),
    Check.LOOP_FAILING: (
        "What such a loop does is not done by this worker: no other takes its place while it lives and leads.",
        "See the log of that process for the words; its `/healthz` names the loops too.",
    ),
    Check.SCHEMA_BEHIND: ("This program reads and writes what is not there yet.", "Run `tenantry migrate`."),
    Check.RECOVERING: (
        "The database came back from a copy: what could already have gone is held, so that nothing is sent twice.",
        "See `tenantry recover list`; events settle what they prove, you release or discard the rest.",
    ),
    Check.BREAKER_OPEN: (
        "Calls to SES ended without an answer again and again; one a second tries whether it is over.",
        "See SES's status in that Region and the network to it. It closes by itself.",
    ),
    Check.CELL_STOPPED: ("Nothing can be sent through it.", "See the SES console and the mails of AWS to its owner."),
    Check.CELL_REVIEWED: (
        "Amazon reviews the account; every tenant there is at risk.",
        "Answer the case in the SES console, and look at who bounces or annoys most.",
    ),
    Check.CELL_UNREAD: (
        "Its rate, quota and status may have changed.",
        "Look whether a worker runs and can reach SES with its credentials.",
    ),
    Check.CELL_QUOTA: (
        "At the end of it mail waits until earlier mail is a day old; the last tenth is kept for transactional mail.",
        "Ask Amazon for a higher quota, or see who sends more than usual.",
    ),
    Check.CELL_THROTTLED: (
        "SES said that the rate is too high, so less of it is used until it no longer says so.",
        "See whether another program sends through the same account, and whether the granted rate was lowered.",
    ),
    Check.FEED_BLIND: (
        "Without events nobody learns of bounces and complaints, and the guard stops nobody.",
        "Look whether a worker runs and whether SES's events reach the queue that it reads.",
    ),
    Check.FEED_LAG: (
        "The guard judges the mail of then, and a bad list goes on being mailed meanwhile.",
        "See how long the queue is, and whether its readers keep up: more workers share it.",
    ),
    Check.STRANDED_LANES: ("Their mail does not move, though nothing stops it.", f"{_RUNS} Its sweep wakes such lanes."),
    Check.WAITING_LONG: (
        "Nothing holds it: more comes in than goes out, or nothing goes out. What waits beyond its class's time expires.",
        "Compare the rate in use with what SES grants (`tenantry cell list`), and see who floods (`tenantry tenant list`).",
    ),
    Check.HELD_LONG: (
        "Mail behind a pause expires too: transactional after 12 hours, marketing after 3 days.",
        "See `tenantry pauses` and decide; `tenantry reinstate` ends a pause.",
    ),
    Check.PAUSE_OPENING: (
        "Older claims of its scope may still be on their way, beyond the time that they have.",
        f"{_RUNS} It acknowledges a pause within 11 seconds.",
    ),
    Check.PAUSE_UNFENCED: (
        "Only Tenantry holds their mail back so far: a process that is cut off could still send.",
        "Look at `tenantry plan` and at the worker's log for what SES answers.",
    ),
    Check.PAUSE_OPEN: ("Its mail is accepted and waits.", "See `tenantry explain` for the reason; `tenantry reinstate` ends it."),
    Check.UNKNOWN_OVERDUE: (
        "They may have been sent or not, and neither an event nor the proof of a healthy feed has come.",
        "If the feed is silent, mend it. Else see `tenantry message show`: their stream may ask to hold such mail.",
    ),
    Check.UNKNOWN_OUTCOMES: (
        "Their call to SES ended without an answer; it may have arrived, so nothing is resent blindly.",
        "Wait: events settle them, or after 15 minutes of silence a marked resend.",
    ),
    Check.OPEN_CLAIMS: (
        "A call takes 10 seconds at most: whoever claimed them does not write down what became of them.",
        f"{_RUNS} The database may be too slow to settle.",
    ),
    Check.DUE_VERDICTS: ("A stream may send more than it should.", _RUNS),
    Check.QUARANTINE: (
        "They could not be read or belong to nobody here.",
        "Look at the quarantine; another program may share the topic.",
    ),
    Check.IDENTITY_FAILED: (
        "SES found other DNS records than it asked for.",
        "Compare the records of `tenantry identity show` with what the domain publishes.",
    ),
    Check.IDENTITY_PENDING: (
        "Their tenants cannot send from them.",
        "Publish the records of `tenantry identity show`, then wait for SES to see them.",
    ),
    Check.UNPROVISIONED: (
        "Their mail is kept until they are.",
        "Wait: provision makes one call a second to each cell; `tenantry plan` shows what is left.",
    ),
    Check.CLOCK_DIFFERENCE: (
        "Signatures are good for five minutes around the right time; further apart, SES and the tenants refuse them.",
        "Let both hosts keep the time (NTP, chrony). Leases and waits use the database's alone and stay right.",
    ),
    Check.DATABASE_VERSION: (
        "Statements of this program need what it has not.",
        "Use PostgreSQL 15 or later, SQLite 3.38 or later.",
    ),
    Check.LONG_TRANSACTION: (
        "While it lasts no row that is gone can be cleaned away: queues become slow.",
        "See it in pg_stat_activity, and end it with pg_terminate_backend if nobody needs it.",
    ),
    Check.CONNECTIONS: (
        "Without a connection a gateway answers `busy` and a worker stands.",
        "See who holds them in pg_stat_activity; raise max_connections, or run fewer processes.",
    ),
    Check.PARTITIONS: (
        "Mail without a partition of its week falls into the rest, which retention cannot drop.",
        f"{_RUNS} It makes them four weeks ahead, each hour.",
    ),
    Check.DISK_SPACE: ("When it is full nothing is accepted any more.", "Make room, or move TENANTRY_DATA to a larger disk."),
    Check.NO_WRITES: (
        "Nothing is accepted, sent or written down until its disk takes writes again; what was accepted is kept.",
        "See the disk of the database and the kernel's log. All goes on by itself once it takes writes.",
    ),
    Check.DATABASE: ("", ""),
    Check.ALL_WELL: ("Every check passed.", "Nothing."),
}  # fmt: skip


def found(level: Level, check: Check, what: str) -> Finding:
    """Return a finding with its check's own explanation."""
    why, do = MEANINGS[check]
    return Finding(level, check, what, why, do)
