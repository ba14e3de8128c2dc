"""Owns the group commit: submissions that arrive together share one commit; leaves the decision to flow.accept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from tenantry.app.clock import loop_seconds
from tenantry.app.observer import UNSEEN_DOOR, DoorObserver
from tenantry.core.message import Submission
from tenantry.flow.accept import Answer, accept
from tenantry.ports import Store, StoreBusy

ALONE_BYTES = 256_000  # larger content commits alone, so that nobody waits for its bytes
WAIT_SECONDS = 1.5  # until its commit begins: with the store's own limits under the five in which a door answers

Waiter = tuple[Submission, "asyncio.Future[Answer]", float, float]


class Batcher:
    """Accepts submissions one by one to the outside, in batches to the store."""

    def __init__(
        self,
        store: Store,
        size: int,
        parallel: int,
        accepted: Callable[[], None],
        observer: DoorObserver = UNSEEN_DOOR,
    ) -> None:
        """size: submissions a commit at most; parallel: commits at a time; accepted is called after each commit."""
        self._observer = observer
        self._store = store
        self._size = size
        self._parallel = parallel
        self._accepted = accepted
        self._waiting: deque[Waiter] = deque()
        self._workers = 0
        self._working: set[asyncio.Task[None]] = set()  # the loop itself holds tasks weakly

    async def accept(self, submission: Submission) -> Answer:
        """Return the answer after the commit; raises StoreBusy when the store cannot commit now, or not soon enough."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((submission, answer, self._observer.instant(), loop_seconds() + WAIT_SECONDS))
        if self._workers < self._parallel:
            self._workers += 1
            worker = asyncio.create_task(self._work())
            self._working.add(worker)
            worker.add_done_callback(self._working.discard)
        return await answer

    async def _work(self) -> None:
        try:
            await asyncio.sleep(0)  # let the submissions of this turn of the loop gather
            while self._waiting:
                self._turn_away()
                if self._waiting:
                    await self._commit(self._next())
        finally:
            self._workers -= 1  # at once: the task's own callback is late for whoever submits next

    def _turn_away(self) -> None:
        """Tell those who waited too long to try again: a queue that grows must not become a hang."""
        now = loop_seconds()
        while self._waiting and self._waiting[0][3] < now:
            _, waiter, _, _ = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(StoreBusy(f"No commit began within {WAIT_SECONDS:g} s."))

    def _next(self) -> list[Waiter]:
        batch = [self._waiting.popleft()]
        while self._waiting and len(batch) < self._size:
            if len(batch[-1][0].content) > ALONE_BYTES or len(self._waiting[0][0].content) > ALONE_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _commit(self, batch: list[Waiter]) -> None:
        try:
            answers = await accept(self._store, [submission for submission, *_ in batch])
        except Exception as error:
            for _, waiter, *_ in batch:
                if not waiter.done():
                    waiter.set_exception(error)
            return
        for (_, waiter, *_), answer in zip(batch, answers, strict=True):
            if not waiter.done():  # its client may have gone
                waiter.set_result(answer)
        self._observer.committed([began for _, _, began, _ in batch], answers)
        self._accepted()
