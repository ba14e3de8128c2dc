"""Owns what one process shows of itself: its meter, its loops, its three pages, and a port for them where there are no doors."""

from __future__ import annotations

import hmac
from importlib.metadata import version

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from tenantry.app.doors import DoorServer
from tenantry.app.fleet_metrics import FleetMetrics
from tenantry.app.health import Loops, Readiness, health_page, ready_page
from tenantry.app.metrics import LoopMetrics, Meter
from tenantry.app.observer import CellObserver, DoorObserver, LoopObserver, ProcessObserver
from tenantry.core.ids import KeyId
from tenantry.edge.watch import Page, Pages, WatchDoor
from tenantry.ports import Clock
from tenantry.settings import Settings
from tenantry.store.store import Store

WATCHER = KeyId("key_" + "0" * 32)  # stands for this process where an operator's name is asked for
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
TEXT = "text/plain; charset=utf-8"
_CLOSED = Page(
    403,
    TEXT,
    b"These figures are of all tenants, and these doors are open to them: set TENANTRY_METRICS_TOKEN and send it as"
    b" `Authorization: Bearer ...`.\n",
)
_WRONG = Page(401, TEXT, b"Send what TENANTRY_METRICS_TOKEN holds as `Authorization: Bearer ...`.\n")


class Watch(ProcessObserver):
    """What a process is seen by; make one a process, before its parts, and hand it to them as their observer."""

    def __init__(self, settings: Settings, store: Store, clock: Clock) -> None:
        self._settings = settings
        self._version = version("tenantry")
        self.registry = CollectorRegistry()
        self.meter = Meter(self.registry, clock, self._version)
        self.loops = Loops(clock)
        self.readiness = Readiness(store, clock)
        LoopMetrics(self.registry, self.loops)
        self._fleet = FleetMetrics(self.registry, store.fleet(WATCHER), clock)

    @property
    def door(self) -> DoorObserver:
        """See ProcessObserver."""
        return self.meter

    def cell(self, name: str) -> CellObserver:
        """See ProcessObserver."""
        return self.meter.cell(name)

    def loop(self, cell: str, name: str) -> LoopObserver:
        """See ProcessObserver."""
        return self.loops.watch(cell, name)

    def drain(self) -> None:
        """Be ready for no more work from here on: this process is about to end."""
        self.readiness.draining = True

    def pages(self, *, tenants_reach: bool) -> Pages:
        """Return the pages by path; where tenants reach them, `/metrics` wants a token, except on loopback."""

        async def metrics(authorization: str | None) -> Page:
            return self._refusal(authorization, tenants_reach=tenants_reach) or await self._metrics()

        async def health(_: str | None) -> Page:
            return health_page(self.loops, self._version)

        async def ready(_: str | None) -> Page:
            return await ready_page(self.readiness)

        return {"/metrics": metrics, "/healthz": health, "/readyz": ready}

    def _refusal(self, authorization: str | None, *, tenants_reach: bool) -> Page | None:
        token = self._settings.metrics_token
        if token is None:
            return _CLOSED if tenants_reach and self._settings.host not in LOOPBACK else None
        right = hmac.compare_digest((authorization or "").encode(), f"Bearer {token.get_secret_value()}".encode())
        return None if right else _WRONG

    async def _metrics(self) -> Page:
        await self._fleet.refresh()
        return Page(200, CONTENT_TYPE_LATEST, generate_latest(self.registry))


def watch_server(pages: Pages) -> DoorServer:
    """Return the server of a process without doors, not started yet: these pages and nothing else."""
    config = uvicorn.Config(
        WatchDoor(pages),
        loop="none",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    return DoorServer(config)
