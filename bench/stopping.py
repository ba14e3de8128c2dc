"""Deciding event to last SES call, over streams that go bad while mail flows; and the wait of quiet tenants in a flood."""

from __future__ import annotations

import asyncio
import json
import os
import time
import urllib.request
from datetime import datetime
from pathlib import Path

from bench.crowd import SMALL
from bench.figures import Figure, Size, quantile
from bench.world import Tenant, World, world
from tenantry.core.claim import ses_name
from tenantry.flow.accept import accept

BATCH = 1_000


async def pause_figures(kind: str, quick: bool) -> list[Figure]:
    """Let streams one after another mail a rotten domain, and look in SES's own ledger for their last mail."""
    trials = 8 if quick else 30
    lags = []
    async with world(
        kind, trials, "--rate", "300", "--quota", "0", "--recipients", "rotten.example:bounce=1,delay=0.05"
    ) as made:
        work = asyncio.create_task(made.worker.run())
        for tenant in made.tenants:
            wanted = [tenant.submission(f"p{number}@rotten.example", "marketing") for number in range(400)]
            for start in range(0, len(wanted), 64):
                await accept(made.store, wanted[start : start + 64])
            made.worker.pipeline.mail.ring()
            lags.append(await _lag(made, tenant))
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    detail = f"p50 {quantile(lags, 0.5) * 1000:.0f} ms, worst {max(lags) * 1000:.0f} ms of {trials} pauses at 300 recipients/s"
    return [Figure("pause", kind, "deciding event to last SES call, p99", quantile(lags, 0.99), 1, False, detail, " s")]


async def _lag(made: World, tenant: Tenant) -> float:
    own = made.store.of(tenant.id)
    while not (pauses := await own.pauses(open_only=True)) or pauses[0].fenced_at is None:  # noqa: ASYNC110  (the database rings no bell)
        await asyncio.sleep(0.05)
    assert pauses[0].verdict_id is not None
    verdict = await own.verdict(pauses[0].verdict_id)
    assert verdict is not None
    name = ses_name(tenant.marketing)
    url = f"{made.ses_url}/_local/messages?configuration_set={name}&limit=1000"
    with await asyncio.to_thread(urllib.request.urlopen, url) as answer:
        found = json.load(answer)
    times = [_time(one["time"]) for one in (found if isinstance(found, list) else found["messages"])]
    return max(0.0, max(times) - verdict.at.timestamp())


def _time(value: object) -> float:
    if isinstance(value, int | float):
        return float(value)
    return datetime.fromisoformat(str(value)).timestamp()


FLOODS = {  # quiet tenants, messages of the loud one, seconds to look on
    Size.QUICK: (99, 3_000, 6.0),
    Size.USUAL: (99, 20_000, 15.0),
    Size.LONG: (999, 1_000_000, 60.0),
}
RATE = 400  # recipients a second granted


async def flooded(kind: str, size: Size) -> list[Figure]:
    """Let quiet tenants mail now and then, first alone, then beside one that floods.

    The flood is put in by the store's own step of accepting, in large batches.
    """
    quiet, flood, seconds = FLOODS[size]
    async with world(kind, quiet + 1, "--rate", str(RATE), "--quota", "0") as made:
        work = asyncio.create_task(made.worker.run())
        await asyncio.sleep(1)
        alone = await _waits(made, made.tenants[1:], seconds)
        loud = made.tenants[0]
        for start in range(0, flood, BATCH):
            await accept(
                made.store,
                [loud.submission(f"f{number}@there.example", content=SMALL)
                 for number in range(start, min(start + BATCH, flood))],
            )  # fmt: skip
            await asyncio.sleep(0)
        made.worker.pipeline.mail.ring()
        await asyncio.sleep(2)
        memory = [_megabytes()]
        first = await _handed(made)
        measured = time.perf_counter()
        beside = await _waits(made, made.tenants[1:], seconds)
        used = (await _handed(made) - first) / (time.perf_counter() - measured) / RATE
        memory.append(_megabytes())
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    more = quantile(beside, 0.99) - quantile(alone, 0.99)
    detail = (
        f"p99 {quantile(alone, 0.99) * 1000:.0f} ms alone, {quantile(beside, 0.99) * 1000:.0f} ms beside {flood:,} messages of"
        f" one tenant; {len(beside)} mails of {quiet} tenants; {RATE} recipients/s granted"
    )
    grown = f"{memory[0]:.0f} MB with the flood accepted, {memory[1]:.0f} MB {seconds:.0f} s later, all in one process"
    return [
        Figure("flood wait", kind, "quiet tenants' p99 wait, beside a flood less alone", more, 1, False, detail, " s"),
        Figure("flood rate", kind, "rate used of the rate granted, in the flood", used, 0.95, True, detail),
        Figure(
            "flood memory", kind, "memory of the process later / at first", memory[1] / memory[0], 1.1, False, grown
        ),
    ]


def _megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def _handed(made: World) -> int:
    async with made.store.reading() as step:
        return int((await step.run("SELECT COUNT(*) FROM attempt WHERE outcome = 'handed'"))[0][0])


async def _waits(made: World, tenants: list[Tenant], seconds: float) -> list[float]:
    """Let each tenant mail once in some seconds, and return how long each mail waited."""
    sent = []
    end = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < end:
        tenant = tenants[number % len(tenants)]
        (answer,) = await accept(made.store, [tenant.submission(f"q{number}@there.example")])
        made.worker.pipeline.mail.ring()
        sent.append((tenant, answer.id))  # type: ignore[union-attr]
        number += 1
        await asyncio.sleep(0.05)
    await asyncio.sleep(2)
    waits = []
    async with made.store.reading() as step:
        for _, message in sent:
            ((accepted, handed),) = await step.run(
                "SELECT m.accepted_at, r.handed_at FROM message m JOIN recipient r ON r.message_id = m.id WHERE m.id = :id",
                id=message,
            )
            waits.append(9.0 if handed is None else (step.seam.at(handed) - step.seam.at(accepted)).total_seconds())
    return waits
