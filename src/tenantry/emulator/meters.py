"""Owns counting against limits: a token bucket and a rolling day.

Leaves the limits to the options and the refusals to the operations.
"""

from collections import deque

SLICE_SECONDS = 60.0
DAY_SECONDS = 86_400.0
# A client that paces itself at exactly the rate is early by jitter now and then; SES does not punish that.
SLACK = 0.1


class TokenBucket:
    """At most `rate` a second, with a second's worth (at least one) saved up; None never refuses."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._burst = max(1.0, rate or 0.0)
        self._tokens = self._burst
        self._at: float | None = None

    def take(self, cost: float, now: float) -> bool:
        """Take the cost and say yes, or say no and take nothing; a cost above the burst passes on a full bucket."""
        if self.rate is None:
            return True
        if self._at is not None and now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < min(cost, self._burst) - SLACK:
            return False
        self._tokens -= cost
        return True


class RollingDay:
    """Recipients of the last 24 hours, in slices of a minute."""

    def __init__(self) -> None:
        self._slices: deque[list[float]] = deque()
        self._total = 0.0

    def add(self, count: int, now: float) -> None:
        """Count what was sent now."""
        start = now - now % SLICE_SECONDS
        if self._slices and self._slices[-1][0] >= start:
            self._slices[-1][1] += count
        else:
            self._slices.append([start, count])
        self._total += count

    def total(self, now: float) -> float:
        """Return what was sent in the 24 hours before now."""
        while self._slices and self._slices[0][0] <= now - DAY_SECONDS:
            self._total -= self._slices.popleft()[1]
        return self._total
