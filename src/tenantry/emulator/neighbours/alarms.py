"""Owns an alarm of CloudWatch: what it watches, and the state that follows from its datapoints.

Leaves calls to `neighbours.cloudwatch_alarms` and what others are told of a change to `neighbours.alarm_notice`.
Missing data is treated as the CloudWatch guide has it ("how alarm state is evaluated when data is missing").
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenantry.emulator.neighbours.insights import Query, run
from tenantry.emulator.neighbours.metrics import MINUTE, Dimensions, Metrics, over

OK, ALARM, INSUFFICIENT = "OK", "ALARM", "INSUFFICIENT_DATA"
HISTORY_KEPT = 1_000
CONTRIBUTORS_SHOWN = 100
RANGE_MORE = 2  # how many periods more than asked for are looked at when some are empty
_SIGNS = {
    "GreaterThanOrEqualToThreshold": "greater than or equal to",
    "GreaterThanThreshold": "greater than",
    "LessThanThreshold": "less than",
    "LessThanOrEqualToThreshold": "less than or equal to",
}
Group = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Watched:
    """What an alarm looks at: one metric, or a query; and by which rule it judges what it sees."""

    namespace: str
    metric: str
    dimensions: Dimensions
    statistic: str
    query: Query | None
    period: int
    periods: int
    points_to_alarm: int
    threshold: float
    comparison: str
    missing: str

    @property
    def is_fleet(self) -> bool:
        """Does it watch many series, each of them a contributor with a state of its own?"""
        return self.query is not None and bool(self.query.group_by)

    def is_breaching(self, value: float) -> bool:
        """Is a datapoint on the wrong side of the threshold?"""
        match self.comparison:
            case "GreaterThanOrEqualToThreshold":
                return value >= self.threshold
            case "GreaterThanThreshold":
                return value > self.threshold
            case "LessThanThreshold":
                return value < self.threshold
        return value <= self.threshold


@dataclass(slots=True)
class Contributor:
    """One series of a fleet alarm that is in ALARM."""

    id: str
    group: Group
    reason: str
    since: float


@dataclass(slots=True)
class Alarm:
    """An alarm with its state; `given` is its configuration as the API shows it."""

    name: str
    arn: str
    given: dict[str, Any]
    watched: Watched
    configured_at: float
    tags: dict[str, str]
    state: str = INSUFFICIENT
    reason: str = "Unchecked: Initial alarm creation"
    reason_data: str | None = None
    updated_at: float = 0.0
    changed_at: float = 0.0
    is_partial: bool = False
    contributors: dict[Group, Contributor] = field(default_factory=dict)
    history: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=HISTORY_KEPT))
    is_awake: bool = True  # asleep: no evaluation can change anything until data or a call comes


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an evaluation found: the state (None: as it was), why, and the points it looked at, newest first."""

    state: str | None
    reason: str
    points: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A whole evaluation: the alarm's judgement, its series' own ones, and whether any data was in sight."""

    whole: Judgement
    series: Mapping[Group, Judgement]
    has_data: bool
    is_partial: bool


def evaluate(watched: Watched, metrics: Metrics, now: float) -> Evaluation:
    """Judge by the periods that end at the latest full minute before now."""
    end = int(now) // MINUTE * MINUTE
    start = end - watched.period * (watched.periods + RANGE_MORE)
    if watched.query is None:
        found = metrics.one(watched.namespace, watched.metric, watched.dimensions)
        buckets = over([found] if found else [], start, end, watched.period)
        points = {at: bucket.statistic(watched.statistic) for at, bucket in buckets.items()}
        return Evaluation(_judge(watched, points), {}, bool(points), False)
    rows, is_partial = run(watched.query, metrics, start, end, watched.period)
    if not watched.is_fleet:
        values = rows[0].values if rows else {}
        return Evaluation(_judge(watched, values), {}, bool(values), False)
    judged = {row.group: _judge(watched, row.values) for row in rows}
    return Evaluation(_together(judged), judged, bool(rows), is_partial)


def _together(judged: Mapping[Group, Judgement]) -> Judgement:
    alarming = [group for group, each in judged.items() if each.state == ALARM]
    if alarming:
        return Judgement(ALARM, f"{len(alarming)} of {len(judged)} time series evaluated to ALARM")
    if any(each.state is None for each in judged.values()):
        return Judgement(None, "")
    if judged:
        return Judgement(OK, f"{len(judged)} time series evaluated to OK")
    return Judgement(INSUFFICIENT, "Insufficient Data: the query returned no time series")


def _judge(watched: Watched, points: Mapping[int, float]) -> Judgement:
    newest = tuple(sorted(points.items(), reverse=True)[: watched.periods])
    number, needed = len(newest), watched.points_to_alarm
    missing = watched.periods - number
    bad = sum(watched.is_breaching(value) for _, value in newest)
    state: str | None
    match watched.missing:
        case "breaching":
            state = ALARM if bad + missing >= needed else OK
        case "notBreaching":
            state = ALARM if bad >= needed else OK
        case "ignore":
            unsure = number < needed and bad == number
            state = ALARM if bad >= needed else None if unsure else OK
        case _:
            state = INSUFFICIENT if not number else ALARM if bad >= min(needed, number) else OK
    return Judgement(state, _reason(watched, state, newest, bad, missing), newest)


def _reason(watched: Watched, state: str | None, newest: Sequence[tuple[int, float]], bad: int, missing: int) -> str:
    if state == INSUFFICIENT:
        return f"Insufficient Data: {watched.periods} datapoints were unknown."
    if not newest:
        treated = f"and {missing} missing datapoints were treated as [{watched.missing}]"
        return f"Threshold Crossed: no datapoints were received for {missing} periods {treated}."
    shown = ", ".join(str(value) for _, value in newest)
    sign = _SIGNS[watched.comparison]
    if state == ALARM:
        return (
            f"Threshold Crossed: {bad} out of the last {watched.periods} datapoints [{shown}] was {sign} "
            f"the threshold ({watched.threshold}) (minimum {watched.points_to_alarm} for OK -> ALARM transition)."
        )
    return f"Threshold Crossed: {len(newest)} datapoints [{shown}] were not {sign} the threshold ({watched.threshold})."
