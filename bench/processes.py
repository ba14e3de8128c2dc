"""Gateways and workers as processes on one PostgreSQL, accept, dispatch and ingest at once: how much, and what each costs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg

from bench.crowd import parent_of, process_cpu, server_cpu
from bench.figures import Figure, Size
from bench.world import CONTENT, World, world
from tenantry.wire.sigv4 import Signer

NUMBERS = {Size.QUICK: (1, 2), Size.USUAL: (1, 2, 4), Size.LONG: (1, 2, 4)}
SECONDS = {Size.QUICK: (3.0, 5.0), Size.USUAL: (5.0, 15.0), Size.LONG: (10.0, 60.0)}  # to warm up, and measured
CONNECTIONS = 32  # in all: more only wait
BEHIND = 1_500  # messages accepted and not yet reported on: who is so far behind is caught up with first
PATH = "/v2/email/outbound-emails"


@dataclass
class Load:
    """Callers that send as fast as the rest keeps up."""

    ports: list[int]
    signers: list[tuple[Signer, str]]
    accepted: int = 0
    settled: int = 0  # messages whose two events have been ingested, as last seen
    refused: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, number: int) -> None:
        """Send until cancelled, while the others keep up."""
        port = self.ports[number % len(self.ports)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while True:
            await self.go.wait()
            writer.write(self._request(port))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]))
            if head.startswith(b"HTTP/1.1 200"):
                self.accepted += 1
            else:
                self.refused += 1
            if self.accepted - self.settled > BEHIND:
                self.go.clear()

    def _request(self, port: int) -> bytes:
        signer, domain = self.signers[self.accepted % len(self.signers)]
        body = b'{"FromEmailAddress":"hello@%s","Destination":{"ToAddresses":["p%d@there.example"]},"Content":%s}' % (
            domain.encode(),
            self.accepted,
            CONTENT,
        )
        host = f"127.0.0.1:{port}"
        headers = signer.headers("POST", PATH, "", host, body, now=datetime.now(UTC), content_type="application/json")
        lines = [f"POST {PATH} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}"]
        return (
            "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items())]).encode()
            + b"\r\n\r\n"
            + body
        )

    async def watch(self, conn: asyncpg.Connection) -> None:
        """See how far the rest has come."""
        while True:
            self.settled = await conn.fetchval("SELECT count(*) FROM event") // 2
            if self.accepted - self.settled <= BEHIND:
                self.go.set()
            await asyncio.sleep(0.1)


async def process_figures(kind: str, size: Size) -> list[Figure]:
    """Take the rate at which mail is accepted, handed over and reported on, with several processes of each kind."""
    if kind == "sqlite":
        return []  # one process
    rates: dict[int, float] = {}
    figures: list[Figure] = []
    for number in NUMBERS[size]:
        rate, costs = await _measured(number, size)
        rates[number] = rate
        detail = ", ".join(f"{name} {cost * 1e6:.0f}" for name, cost in costs.items())
        figures.append(
            Figure(
                f"processes, {number} each",
                kind,
                "messages a second, by one gateway and one worker",
                rate / rates[1],
                1,
                True,
                f"{rate:,.0f} messages/s accepted, handed over and twice reported on; CPU a message in us: {detail};"
                f" {sum(costs.values()) * rate:.2f} of {os.cpu_count()} cores busy",
            )
        )
    return figures


async def _measured(number: int, size: Size) -> tuple[float, Mapping[str, float]]:
    warm, seconds = SECONDS[size]
    async with world("postgres", 8, "--rate", "20000", "--quota", "0") as made, contextlib.AsyncExitStack() as stack:
        await made.store.close()  # and its connections: what follows are processes of their own
        gateways = [await stack.enter_async_context(_program(made, "gateway", "--port", "0")) for _ in range(number)]
        workers = [await stack.enter_async_context(_program(made, "worker")) for _ in range(number)]
        conn = await asyncpg.connect(made.url)
        stack.push_async_callback(conn.close)
        server = await _postmaster(conn)
        ports = [int(told["url"].rpartition(":")[2]) for _, told in gateways]
        signers = [(Signer(one.key_id, one.secret, "us-east-1", "ses"), one.domain) for one in made.tenants]
        load = Load(ports, signers)
        parts: dict[str, Callable[[], float]] = {
            "gateways": lambda: sum(process_cpu(pid) for pid, _ in gateways),
            "workers": lambda: sum(process_cpu(pid) for pid, _ in workers),
            "PostgreSQL": lambda: server_cpu(server),
            "local SES": lambda: process_cpu(made.ses_process),
            "callers": lambda: process_cpu(os.getpid()),
        }
        tasks = [asyncio.create_task(load.call(one)) for one in range(CONNECTIONS)]
        watching = await asyncpg.connect(made.url)  # a connection answers one question at a time
        stack.push_async_callback(watching.close)
        tasks.append(asyncio.create_task(load.watch(watching)))
        await asyncio.sleep(warm)
        await conn.execute("ANALYZE")  # as autovacuum will have done
        before, began, used = await _reported(conn), time.perf_counter(), {name: part() for name, part in parts.items()}
        await asyncio.sleep(seconds)
        done = await _reported(conn) - before
        wall, costs = time.perf_counter() - began, {name: (part() - used[name]) / done for name, part in parts.items()}
        if failed := [task.exception() for task in tasks if task.done()]:
            raise RuntimeError(f"the load ended: {failed[0]!r}")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if load.refused:
            raise RuntimeError(f"{load.refused} calls were refused")
        return done / wall, costs


async def _reported(conn: asyncpg.Connection) -> float:
    return float(await conn.fetchval("SELECT count(*) FROM event")) / 2


async def _postmaster(conn: asyncpg.Connection) -> int:
    return parent_of(int(await conn.fetchval("SELECT pg_backend_pid()")))


@contextlib.asynccontextmanager
async def _program(made: World, *words: str) -> AsyncIterator[tuple[int, dict[str, str]]]:
    """Run a process of ours on this world's database and local SES; give its number and what it told when it was ready."""
    settings = {
        "DATABASE_URL": made.url,
        "SECRET_KEY": made.secret_key,
        "AWS_ENDPOINT_URL": made.ses_url,
        "WATCH_PORT": "0",
        "LOG_LEVEL": "error",
        "SETTLE_BATCH_SIZE": "256",
        "IN_FLIGHT": "128",
    }
    given = {f"TENANTRY_{name}": value for name, value in settings.items()}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tenantry", *words, "--json", stdout=subprocess.PIPE, env=os.environ | given
    )
    assert child.stdout is not None
    text, told = "", None
    while told is None:
        text += (line := await child.stdout.readline()).decode()
        with contextlib.suppress(ValueError):
            told = json.loads(text)
        if not line:
            raise RuntimeError(f"{words[0]} did not start: {text}")
    try:
        yield child.pid, told
    finally:
        child.terminate()
        await child.wait()
