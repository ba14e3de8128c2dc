"""Owns what reports add to a message: new facts, what counts, whom to suppress; leaves writing it down to the store.

A function of the set of reports: any order and any repetition of them ends in the same facts and counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tenantry.core.event import Fact, NewFact, RecipientRow, Report
from tenantry.core.provider import reports_complaints

BOUNCED = int(Fact.BOUNCED)
COMPLAINED = int(Fact.COMPLAINED)
BOUNCE_COUNTED = int(Fact.BOUNCE_COUNTED)
COMPLAINT_COUNTED = int(Fact.COMPLAINT_COUNTED)


@dataclass(frozen=True, slots=True)
class News:
    """What is new of one message: facts by recipient, places of counted bounces and of the complaint, suppressions."""

    facts: tuple[NewFact, ...]
    bounced: tuple[RecipientRow, ...]
    complained: RecipientRow | None
    suppressed: tuple[tuple[str, Fact], ...]  # address and the fact that is the cause


def news(rows: Sequence[RecipientRow], reports: Sequence[Report]) -> News:
    """Return what these reports about one message add to what is known of its recipients (all of them).

    A bounce counts once a recipient. A complaint counts once a message, at its first recipient whose provider reports
    complaints: providers redact, and SES then names everybody at that domain.
    """
    facts: list[NewFact] = []
    bounced: list[RecipientRow] = []
    suppressed: list[tuple[str, Fact]] = []
    complaint_counted = False
    for row in rows:
        about = [report for report in reports if row.address in report.recipients]
        said = 0
        for report in about:
            said |= _bits(report)
            if report.suppresses:
                suppressed.append((row.address, report.fact))
        new = said & ~row.facts
        if new:
            facts.append(_new_fact(row, new, about))
        if new & BOUNCE_COUNTED and row.ordinal is not None:
            bounced.append(row)
        complaint_counted = complaint_counted or bool(said & COMPLAINT_COUNTED)
    place = _complaint_place(rows) if complaint_counted else None
    return News(tuple(facts), tuple(bounced), place, tuple(suppressed))


def _bits(report: Report) -> int:
    fact = int(report.fact)
    if not report.counts:
        return fact
    return fact | (BOUNCE_COUNTED if fact == BOUNCED else COMPLAINT_COUNTED)


def _new_fact(row: RecipientRow, new: int, about: Sequence[Report]) -> NewFact:
    bounced_at = _first(about, BOUNCED) if new & BOUNCED else None
    complained_at = _first(about, COMPLAINED) if new & COMPLAINED else None
    return NewFact(row.message_id, row.number, new, bounced_at, complained_at)


def _first(reports: Sequence[Report], fact: int) -> datetime | None:
    return min((report.at for report in reports if report.fact == fact), default=None)


def _complaint_place(rows: Sequence[RecipientRow]) -> RecipientRow | None:
    """Return where the message's complaint counts, None when one has counted already."""
    if any(row.facts & COMPLAINT_COUNTED for row in rows):
        return None
    placed = (row for row in rows if row.ordinal is not None and reports_complaints(row.address))
    return min(placed, key=lambda row: row.number, default=None)
