"""Owns the shell of the local SES: HTTP, the clock, long polling and the pump that publishes events when they are due.

Leaves every answer to `emulator.account` and the neighbours beside it; whose account it is, to `emulator.accounts`.
"""

import asyncio
import contextlib
import gc
import logging
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache, partial
from typing import Any

import uvicorn

from tenantry.emulator.account import Account, Request
from tenantry.emulator.accounts import PLACES_MAX, Accounts
from tenantry.emulator.admin import Admin
from tenantry.emulator.breaking import OpenProtocol, befall
from tenantry.emulator.calls import Answer, Arrival, Call, signed_scope
from tenantry.emulator.clock import MovableClock, wall_clock
from tenantry.emulator.kept import Keeper, StateError
from tenantry.emulator.keys import unbelieved
from tenantry.emulator.ledger import CallRecord
from tenantry.emulator.neighbours.codecs import model_of
from tenantry.emulator.neighbours.postman import Postman
from tenantry.emulator.neighbours.services import Asked, read
from tenantry.emulator.options import Options
from tenantry.wire.aws import Service, encode_error

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_MAX_BYTES = 45_000_000  # SES takes 40 MB after base64
DRAINED_MAX_BYTES = 200_000_000
PUMP_IDLE_SECONDS = 1.0
READS = ("Get", "List", "Receive", "Describe", "BatchGet", "TestRender")  # operations that change nothing that is kept


@cache
def ses_codec() -> Service:
    """Return the codec of SES v2, compiled from botocore's model once a process."""
    return Service(model_of("sesv2"), "sesv2")


