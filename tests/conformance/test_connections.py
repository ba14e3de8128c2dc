"""Connections to PostgreSQL: what is exhausted, cut, locked or silent ends in StoreBusy in time, and is then forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from tenantry.app.batch import Batcher
from tenantry.core.message import Accepted
from tenantry.flow.dispatch import claim
from tenantry.ports import StoreBusy
from tenantry.store.engine import Limits, Opening, open_store
from tenantry.store.roles import Role
from tenantry.store.store import Store
from tests import worlds
from tests.conformance.conftest import LOGIN, VAULT, Ground, connect, database, execute, stubborn

PROMISED_SECONDS = 5.0  # within which a door answers, be it 503


@contextmanager
def within(seconds: float = PROMISED_SECONDS) -> Iterator[None]:
    """Hold what is done to a time."""
    began = time.perf_counter()
    yield
    assert time.perf_counter() - began < seconds


@asynccontextmanager
async def another(ground: Ground, url: str, limits: Limits) -> AsyncIterator[Store]:
    """The same database opened once more, as another process would."""
    store = await open_store(Opening(url, VAULT, ground.clock.wall, create=False, limits=limits, name="another"))
    try:
        yield store
    finally:
        await store.close()


async def url_of(ground: Ground, user: str = LOGIN) -> str:
    owner = await connect(ground.owner_url)
    name = await owner.fetchval("SELECT current_database()")
    await owner.close()
    return database(ground.owner_url, name, user)


async def test_a_pool_whose_connections_are_all_held_says_so_in_time(postgres: Ground) -> None:
    """Who finds no connection free is told to try again; accept has its own, and goes on."""
    member = await worlds.member(postgres.store)
    async with (
        another(postgres, await url_of(postgres), Limits(writers=2, readers=1)) as store,
        AsyncExitStack() as held,
    ):
        for _ in range(2):
            await held.enter_async_context(store.step())
        await held.enter_async_context(store.reading())
        with within(), pytest.raises(StoreBusy):
            async with store.step():
                pass
        with within(), pytest.raises(StoreBusy):
            await store.of(member.tenant_id).streams()
        assert len(await worlds.accepted(store, member)) == 1
        await held.aclose()
        assert len(await store.of(member.tenant_id).streams()) == 2


async def test_a_login_out_of_connections_is_told_in_time(postgres: Ground, postgres_url: str) -> None:
    """Where PostgreSQL grants no connection more, the answer is StoreBusy, and the next one works."""
    name = "tenantry_test_limited"
    await execute(
        postgres_url, f"DO $$ BEGIN CREATE ROLE {name} LOGIN PASSWORD 'test';"
        " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )  # fmt: skip
    for sql in (*(f"GRANT {role} TO {name}" for role in Role), f"ALTER ROLE {name} CONNECTION LIMIT 2"):
        await stubborn(postgres_url, sql)
    member = await worlds.member(postgres.store)
    async with another(postgres, await url_of(postgres, name), Limits()) as store, AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(store.step())
        with within(), pytest.raises(StoreBusy):
            await worlds.accepted(store, member)
        with within(), pytest.raises(StoreBusy):
            await store.key(member.key_id)
        await held.aclose()
        await store.close()
        assert await store.key(member.key_id) is not None


async def test_cut_connections_are_forgotten(postgres: Ground) -> None:
    """After all its connections were cut a process fails at most once a line, and then works, without a restart."""
    member = await worlds.member(postgres.store)
    await worlds.accepted(postgres.store, member, 3)
    await asyncio.gather(*(postgres.store.of(member.tenant_id).streams() for _ in range(4)))
    owner_url = postgres.owner_url
    for _ in range(2):
        await execute(
            await url_of(postgres), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename = current_user AND pid <> pg_backend_pid() AND datname = current_database()"
        )  # fmt: skip
        failures = 0
        for attempt in (
            lambda: worlds.accepted(postgres.store, member),
            lambda: claim(postgres.store, postgres.cell, 1),
            lambda: postgres.store.of(member.tenant_id).streams(),
        ):
            for _ in range(5):
                try:
                    with within():
                        await attempt()
                    break
                except StoreBusy:
                    failures += 1
            else:
                raise AssertionError("it never recovers")
        assert failures <= 3
    assert owner_url


async def test_a_step_that_is_cut_in_the_middle_did_nothing(postgres: Ground) -> None:
    """Where the connection is lost inside a step, the step fails as busy and nothing of it stays."""
    member = await worlds.member(postgres.store)
    url = await url_of(postgres)

    async def cut() -> None:
        async with postgres.store.step() as step:
            await step.quarantine([("raw", "reason")])
            pid = await step.conn.scalar(text("SELECT pg_backend_pid()"))
            await execute(url, f"SELECT pg_terminate_backend({pid})")
            await step.quarantine([("raw", "reason")])

    with pytest.raises(StoreBusy):
        await cut()
    assert await poison(postgres) == 0
    await worlds.accepted(postgres.store, member)


async def poison(ground: Ground) -> int:
    async with ground.store.reading() as step:
        return int((await step.run("SELECT COUNT(*) FROM quarantine"))[0][0])


async def test_a_locked_table_keeps_nobody_for_long(postgres: Ground) -> None:
    """While somebody changes a table by hand accept answers in time, and goes on when the lock is gone."""
    member = await worlds.member(postgres.store)
    owner = await connect(postgres.owner_url)
    try:
        await owner.execute("BEGIN; LOCK TABLE message")
        with within(), pytest.raises(StoreBusy):
            await worlds.accepted(postgres.store, member)
    finally:
        await owner.close()
    await worlds.accepted(postgres.store, member)


async def test_a_queue_before_a_locked_table_is_answered_in_time(postgres: Ground) -> None:
    """However many wait for a commit, each is told in time; nobody waits for all who came before."""
    member = await worlds.member(postgres.store)
    batcher = Batcher(postgres.store, 16, 2, lambda: None)
    owner = await connect(postgres.owner_url)
    try:
        await owner.execute("BEGIN; LOCK TABLE message")
        with within():
            callers = [batcher.accept(worlds.submission(member)) for _ in range(16 * 20)]
            answers = await asyncio.gather(*callers, return_exceptions=True)
        assert all(isinstance(answer, StoreBusy) for answer in answers)
    finally:
        await owner.close()
    assert isinstance(await batcher.accept(worlds.submission(member)), Accepted)


async def test_a_process_that_stops_inside_a_turn_loses_its_lock(postgres: Ground) -> None:
    """The cell's lock of a frozen process falls after the idle limit; what the process wanted to write is not written."""

    async def freeze(store: Store) -> None:
        async with store.step(lock=postgres.cell) as step:
            await step.quarantine([("raw", "reason")])
            with within(3.0):
                async with postgres.store.step(lock=postgres.cell):
                    pass
            await step.quarantine([("raw", "reason")])

    async with another(postgres, await url_of(postgres), Limits(idle_seconds=1.0)) as frozen:
        with pytest.raises(StoreBusy):
            await freeze(frozen)
    assert await poison(postgres) == 0


