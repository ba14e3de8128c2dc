"""Owns wiring one cell to its cloud: the hot clients, the control plane, the queue; leaves what they do to tenantry.aws."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from tenantry.aws.control import BotoControl, Place, control_client
from tenantry.aws.feed import SqsFeed
from tenantry.aws.send import SesSender
from tenantry.aws.session import Credentials, new_session
from tenantry.aws.signed import Limits, SignedClient, Target
from tenantry.ports import Clock
from tenantry.settings import Cloud, Settings
from tenantry.store.store import Store

EVENTS_BYTES = 16 * 2**20  # of ten events of a queue, escaped at their worst
LOCAL_KEYS = ("local", "local")  # the local SES takes any key


@dataclass(frozen=True, slots=True)
class Adapters:
    """A cell's adapters."""

    ses: SesSender
    control: BotoControl
    feed: SqsFeed
    clients: tuple[SignedClient, ...]

    async def close(self) -> None:
        """Drop every connection."""
        for client in self.clients:
            await client.close()


def open_cloud(settings: Settings, store: Store, clock: Clock, endpoint_url: str | None) -> Adapters:
    """Wire a cell: to this endpoint when there is one (a local SES), else to Amazon's of the Region."""
    session = new_session(LOCAL_KEYS if settings.cloud is Cloud.LOCAL else None)  # a local SES never sees real keys
    credentials = Credentials(session, clock)
    limits = Limits(settings.in_flight, settings.idle_connection_seconds, settings.send_deadline_seconds)
    region = settings.region
    ses_url = endpoint_url or f"https://email.{region}.amazonaws.com"
    sqs_url = endpoint_url or f"https://sqs.{region}.amazonaws.com"
    sender = SignedClient(Target(ses_url, region, "ses"), credentials, clock, limits)
    patience = settings.feed_wait_seconds + settings.send_deadline_seconds
    patient = Limits(32, settings.idle_connection_seconds, patience, EVENTS_BYTES)
    queue = SignedClient(Target(sqs_url, region, "sqs"), credentials, clock, patient)
    queue_url = settings.event_queue_url or f"{sqs_url}/{settings.account_id}/{settings.event_queue_name}"
    place = Place(settings.account_id, region, settings.topic_arn)
    control = BotoControl(control_client(session, region, endpoint_url), place, store.vault.unseal)
    structlog.get_logger(cell=settings.cell_name).info("cell wired", ses=ses_url, queue=queue_url)
    feed = SqsFeed(queue, queue_url, settings.feed_wait_seconds, settings.feed_hidden_seconds)
    return Adapters(SesSender(sender), control, feed, (sender, queue))
