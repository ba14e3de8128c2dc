"""Owns one run of the simulation: its beginning, what clients, operator and chance do in it, and its end.

`python -m tests.simulation.play --seeds 2000` plays many and prints a table; `--seed 17` plays one and prints its trace.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import copy
import logging
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, cast

import structlog

from tenantry.core.ids import KeyId, TenantId
from tenantry.core.message import Accepted, Refusal, RefusalCode, Submission
from tenantry.core.pause import Author, Pause, ScopeId
from tenantry.core.tenant import DkimMode, NewIdentity, NewStream, NewTenant, Scope, Stream, StreamClass
from tenantry.emulator.account import Account
from tenantry.emulator.accounts import Accounts
from tenantry.emulator.neighbours.queue import Queue
from tenantry.emulator.options import FEED_NAME
from tenantry.flow.guard import end_pause, open_pause
from tenantry.ports import StoreBusy
from tenantry.store.migrate import migrate
from tenantry.store.store import Store
from tests.simulation.cloud import BEGINNING, Postman
from tests.simulation.faults import HOUR, Script, script
from tests.simulation.loop import OWNER
from tests.simulation.world import OPERATOR, OPTIONS, ConnectionLost, Process, World

BUSY_SECONDS = 4.0  # while faults happen
SETTLED_WITHIN = 120.0  # after the last fault
MARKETING = NewStream("marketing", StreamClass.MARKETING)
TENANTS = {
    "acme": [NewStream("transactional", StreamClass.TRANSACTIONAL, is_default=True), MARKETING],
    "rotten": [replace(MARKETING, is_default=True)],
}
DOMAINS = ("fine.example", "fine.example", "slow.example")
TRACE_SHOWN = 80


@dataclass(frozen=True)
class Ground:
    """What runs start from: a database and an account, and the tenants in both."""

    database: Path
    account: Account
    keys: dict[str, KeyId]
    scopes: list[tuple[str, ScopeId]]


@dataclass
class Played:
    """How a run went."""

    seed: int
    steps: int = 0
    messages: int = 0
    sends: int = 0
    marked_doubles: int = 0  # second copies under the silence rule, marked as such
    seconds: float = 0.0
    happened: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    digest: str = ""
    trace: list[str] = field(default_factory=list)


def memory() -> str | None:
    """Return a folder in memory, where the machine has one: runs need no disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@cache
