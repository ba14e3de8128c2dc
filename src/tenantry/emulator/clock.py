"""Owns the time of a local SES: the machine's, skewed if wanted, or a virtual one that only a test moves.

Leaves what happens in that time to `emulator.state`: events fall due by it, windows roll by it.
"""

import time
from collections.abc import Callable


def wall_clock() -> float:
    """Return the machine's time as epoch seconds."""
    return time.time()


class MovableClock:
    """A clock that can be skewed, stopped and moved forward; never back while it is virtual, since windows only roll on."""

    def __init__(self, source: Callable[[], float] = wall_clock) -> None:
        self._source = source
        self._skew = 0.0
        self._stopped_at: float | None = None

    def __call__(self) -> float:
        """Return the time as epoch seconds."""
        return self._source() + self._skew if self._stopped_at is None else self._stopped_at

    @property
    def is_virtual(self) -> bool:
        """Does time pass only when it is moved?"""
        return self._stopped_at is not None

    def stop(self) -> None:
        """Let time stand still from now on, until it is moved."""
        self._stopped_at = self()

    def run(self) -> None:
        """Let time pass by itself again, from where it stands."""
        if self._stopped_at is not None:
            self._skew, self._stopped_at = self._stopped_at - self._source(), None

    def advance(self, seconds: float) -> None:
        """Move on by that much; ValueError for less than nothing."""
        if not seconds >= 0.0:
            raise ValueError("time is moved forward only: give seconds of 0 or more")
        if self._stopped_at is None:
            self._skew += seconds
        else:
            self._stopped_at += seconds

    def skew(self, seconds: float) -> None:
        """Be that much ahead of the machine's time (behind it if negative), as a wrong clock is; ends a virtual time."""
        self._skew, self._stopped_at = seconds, None
