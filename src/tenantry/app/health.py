"""Owns whether this process lives (its loops run) and can do its work (the database answers); leaves the fleet to doctor.

`/healthz` is for whoever would restart the process: it says no when a loop has been failing, or stuck in one round, for
so long that a restart may help. Where a database or a queue that is away is the cause, a restart only makes the way back
longer, so its patience is greater. `/readyz` is for whoever would send it work: it asks the database. Both are short,
need no key and tell no names of hosts, users or errors.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tenantry.app.loop import EXPECTED
from tenantry.app.observer import LoopObserver
from tenantry.edge.watch import Page
from tenantry.ports import Clock
from tenantry.store.revision import current, head, is_behind
from tenantry.store.store import Store

BROKEN_SECONDS = 120.0  # of failures that nobody foresaw; a loop rests for up to a minute after each
OUTAGE_SECONDS = 900.0  # of the database or the queue
STUCK_SECONDS = 600.0
NEVER_LONG = frozenset({"claim", "guard", "presence", "stranded", "sweep"})  # rounds of the others may wait for mail
TROUBLE_SECONDS = 20.0  # of failing rounds before other processes are told; a loop rests for 5 after an outage
ANSWER_SECONDS = 1.0
UNKNOWN = {"database": "not known", "writes": "not known", "migrations": "not known"}
ASKED_EVERY_SECONDS = 1.0  # readiness is asked for by anybody: the database is not


@dataclass(slots=True)
class LoopState(LoopObserver):
    """One loop, as its rounds tell."""

    cell: str
    name: str
    clock: Clock
    failures: int = 0  # ever
    broken: bool = False  # whether the last failure was one that nobody foresaw
    done_at: float | None = None  # seconds since the epoch, for people and Prometheus
    failing_since: float | None = None  # monotonic, as what follows
    round_since: float | None = None

    def began(self) -> None:
        self.round_since = self.clock.monotonic()

    def done(self) -> None:
        self.failing_since = self.round_since = None
        self.done_at = self.clock.wall().timestamp()

    def failed(self, error: Exception) -> None:
        self.failures += 1
        self.broken = not isinstance(error, EXPECTED)
        if self.failing_since is None:
            self.failing_since = self.clock.monotonic()
        self.round_since = None

    @property
    def failing_seconds(self) -> float:
        """For how long no round has ended well since one failed; 0 while all is well."""
        return 0.0 if self.failing_since is None else self.clock.monotonic() - self.failing_since

    @property
    def trouble(self) -> str | None:
        """What is wrong with it beyond patience, as a clause; None when nothing is."""
        if self.failing_seconds > (BROKEN_SECONDS if self.broken else OUTAGE_SECONDS):
            return f"failing for {self.failing_seconds:.0f} s"
        stuck = 0.0 if self.round_since is None else self.clock.monotonic() - self.round_since
        return f"in one round for {stuck:.0f} s" if self.name in NEVER_LONG and stuck > STUCK_SECONDS else None


@dataclass(slots=True)
class Loops:
    """The loops of this process, by cell."""

    clock: Clock
    states: dict[tuple[str, str], LoopState] = field(default_factory=dict)

    def watch(self, cell: str, name: str) -> LoopState:
        """Return what is known of a loop of this cell, from its first round on."""
        return self.states.setdefault((cell, name), LoopState(cell, name, self.clock))

    def __iter__(self) -> Iterator[LoopState]:
        return iter(self.states.values())


@dataclass(slots=True)
class Troubles:
    """What the loops of a worker fail with, for its row in the database; who has failed for a moment only is not in it."""

    clock: Clock
    _failing: dict[str, tuple[float, str]] = field(default_factory=dict)

    def of(self, name: str, seen: LoopObserver) -> LoopObserver:
        """Return an observer of a loop that listens, too."""
        return _Listening(self, name, seen)

    def now(self) -> str | None:
        """Return each loop that has failed for long enough, with the kind of its last error; None where there is none."""
        before = self.clock.monotonic() - TROUBLE_SECONDS
        return ", ".join(f"{name} ({what})" for name, (since, what) in self._failing.items() if since <= before) or None

    def failed(self, name: str, error: Exception) -> None:
        """Take a bad end: its kind alone is kept, since words may hold addresses."""
        since, _ = self._failing.get(name, (self.clock.monotonic(), ""))
        self._failing[name] = since, type(error).__name__

    def done(self, name: str) -> None:
        """Take a good end."""
        self._failing.pop(name, None)


@dataclass(slots=True)
class _Listening(LoopObserver):
    troubles: Troubles
    name: str
    seen: LoopObserver

    def began(self) -> None:
        self.seen.began()

    def done(self) -> None:
        self.troubles.done(self.name)
        self.seen.done()

    def failed(self, error: Exception) -> None:
        self.troubles.failed(self.name, error)
        self.seen.failed(error)


class Serving(Protocol):
    """A door that is open or not."""

    @property
    def serves(self) -> bool:
        """Whether it takes connections."""
        ...


class Readiness:
    """Whether this process can do its work now."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.draining = False
        self.smtp: Serving | None = None
        self._store = store
        self._clock = clock
        self._asking: asyncio.Task[tuple[str | None, str]] | None = None
        self._asked: tuple[float, Mapping[str, str]] | None = None

    async def checks(self) -> Mapping[str, str]:
        """Return each check with `ok` or what is wrong; the answers of a second ago will do."""
        now = self._clock.monotonic()
        if self._asked is None or now - self._asked[0] >= ASKED_EVERY_SECONDS:
            self._asked = now, await self._ask()
        smtp = {} if self.smtp is None else {"smtp": "ok" if self.smtp.serves else "its ports are closed"}
        return {**self._asked[1], **smtp, "draining": "this process is about to end" if self.draining else "ok"}

    async def _ask(self) -> dict[str, str]:
        """Ask the database; a question that takes longer goes on, so that no more than one is ever open."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._look())
        done, _ = await asyncio.wait({self._asking}, timeout=ANSWER_SECONDS)
        if not done:
            return UNKNOWN | {"database": f"no answer within {ANSWER_SECONDS:g} s"}
        asked, self._asking = self._asking, None
        if asked.exception() is not None:
            return UNKNOWN | {"database": "it cannot be read"}
        found, refuses = asked.result()
        behind = f"the schema is at {found or 'none'}, this program at {head()}: run `tenantry migrate`"
        return {
            "database": "ok",
            "writes": "a commit failed for want of disk or memory, seconds ago" if refuses else "ok",
            "migrations": behind if is_behind(found) else "ok",
        }

    async def _look(self) -> tuple[str | None, str]:
        """Return the schema's revision, and what the database said if it lately could not write for this process."""
        async with self._store.reading() as step:
            return await current(step.conn), step.refusals.lately(step.now)


