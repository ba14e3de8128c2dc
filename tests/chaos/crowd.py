"""Owns a queue that is long already when a process is killed, and how soon it is ready and hands over again; judges nothing."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice
from time import monotonic
from urllib.error import HTTPError
from urllib.request import urlopen

from tenantry.core.ids import KeyId
from tenantry.core.message import Accepted, Submission
from tenantry.flow.accept import accept
from tenantry.store.engine import Opening, open_store
from tenantry.store.vault import Vault
from tests.chaos.books import Ledger, left_open
from tests.chaos.ground import Fleet, Process
from tests.chaos.plan import PARTS
from tests.chaos.play import move_in

BATCH = 1_000
PATIENCE_SECONDS = 60.0
CONTENT = b'{"Simple":{"Subject":{"Data":"Hello"},"Body":{"Text":{"Data":"Hello"}}}}'


@dataclass(frozen=True, slots=True)
class Again:
    """Seconds from the start of what was killed: until it said that it is ready, `/readyz` agreed, and SES took mail."""

    name: str
    waiting: int
    started: float
    ready: float
    handed: float


def ready_again(fleet: Fleet, ses_url: str, count: int) -> list[Again]:
    """Let this much wait, then kill everything and start it again; kill each other process once more by itself."""
    keys = move_in(fleet)
    for one in fleet.processes:
        one.end(signal.SIGTERM)
    asyncio.run(_fill(fleet.database, {name: KeyId(key) for name, (key, _) in keys.items()}, count))
    for one in fleet.processes:
        one.start()
    ledger = Ledger(ses_url)
    _until_more(ledger, 0)
    return [_killed(fleet, one, ledger) for one in fleet.processes]


async def _fill(database: str, keys: dict[str, KeyId], count: int) -> None:
    """Accept them as the doors would, in large batches."""
    store = await open_store(Opening(database, Vault([Vault.new_key()]), lambda: datetime.now(UTC), create=False))
    try:
        submissions = islice(_submissions(keys), count)
        while batch := list(islice(submissions, BATCH)):
            answers = await accept(store, batch)
            assert all(isinstance(answer, Accepted) for answer in answers), answers[0]
    finally:
        await store.close()


def _submissions(keys: dict[str, KeyId]) -> Iterator[Submission]:
    parts = [part for part in PARTS if part.people == "good.example"]
    for number, part in enumerate(cycle(parts)):
        author = f"hello@{part.domain}"
        yield Submission(
            key_id=keys[part.name], sender=author, authors=(author,), to=(f"w{number}@{part.people}",), cc=(), bcc=(),
            reply_to=(), subject="Hello", content=CONTENT,
        )  # fmt: skip


def _killed(fleet: Fleet, one: Process, ledger: Ledger) -> Again:
    """Kill a process, with every other one that could hand mail over in its place."""
    for other in fleet.workers:
        other.end()
    one.end()
    taken, waiting = ledger.taken(), left_open(fleet.database)[2]
    began = monotonic()
    for other in {one, *fleet.workers}:
        other.begin()
    started = one.until_ready()
    while not _is_ready(one.url):
        assert monotonic() - began < PATIENCE_SECONDS, f"{one.name} is not ready"
        threading.Event().wait(0.05)
    ready = monotonic() - began
    _until_more(ledger, taken)
    again = Again(one.name, waiting, started, ready, monotonic() - began)
    for other in fleet.workers:
        if other is not one:
            other.until_ready()
    return again


def _is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/readyz", timeout=10) as answer:
            return answer.status == 200
    except HTTPError as error:
        error.read()
        return False


def _until_more(ledger: Ledger, taken: int) -> None:
    last = monotonic() + PATIENCE_SECONDS
    while ledger.taken() <= taken:
        assert monotonic() < last, f"SES has taken nothing in {PATIENCE_SECONDS:g} s, though mail waits"
        threading.Event().wait(0.02)
