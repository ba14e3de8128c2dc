"""Owns HTTP/1.1 to one server: kept connections, one deadline a call, and whether a byte of the request left.

Leaves what an answer means to its callers. Nothing goes out twice: no retries, no redirects, no pipelining.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import deque
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from tenantry.ports import Clock


class NotSentError(ConnectionError):
    """No connection was to be had: not a byte of the request has left."""


class CutError(ConnectionError):
    """The request was handed to a connection, and no whole answer came: the server may have done what it asks."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    error_type: str | None


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections at most, how long an unused one is kept, how long a call may take, how large its answer is."""

    connections: int = 100
    idle_seconds: float = 5.0
    deadline_seconds: float = 10.0
    answer_bytes: int = 2**20  # with its head; as many calls as there are connections may get as much at once


class HttpClient:
    """Makes calls to one server; as many at a time as it may have connections, the others wait."""

    def __init__(self, endpoint: str, clock: Clock, limits: Limits) -> None:
        """Take a URL of scheme, host and port; connections are made when needed."""
        parts = urlsplit(endpoint)
        self._address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        self._tls = _tls() if parts.scheme == "https" else None
        self._clock = clock
        self._limits = limits
        self._places = asyncio.Semaphore(limits.connections)
        self._idle: deque[tuple[float, _Connection]] = deque()  # the one used last is used next
        self._sweep: asyncio.TimerHandle | None = None

    async def call(self, request: bytes, body: bytes) -> Answer:
        """Send a request, head and body, exactly once and return its answer; raises NotSentError or CutError.

        Half of the deadline is for the connection, so that the server has time to answer.
        """
        deadline = self._clock.monotonic() + self._limits.deadline_seconds
        connect_by = deadline - self._limits.deadline_seconds / 2
        await self._place(connect_by)
        try:
            connection = self._kept() or await self._connect(connect_by)
            try:
                return await connection.exchange(request, body, deadline - self._clock.monotonic())
            finally:
                self._give_back(connection)
        finally:
            self._places.release()

    async def _place(self, connect_by: float) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(connect_by - self._clock.monotonic()):
                await self._places.acquire()
        except TimeoutError as error:
            raise NotSentError("every connection was busy") from error

    def _kept(self) -> _Connection | None:
        """Return a connection on which the server neither spoke nor hung up since its last answer."""
        oldest = self._clock.monotonic() - self._limits.idle_seconds
        while self._idle:
            since, connection = self._idle.pop()
            if since >= oldest and connection.usable:
                return connection
            connection.abort()
        return None

    async def _connect(self, connect_by: float) -> _Connection:
        host, port = self._address
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(connect_by - self._clock.monotonic()):
                _, connection = await loop.create_connection(self._new, host, port, ssl=self._tls)
        except TimeoutError as error:
            raise NotSentError(f"no connection to {host}:{port} in time") from error
        except (OSError, ValueError) as error:  # refused, no such name, no trust; or what can be no name
            raise NotSentError(f"no connection to {host}:{port}: {error}") from error
        return connection

    def _new(self) -> _Connection:
        return _Connection(self._limits.answer_bytes)

    def _give_back(self, connection: _Connection) -> None:
        if not connection.usable:
            connection.abort()
            return
        self._idle.append((self._clock.monotonic(), connection))
        if self._sweep is None:
            self._sweep_in(self._limits.idle_seconds)

    def _drop_idle(self) -> None:
        """Close what has been idle for long enough, before the server does."""
        oldest = self._clock.monotonic() - self._limits.idle_seconds
        while self._idle and self._idle[0][0] <= oldest:
            self._idle.popleft()[1].abort()
        self._sweep = None
        if self._idle:
            self._sweep_in(self._idle[0][0] - oldest)

    def _sweep_in(self, seconds: float) -> None:
        self._sweep = asyncio.get_running_loop().call_later(seconds, self._drop_idle)

    def close(self) -> None:
        """Drop the connections that are not in use."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._idle:
            self._idle.pop()[1].abort()


class _Connection(asyncio.Protocol):
    """One connection, one exchange at a time; silent in between, or it is not used again."""

    __slots__ = ("_answer", "_body", "_error_type", "_most", "_parser", "_reusable", "_size", "_transport")

    _transport: asyncio.Transport

    def __init__(self, answer_bytes: int) -> None:
        self._most = answer_bytes
        self._answer: asyncio.Future[Answer] | None = None
        self._parser = HttpResponseParser(self)
        self._reusable = True
        self._size = 0
        self._error_type: str | None = None
        self._body: list[bytes] = []

    @property
    def usable(self) -> bool:
        """Whether another request may be written to it."""
        return self._reusable and self._answer is None and not self._transport.is_closing()

    async def exchange(self, head: bytes, body: bytes, seconds: float) -> Answer:
        """Write a request and return its answer, which may take so long; raises NotSentError or CutError."""
        if not self.usable:
            raise NotSentError("the connection was lost before the request was written")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._answer = answer
        self._size = 0
        timer = loop.call_later(seconds, self._fail, "no answer before the deadline")
        try:
            self._transport.writelines((head, body))
            return await answer
        finally:
            timer.cancel()

    def abort(self) -> None:
        """Drop the connection without ceremony."""
        self._reusable = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by name

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._answer is None:  # unasked: it would be taken for the answer to the next request
            self.abort()
            return
        self._size += len(data)
        if self._size > self._most:
            self._fail("the answer is too large")
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(f"the answer is not HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._fail(f"the connection was lost: {exc}" if exc else "the server hung up")

    def on_message_begin(self) -> None:
        """See httptools."""
        if self._answer is None:  # a second answer behind the first
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        if len(name) == 16 and name.lower() == b"x-amzn-errortype":
            self._error_type = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        """See httptools."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """See httptools."""
        status = self._parser.get_status_code()
        if status >= 200 and self._answer is not None:  # else word on the way: the answer follows
            self._reusable = self._parser.should_keep_alive() and not self._transport.get_write_buffer_size()
            found = Answer(status, b"".join(self._body), self._error_type)
            if not self._answer.done():
                self._answer.set_result(found)
            self._answer = None
        self._forget()

    def _forget(self) -> None:
        self._error_type = None
        self._body = []

    def _fail(self, words: str) -> None:
        answer, self._answer = self._answer, None
        self.abort()
        if answer is not None and not answer.done():
            answer.set_exception(CutError(words))


def _tls() -> ssl.SSLContext:
    """Verify names and certificates, against AWS_CA_BUNDLE where it is set, as botocore does."""
    context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or None)
    context.set_alpn_protocols(["http/1.1"])
    return context
