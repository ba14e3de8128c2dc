"""Owns a server of raw sockets that answers as it is told to: what no honest SES does; leaves the promises to the tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Behaviour = Callable[["Liar", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Liar:
    """What the server saw: each request's head and body."""

    url: str = ""
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Read one whole request."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        self.requests.append((head, await reader.readexactly(length)))


@asynccontextmanager
async def lying(behave: Behaviour) -> AsyncIterator[Liar]:
    """Serve with this behaviour, one connection at a time or many; every connection is dropped at the end."""
    liar = Liar()
    open_now: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            await behave(liar, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            open_now.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    liar.url = f"http://{host}:{port}"
    try:
        yield liar
    finally:
        server.close()
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


def answers(status: int, body: bytes, *headers: str) -> Behaviour:
    """Answer every request on a connection with this."""
    extra = "".join(f"{header}\r\n" for header in headers)
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode()

    async def behave(liar: Liar, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await liar.read(reader)
            writer.write(head + body)
            await writer.drain()

    return behave


async def cuts_after_the_body(liar: Liar, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the whole request and hang up without a word."""
    await liar.read(reader)


async def cuts_in_the_answer(liar: Liar, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin a good answer and hang up in the middle of it."""
    await liar.read(reader)
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"MessageId":')
    await writer.drain()


async def resets(liar: Liar, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the whole request and reset the connection."""
    await liar.read(reader)
    writer.transport.abort()


async def hangs(liar: Liar, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the whole request and say nothing."""
    await liar.read(reader)
    await asyncio.Event().wait()


async def talks_nonsense(liar: Liar, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with what is no HTTP."""
    await liar.read(reader)
    writer.write(b"220 mail.example ESMTP\r\n\r\n")
    await writer.drain()
