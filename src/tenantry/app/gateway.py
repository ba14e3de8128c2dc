"""Owns `tenantry gateway`: the doors alone, any number of them on one PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import uvloop

from tenantry.app.batch import Batcher
from tenantry.app.clock import SystemClock
from tenantry.app.doors import listen, make_doors, make_server, url_of
from tenantry.app.logs import set_up_logs
from tenantry.app.process import Parts, serve
from tenantry.app.shared import open_shared
from tenantry.app.smtp import SmtpServer
from tenantry.app.watch import Watch
from tenantry.settings import Settings
from tenantry.store.roles import GATEWAY_ROLES, Role

COMMITS = 2  # at a time: one is on its way to the disk while the next one gathers


def run_gateway(settings: Settings, on_ready: Callable[[str, Mapping[str, str]], None]) -> None:
    """Serve until interrupted; on_ready gets the URL, and the SMTP addresses as `SmtpServer.addresses` has them.

    Raises ValueError for settings that do not fit, OSError for a port that cannot be had, StoreBusy or StoreUnfit for
    a database that cannot be used.
    """
    set_up_logs(settings)
    uvloop.run(_gateway(settings, on_ready))


async def _gateway(settings: Settings, on_ready: Callable[[str, Mapping[str, str]], None]) -> None:
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        door = stack.enter_context(contextlib.closing(listen(settings.host, settings.port)))
        store = await stack.enter_async_context(open_shared(settings, clock, GATEWAY_ROLES, "gateway"))
        operating = store.acting(Role.OPERATOR)
        watch = Watch(settings, operating, clock)
        batcher = Batcher(store, settings.accept_batch_size, COMMITS, lambda: None, watch.door)
        pages = watch.pages(tenants_reach=True)
        doors = make_doors(settings, operating, clock, batcher, pages=pages, observer=watch.door)
        smtp = SmtpServer(settings, doors) if settings.has_smtp else None
        watch.readiness.smtp = smtp
        parts = Parts(None, make_server(doors), door, smtp, watch.drain, settings.drain_seconds)
        await serve(parts, lambda: on_ready(url_of(door), smtp.addresses if smtp else {}))
