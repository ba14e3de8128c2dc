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
from tests.chaos.ground import Fleet
from tests.chaos.judge import Judgement, judge
from tests.chaos.plan import PARTS
from tests.chaos.trouble import Trouble, plan
from tests.e2e.running import environment

CONNECTIONS = 24
QUIET_SECONDS = 0.3
CANNOT = (AssertionError, OSError, subprocess.SubprocessError)  # what a fault that cannot be done raises
STILL_SECONDS, SLOW_PER_SECOND = 30.0, 30.0  # a run that is slower than so many steps a second is not waited for
GIVE_UP_SECONDS = 150.0  # for the clients, each of which gives up a mail before that


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
    stalled: list[str] = field(default_factory=list)  # what was waited for in vain, or could not be done

    @property
    def objections(self) -> dict[str, list[str]]:
        """Everything that must not be."""
        ours = {"counted_wrong": self.counted_wrong, "stalled": self.stalled}
        return self.judgement.objections | {name: found for name, found in ours.items() if found}


def play(fleet: Fleet, ses_url: str, folder: Path, given: Play) -> Outcome:
    """Let the tenants send while the trouble comes, wait until all is settled, and judge."""
    ledger, trouble, log = Ledger(ses_url), given.trouble(fleet, given.freeze_seconds), folder / "clients.log"
    trouble.ses_url = ses_url
    keys = given.keys or move_in(fleet)
    began = monotonic()
    stalled: list[str] = []
    with _clients(fleet, keys, log, given) as (clients, sent):
        with closing(_Progress(log, ledger, given.messages)) as progress:
            stalled += _faults(trouble, progress, given)
            try:
                trouble.end()
                _until_sent(clients, sent, progress)
            except CANNOT as error:
                stalled.append(str(error))
        ended = monotonic()
        stalled += _last_mails(clients)
    open_at_last = settle(fleet.database, ledger, min(given.patience, STILL_SECONDS) if stalled else given.patience)
    done = monotonic()
    books = kept(fleet.database)
    found = judge(notes(log), ledger.read(), books, stops(fleet.database))
    found.against_pause += trouble.objections(ledger.read())
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
        stalled,
    )


def _faults(trouble: Trouble, progress: _Progress, given: Play) -> list[str]:
    """Do each fault in its time; what cannot be done, or takes too long, ends them, so that the run is judged as it is."""
    for fault in plan(given.seed, given.faults):
        try:
            progress.wait_for(fault.at)
            trouble.do(fault)
        except CANNOT as error:
            return [f"before the {fault.kind} at {fault.at:.0%}: {error}"]
    return []


def _until_sent(clients: subprocess.Popen[str], sent: threading.Event, progress: _Progress) -> None:
    """Return once the clients have sent everything; fails where they take too long."""
    began, most = monotonic(), GIVE_UP_SECONDS + progress.left() / SLOW_PER_SECOND
    while not sent.wait(1.0):
        assert clients.poll() is None, "the clients ended too early"
        left = progress.left()
        assert monotonic() - began < most, f"the clients have not sent everything after {most:.0f} s; {left} steps left"


def _last_mails(clients: subprocess.Popen[str]) -> list[str]:
    """Let the clients send what proves that the feed is well; say what went wrong."""
    if clients.poll() is not None:
        return [f"the clients ended with {clients.returncode}"]
    assert clients.stdin is not None
    clients.stdin.write("go on\n")
    clients.stdin.close()
    try:
        code = clients.wait(GIVE_UP_SECONDS)
    except subprocess.TimeoutExpired:
        return [f"the clients' last mails are not answered after {GIVE_UP_SECONDS:g} s"]
    return [f"the clients ended with {code}"] if code else []


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
        env=environment(),
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

    def wait_for(self, share: float) -> None:
        """Return once this share is done; fails where that takes too long, and says what was waited for."""
        wanted, first, began = share * self._whole, self._done(), monotonic()
        most = STILL_SECONDS + max(0.0, wanted - first) / SLOW_PER_SECOND
        while (done := self._done()) < wanted:
            spent = monotonic() - began
            assert spent < most, (
                f"{done} of {self._whole} steps are done, {done - first} of them in the last {spent:.0f} s"
            )
            threading.Event().wait(0.05)

    def left(self) -> int:
        """Say how many steps are not done, those among them that will not be: what is held, or was given up."""
        return self._whole - self._done()

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
