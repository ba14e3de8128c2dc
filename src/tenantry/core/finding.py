"""Owns what `doctor` finds: from the fleet's figures, cells and pauses to what is wrong, why it matters and what to do.

Leaves counting to the store and showing to the CLI and the console.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tenantry.core.pause import Pause
from tenantry.core.tenant import Cell

READING_AGE = timedelta(minutes=10)
QUOTA_SHARE = 0.9


class Level(StrEnum):
    """How bad it is; members stand in the order in which they are shown."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know: what it is, why it matters, what to do."""

    level: Level
    what: str
    why: str
    do: str


_FIGURES = (
    (
        "blind_cells",
        Finding(Level.ERROR, "{n} cells hand mail over and hear nothing of it",
                "Without events nobody learns of bounces and complaints, and the guard stops nobody.",
                "Look whether a worker runs and whether SES's events reach the queue that it reads."),
    ),
    (
        "stranded_lanes",
        Finding(Level.ERROR, "{n} lanes hold due mail that nobody serves", "Their mail does not move.",
                "Look whether a worker runs; its sweep wakes such lanes each second."),
    ),
    (
        "unfenced_pauses",
        Finding(Level.ERROR, "{n} pauses are not confirmed by SES", "Only Tenantry holds their mail back so far.",
                "Look at `tenantry plan` and at the worker's log for what SES answers."),
    ),
    (
        "unknown_messages",
        Finding(Level.WARNING, "{n} messages have an unknown outcome", "Their call to SES ended without an answer.",
                "Wait for events to settle them; if the feed is silent, look at the event queue."),
    ),
    (
        "failed_identities",
        Finding(Level.WARNING, "{n} identities failed verification", "SES found other DNS records than it asked for.",
                "Compare the records of `tenantry identity show` with what the domain publishes."),
    ),
    (
        "quarantined_events",
        Finding(Level.WARNING, "{n} events were put aside", "They could not be read or belong to nobody here.",
                "Look at the quarantine; another program may share the topic."),
    ),
    (
        "due_verdicts",
        Finding(Level.WARNING, "{n} verdicts wait to be acted on", "A stream may send more than it should.",
                "Look whether a worker runs."),
    ),
    (
        "pending_identities",
        Finding(Level.NOTICE, "{n} identities are not verified yet", "Their tenants cannot send from them.",
                "Publish the records of `tenantry identity show`, then wait for SES to see them."),
    ),
    (
        "unprovisioned_streams",
        Finding(Level.NOTICE, "{n} streams are not set up in SES yet", "Their mail is kept until they are.",
                "Wait: provision makes one call a second to each cell; `tenantry plan` shows what is left."),
    ),
)  # fmt: skip


def diagnose(
    counts: Mapping[str, int], cells: Sequence[Cell], pauses: Sequence[Pause], now: datetime
) -> tuple[Finding, ...]:
    """Return all findings, worst first; a fleet without any gets one that says so."""
    found = [*_figures(counts), *(finding for cell in cells for finding in _cell(cell, now))]
    found += [_pause(pause) for pause in pauses if pause.ended_at is None]
    if not found:
        found.append(Finding(Level.OK, "Nothing is wrong", "Every check passed.", "Nothing."))
    order = list(Level)
    return tuple(sorted(found, key=lambda finding: order.index(finding.level)))


def _figures(counts: Mapping[str, int]) -> Iterator[Finding]:
    for name, finding in _FIGURES:
        if number := counts.get(name, 0):
            yield Finding(finding.level, finding.what.format(n=f"{number:,}"), finding.why, finding.do)


def _cell(cell: Cell, now: datetime) -> Iterator[Finding]:
    if not cell.sending_enabled:
        yield Finding(
            Level.ERROR, f"SES has stopped cell {cell.name}", "Nothing can be sent through it.", "See the SES console."
        )
    if cell.enforcement not in ("HEALTHY", ""):
        yield Finding(
            Level.ERROR,
            f"Cell {cell.name} is under {cell.enforcement}",
            "Amazon reviews the account; every tenant there is at risk.",
            "Answer the case in the SES console, and look at who bounces or annoys most.",
        )
    if cell.quota_24h > 0 and cell.sent_24h >= QUOTA_SHARE * cell.quota_24h:
        yield Finding(
            Level.WARNING,
            f"Cell {cell.name} has used {cell.sent_24h / cell.quota_24h:.0%} of its 24-hour quota",
            "At the end of it mail waits until earlier mail is a day old.",
            "Ask Amazon for a higher quota.",
        )
    if cell.seen_at is None or now - cell.seen_at > READING_AGE:
        yield Finding(
            Level.WARNING,
            f"Cell {cell.name} has not been read lately",
            "Its rate, quota and status may have changed.",
            "Look whether a worker runs and can reach SES.",
        )


def _pause(pause: Pause) -> Finding:
    return Finding(
        Level.NOTICE,
        f"The {pause.scope_kind} {pause.scope_id} is paused by the {pause.author} ({pause.state})",
        pause.reason,
        f"See `tenantry explain {pause.id}`; `tenantry reinstate` ends it.",
    )
