"""Owns running a local SES beside a program: a server on a free port in a thread, for tests and demonstrations.

Leaves the blocking server to `emulator.server.serve`.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from tenantry.emulator.account import Account
from tenantry.emulator.clock import wall_clock
from tenantry.emulator.options import Options
from tenantry.emulator.server import Server, create_app, listen, url_of

START_SECONDS = 10.0


class Local:
    """A running local SES: `with Local(Options()) as local: boto3.client(…, endpoint_url=local.url)`.

    `account` is the live state, for reading only: the server's thread owns it.
    """

    def __init__(self, options: Options | None = None, clock: Callable[[], float] = wall_clock) -> None:
        self._sock = listen("127.0.0.1", 0)
        self.url = url_of(self._sock)
        self._app = create_app(options or Options(), clock)
        self.account: Account = self._app.account
        self._server = Server(self._app)
        self._ready = threading.Event()
        self._server.on_ready = self._ready.set
        self._thread = threading.Thread(target=self._server.run, args=([self._sock],), name="local-ses", daemon=True)

    @property
    def queue_url(self) -> str:
        """The URL of the event queue."""
        queue = next(iter(self.account.queues))
        return f"{self.url}/{self.account.options.account_id}/{queue}"

    def __enter__(self) -> Self:
        """Start and wait until it accepts calls."""
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise TimeoutError("the local SES did not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop and wait until it has stopped."""
        self._server.should_exit = True
        self._thread.join(START_SECONDS)
        self._sock.close()


@asynccontextmanager
async def running(options: Options | None = None, clock: Callable[[], float] = wall_clock) -> AsyncIterator[str]:
    """Run a local SES on a free port, in a thread of its own; yields its URL."""
    local = Local(options, clock)
    await asyncio.to_thread(local.__enter__)
    try:
        yield local.url
    finally:
        await asyncio.to_thread(local.__exit__, None, None, None)
