"""Durable accept over the SES wire against the same server answering a constant, 64 connections."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from uuid import uuid4

from bench.figures import Figure, median
from bench.world import CONTENT
from tenantry.wire.sigv4 import Signer

CONNECTIONS = 64
SIZES = {True: (3, 2_000), False: (5, 6_000)}  # rounds, and calls a round; by whether it is to be quick
PATH = "/v2/email/outbound-emails"


async def figures(kind: str, quick: bool) -> list[Figure]:
    """Interleave rounds of both routes and compare their medians."""
    rounds, count = SIZES[quick]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.door", kind, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdin is not None
    told = json.loads(await child.stdout.readline())
    constant, accepted, called = [], [], []
    for _ in range(rounds):
        constant.append(await _rate(told["port"], [_plain(told["port"])] * count))
        accepted.append(await _rate(told["port"], _signed(told, count)))
        called.append(await _rate(told["port"], _signed(told, count, as_sdk=True)))
    child.stdin.close()
    await child.wait()
    rows = (("accept", "SES wire, signed, durable / constant", accepted),
            ("accept sdk", "the same with an SDK's invocation id, which is remembered / constant", called))  # fmt: skip
    return [
        Figure(name, kind, compared, median(rates) / median(constant), 0.2, True, _detail(rates, constant, count))
        for name, compared, rates in rows
    ]


def _detail(rates: list[float], constant: list[float], count: int) -> str:
    durable, bare = f"{median(rates):,.0f}/s durable", f"{median(constant):,.0f}/s constant"
    return f"{durable}, {bare}; medians of {len(rates)} rounds of {count:,}"


def _plain(port: int) -> bytes:
    return _request("/constant", port, {}, CONTENT)


def _signed(told: dict[str, object], count: int, *, as_sdk: bool = False) -> list[bytes]:
    """Sign requests ahead, each with a recipient of its own, so that the client costs little while it is timed."""
    port = told["port"]
    keys: list[list[str]] = told["keys"]  # type: ignore[assignment]
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
        headers = signer.headers("POST", PATH, "", f"127.0.0.1:{port}", body, now=now, content_type="application/json")
        if as_sdk:
            headers["amz-sdk-invocation-id"] = str(uuid4())
        requests.append(_request(PATH, int(str(port)), headers, body))
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