def ground(provisioned: bool) -> Ground:
    """Make, once a process, what runs start from: tenants with their walls in SES, or with none yet."""
    folder = Path(tempfile.mkdtemp(prefix="tenantry-ground-", dir=memory()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    migrate(f"sqlite:///{folder / 'tenantry.db'}")
    world = World(f"ground {provisioned}", folder, Accounts(OPTIONS, BEGINNING).home)
    keys: dict[str, KeyId] = {}
    scopes: list[tuple[str, ScopeId]] = []

    async def make() -> None:
        world.start()
        process = await running(world)
        store = cast(Store, process.store)
        assert process.cell is not None
        scopes.append(("cell", process.cell))
        for name in TENANTS:
            tenant, streams, keys[name] = await process.ask(lambda name=name: _tenant(store, name))
            scopes.extend([("tenant", tenant), ("pool", streams[0].pool_id), *(("stream", one.id) for one in streams)])
        while provisioned and world.judge.unprovisioned():
            await asyncio.sleep(1.0)
        await world.stop(process)

    with _quiet_logs(world):
        world.run(make())
    assert not world.judge.violations, world.judge.violations
    world.account.queues[FEED_NAME] = Queue(FEED_NAME, BEGINNING)
    return Ground(world.database, world.account, keys, list(dict.fromkeys(scopes)))


async def _tenant(store: Store, name: str) -> tuple[TenantId, list[Stream], KeyId]:
    tenant = await store.fleet(OPERATOR).add_tenant(NewTenant(name))
    mine = store.of(tenant.id)
    streams = [await mine.add_stream(wanted) for wanted in TENANTS[name]]
    await mine.add_identity(NewIdentity(f"{name}.example", DkimMode.EASY))
    key, _secret = await mine.add_key(frozenset({Scope.SEND}))
    return tenant.id, streams, key.id


async def running(world: World) -> Process:
    """Return the process once it takes requests, whichever one that is."""
    while world.process is None or not world.process.up:
        await asyncio.sleep(0.05)
    return world.process


def play(seed: int, stays: float = 0.0) -> Played:
    """Play one run; what it returns depends on the seed alone. stays: for how many seconds it goes on once all is settled."""
    began = time.process_time()
    world = _world(seed)
    plan = script(world.chance("script"), BUSY_SECONDS)
    world.faults.odds, world.yields = dict(plan.odds), plan.yields
    played = Played(seed)
    try:
        with _quiet_logs(world):
            world.run(_play(world, plan, ground(_onboarded(seed)), stays))
    except Exception:
        played.violations.append(traceback.format_exc())
    finally:
        shutil.rmtree(world.folder)
    played.violations += world.judge.violations
    played.steps, played.messages = world.loop.steps, len(world.judge.answers)
    played.sends = world.account.ledger.messages_total
    played.marked_doubles = world.judge.marked_doubles
    played.happened = world.faults.happened
    played.digest, played.trace = world.digest(), world.trace
    played.seconds = time.process_time() - began
    return played


def _onboarded(seed: int) -> bool:
    return seed % 10 != 9


def _world(seed: int) -> World:
    start = ground(_onboarded(seed))
    folder = Path(tempfile.mkdtemp(prefix="tenantry-sim-", dir=memory()))
    shutil.copy(start.database, folder / "tenantry.db")
    return World(str(seed), folder, copy.deepcopy(start.account))


@contextlib.contextmanager
def _quiet_logs(world: World) -> Iterator[None]:
    """Show no log; a loop that logs an exception has met what it did not expect, which is a violation."""

    def notice(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Any:
        error, owner = sys.exc_info()[1], OWNER.get()
        if event.get("exc_info") and error is not None and not (isinstance(owner, Process) and not owner.alive):
            text = "".join(traceback.format_exception(error)[-3:])
            world.judge.violated(f"{event.get('event')}: {text}")
        raise structlog.DropEvent

    kept = structlog.get_config()
    structlog.configure(
        processors=[notice],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**kept)


# ---- what happens


async def _play(world: World, plan: Script, start: Ground, stays: float) -> None:
    world.start()
    clients = Clients(world, start)
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(_watch(world))
        submitting = group.create_task(clients.run())
        events = [group.create_task(_happen(world, start, at, what)) for at, what in plan.events]
        await asyncio.sleep(BUSY_SECONDS)
        world.faults.quiet = True
        world.note("quiet")
        world.judge.disturbed(world.loop.time() + 5.0)
        await asyncio.wait([submitting, *events], timeout=SETTLED_WITHIN)
        submitting.cancel()
        await _settle(world, start)
        await asyncio.sleep(stays)
        watch.cancel()
    world.judge.finish()
    process = await running(world)
    await world.stop(process)


async def _watch(world: World) -> None:
    while True:
        await asyncio.sleep(0.5)
        process = world.process
        working = process is not None and process.up and not process.leaving and process not in world.loop.frozen
        world.judge.watched_lanes(int(world.wall().timestamp() * 1_000_000), working)


async def _happen(world: World, start: Ground, at: float, what: str) -> None:
    """Let one misfortune happen at its instant."""
    await asyncio.sleep(at)
    random = world.chance(f"{what}/{at}")
    process = world.process
    if what == "pause":
        world.faults.happened[what] += 1
        await _pause(world, start, random)
    elif process is not None and process.alive and what == "crash":
        world.faults.happened[what] += 1
        await world.aside(_crash, world, process)
        world.cloud.later(random.uniform(0.1, 3.0), world.start_again)
    elif process is not None and process.up and what == "stop":
        world.faults.happened[what] += 1
        await world.stop(process)
        world.cloud.later(random.uniform(0.1, 1.0), world.start_again)
    elif process is not None and what == "freeze":
        world.faults.happened[what] += 1
        await _freeze(world, process, random.choice([0.3, 1.0, 5.0, 12.0]))
    elif what == "clock jumps an hour":
        world.faults.happened[what] += 1
        world.note(what)
        world.jumped += timedelta(seconds=HOUR)
        world.judge.disturbed(world.loop.time() + 2.0)


def _crash(world: World, process: Process) -> None:
    if process.alive:
        world.kill(process)


async def _freeze(world: World, process: Process, seconds: float) -> None:
    """Stop a process as SIGSTOP does, with all its timers; it does not know how long it was away."""
    world.note("freeze", process.number, seconds)
    world.loop.frozen.add(process)
    await asyncio.sleep(seconds)
    world.loop.frozen.discard(process)
    world.judge.disturbed(world.loop.time() + 2.0)


async def _pause(world: World, start: Ground, random: Random) -> None:
    """Be the operator: stop a scope, wait for the answer, end it after a while, and perhaps stop it again at once."""
    scope = random.choice(start.scopes)
    for _ in range(random.choice([1, 1, 2])):
        pause = await _asked(world, lambda store: open_pause(store, world, scope, Author.OPERATOR, "simulated"))
        world.note("paused", scope[0], getattr(pause, "id", pause))
        await asyncio.sleep(random.choice([0.0, 0.3, 2.0, 6.0]))
        if isinstance(pause, Pause):
            await _asked(world, lambda store, pause=pause: end_pause(store, pause.id, Author.OPERATOR, "simulated"))
            world.note("ending", pause.id)
        await asyncio.sleep(random.choice([0.0, 0.01, 0.1, 1.0]))


async def _asked(world: World, make: Any) -> Any:
    """Ask whichever process runs, once; None when it was busy or went away."""
    process = await running(world)
    try:
        return await process.ask(lambda: make(process.store))
    except (StoreBusy, ConnectionLost):
        return None


async def _settle(world: World, start: Ground) -> None:
    """End every pause, and wait until nothing is under way; the judge says what was, if that takes too long."""
    until = world.loop.time() + SETTLED_WITHIN
    while world.loop.time() < until:
        await asyncio.sleep(1.0)
        for pause_id in world.judge.stopped():
            await _asked(world, lambda store, one=pause_id: end_pause(store, one, Author.OPERATOR, "over"))
        queue = world.account.queues[FEED_NAME]
        assert isinstance(queue, Postman)
        events = sum(queue.depth(world.cloud.now())) + queue.on_the_way
        if not events and world.cloud.next_event() is None and not world.judge.unsettled():
            return


class Clients:
    """The tenants' applications: they submit in bursts, try again under the same key, and note every answer."""

    def __init__(self, world: World, start: Ground) -> None:
        self._world = world
        self._keys = start.keys
        self._random = world.chance("clients")
        self._numbers = count()

    async def run(self) -> None:
        """Submit until the busy time is over, and then until each submission has its answer."""
        async with asyncio.TaskGroup() as group:
            for name in self._keys:
                group.create_task(self._application(name))

    async def _application(self, name: str) -> None:
        random = Random(f"{self._world.seed}/application/{name}")
        bursts = random.randint(1, 2)
        async with asyncio.TaskGroup() as group:
            for _ in range(bursts):
                await asyncio.sleep(random.uniform(0.0, 1.4 * BUSY_SECONDS / bursts))
                for _ in range(random.randint(1, 16 if name == "rotten" else 9)):
                    submission = self._submission(name, random)
                    self._world.judge.submitted[submission.subject] = submission
                    group.create_task(self._submit(submission, random.uniform(0.1, 0.6)))

    def _submission(self, name: str, random: Random) -> Submission:
        subject = f"{name}-{next(self._numbers)}"
        domains = ["rotten.example"] if name == "rotten" else DOMAINS
        people = [f"p{random.randint(0, 10_000)}@{random.choice(domains)}" for _ in range(random.choice([1, 1, 1, 3]))]
        people = list(dict.fromkeys(people))
        return Submission(
            key_id=self._keys[name],
            sender=f"hello@{name}.example",
            authors=(f"hello@{name}.example",),
            to=tuple(people[:2]),
            cc=tuple(people[2:]),
            bcc=(),
            reply_to=(),
            subject=subject,
            content=b'{"Simple":{"Subject":{"Data":"%s"},"Body":{"Text":{"Data":"Hello"}}}}' % subject.encode(),
            stream=random.choice([None, TENANTS[name][-1].name]),
            idempotency_key=subject,
            body_digest=subject.encode(),
            remember_seconds=86_400,
        )

    async def _submit(self, submission: Submission, patience: float) -> None:
        """Submit until there is an answer, as an SDK does."""
        world = self._world
        while True:
            process = await running(world)
            try:
                if world.faults.strikes("client goes away"):
                    async with asyncio.timeout(0.001):
                        answer = await self._accept(process, submission)
                else:
                    answer = await self._accept(process, submission)
            except (StoreBusy, ConnectionLost, TimeoutError):
                await asyncio.sleep(patience)
                continue
            world.note("answer", submission.subject, getattr(answer, "id", answer))
            if isinstance(answer, Accepted):
                world.judge.acknowledged(submission.subject, answer)
                return
            if not isinstance(answer, Refusal) or answer.code not in (
                RefusalCode.BUSY,
                RefusalCode.IDENTITY_UNVERIFIED,
            ):
                world.judge.violated(f"{submission.subject} was answered with {answer}")
                return
            await asyncio.sleep(patience)

    async def _accept(self, process: Process, submission: Submission) -> Any:
        batcher = process.batcher
        assert batcher is not None
        return await process.ask(lambda: batcher.accept(submission))


# ---- many runs


def show(played: Played) -> str:
    """Return what a person needs of a run that failed: its seed, what does not hold, and how it came to that."""
    lines = [f"seed {played.seed}: {len(played.violations)} violations", *played.violations[:20], "the last steps:"]
    return "\n".join([*lines, *played.trace[-TRACE_SHOWN:]])


def main() -> None:
    """Play runs and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    if given.seed is not None:
        played = play(given.seed)
        sys.stdout.write("\n".join([*played.trace, *played.violations, played.digest, ""]))
        sys.exit(bool(played.violations))
    total = Played(-1)
    failed = []
    began = time.monotonic()
    seeds = range(given.first, given.first + given.seeds)
    with ProcessPoolExecutor(given.jobs) as pool:
        for played in pool.map(play, seeds, chunksize=5):
            total.steps += played.steps
            total.messages += played.messages
            total.sends += played.sends
            total.marked_doubles += played.marked_doubles
            total.seconds += played.seconds
            total.happened.update(played.happened)
            if played.violations:
                failed.append(played.seed)
                sys.stdout.write(show(played) + "\n\n")
    _table(total, len(seeds), failed, time.monotonic() - began)
    sys.exit(bool(failed))


def _table(total: Played, seeds: int, failed: list[int], took: float) -> None:
    rows = [
        ("seeds", seeds),
        ("steps", total.steps),
        ("messages acknowledged", total.messages),
        ("messages taken by SES", total.sends),
        ("doubles, marked under the silence rule", total.marked_doubles),
        *((f"fault: {kind}", number) for kind, number in sorted(total.happened.items())),
        ("CPU seconds", round(total.seconds, 1)),
        ("seconds", round(took, 1)),
        ("seeds that failed", f"{len(failed)} {failed[:10] if failed else ''}"),
    ]
    sys.stdout.write("".join(f"{name:<40} {value}\n" for name, value in rows))


if __name__ == "__main__":
    main()
