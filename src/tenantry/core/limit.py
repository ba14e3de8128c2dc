"""Owns token buckets: how often something may be done, as a value that fills with time; leaves who is limited to callers."""

from __future__ import annotations

from typing import NamedTuple


class Rate(NamedTuple):
    """So many a second in the long run, and so many at once."""

    per_second: float
    burst: float


class Bucket(NamedTuple):
    """What was left at an instant, in seconds of any clock that only goes forward."""

    tokens: float
    at: float


def left(bucket: Bucket | None, rate: Rate, now: float) -> float:
    """Return how much may be done now; nothing known counts as a full bucket."""
    if bucket is None:
        return rate.burst
    return min(rate.burst, bucket.tokens + max(0.0, now - bucket.at) * rate.per_second)


def spent(bucket: Bucket | None, rate: Rate, now: float, count: float = 1.0) -> Bucket:
    """Return the bucket after so much was done, which may leave it in debt."""
    return Bucket(left(bucket, rate, now) - count, now)


def wait_seconds(bucket: Bucket | None, rate: Rate, now: float, count: float = 1.0) -> float:
    """Return after how many seconds so much may be done; 0 when it may be now, infinite when it never may."""
    missing = count - left(bucket, rate, now)
    if missing <= 0:
        return 0.0
    return missing / rate.per_second if rate.per_second > 0 and count <= rate.burst else float("inf")