@dataclass
class Proxy:
    """A way to the server that can go silent without a word, as a network does."""

    socket: str
    port: int = 0
    silent: bool = False
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes both ways."""
        there = await asyncio.open_unix_connection(self.socket)
        self._writers += [writer, there[1]]
        await asyncio.gather(self._pump(reader, there[1]), self._pump(there[0], writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                while self.silent:
                    await asyncio.sleep(0.02)
                writer.write(data)
                await writer.drain()
            writer.close()

    def close(self) -> None:
        """End every connection."""
        self.silent = False
        for writer in self._writers:
            writer.close()


def socket_of(url: str) -> str | None:
    """Return the Unix socket of a server, if it has one."""
    folder = make_url(url).query.get("host")
    return next((str(path) for path in Path(str(folder)).glob(".s.PGSQL.*") if path.suffix != ".lock"), None)


@asynccontextmanager
async def through_a_proxy(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Lead a URL over a proxy where the server listens on a Unix socket; elsewhere the test is skipped, loudly."""
    socket = socket_of(url)
    if socket is None:
        pytest.skip("the server at TENANTRY_TEST_DATABASE_URL has no Unix socket to stand a proxy before")
    proxy = Proxy(socket)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    led = make_url(url).set(host="127.0.0.1", port=port, query={"ssl": "disable"})
    try:
        yield proxy, led.render_as_string(hide_password=False)
    finally:
        proxy.close()
        server.close()


async def test_a_server_that_falls_silent_is_given_up_on(postgres: Ground) -> None:
    """A peer that answers nothing, and says not even that it is gone, is given up on; once it is back, so are we."""
    async with (
        through_a_proxy(await url_of(postgres)) as (proxy, url),
        another(postgres, url, Limits(statement_seconds=1.0)) as store,
    ):
        async with store.step() as step:
            await step.quarantine([("raw", "reason")])
        proxy.silent = True
        for _ in range(2):
            with within(), pytest.raises(StoreBusy):
                async with store.step():
                    pass
        proxy.silent = False
        for _ in range(5):
            with contextlib.suppress(StoreBusy):
                async with store.step() as step:
                    await step.quarantine([("raw", "reason")])
                break
        else:
            raise AssertionError("it never recovers")
