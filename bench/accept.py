"""Durable accept over the SES wire against the same server answering a constant, 64 connections."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.bare import PATH as BARE
from bench.crowd import server_cpu
from bench.figures import Figure, median
from bench.world import CONTENT
from tenantry.wire.sigv4 import Signer

CONNECTIONS = 64
SIZES = {True: (3, 2_000), False: (5, 6_000)}  # rounds, and calls a round; by whether it is to be quick
PATH = "/v2/email/outbound-emails"
OF_BARE = 0.4  # ADR 0020


@dataclass
class Taken:
    """Rounds of one route: calls a second, and processor time a call of each part, in microseconds."""

    rates: list[float] = field(default_factory=list)
    costs: list[dict[str, float]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """The median of the rounds."""
        return median(self.rates)

    def told(self) -> str:
        """Tell what each part cost."""
        parts = {name: median([one[name] for one in self.costs]) for name in self.costs[0]}
        return ", ".join(f"{name} {cost:,.0f}" for name, cost in parts.items() if cost >= 1)


async def figures(kind: str, quick: bool) -> list[Figure]:
    """Interleave rounds of all routes and compare their medians."""
    rounds, count = SIZES[quick]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.door", kind, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdin is not None
    told = json.loads(await child.stdout.readline())
    constant, bare, accepted, called = Taken(), Taken(), Taken(), Taken()
    for _ in range(rounds):
        await _round(constant, child.pid, told, [_plain(told["port"])] * count)
        await _round(bare, child.pid, told, _signed(told, count, path=BARE))
        await _round(accepted, child.pid, told, _signed(told, count))
        await _round(called, child.pid, told, _signed(told, count, as_sdk=True))
    child.stdin.close()
    await child.wait()
    rows = (("accept", "SES wire, signed, durable / constant", accepted, 0.2),
            ("accept sdk", "the same with an SDK's invocation id, which is remembered / constant", called, 0.2),
            ("accept bare", "a bare durable route, signed, / constant: what is to be had", bare, 0.2),
            ("accept of bare", "accept / the bare durable route", accepted, OF_BARE))  # fmt: skip
    found = []
    for name, compared, taken, goal in rows:
        against = bare if goal == OF_BARE else constant
        detail = (
            f"{taken.rate:,.0f}/s against {against.rate:,.0f}/s; CPU a call in us: {taken.told()}"
            f" (constant: {constant.told()}); medians of {rounds} rounds of {count:,}"
        )
        found.append(Figure(name, kind, compared, taken.rate / against.rate, goal, True, detail))
    return found


async def _round(taken: Taken, door: int, told: Mapping[str, Any], requests: list[bytes]) -> None:
    parts: dict[str, Callable[[], float]] = {"doors": lambda: _cpu(door), "load": time.process_time}
    if told["server"] is not None:
        parts["PostgreSQL"] = lambda: server_cpu(told["server"])
    before = {name: part() for name, part in parts.items()}
    taken.rates.append(await _rate(told["port"], requests))
    taken.costs.append({name: (part() - before[name]) / len(requests) * 1e6 for name, part in parts.items()})


def _cpu(process: int) -> float:
    """Return the processor time of a process, in seconds."""
    stat = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def _plain(port: int) -> bytes:
    return _request("/constant", port, {}, CONTENT)


def _signed(told: Mapping[str, Any], count: int, *, as_sdk: bool = False, path: str = PATH) -> list[bytes]:
    """Sign requests ahead, each with a recipient of its own, so that the client costs little while it is timed."""
    port = told["port"]
    keys: list[list[str]] = told["keys"]
    signers = [(Signer(key, secret, "us-east-1", "ses"), domain) for key, secret, domain in keys]
    now = datetime.now(UTC)
    requests = []
    for number in range(count):
        signer, domain = signers[number % len(signers)]
        body = b'{"FromEmailAddress":"hello@%s","Destination":{"ToAddresses":["p%d@there.example"]},"Content":%s}' % (
            domain.encode(),
            number,
            CONTENT,
        )
        headers = signer.headers("POST", path, "", f"127.0.0.1:{port}", body, now=now, content_type="application/json")
        if as_sdk:
            headers["amz-sdk-invocation-id"] = str(uuid4())
        requests.append(_request(path, int(str(port)), headers, body))
    return requests


def _request(path: str, port: int, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"host: 127.0.0.1:{port}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _rate(port: int, requests: list[bytes]) -> float:
    waiting = iter(requests)

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in waiting:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head[:200])
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return len(requests) / (time.perf_counter() - began)
