"""Owns running the doors: the ASGI app on uvicorn inside this process's loop; leaves every answer to tenantry.edge."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Generator
from importlib.metadata import version

import structlog
import uvicorn

from tenantry.app.batch import Batcher
from tenantry.app.observer import UNSEEN_DOOR, DoorObserver
from tenantry.aws.models import ses_model, sesv2_model
from tenantry.edge.app import create_app
from tenantry.edge.doors import Doors
from tenantry.edge.watch import Pages
from tenantry.ports import Clock
from tenantry.settings import Settings
from tenantry.store.store import Store

GRACE_SECONDS = 5  # for requests under way, once told to end: a door answers within as long


def bind(host: str, port: int, whose: str) -> socket.socket:
    """Bind a port (0: any free one), or raise OSError saying which is taken and by what setting to choose another."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(f"{host}:{port} cannot be bound ({error.strerror}): choose another with {whose}.") from error
    bound.setblocking(False)
    return bound


def listen(host: str, port: int) -> socket.socket:
    """Bind the HTTP doors' port, and listen."""
    bound = bind(host, port, "--port")
    bound.listen(2_048)
    return bound


def address_of(bound: socket.socket) -> str:
    """Return host:port of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def url_of(door: socket.socket) -> str:
    """Return the URL of doors that listen here."""
    return f"http://{address_of(door)}"


class DoorServer(uvicorn.Server):
    """A uvicorn server that says when it is up, and leaves signals to the process that embeds it."""

    def __init__(self, config: uvicorn.Config) -> None:
        """Take uvicorn's own configuration."""
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then tell."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals alone."""
        yield


def make_doors(
    settings: Settings,
    store: Store,
    clock: Clock,
    batcher: Batcher,
    *,
    pages: Pages | None = None,
    observer: DoorObserver = UNSEEN_DOOR,
) -> Doors:
    """Return what every door of a process is given; pages are those of its watch."""
    log = structlog.get_logger(loop="doors")
    return Doors(
        store=store,
        clock=clock,
        accept=batcher.accept,
        sesv2_model=sesv2_model(),
        ses_model=ses_model(),
        region=settings.region,
        version=version("tenantry"),
        new_request_id=lambda: secrets.token_hex(16),
        report_bug=lambda request_id, error: log.error("bug", request_id=request_id, exc_info=error),
        max_body_bytes=settings.max_body_bytes,
        pages=pages or {},
        refused=observer.refused,
    )


def make_server(doors: Doors) -> DoorServer:
    """Return the server of the HTTP doors, not started yet."""
    config = uvicorn.Config(
        create_app(doors),
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # nobody's word for whose request it is
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return DoorServer(config)
