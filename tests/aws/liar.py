"""Owns a server of raw sockets that does as it is told, and a log of every byte that came; leaves the promises to the tests."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

Behaviour = Callable[["Line"], Awaitable[None]]
LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
RECEIVE_BYTES = 16_384  # of kernel buffer: what is not read soon holds the client up
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close tells the other side nothing but "reset"


class Gone(ConnectionError):
    """The client has hung up."""


@dataclass
class Liar:
    """What the server saw, connection by connection."""

    behave: Behaviour
    url: str = ""
    lines: list[Line] = field(default_factory=list)

    @property
    def requests(self) -> list[tuple[bytes, bytes]]:
        """Every request that has begun, be it with one byte: what came of its head and of its body."""
        return [request for line in self.lines for request in line.requests]

    @property
    def received(self) -> int:
        """Bytes that came in, above TLS."""
        return sum(len(line.received) for line in self.lines)

    @property
    def said(self) -> int:
        """Bytes that were taken off the liar's hands."""
        return sum(line.said for line in self.lines)


class Line(asyncio.Protocol):
    """One connection: what has come in on it, and what the liar does with it."""

    def __init__(self, liar: Liar) -> None:
        """Join the liar's log once the connection (with TLS: its handshake) is made."""
        self.received = bytearray()
        self.said = 0
        self.ended = False
        self.lost = asyncio.Event()
        self._read = 0  # how much of received the behaviour has used up
        self._liar = liar
        self._news = asyncio.Event()
        self._may_say = asyncio.Event()
        self._may_say.set()

    @property
    def requests(self) -> list[tuple[bytes, bytes]]:
        """See Liar.requests."""
        found, rest = [], bytes(self.received)
        while rest.startswith(b"POST"[: len(rest)]) and rest:
            head, end, body = rest.partition(b"\r\n\r\n")
            length = LENGTH.search(head)
            size = int(length[1]) if end and length else 0
            found.append((head + end, body[:size]))
            rest = body[size:]
        return found

    async def head(self) -> bytes:
        """Read a request's head, as far as the empty line."""
        await self._until(lambda: b"\r\n\r\n" in self.received[self._read :])
        end = self.received.index(b"\r\n\r\n", self._read) + 4
        head, self._read = bytes(self.received[self._read : end]), end
        return head

    async def take(self, count: int) -> bytes:
        """Read exactly so many bytes more."""
        await self._until(lambda: len(self.received) - self._read >= count)
        self._read += count
        return bytes(self.received[self._read - count : self._read])

    async def request(self) -> tuple[bytes, bytes]:
        """Read a whole request."""
        head = await self.head()
        length = LENGTH.search(head)
        assert length is not None
        return head, await self.take(int(length[1]))

    async def say(self, *parts: bytes) -> None:
        """Write these bytes, each part in a packet of its own, as far as the client takes them."""
        for part in parts:
            await self._may_say.wait()
            if self.ended:
                raise Gone
            self.transport.write(part)
            self.said += len(part)
            await asyncio.sleep(0)

    async def stay(self) -> None:
        """Say no more, and wait until the client hangs up."""
        await self._until(lambda: False)

    def deafen(self) -> None:
        """Read nothing more: what the client writes stays with its own kernel."""
        self.transport.pause_reading()

    def half_close(self) -> None:
        """Hang up one way: nothing more will be said, but the client may still write."""
        self.transport.write_eof()

    def reset(self) -> None:
        """Drop the connection so that the client is told of a reset, not of an end."""
        found = self.transport.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self.ended:
                raise Gone
            self._news.clear()
            await self._news.wait()

    async def _run(self) -> None:
        with suppress(Gone):
            await self._liar.behave(self)
        self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by name
        self._liar.lines.append(self)
        self.task = asyncio.create_task(self._run())

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._news.set()

    def eof_received(self) -> None:
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self._end()

    def pause_writing(self) -> None:
        self._may_say.clear()

    def resume_writing(self) -> None:
        self._may_say.set()

    def _end(self) -> None:
        self.ended = True
        self._news.set()
        self._may_say.set()


@asynccontextmanager
async def lying(behave: Behaviour, tls: ssl.SSLContext | None = None, *, scheme: str = "") -> AsyncIterator[Liar]:
    """Serve with this behaviour on every connection; all of them are dropped at the end."""
    liar = Liar(behave)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    listening.bind(("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Line(liar), sock=listening, ssl=tls)
    liar.url = f"{scheme or ('https' if tls else 'http')}://127.0.0.1:{listening.getsockname()[1]}"
    try:
        yield liar
    finally:
        server.close()
        for line in liar.lines:
            line.task.cancel()
            line.transport.abort()
        await asyncio.gather(*(line.task for line in liar.lines), return_exceptions=True)
        await asyncio.gather(*(line.lost.wait() for line in liar.lines))


def answer(status: int, body: bytes, *headers: str) -> bytes:
    """Write an answer as SES would."""
    extra = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status} Whatever\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


def handed(ses_id: str) -> bytes:
    """Write SES's yes."""
    return answer(200, b'{"MessageId":"%s"}' % ses_id.encode())


def answers(status: int, body: bytes, *headers: str) -> Behaviour:
    """Answer every request on a connection with this."""

    async def behave(line: Line) -> None:
        while True:
            await line.request()
            await line.say(answer(status, body, *headers))

    return behave


def says(*parts: bytes) -> Behaviour:
    """Take one whole request, write these parts, and leave the connection open."""

    async def behave(line: Line) -> None:
        await line.request()
        await line.say(*parts)
        await line.stay()

    return behave


def says_and_ends(*parts: bytes, reset: bool = False) -> Behaviour:
    """Take one whole request, write these parts, and hang up: in good order, or with a reset."""

    async def behave(line: Line) -> None:
        await line.request()
        await line.say(*parts)
        if reset:
            await asyncio.sleep(0.01)  # a reset overtakes what the client has not read
            line.reset()

    return behave


def hangs_after(read: Behaviour) -> Behaviour:
    """Read so much and say nothing."""

    async def behave(line: Line) -> None:
        await read(line)
        await line.stay()

    return behave


def resets_after(read: Behaviour) -> Behaviour:
    """Read so much and reset the connection."""

    async def behave(line: Line) -> None:
        await read(line)
        line.reset()

    return behave


def drips(text: bytes, seconds: float, *, first: bytes = b"", for_ever: bytes = b"") -> Behaviour:
    """Take one whole request and answer a byte at a time, so many seconds apart; then more of the same where told."""

    async def behave(line: Line) -> None:
        await line.request()
        await line.say(first)
        for at in range(len(text)):
            await line.say(text[at : at + 1])
            await asyncio.sleep(seconds)
        while for_ever:
            await line.say(for_ever)
            await asyncio.sleep(seconds)

    return behave


def floods(first: bytes, rest: bytes) -> Behaviour:
    """Take one whole request, begin an answer and never end it, as fast as the client takes it."""

    async def behave(line: Line) -> None:
        await line.request()
        await line.say(first)
        while True:
            await line.say(rest)

    return behave
