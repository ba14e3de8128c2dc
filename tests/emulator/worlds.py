"""Owns the worlds of the local SES's tests: a running server, boto3 clients on it, and a tenant that may send."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.request import Request, urlopen

import boto3
from botocore.config import Config

from tenantry.emulator import Local, Options

EVENT_TYPES = ["SEND", "REJECT", "BOUNCE", "COMPLAINT", "DELIVERY", "DELIVERY_DELAY"]
FREE = {"control_rate_per_second": None, "max_send_rate": None, "max_24_hour_send": None}


@dataclass
class World:
    """A local SES with unmodified boto3 clients."""

    local: Local
    ses: Any
    sqs: Any
    _more: list[Any] = field(default_factory=list)

    def client(self, service: str, *, key_id: str = "AKIDEXAMPLE", region: str = "us-east-1") -> Any:
        """Return one more client: of another service, account (a key of twelve digits names it) or Region."""
        made = _client(self.local, service, key_id, region)
        self._more.append(made)
        return made

    def close(self) -> None:
        """Close every client."""
        for each in (self.ses, self.sqs, *self._more):
            each.close()

    def arn(self, kind: str, name: str) -> str:
        """Return the ARN of a resource."""
        return self.local.account.options.arn(kind, name)

    def listened_set(self, name: str = "acme-set", **options: Any) -> None:
        """Make a configuration set whose events go to the queue."""
        self.ses.create_configuration_set(ConfigurationSetName=name, **options)
        destination = {"Enabled": True, "MatchingEventTypes": EVENT_TYPES}
        destination["SnsDestination"] = {"TopicArn": self.local.account.options.topic_arn}
        self.ses.create_configuration_set_event_destination(
            ConfigurationSetName=name, EventDestinationName="feed", EventDestination=destination
        )
        self.events()  # the test message

    def sender(self) -> None:
        """Make acme: a tenant with a verified domain and a set, associated with both."""
        self.ses.create_tenant(TenantName="acme")
        self.ses.create_email_identity(EmailIdentity="acme.example")
        self.listened_set()
        for arn in (self.arn("identity", "acme.example"), self.arn("configuration-set", "acme-set")):
            self.ses.create_tenant_resource_association(TenantName="acme", ResourceArn=arn)

    def send(self, *to: str, **more: Any) -> str:
        """Send a small mail of acme's and return its message id; a parameter of None is left out."""
        params = {
            "FromEmailAddress": "Acme <news@acme.example>",
            "Destination": {"ToAddresses": list(to or ["someone@inbox.example"])},
            "Content": {"Simple": {"Subject": {"Data": "Hello"}, "Body": {"Text": {"Data": "Hello"}}}},
            "ConfigurationSetName": "acme-set",
            "TenantName": "acme",
            **more,
        }
        return self.ses.send_email(**{name: each for name, each in params.items() if each is not None})["MessageId"]

    def notices(self, wait_seconds: int = 0) -> list[dict[str, Any]]:
        """Take and delete what is on the queue."""
        url, found = self.local.queue_url, []
        while True:
            answer = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait_seconds)
            messages = answer.get("Messages", [])
            if not messages:
                return found
            found += [json.loads(message["Body"]) for message in messages]
            entries = [{"Id": str(i), "ReceiptHandle": each["ReceiptHandle"]} for i, each in enumerate(messages)]
            self.sqs.delete_message_batch(QueueUrl=url, Entries=entries)
            wait_seconds = 0

    def events(self, wait_seconds: int = 0) -> list[dict[str, Any]]:
        """Take the events that are on the queue, without the envelope."""
        texts = [notice["Message"] for notice in self.notices(wait_seconds)]
        return [json.loads(text) for text in texts if text.startswith("{")]

    def kinds(self, wait_seconds: int = 0) -> list[str]:
        """Take the events and return their types in order."""
        return [event["eventType"] for event in self.events(wait_seconds)]

    def admin(self, path: str, body: Any = None) -> Any:
        """Ask the admin API."""
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.local.url}/_local/{path}", data), timeout=10) as answer:
            return json.load(answer)


@contextmanager
def world(**options: Any) -> Iterator[World]:
    """Run a local SES without limits, changed by options."""
    with Local(Options(**{**FREE, **options})) as local:
        made = World(local, *(_client(local, name, "AKIDEXAMPLE", "us-east-1") for name in ("sesv2", "sqs")))
        try:
            yield made
        finally:
            made.close()


def _client(local: Local, service: str, key_id: str, region: str) -> Any:
    keys = {"aws_access_key_id": key_id, "aws_secret_access_key": "secret"}
    config = Config(retries={"total_max_attempts": 1})
    return boto3.client(service, endpoint_url=local.url, region_name=region, config=config, **keys)