def health_page(loops: Loops, version: str) -> Page:
    """Return `/healthz`: 503 with the loops beyond patience, else 200; loops that fail for a shorter time are named too."""
    troubles = [(one, what) for one in loops if (what := one.trouble)]
    failing = [one for one in loops if one.failing_since is not None]
    body = {
        "status": "failing" if troubles else "ok",
        "version": version,
        "loops": len(loops.states),
        "failing": [
            _shown(one) for one in {id(one): one for one in (*failing, *(one for one, _ in troubles))}.values()
        ],
    }
    return _page(503 if troubles else 200, body)


def _shown(loop: LoopState) -> dict[str, object]:
    return {
        "loop": loop.name,
        "cell": loop.cell,
        "failing_seconds": round(loop.failing_seconds, 1),
        "last_success": loop.done_at,
        "what": loop.trouble or "failing",
    }


async def ready_page(readiness: Readiness) -> Page:
    """Return `/readyz`: 200 when every check is ok, else 503; the body names each."""
    checks = await readiness.checks()
    ready = all(said == "ok" for said in checks.values())
    return _page(200 if ready else 503, {"status": "ready" if ready else "not ready", "checks": dict(checks)})


def _page(status: int, body: Mapping[str, object]) -> Page:
    return Page(status, "application/json", json.dumps(body).encode() + b"\n")