class LocalSes:
    """The ASGI application: one endpoint for SES and the services around it, in every account and Region."""

    def __init__(self, options: Options, source: Callable[[], float] = wall_clock) -> None:
        self._clock = clock = MovableClock(source)
        self.accounts = Accounts(options, clock())
        self.account = self.accounts.home
        self._ses = ses_codec()
        self._admin = Admin(self.accounts, clock, self._moved).app()
        self._arrived = asyncio.Event()
        self._scheduled = asyncio.Event()
        self._is_closing = False
        self._keeper = Keeper(options.state, self.accounts, _not_saved) if options.state else None
        self._postman = Postman(
            lambda: [each.neighbours for each in self.accounts], clock, anywhere=options.deliver_anywhere
        )
        self._postman.on_settled = self._wake
        self._told = 0  # how many messages of the queues the long polls were woken for
        self._posted = 0  # how many deliveries over HTTP the postman was woken for
        self._looks_at = 0.0  # when the pump looks again by itself

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and _is_ours(scope):
            await self._admin(scope, receive, send)
            self._changed()
        elif scope["type"] == "http" and (answer := await self._answer(scope, receive)):
            await _reply(send, answer)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer | None:
        body = await _body(receive)
        if body is None:
            return self._refused("RequestEntityTooLargeException", "The request is too large.", 413)
        arrival = _arrival(scope, body)
        key_id, region, _ = arrival.scope
        call = Call(self._clock(), key_id, (scope.get("client") or ("127.0.0.1",))[0], _endpoint(scope, arrival))
        if not key_id:
            if page := self.account.neighbours.page(arrival, call):
                self._wake(self.account)
                return page
            message = "Missing Authentication Token: sign the request (any key pair will do, it is not checked)."
            return self._refused("MissingAuthenticationTokenException", message, 403)
        account = self.accounts.called(key_id, region)
        if account is None:
            message = f"There is no Region '{region}' here, or there are {PLACES_MAX} accounts and Regions already."
            return self._refused("UnrecognizedClientException", message, 403)
        do: Callable[[], Awaitable[Answer]]
        route = self._ses.route(arrival.method, arrival.path)
        if self.account.options.verify:
            signed_for = "ses" if route else arrival.scope.service
            if doubt := unbelieved(arrival, self.accounts.keys.get(key_id), signed_for, call.now):
                return self._refused(doubt.code, doubt.message, doubt.status)
        if route:
            service, name, do = "ses", route[0], partial(self._ses_call, route, arrival, account, call)
        elif asked := read(arrival):
            service, name = asked.service, asked.operation
            do = partial(self._noted_call, asked, arrival, account, call, receive=receive)
        else:
            message = f"{arrival.method} {scope['path']} is no operation of SES v2."
            return self._refused("UnknownOperationException", message, 404)
        if not name.startswith(READS):
            self._changed()
        if fault := account.faults.for_call(name):
            if fault.is_before:
                record = CallRecord(call.now, name, 0, key_id, "", service=service, fault=fault.kind)
                account.ledger.add(record.with_body(arrival.body))
            else:
                do = partial(_struck, do, account, fault.kind)
            return await befall(fault, do, scope, receive)
        return await do()

    def _refused(self, code: str, message: str, status: int) -> Answer:
        return Answer(*encode_error(code, message, status, self.account.new_uuid()))

    async def _ses_call(
        self, route: tuple[str, dict[str, str]], arrival: Arrival, account: Account, call: Call
    ) -> Answer:
        name, labels = route
        latency = self.account.options.latency_seconds if name == "SendEmail" else 0.0
        if latency:  # half of it before SES takes the mail, half of it on the way back
            await asyncio.sleep(latency / 2)
            call = call._replace(now=self._clock())
        answer = account.call(Request(self._ses, name, arrival.body, labels, arrival.query), call)
        self._wake(account)
        if latency:
            await asyncio.sleep(latency / 2)
        return answer

    async def _noted_call(
        self, asked: Asked, arrival: Arrival, account: Account, call: Call, *, receive: Receive
    ) -> Answer:
        answer = await self._neighbour_call(asked, account, call, receive)
        told = answer.headers
        record = CallRecord(
            at=call.now,
            operation=asked.operation,
            status=answer.status,
            key_id=call.key_id,
            request_id=told.get("x-amzn-requestid", ""),
            error=told.get("x-amzn-errortype"),
            service=asked.service,
        )
        account.ledger.add(record.with_body(arrival.body))
        return answer

    async def _neighbour_call(self, asked: Asked, account: Account, call: Call, receive: Receive) -> Answer:
        neighbours = account.neighbours
        answer = neighbours.call(asked, call, account.new_uuid())
        self._wake(account)
        wait = neighbours.wait_of(asked, answer)
        if wait <= 0.0:
            return answer
        gone = asyncio.ensure_future(receive())  # the body is read: all that can still come is that the caller hung up
        try:
            return await self._long_poll(asked, account, call, wait, gone=gone) or answer
        finally:
            gone.cancel()

    async def _long_poll(
        self, asked: Asked, account: Account, call: Call, wait: float, *, gone: asyncio.Future[Any]
    ) -> Answer | None:
        """Ask again whenever something arrives or comes back, until the wait is over; None once the caller is gone."""
        neighbours = account.neighbours
        waited_until = time.monotonic() + wait
        while True:
            left = waited_until - time.monotonic()
            if left <= 0 or self._is_closing:
                return neighbours.call(asked, call._replace(now=self._clock()), account.new_uuid())
            if (back_at := neighbours.next_visible_at(asked)) is not None:
                left = min(left, max(0.001, back_at - self._clock()))
            arrived = asyncio.ensure_future(self._arrived.wait())
            await asyncio.wait((gone, arrived), timeout=left, return_when=asyncio.FIRST_COMPLETED)
            arrived.cancel()
            if gone.done():
                return None
            answer = neighbours.call(asked, call._replace(now=self._clock()), account.new_uuid())
            if not neighbours.wait_of(asked, answer):
                return answer

    def _changed(self) -> None:
        if self._keeper:
            self._keeper.note()

    def _moved(self) -> None:
        """Do what fell due while time was moved, or held back; long polls look again."""
        self.accounts.publish_due(self._clock())
        self._told = -1
        self._wake(self.account)

    def close(self) -> None:
        """Answer the long polls that wait, and let none wait any more."""
        self._is_closing = True
        self._wake(self.account)

    def _wake(self, account: Account | None = None) -> None:
        """Wake long polls if something was published, and the pump if this account waits for a time before its next look."""
        news = self.accounts.news
        if news.published != self._told or self._is_closing:
            self._told = news.published
            waiting, self._arrived = self._arrived, asyncio.Event()
            waiting.set()
        if account and (due := account.next_due()) is not None and due < self._looks_at:
            self._scheduled.set()
        if news.posted != self._posted:
            self._posted = news.posted
            self._postman.wake()

    async def _pump(self) -> None:
        while True:
            due, now = self.accounts.next_due(), self._clock()
            pause = PUMP_IDLE_SECONDS if due is None else min(PUMP_IDLE_SECONDS, max(0.0, due - now))
            self._looks_at = now + pause
            self._scheduled.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._scheduled.wait(), pause)
            if self.accounts.publish_due(self._clock()):
                self._changed()
                self._wake()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        parts = [self._pump(), self._postman.run(), *([self._keeper.run()] if self._keeper else ())]
        loops = [asyncio.create_task(each) for each in parts]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for loop in loops:
            loop.cancel()
        if self._keeper:
            self._keeper.end()
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
        config = uvicorn.Config(
            app, http=OpenProtocol, lifespan="on", access_log=False, log_level="warning", timeout_keep_alive=75
        )
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
    app = create_app(options)
    sock = listen(host, port)
    server = Server(app)
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


def _not_saved(error: StateError) -> None:
    logging.getLogger("tenantry.emulator").error("the state is not saved: %s", error)


def _is_ours(scope: Scope) -> bool:
    """Is this a call of the admin API or the mailbox, or a browser at the front door, rather than AWS's protocol?"""
    path: str = scope["path"]
    return path.startswith("/_local/") or (path == "/" and scope["method"] == "GET" and not scope["query_string"])


def _arrival(scope: Scope, body: bytes) -> Arrival:
    headers = dict(scope["headers"])
    path = (scope.get("raw_path", b"") or scope["path"].encode()).decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    return Arrival(scope["method"], path, query, headers, body, signed_scope(headers.get(b"authorization", b"")))


def _endpoint(scope: Scope, arrival: Arrival) -> str:
    return f"{scope.get('scheme', 'http')}://{arrival.headers.get(b'host', b'127.0.0.1').decode('latin-1')}"


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
            parts.clear()  # the rest is read and dropped, within bounds: a caller that still sends hears no answer
        if size > DRAINED_MAX_BYTES:
            return None
    return b"".join(parts) if size <= BODY_MAX_BYTES else None


async def _struck(do: Callable[[], Awaitable[Answer]], account: Account, fault: str) -> Answer:
    answer = await do()
    account.ledger.struck(answer.headers.get("x-amzn-requestid", ""), fault)
    return answer


async def _reply(send: Send, answer: Answer) -> None:
    headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in answer.headers.items()]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
