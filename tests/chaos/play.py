"""Owns one chaos run from the tenants' first day to the judgement; leaves the parts to their own files."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from tests.chaos.books import Ledger, counted_wrong, kept, left_open, notes, said, stops
from tests.chaos.ground import COMPILED, Fleet
from tests.chaos.judge import Judgement, judge
from tests.chaos.plan import PARTS
from tests.chaos.trouble import Trouble, plan
from tests.e2e.running import environment

CONNECTIONS = 24
QUIET_SECONDS = 0.3


@dataclass(frozen=True)
class Play:
    """What is asked of a run; patience is for the time after the last mail, in seconds."""

    seed: int
    messages: int
    faults: dict[str, int]
    freeze_seconds: float = 12.0
    per_second: float = 0.0
    patience: float = 60.0
    trouble: type[Trouble] = Trouble  # who does the faults
    keys: dict[str, list[str]] | None = None  # of tenants that have moved in already


@dataclass
class Outcome:
    """What a run came to."""

    judgement: Judgement
    trouble: Trouble
    seconds: float
    settling_seconds: float  # from the last mail's acknowledgement until nothing was left open
    unknowns: int  # claims that a dead worker left
    resent: int
    counted_wrong: list[str] = field(default_factory=list)

    @property
    def objections(self) -> dict[str, list[str]]:
        """Everything that must not be."""
        found = self.judgement.objections
        return found | ({"counted_wrong": self.counted_wrong} if self.counted_wrong else {})


def play(fleet: Fleet, ses_url: str, folder: Path, given: Play) -> Outcome:
    """Let the tenants send while the trouble comes, wait until all is settled, and judge."""
    ledger, trouble, log = Ledger(ses_url), given.trouble(fleet, given.freeze_seconds), folder / "clients.log"
    keys = given.keys or move_in(fleet)
    began = monotonic()
    with _clients(fleet, keys, log, given) as (clients, sent):
        with closing(_Progress(log, ledger, given.messages)) as progress:
            for fault in plan(given.seed, given.faults):
                progress.wait_for(fault.at)
                trouble.do(fault)
        trouble.end()
        while not sent.wait(1.0):
            assert clients.poll() is None, "the clients ended too early"
            ledger.taken()
        ended = monotonic()
        assert clients.stdin is not None
        clients.stdin.write("go on\n")
        clients.stdin.close()
        assert clients.wait(120) == 0
    open_at_last = settle(fleet.database, ledger, given.patience)
    done = monotonic()
    books = kept(fleet.database)
    found = judge(notes(log), ledger.read(), books, stops(fleet.database))
    if open_at_last:
        found.unsettled.append(open_at_last)
    logs = [one.log for one in fleet.processes]
    left = said(logs, "what a dead worker left open is unknown now")
    resent = sum(one["resent"] for one in said(logs, "swept"))
    return Outcome(
        found,
        trouble,
        done - began,
        done - ended,
        sum(one["left"] for one in left),
        resent,
        counted_wrong(fleet.database),
    )


def move_in(fleet: Fleet) -> dict[str, list[str]]:
    """Make the tenants with their keys, and wait until they may send; return the keys by tenant."""
    keys: dict[str, list[str]] = {}
    for part in PARTS:
        fleet.call("POST", "/v1/tenants", {"name": part.name, "domain": part.domain, "dkim": "easy"})
        key = fleet.call("POST", "/v1/keys", {"tenant": part.name, "scopes": ["send", "read"]})
        keys[part.name] = [key["id"], key["secret"]]
    last = monotonic() + 30
    while any(
        fleet.call("GET", f"/v1/identities/{part.domain}?tenant={part.name}")["status"] != "verified" for part in PARTS
    ):
        assert monotonic() < last, "the tenants' domains are not verified"
        threading.Event().wait(0.1)
    return keys


@contextmanager
def _clients(
    fleet: Fleet, keys: dict[str, list[str]], log: Path, given: Play
) -> Iterator[tuple[subprocess.Popen[str], threading.Event]]:
    """Run the clients' process; give it, and what tells that it has sent everything."""
    told = {
        "doors": [gateway.url for gateway in fleet.gateways],
        "keys": keys,
        "seed": given.seed,
        "messages": given.messages,
        "connections": CONNECTIONS,
        "per_second": given.per_second,
        "log": str(log),
    }
    log.touch()
    command = [sys.executable, "-m", "tests.chaos.clients"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment() | COMPILED,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    out, sent = process.stdout, threading.Event()
    reader = threading.Thread(target=lambda: sent.set() if "sent" in out.readline() else None, daemon=True)
    reader.start()
    try:
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        yield process, sent
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        reader.join(5)
        out.close()
        if not process.stdin.closed:
            process.stdin.close()


class _Progress:
    """How much of the work is done: acknowledged by the doors, and taken by SES."""

    def __init__(self, log: Path, ledger: Ledger, messages: int) -> None:
        self._log = log.open(encoding="utf-8")
        self._ledger, self._whole = ledger, 2 * messages
        self._acked = 0

    def close(self) -> None:
        """Give the log back."""
        self._log.close()

    def wait_for(self, share: float, stuck_seconds: float = 60.0) -> None:
        """Return once this share is done; fails where nothing moves any more."""
        seen, since = -1, monotonic()
        while (done := self._done()) < share * self._whole:
            if done > seen:
                seen, since = done, monotonic()
            assert monotonic() - since < stuck_seconds, f"nothing moves after {done} of {self._whole}"
            threading.Event().wait(0.05)

    def _done(self) -> int:
        self._acked += self._log.read().count('"do": "ack"')
        return self._acked + self._ledger.taken()


def settle(database: str, ledger: Ledger, patience: float) -> str:
    """Wait until no claim, no unknown, no waiting mail and no event is left; say what is, when patience ends."""
    last = monotonic() + patience
    while True:
        queue = ledger.state()["queue"]
        left = (*left_open(database), queue["visible"] + queue["in_flight"])
        if not any(left):
            return ""
        if monotonic() > last:
            return "after {:g} s {} claims are open, {} unknown, {} wait, {} events are not done".format(
                patience, *left
            )
        threading.Event().wait(QUIET_SECONDS)
