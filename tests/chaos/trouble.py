"""Owns the trouble of a run: which fault comes when, drawn from the seed, and how each is done; judges nothing.

A fault's moment is a share of the work done, so that each falls under load; within it the instant is chance.
"""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import cycle
from math import inf
from random import Random
from time import monotonic, time
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import asyncpg

from tests.chaos.books import Ledger, rows, said
from tests.chaos.ground import Fleet, Process
from tests.chaos.judge import Delivery

KILLS = ("kill", "kill while no event comes", "kill while starting", "kill", "kill", "kill")
JITTER_SECONDS = 0.3
STARTING_SECONDS = 1.5
AHEAD_SECONDS = 0.5  # a call takes less, so that no event of what the kill cuts off is out already
SILENT_SECONDS = 4.0  # longer than a first retry waits: no event hides what is sent again blindly
FENCE_SECONDS = 45.0
FREEZES = 20
GATHER_SECONDS = 0.5  # mail waits then, to be claimed
TURN_SECONDS = 0.3
UNDER_WAY_SECONDS = 0.2  # until what has been written to a socket is in SES's ledger
OPEN_CLAIMS = "SELECT message_id, stream_id FROM attempt WHERE finished_at IS NULL AND worker_id = {}"
EXHAUSTED_CALLS = 6
CUT = (
    "SELECT pid FROM pg_stat_activity WHERE datname = 'chaos' AND usename = 'chaos' AND backend_type = 'client backend'"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: the share of the work at which it comes, and the chance that decides the rest."""

    at: float
    kind: str
    chance: int


def plan(seed: int, wanted: dict[str, int], until: float = 0.8) -> list[Fault]:
    """Draw faults of these kinds and numbers, over the first part of the work.

    Of six kills one comes in the start, and one while the feed is silent.
    """
    random, kills = Random(f"faults {seed}"), cycle(KILLS)
    kinds = [next(kills) if kind == "kill" else kind for kind, count in wanted.items() for _ in range(count)]
    made = [Fault(random.uniform(0.02, until), kind, random.getrandbits(32)) for kind in kinds]
    return sorted(made, key=lambda fault: fault.at)


@dataclass(slots=True)
class Caught:
    """Mail of a stream that a worker had claimed and not begun to send when it was stopped, and until when it may not go."""

    messages: set[str]
    since: float
    until: float = inf


@dataclass
class Trouble:
    """Does the faults, and keeps what was seen."""

    fleet: Fleet
    freeze_seconds: float
    done: Counter[str] = field(default_factory=Counter)
    ready: list[float] = field(default_factory=list)  # seconds of each start
    exhausted: list[tuple[int, float]] = field(default_factory=list)  # status and seconds of each answer
    acknowledged: list[float] = field(default_factory=list)  # seconds from a pause's request to its answer
    fenced: list[float] = field(default_factory=list)
    frozen: set[str] = field(default_factory=set)
    ses_url: str = ""
    caught: list[Caught] = field(default_factory=list)  # by each freeze
    _beside: list[threading.Thread] = field(default_factory=list)
    _failed: list[BaseException] = field(default_factory=list)

    def do(self, fault: Fault) -> None:
        """Do one fault."""
        random = Random(fault.chance)
        threading.Event().wait(random.uniform(0, JITTER_SECONDS))
        kinds: dict[str, Callable[[Random], None]] = {
            "kill": self._kill,
            "kill while no event comes": self._kill_in_silence,
            "kill while starting": self._kill_while_starting,
            "cut": self._cut,
            "restart of PostgreSQL": self._restart,
            "no connection left": self._exhaust,
            "freeze and pause": self._freeze,
        }
        kinds[fault.kind](random)
        self.done[fault.kind] += 1

    def end(self) -> None:
        """Wait for what is done beside; raises what went wrong there."""
        for thread in self._beside:
            thread.join()
        for error in self._failed:
            raise error

    def objections(self, deliveries: Iterable[Delivery]) -> list[str]:
        """Say what SES took against the pauses that were opened here; others are in the books."""
        taken = [(one.message_id, one.at) for one in deliveries]
        return [
            f"{message}: sent though it stood still between claim and call when its stream was paused"
            for caught in self.caught
            for message, at in taken
            if message in caught.messages and caught.since < at < caught.until
        ]

    def _one(self, random: Random) -> Process:
        return random.choice([one for one in self.fleet.processes if one.name not in self.frozen])

    def _kill(self, random: Random) -> None:
        one = self._one(random)
        one.end(signal.SIGKILL)
        self.ready.append(one.start())

    def _kill_in_silence(self, random: Random) -> None:
        """What was on its way is told by no event, until everything that might be sent again has been."""
        self._feed(stopped=True)
        try:
            threading.Event().wait(AHEAD_SECONDS)
            self._kill(random)
            threading.Event().wait(SILENT_SECONDS)
        finally:
            self._feed(stopped=False)

    def _feed(self, *, stopped: bool) -> None:
        self.order("feed", {"stopped": stopped})

    def order(self, what: str, given: dict[str, object], method: str = "POST") -> None:
        """Order something of the local SES."""
        request = Request(f"{self.ses_url}/_local/{what}", json.dumps(given).encode(), method=method)
        with urlopen(request, timeout=30) as answer:
            answer.read()

    def _kill_while_starting(self, random: Random) -> None:
        one = self._one(random)
        one.end(signal.SIGKILL)
        one.begin()
        threading.Event().wait(random.uniform(0, STARTING_SECONDS))
        one.end(signal.SIGKILL)
        self.ready.append(one.start())

    def _cut(self, random: Random) -> None:
        """End a third of the connections to the database, as a firewall would."""
        asyncio.run(_terminate(self._admin, random, 0.33))

    def _restart(self, _: Random) -> None:
        assert self.fleet.cluster is not None
        self.fleet.cluster.restart()

    def _exhaust(self, random: Random) -> None:
        """Take every connection away and let nobody get a new one; ask the doors meanwhile."""
        assert self.fleet.cluster is not None
        self.fleet.cluster.run("ALTER ROLE chaos CONNECTION LIMIT 0")
        try:
            asyncio.run(_terminate(self._admin, random, 1.0))
            for number in range(EXHAUSTED_CALLS):
                self.exhausted.append(self._asked(self.fleet.gateways[number % len(self.fleet.gateways)].url))
        finally:
            self.fleet.cluster.run("ALTER ROLE chaos CONNECTION LIMIT -1")

    def _asked(self, url: str) -> tuple[int, float]:
        """Send a mail with the operator's key, which is refused where there is a database, and 503 where there is none."""
        began = monotonic()
        headers = {"authorization": f"Bearer {self.fleet.key}", "content-type": "application/json"}
        try:
            with urlopen(Request(f"{url}/v1/tenants", None, headers), timeout=30) as answer:
                return answer.status, monotonic() - began
        except HTTPError as error:
            error.read()
            return error.code, monotonic() - began
        except (URLError, OSError) as error:
            raise AssertionError(f"a gateway without connections to its database: {error!r}") from error

    @property
    def _admin(self) -> str:
        assert self.fleet.cluster is not None
        return self.fleet.cluster.admin_url

    def _freeze(self, _: Random) -> None:
        """Stop a worker between claim and call, pause that stream, and let it go on when all is over; beside the rest.

        Commits wait for a standby that is not there, so that whoever claims meanwhile stands at its commit when it is stopped.
        """
        workers = [one for one in self.fleet.workers if one.name not in self.frozen]
        for _ in range(FREEZES):
            _tell(workers, signal.SIGSTOP)
            threading.Event().wait(GATHER_SECONDS)
            self._hold_commits("'nobody'")
            _tell(workers, signal.SIGCONT)
            threading.Event().wait(TURN_SECONDS)
            _tell(workers, signal.SIGSTOP)
            self._hold_commits("''")
            caught, stream, worker = max((self._between(one) for one in workers), key=lambda found: len(found[0]))
            _tell([one for one in workers if one is not worker or not caught], signal.SIGCONT)
            if caught:
                break
        assert caught, f"no worker was between claim and call in {FREEZES} stops"
        self.frozen.add(worker.name)
        self.caught.append(Caught(caught, time()))
        thread = threading.Thread(target=self._frozen, args=(worker, stream, self.caught[-1]))
        self._beside.append(thread)
        thread.start()

    def _hold_commits(self, standby: str) -> None:
        assert self.fleet.cluster is not None
        self.fleet.cluster.run(f"ALTER SYSTEM SET synchronous_standby_names = {standby}", "SELECT pg_reload_conf()")

    def _between(self, worker: Process) -> tuple[set[str], str, Process]:
        """Return what of one stream a stopped worker has claimed, and SES does not get by what is under way."""
        threading.Event().wait(UNDER_WAY_SECONDS)
        number = said([worker.log], "enrolled")[-1]["worker"]
        found = rows(self.fleet.database, OPEN_CLAIMS.format(number))
        taken = {one.message_id for one in Ledger(self.ses_url, time() - 60).read()}
        by_stream: dict[str, set[str]] = defaultdict(set)
        for message, stream in found:
            if f"msg_{message}" not in taken:
                by_stream[f"str_{stream}"].add(f"msg_{message}")
        stream, caught = max(by_stream.items(), key=lambda one: len(one[1]), default=("", set()))
        return caught, stream, worker

    def _frozen(self, worker: Process, stream: str, caught: Caught) -> None:
        began = monotonic()
        thaw = threading.Timer(self.freeze_seconds, worker.tell, [signal.SIGCONT])
        thaw.start()
        try:
            pause = self._until_done("POST", "/v1/pauses", {"scope": stream, "reason": "chaos"})
            self.acknowledged.append(monotonic() - began)
            while not self._until_done("GET", f"/v1/pauses/{pause['id']}")["fenced_at"]:
                assert monotonic() - began < FENCE_SECONDS, f"{pause['id']} is not fenced"
                threading.Event().wait(0.2)
            self.fenced.append(monotonic() - began)
            thaw.join()
            threading.Event().wait(1.0)  # it would send now, if it did
            caught.until = time()
            self._until_done("POST", f"/v1/pauses/{pause['id']}/end", {"reason": "chaos is over"})
        except BaseException as error:
            self._failed.append(error)
        finally:
            thaw.join()
            self.frozen.discard(worker.name)

    def _until_done(self, method: str, path: str, body: dict[str, object] | None = None) -> dict:
        """Ask one gateway after the other: any may be killed just now."""
        last, number = time() + 60, 0
        while True:
            gateway = self.fleet.gateways[number % len(self.fleet.gateways)]
            data = None if body is None else json.dumps(body).encode()
            headers = {"authorization": f"Bearer {self.fleet.key}", "content-type": "application/json"}
            try:
                with urlopen(Request(gateway.url + path, data, headers, method=method), timeout=30) as answer:
                    return json.loads(answer.read() or b"{}")
            except (HTTPError, OSError) as error:
                if isinstance(error, HTTPError) and error.code < 500:
                    raise AssertionError(f"{method} {path}: {error.code} {error.read()!r}") from error
                if time() >= last:
                    raise AssertionError(f"{method} {path}: {error!r}") from error
            number += 1
            threading.Event().wait(0.2)


def _tell(processes: Iterable[Process], number: signal.Signals) -> None:
    for one in processes:
        one.tell(number)


async def _terminate(url: str, random: Random, share: float) -> None:
    connection = await asyncpg.connect(url)
    for row in await connection.fetch(CUT):
        if random.random() < share:
            await connection.execute("SELECT pg_terminate_backend($1)", row["pid"])
    await connection.close()
