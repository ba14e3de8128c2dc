"""The local SES against moto's server and the npm emulator; its start, its memory, and what a million identities cost a call."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast
from urllib.error import URLError
from urllib.request import Request, urlopen

from bench.figures import Figure, median
from bench.neighbours import NotHereError, moto, npm_emulator
from bench.world import CONTENT

CONNECTIONS = 64
ROUNDS = {True: 2, False: 3}
SECONDS = {True: 1.0, False: 3.0}  # of each round
KEPT = {True: 10_000, False: 100_000}  # messages
CROWD = {True: 20_000, False: 1_000_000}  # identities, and tenants
FEW = 10
START_SECONDS = 60.0
_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/ses/aws4_request, SignedHeaders=host, Signature=00"
)
LIMITS = ("--rate", "0", "--quota", "0", "--control-rate", "0")
SEND, IDENTITIES = "/v2/email/outbound-emails", "/v2/email/identities"
BODY = (
    b'{"FromEmailAddress":"hello@bench.example","Destination":{"ToAddresses":["p@there.example"]},"Content":%s}'
    % CONTENT
)


@dataclass
class Taken:
    """Rounds against one server: calls a second, and processor time a call in microseconds."""

    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    def told(self) -> str:
        """Tell both, as medians."""
        return f"{median(self.rates):,.0f}/s, {median(self.costs):,.0f} us of CPU a call"


async def figures(quick: bool) -> list[Figure]:
    """Take all figures of the local SES; those against a neighbour only if it can be had."""
    found = await _against(quick)
    found.append(_started())
    found.append(await _remembered(KEPT[quick], quick))
    found += await asyncio.to_thread(_crowded, CROWD[quick])
    return found


async def _against(quick: bool) -> list[Figure]:
    servers: dict[str, Callable[[int], tuple[list[str], Path | None]]] = {"local SES": _local}
    for name, offered in (("moto", _moto), ("aws-ses-v2-local", _npm)):
        try:
            offered(0)
            servers[name] = offered
        except NotHereError as error:
            print(f"LEFT OUT: {error}", file=sys.stderr, flush=True)
    taken = {name: Taken() for name in servers}
    with contextlib.ExitStack() as stack:
        running = {name: stack.enter_context(_running(offer)) for name, offer in servers.items()}
        for _ in range(ROUNDS[quick]):  # in turn, so that what else the machine does befalls all
            for name, (port, process) in running.items():
                before = _cpu(process)
                calls = await _load(port, SECONDS[quick])
                taken[name].costs.append((_cpu(process) - before) / calls * 1e6)
                taken[name].rates.append(calls / SECONDS[quick])
    mine = taken["local SES"]
    found = [
        Figure(
            name=f"emulator {name}",
            store="-",
            compared=f"SendEmail of local SES / {name}, {CONNECTIONS} connections",
            value=median(mine.rates) / median(taken[name].rates),
            goal=goal,
            higher_is_better=True,
            detail=f"{mine.told()} against {taken[name].told()}; medians of {ROUNDS[quick]} rounds of {SECONDS[quick]:g} s",
        )
        for name, goal in (("moto", 10.0), ("aws-ses-v2-local", 0.8))
        if name in taken
    ]
    if "moto" in taken:
        value, detail = (
            median(taken["moto"].costs) / median(mine.costs),
            f"{mine.told()} against {taken['moto'].told()}",
        )
        found.append(Figure("emulator CPU", "-", "CPU a call, moto / local SES", value, 10.0, True, detail))
    return found


def _local(port: int, *more: str) -> tuple[list[str], Path | None]:
    return [sys.executable, "-m", "tenantry", "ses-local", "--port", str(port), *LIMITS, *more], None


def _moto(port: int) -> tuple[list[str], Path | None]:
    return [str(moto().parent / "moto_server"), "-p", str(port)], None


def _npm(port: int) -> tuple[list[str], Path | None]:
    place = npm_emulator()
    return [str(place / "node_modules/.bin/aws-ses-v2-local"), "--port", str(port)], place


@contextlib.contextmanager
def _running(offer: Callable[[int], tuple[list[str], Path | None]]) -> Iterator[tuple[int, int]]:
    """Run a server that may send for bench.example; yields its port and process."""
    port = _free_port()
    words, place = offer(port)
    process = subprocess.Popen(words, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_SECONDS
        while not _answers(port):
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError(f"{words[0]} does not answer")
        _post(port, IDENTITIES, b'{"EmailIdentity":"bench.example"}')
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        _post(port, SEND, b"{}")
    except ConnectionError:
        time.sleep(0.01)
        return False
    return True


def _post(port: int, path: str, body: bytes) -> int:
    headers = {"authorization": AUTHORIZATION, "content-type": "application/json"}
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", body, headers), timeout=30) as answer:
            status: int = answer.status
            return status
    except URLError as error:
        if isinstance(error.reason, OSError):
            raise ConnectionError(str(error.reason)) from error
        return int(getattr(error, "code", 0))  # an answer, if a no


class _Connection(asyncio.Protocol):
    """One connection of the load, without streams: the client shall cost little beside the servers."""

    def __init__(self, request: bytes, wanted: Callable[[], bool], ended: asyncio.Future[None]) -> None:
        self._request, self._wanted, self._ended = request, wanted, ended
        self._got, self._whole = b"", 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, _ = self._got.partition(b"\r\n\r\n")
        if not self._whole and end:
            if not head.startswith(b"HTTP/1.1 200"):
                self._end(RuntimeError(self._got[:300]))
                return
            self._whole = len(head) + 4 + int(_LENGTH.search(head)[1])  # type: ignore[index]
        if self._whole and len(self._got) >= self._whole:
            self._got, self._whole = b"", 0
            if b"connection: close" not in head.lower():  # moto's server keeps none
                self._next()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error)

    def _next(self) -> None:
        assert self._transport is not None
        if self._wanted():
            self._transport.write(self._request)
        else:
            self._transport.close()

    def _end(self, error: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_exception(error) if error else self._ended.set_result(None)


async def _load(port: int, seconds: float = 0.0, number: int = 0) -> int:
    """Send for so many seconds, or so many mails, over 64 connections; return how many were taken."""
    lines = (f"POST {SEND} HTTP/1.1", f"host: 127.0.0.1:{port}", f"authorization: {AUTHORIZATION}")
    head = "\r\n".join((*lines, "content-type: application/json", f"content-length: {len(BODY)}"))
    request, until, loop, done = (
        head.encode() + b"\r\n\r\n" + BODY,
        time.monotonic() + seconds,
        asyncio.get_running_loop(),
        0,
    )

    def left() -> bool:
        return done < number if number else time.monotonic() < until

    def wanted() -> bool:
        nonlocal done
        done += (more := left())
        return more

    async def connection() -> None:
        while left():
            ended: asyncio.Future[None] = loop.create_future()
            await loop.create_connection(partial(_Connection, request, wanted, ended), "127.0.0.1", port)
            await ended

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return done


def _started() -> Figure:
    """Take the time from the start of the process to the first answer."""
    times = []
    for _ in range(3):
        began = time.monotonic()
        with _running(_local):
            times.append(time.monotonic() - began)
    detail = f"median of {len(times)}: {', '.join(f'{each:.2f} s' for each in times)}; Python's own start is in it"
    return Figure("emulator start", "-", "start to first answer", median(times), 1.5, False, detail, " s")


async def _remembered(number: int, quick: bool) -> Figure:
    """Take the resident memory with so many messages kept, content and events too."""
    with _running(lambda port: _local(port, "--keep", str(number))) as (port, process):
        empty = _memory(process)
        await _load(port, number=number)
        full = _memory(process)
    detail = f"{number:,} messages of {len(BODY):,} bytes with content and events; {empty:,.0f} MB before the first"
    goal = 500.0 if not quick else 150.0
    return Figure("emulator memory", "-", "resident memory", full, goal, False, detail, " MB")


def _memory(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _cpu(process: int) -> float:
    stat = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _crowded(number: int) -> list[Figure]:
    """Take what calls cost with few and with many identities and tenants; in a process of its own, for its memory."""
    words: Sequence[str] = [sys.executable, "-m", "bench.emulator_crowd", str(FEW), str(number)]
    told = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    return [
        Figure(
            name=f"emulator {name}",
            store="-",
            compared=f"CPU of {name}: {number:,} identities and tenants / {FEW}",
            value=many / few,
            goal=1.2,
            higher_is_better=False,
            detail=f"{many:.1f} us against {few:.1f} us, best of several",
        )
        for name, (few, many) in told.items()
    ]
