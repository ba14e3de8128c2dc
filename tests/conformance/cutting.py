"""A door to PostgreSQL that loses a connection at its next COMMIT: before the server hears of it, or after it was done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum

from sqlalchemy.engine import make_url

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"


class Loss(Enum):
    """Which half of the way is lost."""

    QUESTION = "question"  # the server waits on, in an open transaction
    ANSWER = "answer"


@dataclass
class Cutter:
    """What passes bytes on until it is told to lose some."""

    url: str
    leads_to: str
    lose: Loss | None = None
    lost: int = 0
    held: list[asyncio.StreamWriter] = field(default_factory=list)

    def place(self) -> tuple[str, int]:
        """Return where the server listens: a folder of its socket, or a host."""
        parts = make_url(self.leads_to)
        return str(parts.query.get("host") or parts.host), parts.port or int(str(parts.query.get("port", 5432)))

    def lead_to(self, url: str) -> None:
        """Lead new connections to another server, as a virtual address does after a fail-over."""
        self.leads_to = url

    def hang_up(self) -> None:
        """Let the server notice, as keepalive or its own limit for idle transactions would."""
        for server in self.held:
            server.close()
        self.held.clear()


@asynccontextmanager
async def cutting(url: str) -> AsyncIterator[Cutter]:
    """Open the door to the server of this URL."""
    parts = make_url(url)
    cutter = Cutter("", leads_to=url)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        assert me is not None
        tasks.add(me)
        host, port = cutter.place()
        if host.startswith("/"):
            back, forth = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            back, forth = await asyncio.open_connection(host, port)
        answers = asyncio.create_task(_pass(back, writer))
        try:
            while data := await reader.read(65_536):
                if cutter.lose is not None and COMMIT in data:
                    loss, cutter.lose = cutter.lose, None
                    answers.cancel()
                    await asyncio.wait([answers])
                    if loss is Loss.ANSWER:
                        forth.write(data)
                        await back.read(65_536)
                    cutter.held.append(forth)
                    cutter.lost += 1
                    return
                forth.write(data)
                await forth.drain()
        except OSError:
            pass
        finally:
            answers.cancel()
            writer.transport.abort()
            if forth not in cutter.held:
                forth.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    cutter.url = parts.set(host="127.0.0.1", port=server.sockets[0].getsockname()[1], query={}).render_as_string(
        hide_password=False
    )
    try:
        yield cutter
    finally:
        server.close()
        cutter.hang_up()
        for serving in tasks:
            serving.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()
