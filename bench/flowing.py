"""CPU per dispatched message against a boto3 loop, and events ingested against messages dispatched."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, median
from bench.world import IN_FLIGHT, SETTLE_BATCH, World, world
from tenantry.app.clock import SystemClock
from tenantry.app.ingest import READERS, FeedReader
from tenantry.app.loop import Backoff, forever, settle_heap
from tenantry.app.pipeline import Flow, Pipeline
from tenantry.core.claim import Claim
from tenantry.core.outcome import Outcome
from tenantry.flow.accept import accept
from tenantry.ports import Feed, Parcel, Ses

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


@dataclass
class CountedSes:
    """SES with a count of its answers: while they come, asking the store whether all is settled would weigh on the figure."""

    ses: Ses
    answered: int = 0

    async def send(self, claim: Claim) -> Outcome:
        """See ports.Ses."""
        outcome = await self.ses.send(claim)
        self.answered += 1
        return outcome


@dataclass
class CountedFeed:
    """A feed that counts what was committed, since it is acknowledged then; asking the store would weigh on the figure."""

    feed: Feed
    committed: int = 0

    async def receive(self) -> Sequence[Parcel]:
        """See ports.Feed."""
        return await self.feed.receive()

    async def acknowledge(self, parcels: Sequence[Parcel]) -> None:
        """See ports.Feed."""
        self.committed += len(parcels)
        await self.feed.acknowledge(parcels)


async def figures(kind: str, quick: bool) -> list[Figure]:
    """Dispatch, then ingest what came of it, and drive boto3 at the same local SES, in interleaved rounds."""
    rounds, count = (2, 1_500) if quick else (3, 4_000)
    cpu, boto, sent, ingested, own, local = [], [], [], [], [], []
    # No long polls: SQS would answer those of readers that are gone, and hide the next round's first events for a minute.
    async with world(kind, 8, "--rate", "0", "--quota", "0", feed_wait_seconds=0) as made:
        async with made.store.step() as step:
            await step.run("UPDATE cell SET rate_per_second = 100000, quota_24h = -1")
        settle_heap()  # as `up` does
        for number in range(rounds):
            done = await _dispatched(made, count, number)
            cpu.append(done[1] / count)
            sent.append(count / done[0])
            ses_before = _local_ses_cpu()
            wall, used = await _ingested(made, 2 * count)
            ingested.append(2 * count / wall)
            own.append(used / (2 * count))
            local.append((_local_ses_cpu() - ses_before) / (2 * count))
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
            f" with the local SES; CPU an event: {median(own) * 1e6:,.0f} us here, {median(local) * 1e6:,.0f} us there",
        ),
    ]


async def _timed(
    rounds: dict[str, Callable[[], Awaitable[None]]], done: Callable[[], Awaitable[bool]]
) -> tuple[float, float]:
    backoff = Backoff(SystemClock())
    began, used = time.perf_counter(), _cpu()
    tasks = [asyncio.create_task(forever(name, backoff, one)) for name, one in rounds.items()]
    while not await done():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    wall, cpu = time.perf_counter() - began, _cpu() - used
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return wall, cpu


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _local_ses_cpu() -> float:
    """Return the processor time of the local SES, this process's child, in seconds."""
    ticks = 0
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with contextlib.suppress(OSError):
            if b"ses-local" in Path(f"/proc/{child}/cmdline").read_bytes():
                stat = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                ticks += int(stat[11]) + int(stat[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def _dispatched(made: World, count: int, number: int) -> tuple[float, float]:
    people = [made.tenants[place % 8].submission(f"r{number}p{place}@there.example") for place in range(count)]
    for start in range(0, count, 64):
        await accept(made.store, people[start : start + 64])

    ses = CountedSes(made.cloud.ses)
    pipeline = Pipeline(made.store, ses, SystemClock(), made.cell, Flow(IN_FLIGHT, settle_batch=SETTLE_BATCH))

    async def done() -> bool:
        if ses.answered < count:
            return False
        async with made.store.reading() as step:
            left = await step.run("SELECT 1 FROM waiting LIMIT 1") or await step.run(
                "SELECT 1 FROM attempt WHERE finished_at IS NULL LIMIT 1"
            )
        return not left

    return await _timed({"claim": pipeline.claim_round, "settle": pipeline.settle_round}, done)


async def _ingested(made: World, events: int) -> tuple[float, float]:
    """Ingest until this many events more are committed; 0: until the queue is dry."""
    feed = CountedFeed(made.cloud.feed)
    reader = FeedReader(made.store, feed, made.cell, lambda: None)
    seen = -1

    async def done() -> bool:
        nonlocal seen
        if events:
            return feed.committed >= events
        if feed.committed == seen:
            return True
        seen = feed.committed
        await asyncio.sleep(0.5)
        return False

    readers = {f"feed{number}": reader.read_round for number in range(READERS)}
    return await _timed({"ingest": reader.ingest_round, **readers}, done)


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
