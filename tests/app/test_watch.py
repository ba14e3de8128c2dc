"""The three pages on a port: what a scraper and a probe get over HTTP, and who gets nothing."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from tenantry.app.batch import Batcher
from tenantry.app.doors import listen
from tenantry.app.loop import Backoff, forever
from tenantry.app.pipeline import Flow, Pipeline
from tenantry.app.watch import Watch, watch_server
from tenantry.core.claim import Claim
from tenantry.core.outcome import Outcome
from tenantry.settings import Settings
from tests import worlds
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


async def test_what_a_process_does_is_what_it_shows(desk: Desk) -> None:
    """Mail accepted by the batcher, a pipeline's turn and its hanging call, and the rounds of loops are in the figures."""
    watch = watch_of(desk)
    member = await worlds.member(desk.store)
    batcher = Batcher(desk.store, 64, 1, lambda: None, watch.door)
    await asyncio.gather(*(batcher.accept(worlds.submission(member)) for _ in range(3)))
    pipeline = Pipeline(desk.store, Hanging(), desk.clock, desk.cell, Flow(), observer=watch.cell("main"))
    async with served(watch) as url:
        rounds = {"claim": pipeline.claim_round, "broken": broken}
        loops = [
            asyncio.create_task(forever(name, Backoff(desk.clock, 0.01), one_round, watch.loop("main", name)))
            for name, one_round in rounds.items()
        ]
        async with asyncio.timeout(10):
            while (seen := await figures(url))["tenantry_sends_in_flight"] < 3 or not seen[
                "tenantry_loop_failures_total"
            ]:
                await asyncio.sleep(0.01)
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        (failing,) = json.loads((await fetch(f"{url}/healthz"))[2])["failing"]
    assert seen["tenantry_accepted_messages_total"] == seen["tenantry_claims_total"] == 3
    assert (failing["loop"], failing["what"]) == ("broken", "failing")
    assert watch.loops.watch("main", "claim").done_at is not None


class Hanging:
    """A port of SES whose calls never end."""

    async def send(self, claim: Claim) -> Outcome:
        """See ports.Ses."""
        await asyncio.Event().wait()
        raise AssertionError("an event that nobody sets")


async def broken() -> None:
    raise ValueError("a defect")


async def figures(url: str) -> dict[str, float]:
    """Return each sample of the page, those of one name added up."""
    found: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families((await fetch(f"{url}/metrics"))[2]):
        for sample in family.samples:
            found[sample.name] += sample.value
    return found
