"""The feed adapter against the local SES's queue: nothing is lost unacknowledged, and every failure is the port's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import boto3
import pytest

from tenantry.app.clock import SystemClock
from tenantry.aws.feed import SqsFeed
from tenantry.aws.session import Credentials, new_session
from tenantry.aws.signed import Limits, SignedClient, Target
from tenantry.core.event import Fact, Report
from tenantry.emulator.local import Local
from tenantry.emulator.options import Options
from tenantry.emulator.server import wall_clock
from tenantry.flow.report import Chatter, read_report
from tenantry.ports import FeedUnavailable, Parcel
from tests.aws.liar import Behaviour, answers, lying, says, says_and_ends

KEYS = ("AKIDEXAMPLE", "secret")
SENDING = {
    "FromEmailAddress": "hello@acme.example",
    "ConfigurationSetName": "acme-set",
    "Content": {"Simple": {"Subject": {"Data": "Hello"}, "Body": {"Text": {"Data": "Hello"}}}},
}


@asynccontextmanager
async def feed(url: str, queue_url: str, deadline_seconds: float = 5.0) -> AsyncIterator[SqsFeed]:
    clock = SystemClock()
    limits = Limits(connections=4, deadline_seconds=deadline_seconds)
    client = SignedClient(Target(url, "us-east-1", "sqs"), Credentials(new_session(KEYS), clock), clock, limits)
    try:
        yield SqsFeed(client, queue_url, wait_seconds=0)
    finally:
        await client.close()


@dataclass
class Late:
    """How far the local SES's clock is ahead."""

    seconds: float = 0.0


@pytest.fixture
def late() -> Late:
    return Late()


@pytest.fixture
async def local(late: Late) -> AsyncIterator[Local]:
    options = Options(control_rate_per_second=None, max_send_rate=None, max_24_hour_send=None)
    running = Local(options, lambda: wall_clock() + late.seconds)
    await asyncio.to_thread(running.__enter__)
    yield running
    await asyncio.to_thread(running.__exit__, None, None, None)


def send(local: Local, count: int) -> None:
    """Send so many mails through a set whose events go to the queue."""
    ses = boto3.client(
        "sesv2",
        endpoint_url=local.url,
        region_name="us-east-1",
        aws_access_key_id=KEYS[0],
        aws_secret_access_key=KEYS[1],
    )
    ses.create_email_identity(EmailIdentity="acme.example")
    ses.create_configuration_set(ConfigurationSetName="acme-set")
    ses.create_configuration_set_event_destination(
        ConfigurationSetName="acme-set",
        EventDestinationName="events",
        EventDestination={
            "Enabled": True,
            "MatchingEventTypes": ["SEND", "BOUNCE", "DELIVERY"],
            "SnsDestination": {"TopicArn": local.account.options.topic_arn},
        },
    )
    for number in range(count):
        ses.send_email(**SENDING, Destination={"ToAddresses": [f"p{number}@there.example"]})


async def drained(source: SqsFeed) -> list[Parcel]:
    found: list[Parcel] = []
    while parcels := await source.receive():
        found += parcels
    return found


async def test_every_event_is_received_and_reads_as_a_report(local: Local) -> None:
    """What the queue holds comes in parcels that the flow can read: a Send and a Delivery for each mail, no poison."""
    await asyncio.to_thread(send, local, 13)
    async with feed(local.url, local.queue_url) as source:
        read = [read_report(parcel.body) for parcel in await drained(source)]
    facts = [one.fact for one in read if isinstance(one, Report)]
    assert sorted(facts) == sorted([Fact.HANDED, Fact.DELIVERED] * 13)
    assert all(isinstance(one, Report | Chatter) for one in read)


async def test_what_is_acknowledged_never_comes_again_and_the_rest_does(local: Local, late: Late) -> None:
    """More than one call's worth is acknowledged at once; what was not comes back after its time."""
    await asyncio.to_thread(send, local, 13)
    async with feed(local.url, local.queue_url) as source:
        kept, *done = await drained(source)
        await source.acknowledge(done)
        assert await source.receive() == [], "it is hidden from others meanwhile"
        late.seconds = 61.0
        assert [parcel.body for parcel in await drained(source)] == [kept.body]


async def test_an_empty_queue_is_no_error(local: Local) -> None:
    """Nothing to receive is an empty answer, and acknowledging nothing makes no call."""
    async with feed(local.url, local.queue_url) as source:
        await drained(source)
        assert list(await source.receive()) == []
        calls = len(local.account.ledger.calls)
        await source.acknowledge([])
        assert len(local.account.ledger.calls) == calls


async def test_a_queue_that_does_not_exist_is_unavailable(local: Local) -> None:
    """SQS's no is raised as the port's error with SQS's words, so that the loop backs off and says why."""
    async with feed(local.url, local.queue_url + "-gone") as source:
        with pytest.raises(FeedUnavailable, match="ReceiveMessage: 400"):
            await source.receive()


async def test_half_a_character_in_one_event_costs_no_other() -> None:
    """An answer is read although an event in it is no text: that one is told apart later, the others are ingested."""
    body = b'{"Messages":[{"Body":"half \\ud800","ReceiptHandle":"1"},{"Body":"whole","ReceiptHandle":"2"}]}'
    async with lying(answers(200, body)) as server, feed(server.url, f"{server.url}/q") as queue:
        assert await queue.receive() == [Parcel("half \ud800", "1"), Parcel("whole", "2")]


@pytest.mark.parametrize(
    "behave",
    [
        says_and_ends(),
        says_and_ends(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"Messages":'),
        says_and_ends(reset=True),
        says(),
        says_and_ends(b"220 mail.example ESMTP\r\n\r\n"),
        answers(500, b""),
        answers(403, b'{"__type":"ExpiredToken"}'),
        answers(200, b"not json"),
        answers(200, b'{"Messages":[{"Body":"no receipt"}]}'),
        answers(200, b'{"Messages":["a text"]}'),
        answers(200, b"[]"),
        answers(200, b"7"),
        answers(200, b"[" * 100_000),
    ],
)
async def test_every_failure_is_the_ports(behave: Behaviour) -> None:
    """Whatever the network or SQS does, receiving raises FeedUnavailable and nothing else; acknowledging too."""
    async with lying(behave) as server, feed(server.url, f"{server.url}/1/q", deadline_seconds=0.3) as source:
        with pytest.raises(FeedUnavailable):
            await source.receive()


async def test_acknowledging_into_a_cut_line_is_the_ports_error() -> None:
    """An acknowledgement that may be lost is said to be lost; the events come again."""
    async with lying(says_and_ends(reset=True)) as server, feed(server.url, f"{server.url}/1/q") as source:
        with pytest.raises(FeedUnavailable):
            await source.acknowledge([Parcel("{}", "receipt")])
