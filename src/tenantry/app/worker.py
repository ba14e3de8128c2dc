"""Owns the loops of one cell: dispatch, ingest, guard, provision, account watch, sweep and retention, in one task group."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version

import structlog

from tenantry.app.cell import Adapters
from tenantry.app.health import Troubles
from tenantry.app.ingest import READERS, FeedReader
from tenantry.app.loop import Backoff, Kick, forever
from tenantry.app.observer import UNSEEN, ProcessObserver
from tenantry.app.pipeline import Flow, Pipeline
from tenantry.core.ids import CellId
from tenantry.core.tenant import account_sends
from tenantry.flow.dispatch import abandon, wake_stranded
from tenantry.flow.guard import Ramp, act, climb, drain_all
from tenantry.flow.provision import Course, Pace, Provisioning, reconcile
from tenantry.flow.recover import notice
from tenantry.flow.sweep import Calm, bury, sweep
from tenantry.ports import Clock, ControlBusy, StoreBusy
from tenantry.settings import Settings
from tenantry.store.bootstrap import ensure_partitions
from tenantry.store.retention import Retention, Terms
from tenantry.store.session import Presence, enroll
from tenantry.store.store import Store

PARTITION_SECONDS = 3_600.0
PIECE_SECONDS, LOOK_SECONDS = 0.05, 60.0  # between pieces of what is to be forgotten, and where there is none
BEAT_SECONDS = 1.0  # between signs of life, and between asks for the lead of a cell
IN_DOUBT_SECONDS, NO_DOUBT_SECONDS = 5.0, 3_600.0  # between readings of an account that is stopped, or not
DOUBT_REST = 4.0  # between readings while answers say that it is: they may mean a configuration set
PROVISION_REST = 10.0  # a pass compares everything: it may take a tenth of the time at most
PROVISION_REST_MOST = 10.0  # seconds: a pass may also have waited, for SES or its turn, and a pause waits for its fence


@dataclass(slots=True)
class Bells:
    """What loops and doors of one process tell each other; without them each looks at its poll."""

    crossed: Kick = field(default_factory=Kick)
    changed: Kick = field(default_factory=Kick)


class Worker:
    """Everything that one cell needs done."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        cell: CellId,
        cloud: Adapters,
        *,
        observer: ProcessObserver = UNSEEN,
    ) -> None:
        """Wire the loops; run starts them."""
        self._observer = observer
        self._troubles = Troubles(clock)
        self._settings = settings
        self._store = store
        self._clock = clock
        self._cell = cell
        self._cloud = cloud
        self.bells = Bells()
        flow = Flow(
            settings.in_flight, settings.claim_ahead_seconds, settings.settle_batch_size, settings.turn_poll_seconds
        )
        seen = observer.cell(settings.cell_name)
        self.pipeline = Pipeline(store, cloud.ses, clock, cell, flow, worker=self._number, observer=seen)
        self.pipeline.restored = self._in_recovery
        self.reader = FeedReader(store, cloud.feed, cell, self.bells.crossed.ring, seen)
        waits = Provisioning(poll=settings.identity_poll_seconds)
        self._course = Course(Pace(clock, settings.control_rate), waits)
        self._silence = timedelta(seconds=settings.unknown_silence_seconds)
        self._calm = Calm(clock)
        self._ramp = Ramp(settings.ramp_stage_seconds)
        days = (settings.retention_days, settings.content_retention_days, settings.event_raw_retention_days)
        self._retention = Retention(store, Terms(*days))
        self._forgotten: Counter[str] = Counter()
        self._presence: Presence | None = None
        self._sends: bool | None = None  # the account, as it was last read; None: not yet
        self._log = structlog.get_logger(cell=cell)

    async def run(self) -> None:
        """Run every loop until cancelled; what a dead worker left open is made unknown first."""
        await self._enroll()
        gone = await abandon(self._store, self._cell) if self._store.alone else len(await bury(self._store))
        if gone:
            self._log.warning("what a dead worker left open is unknown now", left=gone)
        with contextlib.suppress(ControlBusy):  # workers that start together: whoever is refused asks again in seconds
            await self.account_round()
        backoff = Backoff(self._clock, self._settings.backoff_seconds)
        async with asyncio.TaskGroup() as group:
            for name, one_round in self._rounds().items():
                seen = self._troubles.of(name, self._observer.loop(self._settings.cell_name, name))
                group.create_task(forever(name, backoff, one_round, seen), name=name)

    def _rounds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Name the loops: what every worker does, then what one does for the cell."""
        for_all = {
            "presence": self._presence_round,
            "claim": self.pipeline.claim_round,
            "settle": self.pipeline.settle_round,
            "doubt": self._doubt_round,
            "ingest": self.reader.ingest_round,
            "guard": self._guard_round,
            **{f"feed-{number}": self.reader.read_round for number in range(READERS)},
        }
        for_one = {
            "ramp": self._ramp_round,
            "provision": self.provision_round,
            "account": self._account_watch,
            "stranded": self._stranded_round,
            "sweep": self._sweep_round,
            "partitions": self._partition_round,
            "retention": self._retention_round,
        }
        return for_all | {name: self._led(one_round) for name, one_round in for_one.items()}

    def _led(self, one_round: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Let a round run only while this worker leads the cell."""

        async def led() -> None:
            if self._presence is not None and await self._presence.leads(self._cell):
                await one_round()
            else:
                await self._clock.sleep(BEAT_SECONDS)

        return led

    async def _enroll(self) -> None:
        presence = await enroll(self._store, self._settings.cell_name, version("tenantry"), self._woken)
        try:
            restored = await notice(self._store, self._cell)
        except BaseException:
            await presence.close()
            raise
        self._presence = presence  # from now on it may claim
        self._log.info("enrolled", worker=presence.number)
        if restored:
            self._in_recovery(restored)

    def _in_recovery(self, why: str) -> None:
        self._course.look_again()
        self._log.error("in recovery: mail of before is held, see `tenantry recover`", why=why)

    def _woken(self, cell: str) -> None:
        if cell == self._cell:
            self.pipeline.mail.ring()

    def _number(self) -> int | None:
        """Return this worker's number while its claims are its own."""
        return self._presence.number if self._presence is not None and self._presence.alive else None

    async def _presence_round(self) -> None:
        if self._presence is None:
            await self._enroll()
            return
        await self._clock.sleep(BEAT_SECONDS)
        try:
            await self._presence.beat(self._troubles.now())
        except StoreBusy:
            if not self._presence.alive:
                self._presence = None
            raise

    async def leave(self) -> None:
        """End in good order, once run has been cancelled: finish what is under way, and say goodbye."""
        await self.pipeline.drain()
        if self._presence is not None:
            await self._presence.close()

    async def _guard_round(self) -> None:
        await self.bells.crossed.wait(self._settings.guard_poll_seconds)
        paused, throttled = await act(self._store, self._cell)
        drained = await drain_all(self._store, self._cell)
        for pause in paused:
            self._log.warning("paused", pause=pause.id, scope=pause.scope_id, author=pause.author, reason=pause.reason)
        for stream in throttled:
            self._log.warning("throttled", stream=stream)
        if paused or drained:
            self.bells.changed.ring()

    async def _ramp_round(self) -> None:
        for stream in await climb(self._store, self._cell, self._ramp):
            self._log.info("ramp moved", stream=stream)
        await self._clock.sleep(self._settings.ramp_poll_seconds)

    async def provision_round(self) -> None:
        """Make SES what the store wants, then rest until something changes."""
        began = self._clock.monotonic()
        done = await reconcile(self._store, self._cloud.control, self._cell, self._course)
        spent = self._clock.monotonic() - began
        for refused in done.failed:
            self._log.warning("SES refused a change", name=refused.change.resource.name, words=refused.words)
        if done.changes_made or done.busy:
            self._log.info("provisioned", changes=done.changes_made, remaining=done.remaining, busy=done.busy)
        rest = max(self._settings.provision_poll_seconds, min(PROVISION_REST * spent, PROVISION_REST_MOST))
        await self.bells.changed.wait(rest)

    async def account_round(self) -> None:
        """Read the account's rate, quota and status from SES."""
        reading = await self._cloud.control.account()
        async with self._store.step(lock=self._cell) as step:
            await step.set_account(self._cell, reading)
        sends = account_sends(reading.sending_enabled, reading.enforcement)
        if sends is not self._sends and not (sends and self._sends is None):
            self._log.warning(
                "the account sends again" if sends else "SES has stopped the account", status=reading.enforcement
            )
        self._sends = sends

    async def _doubt_round(self) -> None:
        """Read the account once SES's answers say that it may be stopped, then often until it is not."""
        await self.pipeline.doubt.wait(IN_DOUBT_SECONDS if not self._sends else NO_DOUBT_SECONDS)
        await self.account_round()
        await self._clock.sleep(DOUBT_REST)

    async def _account_watch(self) -> None:
        await self._clock.sleep(self._settings.account_poll_seconds)
        await self.account_round()

    async def _stranded_round(self) -> None:
        woken = await wake_stranded(self._store, self._cell)
        if woken:
            self._log.debug("lanes woken by the sweep", lanes=woken)
            self.pipeline.mail.ring()
        await self._clock.sleep(self._settings.sweep_seconds)

    async def _sweep_round(self) -> None:
        swept = await sweep(self._store, self._cell, self._silence, self._calm)
        if swept:
            self._log.warning(
                "swept", expired=swept.expired, resent=swept.resent, given_up=swept.given_up, dead_workers=swept.dead
            )
        await self._clock.sleep(self._settings.sweep_seconds)

    async def _partition_round(self) -> None:
        made = await ensure_partitions(self._store)
        if made:
            self._log.info("partitions made", made=made)
        await self._clock.sleep(PARTITION_SECONDS)

    async def _retention_round(self) -> None:
        """Forget a piece; what went is told once there is no more of it."""
        done = await self._retention.round()
        self._forgotten.update(done.gone)
        if done.left:
            self._log.info("retention waits for a lock", left=done.left)
        if not done.more and (gone := {name: count for name, count in self._forgotten.items() if count}):
            self._log.info("forgotten", **gone)
            self._forgotten.clear()
        await self._clock.sleep(PIECE_SECONDS if done.more else LOOK_SECONDS)
