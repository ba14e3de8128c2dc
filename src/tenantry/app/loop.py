"""Owns how a loop lives: its process made ready, its rounds run and logged, and a rest when one fails."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from tenantry.app.observer import UNSEEN_LOOP, LoopObserver
from tenantry.ports import Clock, ControlBusy, FeedUnavailable, StoreBusy

BACKOFF_MOST_SECONDS = 60.0  # after a bug: trying often would only fill the log
OUTAGE_MOST_SECONDS = 5.0  # of what lies around us: its end is noticed soon
EXPECTED = (StoreBusy, FeedUnavailable, ControlBusy)  # the world's fault: no traceback is of use


def settle_heap() -> None:
    """Set what start-up made aside from garbage collection, for good, and collect less often; call it once, before the work.

    Walking the libraries' objects again and again costs a fifth of a dispatched message. Cycles still go: later.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


@dataclass(slots=True)
class Kick:
    """A bell between loops of one process: whoever waits on it looks at once, not at the next poll."""

    _event: asyncio.Event = field(default_factory=asyncio.Event)

    def ring(self) -> None:
        """Wake the loop that waits, or make its next wait end at once."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Wait until the bell rings, or this long."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a loop rests after a failed round: doubled at each failure in a row."""

    clock: Clock
    first_seconds: float = 1.0

    async def rest(self, failures: int, most_seconds: float = OUTAGE_MOST_SECONDS) -> None:
        """Rest after this many failures in a row."""
        await self.clock.sleep(min(most_seconds, self.first_seconds * 2.0 ** min(failures - 1, 10)))


async def forever(
    name: str, backoff: Backoff, one_round: Callable[[], Awaitable[None]], observer: LoopObserver = UNSEEN_LOOP
) -> None:
    """Run rounds until cancelled; a round that fails is logged once and followed by a rest."""
    log = structlog.get_logger(loop=name)
    failures = 0
    while True:
        try:
            observer.began()
            await one_round()
            observer.done()
            failures = 0
        except EXPECTED as error:
            failures += 1
            observer.failed(error)
            log.warning("round failed", error=str(error), failures=failures)
            await backoff.rest(failures)
        except Exception as error:
            failures += 1
            observer.failed(error)
            log.exception("round failed", failures=failures)
            await backoff.rest(failures, BACKOFF_MOST_SECONDS)
