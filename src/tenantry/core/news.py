"""Owns what reports add to a message: new facts, what counts, whom to suppress; leaves writing it down to the store.

A function of the set of reports: any order and any repetition of them ends in the same facts and counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tenantry.core.event import Fact, NewFact, RecipientRow, Report
from tenantry.core.provider import reports_complaints


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
    complaint_is_new = not any(row.facts & Fact.COMPLAINT_COUNTED for row in rows)
    complaint_counts = False
    for row in rows:
        about = [report for report in reports if row.address in report.recipients]
        said = Fact.NONE
        for report in about:
            said |= report.fact | _counted(report)
            if report.suppresses:
                suppressed.append((row.address, report.fact))
        new = said & ~row.facts
        if new:
            facts.append(
                NewFact(row.message_id, row.number, new, _first(about, Fact.BOUNCED), _first(about, Fact.COMPLAINED))
            )
        if new & Fact.BOUNCE_COUNTED and row.ordinal is not None:
            bounced.append(row)
        complaint_counts = complaint_counts or bool(said & Fact.COMPLAINT_COUNTED)
    place = _complaint_place(rows) if complaint_counts and complaint_is_new else None
    return News(tuple(facts), tuple(bounced), place, tuple(suppressed))


def _counted(report: Report) -> Fact:
    if not report.counts:
        return Fact.NONE
    return Fact.BOUNCE_COUNTED if report.fact is Fact.BOUNCED else Fact.COMPLAINT_COUNTED


def _first(reports: Sequence[Report], fact: Fact) -> datetime | None:
    return min((report.at for report in reports if report.fact is fact), default=None)


def _complaint_place(rows: Sequence[RecipientRow]) -> RecipientRow | None:
    placed = (row for row in rows if row.ordinal is not None and reports_complaints(row.address))
    return min(placed, key=lambda row: row.number, default=None)
