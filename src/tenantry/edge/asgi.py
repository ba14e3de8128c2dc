"""Owns reading and answering of one HTTP request on bare ASGI; leaves what is in it to the doors."""

from __future__ import annotations

from starlette.types import Message, Receive, Scope, Send

from tenantry.edge.errors import Answer

JSON = (b"content-type", b"application/json")


class ClientGoneError(Exception):
    """The client went away before its request was whole: nobody is left to answer."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first value of a header, by its lower-case name."""
    for given, value in scope["headers"]:
        if given == name:
            found: bytes = value
            return found
    return None


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes | None:
    """Return the whole body, or None once it is known to be too large, by its announced or its true length.

    The connection stays open then: the server throws the rest away unread, and the client gets to see why.
    """
    announced = header(scope, b"content-length")
    if announced and (not announced.isdigit() or len(announced) > 12 or int(announced) > max_bytes):
        return None
    message = await _part(receive)
    first: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return first if len(first) <= max_bytes else None
    parts, size = [first], len(first)
    while message.get("more_body"):
        if size > max_bytes:
            return None
        message = await _part(receive)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    return b"".join(parts) if size <= max_bytes else None


async def _part(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return message


async def answer(send: Send, reply: Answer, id_header: bytes, request_id: str) -> None:
    """Send a JSON answer whole, with the request's id in the header that its protocol wants."""
    headers = [
        JSON,
        (b"content-length", b"%d" % len(reply.body)),
        (id_header, request_id.encode()),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
