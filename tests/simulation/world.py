"""Owns the wiring of the simulation: one process of the real parts, its clients and its operator, on a seeded loop.

The process is started as app/up.py starts it: store, cell, adapters, Worker (every loop that Worker runs, runs here),
Batcher as the door. Leaves what goes wrong to faults.py and cloud.py, what must hold to judge.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar, cast
from uuid import UUID

from tenantry.app.batch import Batcher
from tenantry.app.cell import Adapters
from tenantry.app.worker import Worker
from tenantry.core.ids import CellId, Id, KeyId, TenantId
from tenantry.emulator.account import Account
from tenantry.emulator.options import Options, RecipientRule
from tenantry.ports import StoreBusy
from tenantry.settings import Settings
from tenantry.store.bootstrap import ensure_cell, ensure_partitions
from tenantry.store.engine import Opening, open_store
from tenantry.store.manage import FleetScope, TenantScope
from tenantry.store.store import Step, Store
from tenantry.store.vault import Vault
from tests.simulation.cloud import BEGINNING, PRESENT, Cloud, adapters
from tests.simulation.faults import Faults
from tests.simulation.inline import InlineConnection
from tests.simulation.judge import Judge
from tests.simulation.loop import NOBODY, OWNER, SeededLoop

T = TypeVar("T")
VAULT = Vault([Vault.new_key()])
OPERATOR = KeyId("key_" + "0" * 32)
RECIPIENTS = (
    RecipientRule("rotten.example", bounce=0.6, delay_seconds=0.2),
    RecipientRule("slow.example", defer=0.5, delay_seconds=1.5),
)
OPTIONS = Options(max_send_rate=40.0, max_24_hour_send=100_000.0, control_rate_per_second=None, recipients=RECIPIENTS)


class ConnectionLost(Exception):
    """The process went away before it answered."""


def settings(folder: Path) -> Settings:
    """Return the settings of every process: quick polls where they cost little."""
    return Settings(
        data=folder,
        sweep_seconds=1.0,
        guard_poll_seconds=2.0,
        ramp_poll_seconds=3.0,
        ramp_stage_seconds=3.0,
        provision_poll_seconds=5.0,
        identity_poll_seconds=3.0,
        account_poll_seconds=15.0,
        backoff_seconds=0.5,
        control_calls_per_second=20.0,
    )


@dataclass
class World:
    """Everything of one run. Each kind of chance has a source of its own, so that one draw more moves nothing else."""

    seed: str
    folder: Path
    account: Account
    faults: Faults = field(init=False)
    yields: float = 0.0
    jumped: timedelta = field(default_factory=timedelta)
    trace: list[str] = field(default_factory=list)
    process: Process | None = None
    starts: int = 0

    def __post_init__(self) -> None:
        self.loop = SeededLoop(self.chance("loop"))
        self.faults = Faults(self.chance("faults"))
        self.ids = self.chance("ids")
        self.steps = self.chance("steps")
        self.account.random = self.chance("ses")
        self.cloud = Cloud(self.account, self.loop, self.faults, self.chance("network"))
        self.judge = Judge(self.database, self.account, self.loop.time)
        self.cloud.told = self._told
        self.settings = settings(self.folder)

    def chance(self, of: str) -> Random:
        """Return a source of chance of this run."""
        return Random(f"{self.seed}/{of}")

    @property
    def database(self) -> Path:
        return self.folder / "tenantry.db"

    def note(self, *what: object) -> None:
        """Write a line of the trace."""
        self.trace.append(f"{self.loop.time():.6f} {self.loop.steps} {' '.join(map(str, what))}")

    def digest(self) -> str:
        """Return what two equal runs have in common."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()

    def _told(self, request: Any, said: Any) -> None:
        self.note("ses", request.operation, said.status)
        self.judge.answered(request, said)

    # ---- ports.Clock, of the process

    def wall(self) -> datetime:
        return datetime.fromtimestamp(BEGINNING + self.loop.time(), UTC) + self.jumped

    def monotonic(self) -> float:
        return self.loop.time()

    async def sleep(self, seconds: float) -> None:
        """Sleep at least so long; short sleeps last longer here, since each look at the store costs a run its time."""
        await asyncio.sleep(max(seconds, self.steps.uniform(0.02, 0.15)))

    # ---- what happens to the process

    def start(self) -> None:
        """Start a process on what the last one left."""
        self.starts += 1
        self.note("start", self.starts)
        self.process = Process(self, self.starts)
        self.judge.disturbed()
        self.process.begin()

    def start_again(self) -> None:
        """Start a process, if there is none."""
        if self.process is None:
            self.start()

    def ended(self, process: Process, error: BaseException | None) -> None:
        """Hear that a process ended by itself; whoever looks after it starts another one."""
        self.note("ended", type(error).__name__)
        if not isinstance(error, StoreBusy | type(None)) and type(error).__name__ not in (
            "ControlBusy",
            "ControlRefused",
        ):
            self.judge.violated(f"the process ended with {error!r}")
        self.kill(process)
        self.cloud.later(0.5, self.start_again)

    def kill(self, process: Process) -> None:
        """End a process at whatever it is doing."""
        self.note("kill", process.number)
        process.die()
        self.process = None
        self.judge.committed()

    async def stop(self, process: Process) -> None:
        """End a process in good order."""
        self.note("stop", process.number)
        await process.leave()
        await self.aside(self._kill_if_alive, process)

    def _kill_if_alive(self, process: Process) -> None:
        if process.alive:
            self.kill(process)

    async def aside(self, what: Callable[..., None], *args: object) -> None:
        """Do something outside of every task, and wait until it is done."""
        done: asyncio.Future[None] = self.loop.create_future()

        def do() -> None:
            what(*args)
            done.set_result(None)

        self.cloud.later(0.0, do)
        await done

    def run(self, main: Awaitable[T]) -> T:
        """Run a coroutine on the seeded loop, and leave nothing behind."""
        PRESENT.append(self.cloud)
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(self._unhandled)
        try:
            return self.loop.run_until_complete(main)
        finally:
            if self.process is not None:
                self.kill(self.process)
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.drive(None)
            asyncio.set_event_loop(None)
            self.loop.close()
            self.judge.close()
            PRESENT.pop()

    def _unhandled(self, _loop: object, context: Mapping[str, Any]) -> None:
        if not isinstance(context.get("exception"), asyncio.CancelledError | ConnectionLost):
            self.judge.violated(f"unhandled: {context.get('message')} {context.get('exception')!r}")


