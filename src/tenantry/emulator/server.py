"""Owns the shell of the local SES: HTTP, the clock, long polling and the pump that publishes events when they are due.

Leaves every answer to `emulator.account`. SES and SQS share one port: SQS calls carry X-Amz-Target.
"""

import asyncio
import contextlib
import gc
import re
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import Any

import uvicorn
from botocore.loaders import Loader

from tenantry.emulator.account import Account, Answer, Request
from tenantry.emulator.admin import Admin
from tenantry.emulator.options import Options
from tenantry.emulator.state import Call, Params
from tenantry.wire.aws import Service, WireError, encode_error

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_MAX_BYTES = 45_000_000  # SES takes 40 MB after base64
PUMP_IDLE_SECONDS = 1.0
NOTHING = b"{}"  # the answer of a receive that finds no message
_CREDENTIAL = re.compile(rb"Credential=([^/,\s]+)/")


def wall_clock() -> float:
    """Return the time as epoch seconds: the only clock of the local SES, and any other may stand in for it."""
    return time.time()


@cache
def services() -> tuple[Service, Service]:
    """Return SES v2 and SQS, compiled from botocore's models once a process."""
    loader = Loader()
    ses, sqs = (loader.load_service_model(name, "service-2") for name in ("sesv2", "sqs"))
    # ReceiveMessage takes names of message attributes where its model lists only those of queues.
    del sqs["shapes"]["QueueAttributeName"]["enum"]
    return Service(ses, "sesv2"), Service(sqs, "sqs")


class LocalSes:
    """The ASGI application of one account."""

    def __init__(self, options: Options, clock: Callable[[], float] = wall_clock) -> None:
        self.account = Account(options, clock())
        self._clock = clock
        self._ses, self._sqs = services()
        self._admin = Admin(self.account, clock).app()
        self._arrived = asyncio.Event()
        self._scheduled = asyncio.Event()
        self._is_closing = False
        self._told = 0  # how many messages of the queue the long polls were woken for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and _is_ours(scope):
            await self._admin(scope, receive, send)
        elif scope["type"] == "http":
            await _reply(send, await self._answer(scope, receive))

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        headers = dict(scope["headers"])
        body = await _body(receive)
        if body is None:
            return self._refused("RequestEntityTooLargeException", "The request is too large.", 413)
        call = Call(self._clock(), *_caller(scope, headers))
        if not call.key_id:
            message = "Missing Authentication Token: sign the request (any key pair will do, it is not checked)."
            return self._refused("MissingAuthenticationTokenException", message, 403)
        if target := headers.get(b"x-amz-target"):
            return await self._queue_call(target.decode("latin-1"), body, call, receive)
        path = scope.get("raw_path", b"") or scope["path"].encode()
        route = self._ses.route(scope["method"], path.decode("latin-1"))
        if route is None:
            message = f"{scope['method']} {scope['path']} is no operation of SES v2."
            return self._refused("UnknownOperationException", message, 404)
        name, labels = route
        answer = self.account.call(
            Request(self._ses, name, body, labels, scope["query_string"].decode("latin-1")), call
        )
        self._wake()
        if name == "SendEmail" and (latency := self.account.options.latency_seconds):
            await asyncio.sleep(latency)
        return answer

    def _refused(self, code: str, message: str, status: int) -> Answer:
        return Answer(*encode_error(code, message, status, self.account.new_uuid()))

    async def _queue_call(self, target: str, body: bytes, call: Call, receive: Receive) -> Answer:
        name = self._sqs.target(target)
        if name is None:
            return self._refused("UnknownOperationException", f"{target} is not known here.", 404)
        request = Request(self._sqs, name, body)
        answer = self.account.call(request, call)
        if name != "ReceiveMessage" or answer.body != NOTHING:
            return answer
        params = self._sqs.decode(name, body)
        assert not isinstance(params, WireError)
        if not params.get("WaitTimeSeconds"):
            return answer
        gone = asyncio.ensure_future(receive())  # the body is read: all that can still come is that the caller hung up
        try:
            return await self._long_poll(request, params, call, gone) or answer
        finally:
            gone.cancel()

    async def _long_poll(
        self, request: Request, params: Params, call: Call, gone: asyncio.Future[Any]
    ) -> Answer | None:
        """Ask again whenever something arrives or comes back, until the wait is over; None once the caller is gone."""
        queue = self.account.queue_of(params)
        waited_until = time.monotonic() + params["WaitTimeSeconds"]
        while True:
            left = waited_until - time.monotonic()
            if left <= 0 or self._is_closing:
                return self.account.call(request, _at(call, self._clock()))
            if queue is not None and (back_at := queue.next_visible_at()) is not None:
                left = min(left, max(0.001, back_at - self._clock()))
            arrived = asyncio.ensure_future(self._arrived.wait())
            await asyncio.wait((gone, arrived), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            arrived.cancel()
            if gone.done():
                return None
            answer = self.account.call(request, _at(call, self._clock()))
            if answer.body != NOTHING:
                return answer

    def close(self) -> None:
        """Answer the long polls that wait, and let none wait any more."""
        self._is_closing = True
        self._wake()

    def _wake(self) -> None:
        """Wake long polls if something was published, and the pump if an event waits for its time; both look again."""
        if self.account.published != self._told or self._is_closing:
            self._told = self.account.published
            waiting, self._arrived = self._arrived, asyncio.Event()
            waiting.set()
        if self.account.next_due() is not None:
            self._scheduled.set()

    async def _pump(self) -> None:
        while True:
            due = self.account.next_due()
            pause = PUMP_IDLE_SECONDS if due is None else min(PUMP_IDLE_SECONDS, max(0.0, due - self._clock()))
            self._scheduled.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._scheduled.wait(), pause)
            if self.account.publish_due(self._clock()):
                self._wake()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        pump = asyncio.create_task(self._pump())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        pump.cancel()
        await send({"type": "lifespan.shutdown.complete"})


