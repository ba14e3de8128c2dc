"""Owns the dispatch pipeline of one cell: one task claims what can start now and starts it, another settles what finished.

Leaves whose turn it is to flow.dispatch, the call to the Ses port. The number in flight is the only knob.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog

from tenantry.app.loop import Backoff, Kick
from tenantry.app.observer import UNSEEN_CELL, CellObserver
from tenantry.core.claim import Claim
from tenantry.core.ids import CellId
from tenantry.core.outcome import Outcome, Unknown
from tenantry.core.turn import Ending
from tenantry.flow.dispatch import NOBODY, Claimed, claim, hand_back, settle
from tenantry.ports import Clock, Ses, Settled, Store, StoreBusy

T = TypeVar("T")
ROOM_SECONDS = 0.05  # how long a turn may be put off to become larger
GATHER_SECONDS = 0.02  # how long an outcome may wait for those of sends under way, to share a commit with them
STOP_SECONDS = 5.0  # for a turn under way when this process is told to end
IDLE_SECONDS = 0.25  # the floor when no bell rings: accept in another process leaves only a wake


@dataclass(frozen=True, slots=True)
class Flow:
    """How much may flow: sends at a time, seconds that a claim may wait for its start, outcomes a commit, pause by rate."""

    in_flight: int = 64
    claim_ahead_seconds: float = 0.5
    settle_batch: int = 64
    turn_poll_seconds: float = 0.02


def nobody() -> int:
    """Stand for a worker that is not enrolled."""
    return NOBODY


class Pipeline:
    """Claims, sends and settles for one cell until cancelled."""

    def __init__(
        self,
        store: Store,
        ses: Ses,
        clock: Clock,
        cell: CellId,
        flow: Flow,
        *,
        worker: Callable[[], int | None] = nobody,
        observer: CellObserver = UNSEEN_CELL,
    ) -> None:
        """worker: whose claims they are, None while nobody may claim; mail is the bell that accept rings."""
        self.mail = Kick()
        self.restored: Callable[[str], None] = lambda _why: None  # is told when a fail-over or restore was noticed
        self.doubt = Kick()  # rung when an answer of SES may mean that the account is stopped
        self._worker = worker
        self._store = store
        self._ses = ses
        self._clock = clock
        self._cell = cell
        self._flow = flow
        self._backoff = Backoff(clock, 0.1)
        self._sending: set[asyncio.Task[None]] = set()
        self._finished: deque[Outcome] = deque()
        self._news = asyncio.Event()  # some have finished
        self._gathered = asyncio.Event()  # so many have finished that waiting for more is not worth it
        self._room = asyncio.Event()
        self._observer = observer
        observer.in_flight(lambda: len(self._sending))
        self._log = structlog.get_logger(loop="dispatch", cell=cell)

    async def claim_round(self) -> None:
        """Take one turn and start all of it; wait where there is nothing to take."""
        worker = self._worker()
        if worker is None:
            await self._clock.sleep(IDLE_SECONDS)
            return
        room = self._flow.in_flight - len(self._sending)
        if room < self._flow.in_flight / 2 and (await self._more_room() or not room):
            return
        begin_by = self._clock.monotonic() + self._flow.claim_ahead_seconds
        claimed = await self._take(room, worker)
        for one in claimed.claims:
            task = asyncio.create_task(self._send(one, begin_by))
            self._sending.add(task)
            task.add_done_callback(self._sent)
        if claimed.claims:
            self._log.debug("turn", claims=len(claimed.claims), ending=claimed.ending)
        if claimed.ending in (Ending.RATE, Ending.QUOTA):
            await self._clock.sleep(self._flow.turn_poll_seconds)
        elif claimed.ending is Ending.CLOSED:
            await self._clock.sleep(IDLE_SECONDS)
        elif not claimed.claims:
            await self.mail.wait(IDLE_SECONDS)

    async def _more_room(self) -> bool:
        """Wait for a send to end, since larger turns cost less a message; not for long, since most may be hanging."""
        self._room.clear()
        try:
            async with asyncio.timeout(ROOM_SECONDS):
                return await self._room.wait()
        except TimeoutError:
            return False

    async def _take(self, room: int, worker: int) -> Claimed:
        """Take a turn; a stop in the middle of it waits for its end and gives back what nobody began to send."""
        turn = asyncio.create_task(self._turn(room, worker))
        try:
            return await asyncio.shield(turn)
        except asyncio.CancelledError:
            done, _ = await asyncio.wait([turn], timeout=STOP_SECONDS)
            if not done:
                turn.cancel()  # a database that is away would hold up the stop
            elif turn.exception() is None:
                with suppress(StoreBusy):  # unknown, then, at the next start
                    await hand_back(self._store, [one.attempt_id for one in turn.result().claims])
            raise

    async def _turn(self, room: int, worker: int) -> Claimed:
        """Claim; what came too late goes back, since a pause may have been acknowledged meanwhile, and what may not begin."""
        began = self._clock.monotonic()
        claimed = await claim(self._store, self._cell, room, worker)
        self._observer.turned(began, claimed)
        late = self._clock.monotonic() - began > self._flow.claim_ahead_seconds
        if claimed.restored:
            self.restored(claimed.restored)
        if not claimed.claims or (claimed.may_begin and not late):
            return claimed
        doubted_in = None if claimed.written else self._cell
        await self._persist(partial(hand_back, self._store, [one.attempt_id for one in claimed.claims], doubted_in))
        if not claimed.written:
            raise StoreBusy("the connection was lost at the commit of a turn: what it claimed went back")
        if not claimed.marked:
            raise StoreBusy("the mark of the last claim cannot be written: its claims went back")
        self._observer.late(len(claimed.claims))
        self._log.warning("claims came too late and went back", claims=len(claimed.claims))
        return Claimed((), claimed.ending)

    async def _send(self, one: Claim, begin_by: float) -> None:
        """Send, unless this process was held up: a pause may have been acknowledged meanwhile."""
        began = self._clock.monotonic()
        if began > begin_by:
            self._observer.late(1)
            await self._persist(partial(hand_back, self._store, [one.attempt_id]))
            return
        self._finished.append(await self._ses.send(one))
        self._observer.sent(began)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._room.set()
        if self._finished:
            self._news.set()
        if not self._sending or len(self._finished) >= self._gather_most:
            self._gathered.set()

    async def settle_round(self) -> None:
        """Write down what has finished, as one commit; outcomes are kept until they are written."""
        await self._news.wait()
        await self._gather()
        outcomes = [self._finished.popleft() for _ in range(min(len(self._finished), self._flow.settle_batch))]
        if not self._finished:
            self._news.clear()
        began = self._clock.monotonic()
        try:
            settled = await self._settle(outcomes)
        except asyncio.CancelledError:  # for drain: settling twice has no effect
            self._finished.extend(outcomes)
            self._news.set()
            raise
        self._observer.settled(began, settled)
        if settled.doubts:
            self.doubt.ring()
        if settled.opened:
            self._log.error("SES does not answer: one message a second is tried until it does")
        if settled.closed:
            self._log.warning("SES answers again: mail flows")
        if settled.refused or settled.unknown or settled.retried:
            self._log.info(
                "settled",
                handed=settled.handed,
                refused=settled.refused,
                unknown=settled.unknown,
                retried=settled.retried,
                throttled=settled.throttled,
            )
        else:
            self._log.debug("settled", handed=settled.handed)

    @property
    def _gather_most(self) -> int:
        return min(self._flow.settle_batch, self._flow.in_flight // 2)

    async def _gather(self) -> None:
        """Wait for more sends to end, since larger commits cost less a message; not for long, and not for nothing."""
        if not self._sending or len(self._finished) >= self._gather_most:
            return
        self._gathered.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHER_SECONDS):
                await self._gathered.wait()

    async def _settle(self, outcomes: Sequence[Outcome]) -> Settled:
        """Settle, halved until an outcome that cannot be written down costs only itself: it is unknown then."""
        try:
            return await self._persist(partial(settle, self._store, outcomes))
        except Exception as error:
            if len(outcomes) == 1:
                self._log.exception("an outcome could not be written down", attempt=outcomes[0].attempt_id)
                unknown = Unknown(
                    outcomes[0].attempt_id,
                    f"the outcome could not be written down: {type(error).__name__}",
                    ours=True,
                )
                return await self._persist(partial(settle, self._store, [unknown]))
        middle = len(outcomes) // 2
        return await self._settle(outcomes[:middle]) + await self._settle(outcomes[middle:])

    async def _persist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write again and again while the store is busy: whoever asks holds what nobody else knows."""
        failures = 0
        while True:
            try:
                return await write()
            except StoreBusy as error:
                failures += 1
                self._log.warning("the store is busy", error=str(error), failures=failures)
                await self._backoff.rest(failures)

    async def drain(self) -> None:
        """Wait for the sends under way and settle them: nothing stays open at a graceful stop."""
        if self._sending:
            await asyncio.wait(self._sending)
        while self._finished:
            await self.settle_round()
