"""Owns the machine's time, the only place that asks for it outside the stores; implements ports.Clock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


def loop_seconds() -> float:
    """Return the running loop's own time, by which its timers go; seconds from any beginning."""
    return asyncio.get_running_loop().time()


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
