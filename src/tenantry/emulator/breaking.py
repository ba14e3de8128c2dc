"""Owns doing an ordered fault to a call: waiting, cutting its connection, answering wrongly.

Leaves which call it befalls to `emulator.faults`. Below ASGI only here: a cut needs the connection itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tenantry.emulator.calls import Answer
from tenantry.emulator.faults import CallFault, CallFaultKind
from tenantry.wire.aws import encode_error

CONNECTION = "tenantry.connection"  # where a scope holds its connection
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Joined:
    """A transport that sends at once what is written in one turn of the loop: uvicorn writes an answer's head and body apart."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send this with whatever else is written before the loop turns."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Send what was written, and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class OpenProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, which lets the application see the connection of a call."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, by a transport that joins writes."""
        super().connection_made(cast(asyncio.Transport, Joined(cast(asyncio.Transport, transport))))

    def on_message_begin(self) -> None:
        """Note the connection in the scope of the call that begins."""
        super().on_message_begin()
        cast(MutableMapping[str, Any], self.scope)[CONNECTION] = self.transport


async def befall(
    fault: CallFault, do: Callable[[], Awaitable[Answer]], scope: MutableMapping[str, Any], receive: Receive
) -> Answer | None:
    """Let a fault befall a call; return what is answered, or None once its connection is closed."""
    answer = None if fault.is_before else await do()
    match fault.kind:
        case CallFaultKind.DELAY:
            await asyncio.sleep(fault.seconds)
            return answer
        case CallFaultKind.REFUSE | CallFaultKind.REFUSE_AFTER:
            sentence = "This error was ordered of the local SES."
            return Answer(*encode_error(fault.code, sentence, fault.status, "ordered"))
        case CallFaultKind.WRONG_JSON_AFTER:
            return Answer(200, {"content-type": "application/json"}, b'{"MessageId": "0100')
        case CallFaultKind.HANG | CallFaultKind.HANG_AFTER:
            await _until_gone(receive, fault.seconds)
            await _close(scope, receive, b"")
        case CallFaultKind.CUT:
            await _close(scope, receive, b"")
        case CallFaultKind.CUT_AFTER:
            await _close(scope, receive, _as_sent(answer)[: fault.at_byte] if answer else b"")
    return None


async def _until_gone(receive: Receive, seconds: float) -> None:
    """Wait until the caller hangs up, that long at most."""
    gone = asyncio.ensure_future(receive())
    await asyncio.wait((gone,), timeout=seconds)
    gone.cancel()


async def _close(scope: MutableMapping[str, Any], receive: Receive, rest: bytes) -> None:
    """Send what is still to be sent, close the connection, and wait until it is closed."""
    connection: asyncio.Transport = scope[CONNECTION]
    if rest:
        connection.write(rest)
    connection.close()
    await receive()


def _as_sent(answer: Answer) -> bytes:
    """Return an answer as its bytes on the connection."""
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    lines += [f"content-length: {len(answer.body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + answer.body