class Process:
    """One life of Tenantry between start and end; everything that it does bears its mark in OWNER."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.alive = True
        self.up = False
        self.leaving = False
        self.batcher: Batcher | None = None
        self.worker: Worker | None = None
        self.store: SimulatedStore | None = None
        self.cell: CellId | None = None
        self._main: asyncio.Task[None] | None = None
        self._connections: list[InlineConnection] = []
        self._asked: dict[asyncio.Future[Any], None] = {}
        self._context = contextvars.Context()
        self._context.run(OWNER.set, self)

    def begin(self) -> None:
        """Start running."""
        loop = self.world.loop
        self._main = loop.create_task(self._run(), context=self._context.copy())
        self._main.add_done_callback(self._ended, context=NOBODY.copy())

    async def _run(self) -> None:
        world = self.world
        opening = Opening(f"sqlite:///{world.database}", VAULT, world.wall, create=False, connect=self._connect)
        self.real = await open_store(opening)
        self.store = SimulatedStore(self.real, self)
        store = cast(Store, self.store)
        self.cell = await ensure_cell(store, world.settings.cell_name, world.settings.region)
        await ensure_partitions(store)
        ses, control, feed = adapters(world.cloud, self.lives, VAULT.unseal)
        self.worker = Worker(world.settings, store, world, self.cell, Adapters(ses, control, feed, ()))
        self.batcher = Batcher(store, world.settings.accept_batch_size, 1, self.worker.pipeline.mail.ring)
        self.up = True
        await self.worker.run()

    def _connect(self, *args: Any, **kwargs: Any) -> InlineConnection:
        made = InlineConnection(self, lambda: sqlite3.connect(*args, **kwargs))
        self._connections.append(made)
        return made

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self.alive:
            self.up = False
            self.world.cloud.later(0.0, self._gone, None if task.cancelled() else task.exception())

    def _gone(self, error: BaseException | None) -> None:
        if self.alive:
            self.world.ended(self, error)

    async def ask(self, make: Callable[[], Awaitable[T]]) -> T:
        """Let this process do something for somebody outside; raises ConnectionLost when it ends meanwhile."""
        loop = self.world.loop
        if not (self.alive and self.up):
            raise ConnectionLost
        answer: asyncio.Future[T] = loop.create_future()
        self._asked[answer] = None

        async def work() -> None:
            result, error = None, None
            try:
                result = await make()
            except Exception as caught:
                error = caught
            if self.alive and not answer.done():
                answer.set_exception(error) if error else answer.set_result(cast(T, result))

        loop.create_task(work(), context=self._context.copy())
        try:
            return await answer
        finally:
            self._asked.pop(answer, None)

    async def leave(self) -> None:
        """Stop as app/process.py does: end the loops, finish what is under way."""
        worker, main = self.worker, self._main
        if worker is None or main is None:
            return
        self.leaving = True

        async def stop() -> None:
            main.remove_done_callback(self._ended)
            main.cancel()
            await asyncio.wait([main])
            await worker.leave()

        try:
            async with asyncio.timeout(20.0):
                await self.ask(stop)
        except (TimeoutError, ConnectionLost, StoreBusy):
            return

    def die(self) -> None:
        """End at once: what was not committed is gone, and no cleaning up reaches anything. Call it from outside."""
        self.alive = self.up = False
        for connection in self._connections:
            connection.stop()
        loop = self.world.loop
        loop.frozen.discard(self)
        for answer in list(self._asked):
            if not answer.done():
                answer.set_exception(ConnectionLost())
        loop.end(self)
        if self.store is not None:
            closing = loop.create_task(self.real.close(), context=self._context.copy())
            loop.drive(self)
            assert closing.done()
        loop.end(self)

    # ---- inline.Host

    def lives(self) -> bool:
        return self.alive

    def yields(self) -> bool:
        return bool(self.world.yields) and self.world.steps.random() < self.world.yields

    def committed(self) -> None:
        self.world.note("commit")
        self.world.judge.committed()


class SimulatedStore:
    """The real store; ids and jitter are drawn from the seed, and commits fail as the faults say."""

    def __init__(self, real: Store, process: Process) -> None:
        self._real = real
        self._process = process
        self._world = process.world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    @asynccontextmanager
    async def step(self, lock: CellId | None = None) -> AsyncIterator[Step]:
        """See ports.Store."""
        fails = self._world.faults.strikes("store busy before the commit")
        async with self._real.step(lock) as step:
            yield self._seeded(step)
            if fails:
                self._world.judge.disturbed()
                raise StoreBusy("simulated")

    def accepting(self) -> AbstractAsyncContextManager[Step]:
        """See ports.Store."""
        return self.step()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Step]:
        """See ports.Store."""
        if self._world.faults.strikes("store busy at a read"):
            self._world.judge.disturbed()
            raise StoreBusy("simulated")
        async with self._real.reading() as step:
            yield self._seeded(step)

    def _seeded(self, step: Step) -> Step:
        step.new_id = lambda kind: self._new_id(kind, step.now)  # type: ignore[method-assign]
        step.jitter = lambda: 0.5 + self._world.steps.random()  # type: ignore[method-assign]
        return step

    def _new_id(self, kind: type[Id], now: datetime) -> Id:
        """Make a uuid7 whose random bits are the seed's."""
        millis = int(now.timestamp() * 1000)
        bits = self._world.ids.getrandbits(74)
        return kind.of(UUID(int=millis << 80 | 7 << 76 | (bits >> 62) << 64 | 2 << 62 | bits & (1 << 62) - 1))

    def of(self, tenant_id: TenantId) -> TenantScope:
        """See ports.Store."""
        return TenantScope(self, tenant_id)

    def fleet(self, operator: KeyId) -> FleetScope:
        """See ports.Store."""
        return FleetScope(self, operator)
