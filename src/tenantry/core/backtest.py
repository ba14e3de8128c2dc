"""Owns the replay of a stream's history under a policy: who would have been slowed or stopped, when, and what it had cost.

Reads the history that stands: mail that a pause held back is not in it. Leaves reading it to the store.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate
from typing import NamedTuple

from tenantry.core.ids import StreamId
from tenantry.core.policy import BOUNCES, COMPLAINTS, POLICIES, Action, LineKind, Policy, Verdict, judge, ratio
from tenantry.core.reputation import BUCKET_RECIPIENTS, Block, blocks


class PastBucket(NamedTuple):
    """Fifty recipients as they were sent."""

    cohort: int
    number: int
    first_at: datetime
    handed: int
    reporting: int


class PastBad(NamedTuple):
    """One counted bounce or complaint, and when it was told."""

    cohort: int
    ordinal: int
    kind: LineKind
    at: datetime
    domain: str


@dataclass(frozen=True, slots=True)
class History:
    """What a stream sent, and what came back."""

    stream_id: StreamId
    stream: str
    policy: str  # the one in force
    buckets: tuple[PastBucket, ...]
    bad: tuple[PastBad, ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """What a policy had done to a stream. before, after: recipients handed before and after the pause (all before, if none).

    bad_before, bad_after: of those, who bounced or complained.
    """

    stream_id: StreamId
    stream: str
    policy: str
    throttled_at: datetime | None
    paused_at: datetime | None
    words: str
    before: int
    after: int
    bad_before: int
    bad_after: int

    @property
    def wrong(self) -> bool:
        """Whether the mail after the pause was healthy: at most 2 % bad of it."""
        return self.paused_at is not None and self.bad_after <= 0.02 * self.after


BASELINES: Sequence[Policy] = (
    POLICIES["ses"],
    replace(
        POLICIES["ses"],
        name="warn-4-suspend-8",  # as one neighbour has it: from 200 recipients
        lines=(ratio(BOUNCES, 0.04, 0.08, 200), ratio(COMPLAINTS, 0.0008, 0.003, 200)),
    ),
    replace(POLICIES["ses"], name="warn-5-suspend-10", lines=(ratio(BOUNCES, 0.05, 0.10, 1_000),)),
)
"""Amazon's own lines and rules of neighbours, to compare with; by blocks in sending order where they say days."""


class _Sums:
    """Recipients of one cohort up to a time, by bucket, as prefix sums."""

    def __init__(self, buckets: Sequence[PastBucket]) -> None:
        self.numbers = [one.number for one in buckets]
        self.begun = [one.first_at for one in buckets]
        self.handed = [0, *accumulate(one.handed for one in buckets)]
        self.reporting = [0, *accumulate(one.reporting for one in buckets)]

    def within(self, start: int, end: int, at: datetime) -> tuple[int, int]:
        """Return recipients handed, and reporting, in buckets from start to before end that had begun by then."""
        last = min(bisect_right(self.numbers, end - 1), bisect_right(self.begun, at))
        first = min(bisect_right(self.numbers, start - 1), last)
        return self.handed[last] - self.handed[first], self.reporting[last] - self.reporting[first]


def replay(history: History, policy: Policy) -> Replay:
    """Judge each report at the time it came, as the guard does, until the policy pauses the stream."""
    cohorts: dict[int, list[PastBucket]] = defaultdict(list)
    for sent in sorted(history.buckets):
        cohorts[sent.cohort].append(sent)
    sums = {cohort: _Sums(found) for cohort, found in cohorts.items()}
    bad: dict[tuple[int, LineKind], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    throttled_at: datetime | None = None
    paused: tuple[datetime, Verdict] | None = None
    for one in _in_order(history):
        bucket = one.ordinal // BUCKET_RECIPIENTS
        bad[one.cohort, one.kind][bucket].append(one.domain)
        if one.cohort not in sums:
            continue
        verdict = judge(_blocks(sums[one.cohort], bad, one, bucket), policy)
        if verdict.action is Action.PAUSE:
            paused = one.at, verdict
            break
        if verdict.action is Action.THROTTLE and throttled_at is None:
            throttled_at = one.at
    return _told(history, policy, throttled_at, paused)


def _in_order(history: History) -> list[PastBad]:
    """Return reports as they came; none before its mail, whatever the clocks of SES and the database say."""
    begun = {(one.cohort, one.number): one.first_at for one in history.buckets}
    told = [
        one._replace(at=max(one.at, begun.get((one.cohort, one.ordinal // BUCKET_RECIPIENTS), one.at)))
        for one in history.bad
    ]
    return sorted(told, key=lambda one: (one.at, one.ordinal))


def _blocks(
    sums: _Sums, bad: Mapping[tuple[int, LineKind], Mapping[int, list[str]]], report: PastBad, bucket: int
) -> dict[LineKind, list[Block]]:
    found: dict[LineKind, list[Block]] = {kind: [] for kind in LineKind}
    for span in blocks(bucket):
        end = span.start + span.buckets
        handed, reporting = sums.within(span.start, end, report.at)
        for kind, n in ((LineKind.BOUNCE, handed), (LineKind.COMPLAINT, reporting)):
            rows = bad.get((report.cohort, kind), {})
            domains = [domain for number, names in rows.items() if span.start <= number < end for domain in names]
            seen = 1 if kind is LineKind.BOUNCE else len(set(domains))
            found[kind].append(Block(span.start, span.buckets, n, min(len(domains), n), seen))
    return found


def _told(
    history: History, policy: Policy, throttled_at: datetime | None, paused: tuple[datetime, Verdict] | None
) -> Replay:
    total = sum(one.handed for one in history.buckets)
    at = paused[0] if paused else None
    before = total if at is None else sum(one.handed for one in history.buckets if one.first_at <= at)
    sent = {(one.cohort, one.number): one.first_at for one in history.buckets}
    early = [
        one
        for one in history.bad
        if at is None or sent.get((one.cohort, one.ordinal // BUCKET_RECIPIENTS), one.at) <= at
    ]
    return Replay(
        stream_id=history.stream_id,
        stream=history.stream,
        policy=policy.name,
        throttled_at=throttled_at,
        paused_at=at,
        words=paused[1].words() if paused else "",
        before=before,
        after=total - before,
        bad_before=len(early),
        bad_after=len(history.bad) - len(early),
    )
