"""Owns `tenantry worker`: the loops of a cell without doors, any number of them on one PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import uvloop

from tenantry.app.cell import open_cloud
from tenantry.app.clock import SystemClock
from tenantry.app.doors import listen, url_of
from tenantry.app.logs import set_up_logs
from tenantry.app.process import Parts, serve
from tenantry.app.shared import open_shared
from tenantry.app.watch import Watch, watch_server
from tenantry.app.worker import Worker
from tenantry.ports import StoreBusy
from tenantry.settings import Settings
from tenantry.store.bootstrap import ensure_cell, ensure_partitions
from tenantry.store.roles import WORKER_ROLES


def run_worker(settings: Settings, on_ready: Callable[[str], None]) -> None:
    """Work until interrupted; on_ready gets the URL at which it is watched.

    Raises ValueError for settings that do not fit, StoreBusy or StoreUnfit for a database that cannot be used.
    """
    set_up_logs(settings)
    if settings.starts_local_ses:
        raise ValueError(
            "a worker starts no local SES: set TENANTRY_CLOUD=aws, or TENANTRY_AWS_ENDPOINT_URL to one that runs"
        )
    uvloop.run(_work(settings, on_ready))


async def _work(settings: Settings, on_ready: Callable[[str], None]) -> None:
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        door = stack.enter_context(contextlib.closing(listen(settings.host, settings.watch_port)))
        store = await stack.enter_async_context(open_shared(settings, clock, WORKER_ROLES, "worker"))
        cell = await ensure_cell(store, settings.cell_name, settings.region)
        with contextlib.suppress(
            StoreBusy
        ):  # somebody reads for long: the loop tries again, mail has a place meanwhile
            await ensure_partitions(store)
        cloud = open_cloud(settings, store, clock, settings.aws_endpoint_url)
        stack.push_async_callback(cloud.close)
        watch = Watch(settings, store, clock)
        worker = Worker(settings, store, clock, cell, cloud, observer=watch)
        server = watch_server(watch.pages(tenants_reach=False))
        await serve(Parts(worker, server, door, drain=watch.drain), lambda: on_ready(url_of(door)))
