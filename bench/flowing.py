"""CPU per dispatched message against a boto3 loop, and events ingested against messages dispatched."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

from bench.figures import Figure, median
from bench.world import World, world
from tenantry.app.clock import SystemClock
from tenantry.app.ingest import READERS
from tenantry.app.loop import Backoff, forever
from tenantry.flow.accept import accept

BOTO3 = """
import boto3, resource, sys, time
ses = boto3.client("sesv2", endpoint_url=sys.argv[1], region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
name, domain, count, html = sys.argv[2], sys.argv[3], int(sys.argv[4]), "<p>" + "Thank you. " * 250 + "</p>"
def send(number):
    ses.send_email(FromEmailAddress=f"hello@{domain}", Destination={"ToAddresses": [f"p{number}@there.example"]},
        Content={"Simple": {"Subject": {"Data": "Your receipt"}, "Body": {"Html": {"Data": html}}}},
        ConfigurationSetName=name, TenantName=name,
        EmailTags=[{"Name": "tenantry-message", "Value": "x"}, {"Name": "tenantry-attempt", "Value": "y"}])
send(0)
began = time.process_time()
for number in range(count):
    send(number)
print((time.process_time() - began) / count)
"""


async def figures(kind: str, quick: bool) -> list[Figure]:
    """Dispatch, then ingest what came of it, and drive boto3 at the same local SES, in interleaved rounds."""
    rounds, count = (2, 1_500) if quick else (3, 4_000)
    cpu, boto, sent, ingested = [], [], [], []
    async with world(kind, 8, "--rate", "0", "--quota", "0") as made:
        async with made.store.step() as step:
            await step.run("UPDATE cell SET rate_per_second = 100000, quota_24h = -1")
        for number in range(rounds):
            done = await _dispatched(made, count, number)
            cpu.append(done[1] / count)
            sent.append(count / done[0])
            ingested.append(2 * count / (await _ingested(made, 2 * count * (number + 1)))[0])
            boto.append(await _boto3(made, count // 4))
            await _ingested(made, 0)
    ratio, events = median(cpu) / median(boto), median(ingested) / median(sent)
    return [
        Figure(
            "dispatch",
            kind,
            "CPU a message / CPU of a boto3 send_email",
            ratio,
            0.25,
            False,
            f"{median(cpu) * 1e6:,.0f} us against {median(boto) * 1e6:,.0f} us; medians of {rounds} rounds of {count:,}",
        ),
        Figure(
            "ingest",
            kind,
            "events ingested / messages dispatched a second",
            events,
            4,
            True,
            f"{median(ingested):,.0f} events/s from the queue, {median(sent):,.0f} messages/s; each alone on the machine"
            " with the local SES",
        ),
    ]


async def _timed(
    rounds: dict[str, Callable[[], Awaitable[None]]], done: Callable[[], Awaitable[bool]]
) -> tuple[float, float]:
    backoff = Backoff(SystemClock())
    began, used = time.perf_counter(), _cpu()
    tasks = [asyncio.create_task(forever(name, backoff, one)) for name, one in rounds.items()]
    while not await done():  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    wall, cpu = time.perf_counter() - began, _cpu() - used
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return wall, cpu


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _dispatched(made: World, count: int, number: int) -> tuple[float, float]:
    people = [made.tenants[place % 8].submission(f"r{number}p{place}@there.example") for place in range(count)]
    for start in range(0, count, 64):
        await accept(made.store, people[start : start + 64])

    async def done() -> bool:
        async with made.store.reading() as step:
            left = await step.run("SELECT 1 FROM waiting LIMIT 1") or await step.run(
                "SELECT 1 FROM attempt WHERE finished_at IS NULL LIMIT 1"
            )
        return not left

    return await _timed({"claim": made.worker.pipeline.claim_round, "settle": made.worker.pipeline.settle_round}, done)


async def _ingested(made: World, total: int) -> tuple[float, float]:
    """Ingest until this many events are kept; 0: until the queue is dry."""
    seen = -1

    async def done() -> bool:
        nonlocal seen
        async with made.store.reading() as step:
            kept = (await step.run("SELECT (SELECT COUNT(*) FROM event) + (SELECT COUNT(*) FROM quarantine)"))[0][0]
        if total:
            return bool(kept >= total)
        still = kept == seen
        seen = kept
        if still:
            await asyncio.sleep(0.3)
        return still

    readers = {f"feed{number}": made.worker.reader.read_round for number in range(READERS)}
    return await _timed({"ingest": made.worker.reader.ingest_round, **readers}, done)


async def _boto3(made: World, count: int) -> float:
    from tenantry.core.claim import ses_name

    one = made.tenants[0]
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        BOTO3,
        made.ses_url,
        ses_name(one.transactional),
        one.domain,
        str(count),
        stdout=subprocess.PIPE,
    )
    out, _ = await child.communicate()
    return float(out)
