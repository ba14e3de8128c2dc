"""Owns the values of counting: what a bucket and a day of mail amount to, and where two countings differ.

The store keeps counts as mail goes and recounts them from the recipients; leaves judging them to `policy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from tenantry.core.ids import StreamId
from tenantry.core.reputation import BUCKET_RECIPIENTS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BucketKey(NamedTuple):
    """Fifty recipients in sending order."""

    stream_id: StreamId
    cohort: int
    number: int

    @property
    def first_recipient(self) -> int:
        """The bucket's first place, counted from 0 in sending order."""
        return self.number * BUCKET_RECIPIENTS


class DayKey(NamedTuple):
    """A day's mail of a cohort to one provider; day: since 1970-01-01 UTC, of sending."""

    stream_id: StreamId
    cohort: int
    day: int
    provider: str


class Counts(NamedTuple):
    """Recipients: handed, of them with providers that report complaints, bounced hard, complained."""

    handed: int
    reporting: int
    bounced: int
    complained: int


Key = BucketKey | DayKey
NOTHING = Counts(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class DayCounts:
    """A day's mail of one stream to one provider."""

    stream_id: StreamId
    cohort: int
    day: date
    provider: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class Difference:
    """A count that is kept otherwise than its recipients say."""

    key: Key
    kept: Counts
    counted: Counts


@dataclass(frozen=True, slots=True)
class CountCheck:
    """How a tenant's kept counts compare with its recipients: all that differ, of this many recipients and counts."""

    recipients: int
    counts: int
    differences: tuple[Difference, ...]


def day_number(at: datetime) -> int:
    """Return the day of sending, as counted: days since 1970-01-01 UTC."""
    return (at - EPOCH).days


def day_of(number: int) -> date:
    """Return the day with this number."""
    return (EPOCH + timedelta(days=number)).date()


def differences(kept: Mapping[Key, Counts], counted: Mapping[Key, Counts]) -> tuple[Difference, ...]:
    """Return where kept counts differ from what was counted, in the order of their keys."""
    return tuple(
        Difference(key, kept.get(key, NOTHING), counted.get(key, NOTHING))
        for key in sorted({*kept, *counted}, key=lambda key: (len(key), *map(str, key)))
        if kept.get(key, NOTHING) != counted.get(key, NOTHING)
    )
