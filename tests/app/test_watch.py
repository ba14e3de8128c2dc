"""The three pages on a port: what a scraper and a probe get over HTTP, and who gets nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from tenantry.app.doors import listen
from tenantry.app.watch import Watch, watch_server
from tenantry.settings import Settings
from tests.app.conftest import Desk

TOKEN = "a-token-of-sixteen-or-more"


@asynccontextmanager
async def served(watch: Watch, *, tenants_reach: bool = False) -> AsyncIterator[str]:
    """Serve the pages on a free port; yields the URL."""
    door = listen("127.0.0.1", 0)
    server = watch_server(watch.pages(tenants_reach=tenants_reach))
    serving = asyncio.create_task(server.serve(sockets=[door]))
    await server.up.wait()
    yield f"http://127.0.0.1:{door.getsockname()[1]}"
    server.should_exit = True
    await serving
    door.close()


def watch_of(desk: Desk, **settings: object) -> Watch:
    return Watch(Settings(**settings), desk.store, desk.clock)


async def fetch(url: str, method: str = "GET", token: str | None = None) -> tuple[int, str, str]:
    """Return status, content type and body."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with aiohttp.request(method, url, headers=headers) as answer:
        return answer.status, answer.headers["content-type"], await answer.text()


async def test_a_scraper_reads_the_process_and_the_fleet(desk: Desk) -> None:
    """The page is Prometheus's text format, with our version, the process's memory and the fleet's figures in it."""
    watch = watch_of(desk)
    watch.loops.watch("main", "claim").done()
    async with served(watch) as url:
        status, kind, text = await fetch(f"{url}/metrics")
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"tenantry_build_info", "process_resident_memory_bytes", "process_cpu_seconds"} <= names
    assert {"tenantry_cell_rate_recipients_per_second", "tenantry_loop_last_success_timestamp_seconds"} <= names
    assert "_created" not in text


async def test_a_probe_gets_its_answer_and_nothing_else_is_served(desk: Desk) -> None:
    """Health and readiness are JSON without a key; other paths and methods are refused; HEAD has no body."""
    async with served(watch_of(desk)) as url:
        for path in ("/healthz", "/readyz"):
            assert (await fetch(url + path))[:2] == (200, "application/json")
            assert (await fetch(url + path, "HEAD"))[::2] == (200, "")
            assert (await fetch(url + path, "POST"))[0] == 405
        assert (await fetch(f"{url}/v1/tenants"))[0] == 404


@pytest.mark.parametrize(
    ("settings", "tenants_reach", "given", "status"),
    [
        ({}, True, None, 200),
        ({"host": "::1"}, True, None, 200),
        ({"host": "0.0.0.0"}, True, None, 403),
        ({"host": "0.0.0.0"}, False, None, 200),
        ({"metrics_token": SecretStr(TOKEN)}, True, None, 401),
        ({"metrics_token": SecretStr(TOKEN)}, True, TOKEN[:-1], 401),
        ({"metrics_token": SecretStr(TOKEN)}, True, TOKEN, 200),
        ({"metrics_token": SecretStr(TOKEN), "host": "0.0.0.0"}, True, TOKEN, 200),
        ({"metrics_token": SecretStr(TOKEN)}, False, "käse", 401),
    ],
)
async def test_metrics_of_all_tenants_are_not_for_tenants(
    desk: Desk, settings: dict[str, object], tenants_reach: bool, given: str | None, status: int
) -> None:
    """Doors beyond loopback show no figures without the token; probes are never asked for one."""
    watch = watch_of(desk, **settings)
    async with served(watch, tenants_reach=tenants_reach) as url:
        seen, _, text = await fetch(f"{url}/metrics", token=given)
        assert seen == status
        assert ("tenantry_" in text) == (status == 200)
        assert TOKEN not in text
        assert (await fetch(f"{url}/healthz"))[0] == (await fetch(f"{url}/readyz"))[0] == 200
