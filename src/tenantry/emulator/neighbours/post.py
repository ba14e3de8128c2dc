"""Owns the POST of one SNS delivery over HTTP: one connection, one request, bounded in time and size.

Leaves which delivery and when to `neighbours.sns_delivery`. It goes to loopback addresses alone, unless told otherwise:
a test that is handed a real web address must not reach it.
"""

import asyncio
import contextlib
import ipaddress
import re
import socket
import ssl
from urllib.parse import urlsplit

from tenantry.emulator.neighbours.sns_delivery import Delivery

TIMEOUT_SECONDS = 15.0  # as SNS waits
ANSWER_MAX = 65_536
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_HEADER_UNSAFE = re.compile(r"[\r\n]")


class PostError(Exception):
    """A delivery that got no answer, and why."""


async def post(delivery: Delivery, *, anywhere: bool = False, timeout_seconds: float = TIMEOUT_SECONDS) -> int:
    """Make one delivery and return the status of its answer; PostError when there is none."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _post(delivery, anywhere=anywhere)
    except TimeoutError:
        raise PostError(f"no answer within {timeout_seconds:g} s") from None
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise PostError(f"{type(error).__name__}: {error}") from error


async def _post(delivery: Delivery, *, anywhere: bool) -> int:
    url = urlsplit(delivery.url)
    host, is_tls = url.hostname or "", url.scheme == "https"
    port = url.port or (443 if is_tls else 80)
    address = await _address(host, port, anywhere=anywhere)
    # What listens on a loopback has no certificate of an authority, so none is asked for there.
    context = _context(verified=anywhere) if is_tls else None
    reader, writer = await asyncio.open_connection(
        address, port, ssl=context, server_hostname=host if context else None, limit=ANSWER_MAX
    )
    try:
        body = delivery.body.encode()
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = {
            "host": url.netloc.rpartition("@")[2],
            **delivery.headers,
            "content-length": str(len(body)),
            "connection": "close",
        }
        if _HEADER_UNSAFE.search(path + "".join(headers.values())):
            raise PostError("the endpoint holds a line break")
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        await writer.drain()
        found = _STATUS.match(await reader.readuntil(b"\r\n"))
        if found is None:
            raise PostError("the answer is not HTTP")
        return int(found[1])
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _address(host: str, port: int, *, anywhere: bool) -> str:
    """Return an address of the host that may be called; it is this one that is connected to, whatever DNS says next."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(each[4][0]) for each in found]
    allowed = addresses if anywhere else [each for each in addresses if ipaddress.ip_address(each).is_loopback]
    if not allowed:
        raise PostError(f"{host} is not a loopback address; deliveries elsewhere must be allowed")
    return allowed[0]


def _context(*, verified: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
