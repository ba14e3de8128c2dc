"""Owns what must hold in the simulation; it is told by the clients, by SES, and by its own reader of the database file.

Leaves making things happen to world.py. A property that does not hold is a `violation`, written down with its time.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenantry.core.claim import ATTEMPT_TAG, MESSAGE_TAG, NAME_PREFIX
from tenantry.core.event import Fact
from tenantry.core.ids import PauseId
from tenantry.core.message import Accepted, Submission
from tenantry.emulator.account import Account, Request
from tenantry.emulator.account import Answer as Said
from tenantry.flow.guard import DRAIN_SECONDS

UNREADY_SECONDS = 2.0
MICROS = 1_000_000
NOWHERE = """
SELECT m.id, m.state, COUNT(DISTINCT w.message_id) AS waits, COUNT(DISTINCT a.id) AS claims FROM message m
LEFT JOIN waiting w ON w.message_id = m.id LEFT JOIN attempt a ON a.message_id = m.id AND a.finished_at IS NULL
GROUP BY m.id, m.state
HAVING CASE WHEN m.state = 'waiting' THEN waits + claims != 1
ELSE waits > 0 OR (claims > 0 AND NOT m.possible_duplicate) END
"""  # the event of a first attempt may come while the one marked second is under way
UNREADY = """
SELECT l.stream_id FROM lane l JOIN stream s ON s.id = l.stream_id WHERE NOT l.ready
AND s.provisioned_at IS NOT NULL AND s.send_limit IS NULL
AND EXISTS (SELECT 1 FROM waiting w WHERE w.stream_id = l.stream_id AND w.due_at <= ?)
AND NOT EXISTS (SELECT 1 FROM pause p WHERE p.ended_at IS NULL
AND p.scope_id IN (l.stream_id, l.tenant_id, l.pool_id, l.cell_id))
"""


@dataclass(frozen=True)
class Stop:
    """An open pause as the store has it."""

    id: str
    scope: str
    local_at: int | None
    fenced_at: int | None
    ending: bool


@dataclass
class Judge:
    """The judge of one run."""

    path: Path
    account: Account
    now: Callable[[], float]
    violations: list[str] = field(default_factory=list)
    submitted: dict[str, Submission] = field(default_factory=dict)  # by subject, which no two share
    answers: dict[str, Accepted] = field(default_factory=dict)
    marked_doubles: int = 0
    _stops: dict[str, Stop] = field(default_factory=dict)
    _excused: dict[str, set[str]] = field(default_factory=dict)
    _attempts: set[str] = field(default_factory=set)
    _sent: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _unready: dict[str, float] = field(default_factory=dict)
    _disturbed: float = 0.0

    def __post_init__(self) -> None:
        self._db = sqlite3.connect(self.path, isolation_level=None)
        self._scopes = {
            stream: {stream, tenant, pool, cell}
            for stream, tenant, pool, cell in self._db.execute("SELECT id, tenant_id, pool_id, cell_id FROM stream")
        }

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def violated(self, what: str) -> None:
        """Write down that a property does not hold."""
        self.violations.append(f"{self.now():.3f}s: {what}")

    def disturbed(self, until: float | None = None) -> None:
        """Hear that something kept the loops from their work until then: their bounds start anew."""
        self._disturbed = max(self._disturbed, self.now() if until is None else until)

    # ---- as it happens

    def acknowledged(self, subject: str, answer: Accepted) -> None:
        """Hear of a client's yes: what it names is in the store, and it is the same yes as ever."""
        known = self.answers.setdefault(subject, answer)
        if known.id != answer.id:
            self.violated(f"{subject} was accepted twice: {known.id} and {answer.id}")
        if not self._db.execute("SELECT 1 FROM message WHERE id = ?", (_digits(answer.id),)).fetchone():
            self.violated(f"{answer.id} was acknowledged and is not in the store")

    def committed(self) -> None:
        """Look at what a commit has made visible."""
        before = self._stops
        self._stops = {stop.id: stop for stop in self._open_stops()}
        self._judge_claims(before)
        for stop in self._stops.values():
            if stop.local_at is not None and stop.id not in self._excused:
                self._excused[stop.id] = self._excuses(stop)
        for message, state, waits, claims in self._db.execute(NOWHERE):
            self.violated(f"message {message} is {state}, waits {waits} times and is claimed {claims} times")

    def _open_stops(self) -> Iterator[Stop]:
        found = self._db.execute(
            "SELECT id, scope_id, local_at, fenced_at, end_reason IS NOT NULL FROM pause WHERE ended_at IS NULL"
        )
        return (Stop(row[0], row[1], row[2], row[3], bool(row[4])) for row in found)

    def _judge_claims(self, before: dict[str, Stop]) -> None:
        for attempt, stream in self._db.execute("SELECT id, stream_id FROM attempt"):
            if attempt in self._attempts:
                continue
            self._attempts.add(attempt)
            for stop in before.values():
                if stop.local_at is not None and stop.id in self._stops and stop.scope in self._scopes[stream]:
                    self.violated(f"attempt {attempt} was claimed after pause {stop.id} was acknowledged")

    def _excuses(self, stop: Stop) -> set[str]:
        """Return the attempts that may still succeed after this acknowledgement: unknown ones, those past the deadline."""
        assert stop.local_at is not None
        old = stop.local_at - int(DRAIN_SECONDS * MICROS)
        found = self._db.execute(
            "SELECT id FROM attempt WHERE outcome = 'unknown' OR (finished_at IS NULL AND claimed_at <= ?)", (old,)
        )
        return {row[0] for row in found}

    def answered(self, request: Request, said: Said) -> None:
        """Hear of SES's answer at the moment when SES has made up its mind."""
        if request.operation != "SendEmail" or said.status != 200:
            return
        given = json.loads(request.body)
        tags = {tag["Name"]: tag["Value"] for tag in given["EmailTags"]}
        message, attempt = _digits(tags[MESSAGE_TAG]), _digits(tags[ATTEMPT_TAG])
        stream = given["ConfigurationSetName"].removeprefix(NAME_PREFIX)
        self._sent[message] += 1
        if self._sent[message] > 1:
            self._judge_double(message)
        for stop in self._stops.values():
            if stop.scope not in self._scopes[stream]:
                continue
            if stop.fenced_at is not None and not stop.ending:
                self.violated(f"SES took attempt {attempt} though pause {stop.id} is fenced")
            elif stop.local_at is not None and attempt not in self._excused[stop.id]:
                self.violated(f"SES took attempt {attempt} after pause {stop.id} was acknowledged")

    def _judge_double(self, message: str) -> None:
        found = self._db.execute("SELECT possible_duplicate FROM message WHERE id = ?", (message,)).fetchone()
        if found and found[0]:
            self.marked_doubles += 1
        else:
            self.violated(f"message {message} was handed over {self._sent[message]} times, and is not marked")

    def watched_lanes(self, wall: int, working: bool) -> None:
        """Look for lanes with due mail and open gates that nobody will serve; call it twice a second."""
        unready = {row[0] for row in self._db.execute(UNREADY, (wall,))} if working else set()
        self._unready = {stream: self._unready.get(stream, self.now()) for stream in unready}
        for stream, since in self._unready.items():
            waited = self.now() - max(since, self._disturbed)
            if waited > UNREADY_SECONDS + 0.5:  # half a second passes between two looks
                self.violated(f"the lane of {stream} has due mail and stays unready for {waited:.1f} s")

    # ---- at the end

    def unprovisioned(self) -> bool:
        """Say whether a stream or an identity cannot send yet."""
        return bool(
            self._db.execute(
                "SELECT 1 FROM stream WHERE provisioned_at IS NULL UNION ALL"
                " SELECT 1 FROM identity WHERE status != 'verified'"
            ).fetchone()
        )

    def stopped(self) -> list[PauseId]:
        """Return the open pauses that nobody is ending."""
        return [PauseId(f"pau_{stop.id}") for stop in self._stops.values() if not stop.ending]

    def unsettled(self) -> list[str]:
        """Return what is still under way; nothing, once everything has settled."""
        rows = self._db.execute
        found = [f"message {one} waits ({hold})" for one, hold in rows("SELECT message_id, hold FROM waiting")]
        found += [f"attempt {one} is open" for (one,) in rows("SELECT id FROM attempt WHERE finished_at IS NULL")]
        found += [f"pause {one} is open" for (one,) in rows("SELECT id FROM pause WHERE ended_at IS NULL")]
        found += [f"verdict {one} is due" for (one,) in rows("SELECT id FROM verdict WHERE acted_at IS NULL")]
        unknown = {one for (one,) in rows("SELECT id FROM message WHERE state = 'unknown'")}
        found += [f"message {one} is unknown, and SES has it" for one in sorted(unknown & self._sent.keys())]
        found += [f"{subject} has no answer" for subject in self.submitted if subject not in self.answers]
        return found

    def finish(self) -> None:
        """Join what the clients, SES and the store say, once nothing is under way."""
        for what in self.unsettled():
            self.violated(f"not settled in the end: {what}")
        self._join_clients()
        self._join_ses()
        self._count_events()

    def _join_clients(self) -> None:
        """Acknowledged mail is there, once; nothing is there that nobody submitted; recipients add up by tenant."""
        stored: dict[str, list[str]] = defaultdict(list)
        for message, subject in self._db.execute("SELECT id, subject FROM message"):
            stored[subject].append(message)
        for subject, answer in self.answers.items():
            if stored[subject] != [_digits(answer.id)]:
                self.violated(f"{subject} was acknowledged as {answer.id} and is stored as {stored[subject]}")
        for subject in stored.keys() - self.submitted.keys():
            self.violated(f"{subject} is in the store, and nobody submitted it")
        accepted = sum(len(self.submitted[subject].recipients) for subject in self.answers)
        (there,) = self._db.execute("SELECT COUNT(*) FROM recipient").fetchone()
        (by_state,) = self._db.execute("SELECT COALESCE(SUM(recipients), 0) FROM message").fetchone()
        if not accepted == there == by_state:
            self.violated(f"{accepted} recipients were accepted, {there} are there, {by_state} by state")

    def _join_ses(self) -> None:
        """SES has what the store says it handed over, and nothing else, to whom the client said."""
        states = dict(self._db.execute("SELECT id, state FROM message"))
        for record in self.account.ledger.messages:
            message, wanted = _digits(record.tags[MESSAGE_TAG]), self.submitted.get(record.subject or "")
            if states.get(message) != "handed":
                self.violated(f"SES has {message}, and the store says {states.get(message)}")
            if wanted is None or not {*record.to, *record.cc, *record.bcc} <= set(wanted.recipients):
                self.violated(f"SES has {message} for people whom nobody named: {record.to}")
        for message, state in states.items():
            if state == "handed" and not self._sent[message]:
                self.violated(f"the store says that {message} was handed over, and SES has never seen it")

    def _count_events(self) -> None:
        """Each event had its effect once: facts and counts are those of SES's own fates."""
        fates = [
            ((_digits(record.tags[MESSAGE_TAG]), address), fate)
            for record in self.account.ledger.messages
            for address, fate in record.outcomes
        ]
        bounced = {each for each, fate in fates if fate in ("bounced", "suppressed")}
        counting = {each for each, fate in fates if fate == "bounced"}  # what SES keeps back by a list does not count
        known = set(self._db.execute("SELECT message_id, address FROM recipient WHERE facts & ?", (int(Fact.BOUNCED),)))
        for message, address in sorted(bounced ^ known):
            self.violated(f"{message} to {address}: bounced at SES or in the store, and not in both")
        counted, handed = self._db.execute(
            "SELECT COALESCE(SUM(bounced), 0), COALESCE(SUM(handed), 0) FROM bucket"
        ).fetchone()
        if counted != len(counting):
            self.violated(f"{len(counting)} bounces happened and {counted} were counted")
        (placed,) = self._db.execute(
            "SELECT COUNT(*) FROM recipient r JOIN message m ON m.id = r.message_id WHERE m.state = 'handed'"
            " AND NOT r.facts & ?",
            (int(Fact.SUPPRESSED),),
        ).fetchone()
        if handed != placed:
            self.violated(f"{placed} recipients were handed over and {handed} were counted")

    def figures(self) -> dict[str, Any]:
        """Return what the run amounted to."""
        states = dict(self._db.execute("SELECT state, COUNT(*) FROM message GROUP BY state"))
        (verdicts,) = self._db.execute("SELECT COUNT(*) FROM verdict WHERE pause_id IS NOT NULL").fetchone()
        return {"states": states, "calls": self.account.ledger.calls_total, "guard pauses": verdicts}


def _digits(shown: str) -> str:
    return shown.rpartition("_")[2]
