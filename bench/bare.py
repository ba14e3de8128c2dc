"""A bare durable route, written by hand: the same signature check and one insert of the same bytes in a group commit."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import asyncpg
from starlette.types import Receive, Scope, Send

from tenantry.app.clock import SystemClock
from tenantry.store.store import Store
from tenantry.wire.sigv4 import Problem, SignedRequest, Terms, claimed, verified

PATH = "/bare"
ANSWER = b'{"MessageId":"bare"}'
BATCH = 64
Write = Callable[[Sequence[bytes]], Awaitable[object]]


class Bare:
    """Answers once a call's body is on stable storage; it decodes nothing, knows no tenant and keeps nothing else."""

    def __init__(self, secrets: Mapping[str, str], write: Write) -> None:
        self._secrets, self._write, self._clock = secrets, write, SystemClock()
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        message = await receive()
        body: bytes = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        request = SignedRequest(scope["method"], scope["raw_path"], scope["query_string"], scope["headers"], body)
        claim = claimed(request)
        if isinstance(claim, Problem):
            raise TypeError(claim.message)
        secret, terms = self._secrets[claim.access_key], Terms(self._clock.wall())
        if problem := verified(request, secret, sha256(body).hexdigest(), terms, claim):
            raise TypeError(problem.message)
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((body, committed))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        await committed
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": ANSWER})

    async def _work(self) -> None:
        await asyncio.sleep(0)
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            await self._write([body for body, _ in batch])
            for _, committed in batch:
                committed.set_result(None)
        self._worker = None


async def writer(store: Store) -> Write:
    """Return what commits bodies, in the same database as the store's: a file beside SQLite's, or a table of PostgreSQL."""
    if store.alone:
        return _sqlite(Path(str(store.url.database)).with_name("bare.db"))
    where, how = store.url.get_dialect()().create_connect_args(store.url)
    connection = await asyncpg.connect(*where, **how)
    await connection.execute("CREATE TABLE bare (id bigserial PRIMARY KEY, body bytea NOT NULL)")

    async def write(bodies: Sequence[bytes]) -> object:
        return await connection.execute("INSERT INTO bare (body) SELECT * FROM unnest($1::bytea[])", bodies)

    return write


def _sqlite(path: Path) -> Write:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE bare (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
    thread = ThreadPoolExecutor(1)

    def commit(bodies: Sequence[bytes]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"INSERT INTO bare (body) VALUES {', '.join(['(?)'] * len(bodies))}", bodies)
        connection.commit()

    async def write(bodies: Sequence[bytes]) -> object:
        return await asyncio.get_running_loop().run_in_executor(thread, commit, bodies)

    return write
