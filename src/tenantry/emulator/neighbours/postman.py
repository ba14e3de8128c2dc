"""Owns the making of SNS's HTTP deliveries: those that are due are posted side by side, and their outcomes told.

Leaves what is due to `neighbours.sns_delivery` and the POST to `neighbours.post`.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from tenantry.emulator.neighbours.post import PostError, post
from tenantry.emulator.neighbours.services import Neighbours
from tenantry.emulator.neighbours.sns_delivery import Delivery

AT_ONCE = 100  # a receiver that hangs holds one of them for as long as SNS waits
IDLE_SECONDS = 1.0


class Postman:
    """Posts for every place of a process; `anywhere` lets deliveries leave the machine."""

    def __init__(
        self, places: Callable[[], Iterable[Neighbours]], clock: Callable[[], float], *, anywhere: bool = False
    ) -> None:
        self._places = places
        self._clock = clock
        self._anywhere = anywhere
        self._wanted = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self.on_settled: Callable[[], None] = lambda: None

    def wake(self) -> None:
        """Look again at once: a delivery may be due."""
        self._wanted.set()

    async def run(self) -> None:
        """Deliver until cancelled; what is under way then is given up."""
        try:
            while True:
                self._wanted.clear()
                self._start()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wanted.wait(), self._pause())
        finally:
            for task in self._under_way:
                task.cancel()

    def _start(self) -> None:
        for place in self._places():
            room = AT_ONCE - len(self._under_way)
            for delivery in place.deliveries(self._clock(), room) if room > 0 else ():
                task = asyncio.create_task(self._deliver(place, delivery))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)

    def _pause(self) -> float:
        dues = [due for place in self._places() if (due := place.next_delivery()) is not None]
        if not dues or len(self._under_way) >= AT_ONCE:
            return IDLE_SECONDS
        return min(IDLE_SECONDS, max(0.001, min(dues) - self._clock()))

    async def _deliver(self, place: Neighbours, delivery: Delivery) -> None:
        try:
            status = await post(delivery, anywhere=self._anywhere)
        except PostError as error:
            place.delivered(delivery, None, str(error), self._clock())
        else:
            place.delivered(delivery, status, "", self._clock())
        self.on_settled()
        self.wake()
