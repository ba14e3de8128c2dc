"""Owns the metric data of CloudWatch: series of one-minute buckets, bounded, and their statistics over periods.

Leaves calls to `neighbours.cloudwatch` and the query language to `neighbours.insights`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

MINUTE = 60
KEPT_MINUTES = 21_600  # 15 days, as CloudWatch keeps points of a minute
SERIES_MAX = 200_000
STATISTICS = ("SampleCount", "Sum", "Average", "Minimum", "Maximum")
Dimensions = tuple[tuple[str, str], ...]


class Metric(NamedTuple):
    """The whole name of one series; `dimensions` in the order of `sorted_dimensions`."""

    namespace: str
    name: str
    dimensions: Dimensions = ()


@dataclass(slots=True)
class Bucket:
    """What was measured within a minute, or a longer time."""

    count: float = 0.0
    total: float = 0.0
    low: float = float("inf")
    high: float = float("-inf")

    def add(self, other: "Bucket") -> None:
        """Take in another bucket."""
        self.count += other.count
        self.total += other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def statistic(self, name: str) -> float:
        """Return one of CloudWatch's statistics."""
        match name:
            case "SampleCount":
                return self.count
            case "Sum":
                return self.total
            case "Average":
                return self.total / self.count if self.count else 0.0
            case "Minimum":
                return self.low
        return self.high


@dataclass(slots=True)
class Series:
    """One metric with its dimensions; `minutes` maps the start of a minute (epoch seconds) to its bucket."""

    dimensions: Dimensions
    unit: str = "None"
    minutes: dict[int, Bucket] = field(default_factory=dict)
    newest: int = 0

    def add(self, at: float, bucket: Bucket, unit: str) -> None:
        """Add what was measured at a time; beyond 15 days the oldest minutes go."""
        start = int(at) // MINUTE * MINUTE
        self.unit = unit
        self.minutes.setdefault(start, Bucket()).add(bucket)
        self.newest = max(self.newest, start)
        if len(self.minutes) > KEPT_MINUTES:
            del self.minutes[min(self.minutes)]

    def within(self, start: int, end: int) -> Iterable[tuple[int, Bucket]]:
        """Return the minutes from start (inclusive) to end (exclusive), both epoch seconds, in order."""
        if (end - start) // MINUTE < len(self.minutes):
            first = -(-start // MINUTE) * MINUTE
            return ((at, self.minutes[at]) for at in range(first, end, MINUTE) if at in self.minutes)
        return ((at, self.minutes[at]) for at in sorted(self.minutes) if start <= at < end)


def over(series: Iterable[Series], start: int, end: int, period: int) -> dict[int, Bucket]:
    """Return the buckets of periods that are counted from `start`, all series taken together; empty ones are absent."""
    found: dict[int, Bucket] = {}
    for each in series:
        for at, bucket in each.within(start, end):
            found.setdefault(start + (at - start) // period * period, Bucket()).add(bucket)
    return found


class Metrics:
    """All series of one place, found by namespace and name."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], dict[Dimensions, Series]] = {}
        self._number = 0

    def add(self, metric: Metric, at: float, bucket: Bucket, unit: str = "None") -> bool:
        """Add to a series; False (and nothing added) when that would be one series too many."""
        of_name = self._series.setdefault((metric.namespace, metric.name), {})
        found = of_name.get(metric.dimensions)
        if found is None:
            if self._number >= SERIES_MAX:
                return False
            self._number += 1
            found = of_name[metric.dimensions] = Series(metric.dimensions)
        found.add(at, bucket, unit)
        return True

    def one(self, namespace: str, name: str, dimensions: Dimensions) -> Series | None:
        """Return the series of exactly these dimensions, or None."""
        return self._series.get((namespace, name), {}).get(dimensions)

    def named(self, namespace: str, name: str) -> Iterable[Series]:
        """Return the series of a metric, whatever their dimensions."""
        return self._series.get((namespace, name), {}).values()

    def all(self) -> Iterable[tuple[str, str, Series]]:
        """Return every series with its namespace and name."""
        for (namespace, name), found in self._series.items():
            for series in found.values():
                yield namespace, name, series


def sorted_dimensions(given: Iterable[Mapping[str, str]]) -> Dimensions:
    """Return the dimensions of a call in one order, so that equal ones are equal."""
    return tuple(sorted((each["Name"], each["Value"]) for each in given))