def create_app(options: Options, clock: Callable[[], float] = wall_clock) -> LocalSes:
    """Return a local SES as an ASGI application; run it with lifespan on, or delayed events never come."""
    return LocalSes(options, clock)


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket (port 0: a free one); raise OSError if the address is taken."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock


class Server(uvicorn.Server):
    """A uvicorn server that says when it is ready, and lets long polls go before it stops."""

    def __init__(self, app: LocalSes) -> None:
        config = uvicorn.Config(app, lifespan="on", access_log=False, log_level="warning", timeout_keep_alive=75)
        super().__init__(config)
        self._app = app
        self.on_ready: Callable[[], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell whoever waits."""
        await super().startup(sockets)
        if self.on_ready:
            self.on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, without waiting for the end of long polls."""
        self._app.close()
        await super().shutdown(sockets)


def serve(options: Options, port: int, host: str = "127.0.0.1", on_ready: Callable[[str], None] | None = None) -> None:
    """Run a local SES until it is interrupted; `on_ready` gets its URL once it accepts calls."""
    sock = listen(host, port)
    server = Server(create_app(options))
    # The ledger and the queue hold many small objects for long and no cycles: walking them again and again
    # cost a third of each SendEmail. The process is this server's own.
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    if on_ready:
        url = url_of(sock)
        server.on_ready = lambda: on_ready(url)
    server.run(sockets=[sock])


def url_of(sock: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _is_ours(scope: Scope) -> bool:
    """Is this a call of the admin API or the mailbox, or a browser at the front door, rather than AWS's protocol?"""
    path: str = scope["path"]
    return path.startswith("/_local/") or (path == "/" and scope["method"] == "GET" and not scope["query_string"])


def _caller(scope: Scope, headers: dict[bytes, bytes]) -> tuple[str, str, str]:
    found = _CREDENTIAL.search(headers.get(b"authorization", b""))
    key_id = found[1].decode("latin-1") if found else ""
    host = headers.get(b"host", b"127.0.0.1").decode("latin-1")
    return key_id, (scope.get("client") or ("127.0.0.1",))[0], f"{scope.get('scheme', 'http')}://{host}"


def _at(call: Call, now: float) -> Call:
    return Call(now, call.key_id, call.source_ip, call.endpoint)


async def _body(receive: Receive) -> bytes | None:
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_MAX_BYTES:
            return None
    return b"".join(parts)


async def _reply(send: Send, answer: Answer) -> None:
    headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in answer.headers.items()]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
