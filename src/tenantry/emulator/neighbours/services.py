"""Owns the services around SES in one account and Region, as the rest of the local SES sees them: one object.

Leaves what each service does to its own module.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any

from botocore import xform_name
from botocore.loaders import Loader

from tenantry.emulator.calls import Answer, Arrival, Call
from tenantry.emulator.errors import SesError, bad_request, unsupported
from tenantry.emulator.events import TEST_MESSAGE, notice
from tenantry.emulator.ledger import EventRecord
from tenantry.emulator.operations_queue import QueueOperations
from tenantry.emulator.options import FEED_NAME, Options
from tenantry.emulator.sqs import Entry, Queue
from tenantry.wire.aws import Service, WireError, encode_error

if TYPE_CHECKING:
    from tenantry.emulator.accounts import Accounts

NOTHING = b"{}"


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of a neighbour as it was read."""

    service: str
    operation: str
    params: dict[str, Any] | WireError


@cache
def sqs_codec() -> Service:
    """Return SQS, compiled from botocore's model once a process."""
    model = Loader().load_service_model("sqs", "service-2")
    # ReceiveMessage takes names of message attributes where its model lists only those of queues.
    del model["shapes"]["QueueAttributeName"]["enum"]
    return Service(model, "sqs")


def read(arrival: Arrival) -> Asked | None:
    """Read a call of one of the neighbours; None if it is none of theirs."""
    target = arrival.target
    if not target:
        return None
    codec = sqs_codec()
    operation = codec.target(target)
    if operation is None:
        message = f"{target} is not known here."
        return Asked("sqs", target, WireError("UnknownOperationException", message, 404))
    return Asked("sqs", operation, codec.decode(operation, arrival.body))


class Neighbours(QueueOperations):
    """The services around SES in one account and Region; `accounts` leads to the others (None: there are none)."""

    def __init__(self, options: Options, random: Random, now: float, accounts: "Accounts | None" = None) -> None:
        self.options = options
        self.random = random
        self.accounts = accounts
        self.published = 0
        self.queues = {FEED_NAME: Queue(FEED_NAME, now)}
        self.subscriptions = {options.topic_arn: [FEED_NAME]}

    def call(self, asked: Asked, call: Call, request_id: str) -> Answer:
        """Answer one call that was read."""
        codec = sqs_codec()
        try:
            if isinstance(asked.params, WireError):
                raise SesError(asked.params.code, asked.params.message, asked.params.status)
            method = getattr(self, xform_name(asked.operation), None)
            if method is None:
                raise unsupported(asked.operation)
            body = codec.encode(asked.operation, method(asked.params, call))
        except SesError as refusal:
            return Answer(*encode_error(refusal.code, refusal.message, refusal.status, request_id))
        return Answer(200, {"content-type": "application/x-amz-json-1.0", "x-amzn-requestid": request_id}, body)

    def wait_of(self, asked: Asked, answer: Answer) -> float:
        """Return for how many seconds a call that was answered with nothing may wait for something; 0 is at once."""
        if asked.operation != "ReceiveMessage" or answer.body != NOTHING or isinstance(asked.params, WireError):
            return 0.0
        return float(asked.params.get("WaitTimeSeconds", 0))

    def next_visible_at(self, asked: Asked) -> float | None:
        """Return when a call that waits may find something again that nobody published, or None."""
        queue = None if isinstance(asked.params, WireError) else self.queue_of(asked.params)
        return queue.next_visible_at() if queue else None

    def page(self, arrival: Arrival) -> Answer | None:
        """Answer a request without a signature that needs none (a link in a notice, a certificate), or None."""
        return None

    def next_due(self) -> float | None:
        """Return when something here falls due by itself, or None."""
        return None

    def do_due(self, now: float) -> int:
        """Do what has fallen due; return how much."""
        return 0

    def attach(self, destination: Mapping[str, Any], call: Call) -> None:
        """Take note that SES will publish to a destination (as of `EventDestination`), or raise SES's error for it."""
        if sns := destination.get("SnsDestination"):
            topic_arn = sns["TopicArn"]
            if topic_arn not in self.subscriptions:
                raise bad_request(f"SNS topic <{topic_arn}> not found.")

    def validated(self, destination: Mapping[str, Any], call: Call) -> None:
        """Publish what SES publishes to a destination that was just made: SNS topics get a plain text."""
        if sns := destination.get("SnsDestination"):
            test = EventRecord(call.now, "", lambda: TEST_MESSAGE)
            self._tell(sns["TopicArn"], test, subject=None)

    def bear(self, destination: Mapping[str, Any], event: EventRecord) -> None:
        """Publish one of SES's events to one destination."""
        if sns := destination.get("SnsDestination"):
            self._tell(sns["TopicArn"], event)

    def _tell(self, topic_arn: str, event: EventRecord, **form: Any) -> None:
        notice_id = self.new_uuid()
        for name in self.subscriptions.get(topic_arn, ()):
            entry = Entry(
                self.new_uuid(), event.at, lambda: notice(event.render(), topic_arn, notice_id, event.at, **form)
            )
            self.queues[name].put(entry)
            self.published += 1

    def new_uuid(self) -> str:
        """Return a fresh id from the account's own random source."""
        digits = f"{self.random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
