"""Owns the loops of one cell: dispatch, ingest, guard, provision, account watch and sweep, in one task group."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import structlog

from tenantry.app.cell import Adapters
from tenantry.app.ingest import READERS, FeedReader
from tenantry.app.loop import Backoff, Kick, forever
from tenantry.app.pipeline import Flow, Pipeline
from tenantry.core.ids import CellId
from tenantry.flow.dispatch import abandon, wake_stranded
from tenantry.flow.guard import Ramp, act, climb, drain_all
from tenantry.flow.provision import Course, Pace, Provisioning, reconcile
from tenantry.ports import Clock
from tenantry.settings import Settings
from tenantry.store.bootstrap import ensure_partitions
from tenantry.store.store import Store

PARTITION_SECONDS = 3_600.0
PROVISION_REST = 10.0  # a pass compares everything: it may take a tenth of the time at most


@dataclass(slots=True)
class Bells:
    """What loops and doors of one process tell each other; without them each looks at its poll."""

    crossed: Kick = field(default_factory=Kick)
    changed: Kick = field(default_factory=Kick)


class Worker:
    """Everything that one cell needs done."""

    def __init__(self, settings: Settings, store: Store, clock: Clock, cell: CellId, cloud: Adapters) -> None:
        """Wire the loops; run starts them."""
        self._settings = settings
        self._store = store
        self._clock = clock
        self._cell = cell
        self._cloud = cloud
        self.bells = Bells()
        flow = Flow(
            settings.in_flight, settings.claim_ahead_seconds, settings.settle_batch_size, settings.turn_poll_seconds
        )
        self.pipeline = Pipeline(store, cloud.ses, clock, cell, flow)
        self.reader = FeedReader(store, cloud.feed, cell, self.bells.crossed.ring)
        waits = Provisioning(poll=settings.identity_poll_seconds)
        self._course = Course(Pace(clock, settings.control_rate), waits)
        self._ramp = Ramp(settings.ramp_stage_seconds)
        self._log = structlog.get_logger(cell=cell)

    async def run(self) -> None:
        """Run every loop until cancelled. What an earlier process left open is made unknown first."""
        gone = await abandon(self._store, self._cell)
        if gone:
            self._log.warning("claims of an earlier process are unknown now", claims=gone)
        await self.account_round()
        backoff = Backoff(self._clock, self._settings.backoff_seconds)
        rounds = {
            "claim": self.pipeline.claim_round,
            "settle": self.pipeline.settle_round,
            "ingest": self.reader.ingest_round,
            "guard": self._guard_round,
            "ramp": self._ramp_round,
            "provision": self.provision_round,
            "account": self._account_watch,
            "sweep": self._sweep_round,
            "partitions": self._partition_round,
        }
        async with asyncio.TaskGroup() as group:
            for name, one_round in rounds.items():
                group.create_task(forever(name, backoff, one_round), name=name)
            for number in range(READERS):
                group.create_task(forever(f"feed-{number}", backoff, self.reader.read_round), name=f"feed-{number}")

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
        await self.bells.changed.wait(max(self._settings.provision_poll_seconds, PROVISION_REST * spent))

    async def account_round(self) -> None:
        """Read the account's rate, quota and status from SES."""
        reading = await self._cloud.control.account()
        async with self._store.step(lock=self._cell) as step:
            await step.set_account(self._cell, reading)

    async def _account_watch(self) -> None:
        await self._clock.sleep(self._settings.account_poll_seconds)
        await self.account_round()

    async def _sweep_round(self) -> None:
        woken = await wake_stranded(self._store, self._cell)
        if woken:
            self._log.debug("lanes woken by the sweep", lanes=woken)
            self.pipeline.mail.ring()
        await self._clock.sleep(self._settings.sweep_seconds)

    async def _partition_round(self) -> None:
        made = await ensure_partitions(self._store)
        if made:
            self._log.info("partitions made", made=made)
        await self._clock.sleep(PARTITION_SECONDS)
