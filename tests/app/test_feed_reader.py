"""Reading the feed: an event is acknowledged after its commit and not before, and poison stops nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import text

from tenantry.app.ingest import FeedReader
from tenantry.core.claim import ATTEMPT_TAG, MESSAGE_TAG, Claim, ses_name
from tenantry.ports import FeedUnavailable, Parcel, StoreBusy
from tests import worlds
from tests.app.conftest import Desk


@dataclass
class Queue:
    """A feed of what it is given: hands out each parcel once, remembers what was acknowledged."""

    waiting: list[Parcel] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    deaf: bool = False

    async def receive(self) -> Sequence[Parcel]:
        """See ports.Feed."""
        found, self.waiting = self.waiting[:10], self.waiting[10:]
        return found

    async def acknowledge(self, parcels: Sequence[Parcel]) -> None:
        """See ports.Feed."""
        if self.deaf:
            raise FeedUnavailable("no line")
        self.acknowledged += [parcel.receipt for parcel in parcels]


def parcel(number: int, kind: str, one: Claim, ses_id: str) -> Parcel:
    """An event as SNS hands it to SQS."""
    recipients = [{"emailAddress": address} for address in one.to]
    bodies: dict[str, tuple[str, dict[str, object]]] = {
        "Delivery": ("delivery", {"timestamp": "2026-11-24T12:00:01.000Z", "recipients": list(one.to)}),
        "Bounce": (
            "bounce",
            {
                "bounceType": "Permanent",
                "bounceSubType": "General",
                "bouncedRecipients": recipients,
                "timestamp": "2026-11-24T12:00:01.000Z",
                "feedbackId": f"feedback-{number}",
            },
        ),
    }
    name, about = bodies[kind]
    event = {
        "eventType": kind,
        "mail": {
            "timestamp": "2026-11-24T12:00:00.000Z",
            "source": one.sender,
            "messageId": ses_id,
            "destination": list(one.to),
            "tags": {
                "ses:configuration-set": [ses_name(one.stream_id)],
                MESSAGE_TAG: [one.message_id],
                ATTEMPT_TAG: [one.attempt_id],
            },
        },
        name: about,
    }
    return envelope(number, json.dumps(event))


def envelope(number: int, message: str) -> Parcel:
    notice = {
        "Type": "Notification",
        "MessageId": f"notice-{number}",
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:tenantry-events",
        "Message": message,
        "Timestamp": "2026-11-24T12:00:02.000Z",
        "SignatureVersion": "1",
        "Signature": "x",
        "SigningCertURL": "https://sns.us-east-1.amazonaws.com/x.pem",
        "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/",
    }
    return Parcel(json.dumps(notice), f"receipt-{number}")


async def count(desk: Desk, sql: str) -> int:
    async with desk.store.reading() as step:
        return int(await step.conn.scalar(text(sql)) or 0)


async def mailed(desk: Desk, number: int) -> list[tuple[Claim, str]]:
    member = await worlds.member(desk.store)
    await worlds.accepted(desk.store, member, number, stream="marketing")
    return await worlds.handed(desk.store, desk.cell)


async def settled(condition: list[str], length: int) -> None:
    async with asyncio.timeout(5):
        while len(condition) < length:
            await asyncio.sleep(0.005)


async def test_events_are_ingested_and_then_acknowledged(desk: Desk) -> None:
    """A batch leaves its facts, then its receipts."""
    done = await mailed(desk, 5)
    queue = Queue([parcel(number, "Delivery", one, ses_id) for number, (one, ses_id) in enumerate(done)])
    reader = FeedReader(desk.store, queue, desk.cell, lambda: None)
    await reader.read_round()
    await reader.ingest_round()
    assert await count(desk, "SELECT COUNT(*) FROM recipient WHERE facts & 16 != 0") == 5
    await settled(queue.acknowledged, 5)


async def test_nothing_is_acknowledged_that_was_not_committed(desk: Desk) -> None:
    """While the store is busy nothing is acknowledged; the next round tries the same events again at once."""
    done = await mailed(desk, 3)
    queue = Queue([parcel(number, "Delivery", one, ses_id) for number, (one, ses_id) in enumerate(done)])
    reader = FeedReader(desk.store, queue, desk.cell, lambda: None)
    await desk.impatient()
    await reader.read_round()
    with desk.busy():
        try:
            await reader.ingest_round()
        except StoreBusy:
            pass
        else:
            raise AssertionError("the store was not busy")
    await asyncio.sleep(0.05)
    assert queue.acknowledged == []
    await reader.ingest_round()
    assert await count(desk, "SELECT COUNT(*) FROM event") == 3
    await settled(queue.acknowledged, 3)


async def test_an_acknowledgement_that_fails_costs_nothing(desk: Desk) -> None:
    """The events come again, and change nothing more."""
    done = await mailed(desk, 2)
    parcels = [parcel(number, "Bounce", one, ses_id) for number, (one, ses_id) in enumerate(done)]
    queue = Queue(list(parcels), deaf=True)
    reader = FeedReader(desk.store, queue, desk.cell, lambda: None)
    await reader.read_round()
    await reader.ingest_round()
    await asyncio.sleep(0.05)
    queue.waiting, queue.deaf = parcels, False
    await reader.read_round()
    await reader.ingest_round()
    await settled(queue.acknowledged, 2)
    assert await count(desk, "SELECT SUM(bounced) FROM bucket") == 2


async def test_poison_is_quarantined_acknowledged_and_harms_no_neighbour(desk: Desk) -> None:
    """What nobody can read is kept raw and does not come again; its neighbours are ingested."""
    ((one, ses_id),) = await mailed(desk, 1)
    poison = [Parcel("no json", "a"), envelope(8, '{"eventType":"Bounce"}'), Parcel('{"Type":"\\ud800"}', "b")]
    queue = Queue([*poison, parcel(1, "Delivery", one, ses_id)])
    reader = FeedReader(desk.store, queue, desk.cell, lambda: None)
    await reader.read_round()
    await reader.ingest_round()
    await settled(queue.acknowledged, 4)
    assert await count(desk, "SELECT COUNT(*) FROM quarantine") == 3
    assert await count(desk, "SELECT COUNT(*) FROM event") == 1


async def test_the_guard_is_rung_where_a_bar_is_crossed(desk: Desk) -> None:
    """A batch that leaves a verdict to act on wakes the guard; a harmless one does not."""
    done = await mailed(desk, 40)
    rung: list[str] = []
    queue = Queue([parcel(0, "Delivery", *done[0])])
    reader = FeedReader(desk.store, queue, desk.cell, lambda: rung.append("crossed"))
    await reader.read_round()
    await reader.ingest_round()
    assert rung == []
    queue.waiting = [parcel(number, "Bounce", one, ses_id) for number, (one, ses_id) in enumerate(done)]
    for _ in range(4):
        await reader.read_round()
    await reader.ingest_round()
    assert rung == ["crossed"]
