"""Owns the machine's time, the only place that asks for it outside the stores; implements ports.Clock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

from tenantry.ports import Clock


def loop_seconds() -> float:
    """Return the running loop's own time, by which its timers go; seconds from any beginning."""
    return asyncio.get_running_loop().time()


class SteadyTime:
    """The wall clock, but never back: once it is set back, time goes on from where it was, at the pace of the monotonic clock.

    It is SQLite's time: mail that is due does not wait until the wall clock has come so far again. Signatures ask the wall.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        """Return the time, no earlier than it was."""
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        if self._last is not None:
            wall = max(wall, self._last[0] + timedelta(seconds=monotonic - self._last[1]))
        self._last = wall, monotonic
        return wall


class SystemClock:
    """The wall clock and the monotonic clock of this machine."""

    def wall(self) -> datetime:
        """See ports.Clock."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See ports.Clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See ports.Clock."""
        await asyncio.sleep(seconds)
