"""Owns one SMTP connection as bytes: lines, mail data, replies, the change to TLS; leaves what they mean to `smtp`.

Of asyncio's protocols rather than its streams: a stream cannot be told that nothing of before STARTTLS may be read after it.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol, cast

from tenantry.wire.smtp import END_OF_DATA, Reply

LINE_BYTES_MAX = 4_096  # of a command; AUTH's are the longest
UNREAD_BYTES_MAX = 65_536
UNSENT_BYTES_MAX = 65_536


class GoneError(Exception):
    """The client is gone, or was cut: nobody is left to answer."""


class LineError(Exception):
    """What came is no line: the connection cannot be believed any longer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


class Owner(Protocol):
    """Who is told of the connection's begin and end, and lends the memory for its mail."""

    def opened(self, channel: Channel) -> None:
        """Take a new connection."""

    def closed(self, channel: Channel) -> None:
        """Take the end of a connection."""

    def borrow(self, count: int) -> bool:
        """Lend so many bytes of memory (less than 0: take them back), or say that there are none."""


class Channel(asyncio.Protocol):
    """One connection; read by one task."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._buffer = bytearray()
        self._out = bytearray()
        self._transport: asyncio.Transport | None = None
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = self._resting = False
        self._unread_max = UNREAD_BYTES_MAX
        self.peer = ""
        self.deadline = float("inf")  # on the owner's clock: who sends nothing until then is cut
        self.is_encrypted = False

    # ---- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(UNSENT_BYTES_MAX)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        self.is_encrypted = transport.get_extra_info("ssl_object") is not None
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._buffer += data
        self._news.set()
        if len(self._buffer) > self._unread_max and self._transport is not None and not self._resting:
            self._resting = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """See asyncio.Protocol; whoever asks many things and closes its side still gets the answers."""
        self._ended = True
        self._news.set()
        return not self.is_encrypted

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._transport, self._ended = None, True
        self._news.set()
        self._writable.set()
        self._owner.closed(self)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._writable.set()

    # ---- reading

    async def line(self) -> bytes:
        """Return the next line without its CRLF; raises GoneError, or LineError for one that never ends or ends wrongly."""
        while (at := self._buffer.find(b"\n", 0, LINE_BYTES_MAX)) < 0:
            if len(self._buffer) >= LINE_BYTES_MAX:
                raise LineError(Reply(500, "5.5.6", f"A line may have {LINE_BYTES_MAX} bytes"))
            await self._more()
        if self._buffer[at - 1 : at] != b"\r":
            raise LineError(Reply(521, "5.5.2", "End each line by CRLF: an LF stands alone"))
        found = bytes(self._buffer[: at - 1])
        self._take(at + 1)
        return found

    async def data(self, bytes_max: int) -> bytes | Reply:
        """Return what stands before the lone dot; where it is too much, read it to its end and return the answer."""
        refused: Reply | None = None
        lent = searched = dropped = 0
        self._unread_max = bytes_max + UNREAD_BYTES_MAX
        try:
            while True:
                if not dropped and self._buffer.startswith(END_OF_DATA[2:]):
                    self._take(3)
                    return b""
                if (at := self._buffer.find(END_OF_DATA, max(0, searched - 4))) >= 0:
                    found = bytes(self._buffer[: at + 2]) if refused is None else b""
                    self._take(at + len(END_OF_DATA))
                    return self._measured(found, bytes_max) if refused is None else refused
                searched = len(self._buffer)
                if refused is None and searched > bytes_max + 2:
                    refused = _too_much(bytes_max)
                elif refused is None and searched > lent:
                    if self._owner.borrow(searched - lent):
                        lent = searched
                    else:
                        refused = Reply(452, "4.3.1", "Too much mail comes in at once: try again in a minute")
                if refused is not None and searched > 4:
                    dropped += searched - 4
                    self._take(searched - 4)
                    searched = 4
                await self._more()
        finally:
            self._owner.borrow(-lent)
            self._unread_max = UNREAD_BYTES_MAX

    @staticmethod
    def _measured(data: bytes, bytes_max: int) -> bytes | Reply:
        return data if len(data) <= bytes_max + 2 else _too_much(bytes_max)

    async def _more(self) -> None:
        """Send what is written and wait until more has come; raises GoneError when nothing will."""
        await self.flush()
        if self._ended:
            raise GoneError
        if self._resting and self._transport is not None:
            self._resting = False
            self._transport.resume_reading()
        self._news.clear()
        await self._news.wait()
        if self._transport is None:
            raise GoneError

    def _take(self, count: int) -> None:
        del self._buffer[:count]

    # ---- writing

    def write(self, *replies: Reply | bytes) -> None:
        """Write answers; they leave together once nothing more is there to be read."""
        for reply in replies:
            self._out += reply if isinstance(reply, bytes) else reply.line()

    async def flush(self) -> None:
        """Send what is written, and wait while the client does not read; raises GoneError when it is gone."""
        if self._transport is None:
            raise GoneError
        if self._out:
            self._transport.write(bytes(self._out))
            self._out.clear()
        await self._writable.wait()

    def cut(self, reply: Reply | None = None) -> None:
        """End the connection now, with a last word where it can be heard."""
        if self._transport is None:
            return
        if reply is not None and self._writable.is_set():
            self._transport.write(bytes(self._out) + reply.line())
            self._transport.close()
        else:
            self._transport.abort()
        self._ended = True
        self._news.set()

    async def finish(self) -> None:
        """Send what is written and close in good order."""
        await self.flush()
        if self._transport is not None:
            self._transport.close()

    # ---- TLS

    def has_unread(self) -> bool:
        """Whether something has come that nobody read."""
        return bool(self._buffer)

    async def encrypt(self, context: ssl.SSLContext, seconds: float) -> None:
        """Change to TLS after the last answer in clear; raises GoneError when the handshake fails or takes longer."""
        await self.flush()
        if self._transport is None or self._buffer:
            raise GoneError
        clear, loop = self._transport, asyncio.get_running_loop()
        try:
            encrypted = await loop.start_tls(clear, self, context, server_side=True, ssl_handshake_timeout=seconds)
        except (OSError, TimeoutError):  # of which an SSLError is one
            encrypted = None
        if encrypted is None or self._transport is None:
            clear.abort()
            self.connection_lost(None)  # a protocol between two transports is told of no end
            raise GoneError
        self._transport = encrypted
        self.is_encrypted = True


def _too_much(bytes_max: int) -> Reply:
    return Reply(552, "5.3.4", f"A message may have {bytes_max} bytes")
