"""Owns the services around SES in one account and Region, as the rest of the local SES sees them: one object.

Leaves what each service does to its own module.
"""

from collections.abc import Callable, Mapping
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from botocore import xform_name

from tenantry.emulator.calls import Answer, Arrival, Call, Params, Result
from tenantry.emulator.errors import SesError, bad_request, unsupported
from tenantry.emulator.events import SUBJECT, TEST_MESSAGE, Sent
from tenantry.emulator.ledger import EventRecord
from tenantry.emulator.neighbours import codecs
from tenantry.emulator.neighbours.cloudwatch import CloudWatch
from tenantry.emulator.neighbours.codecs import Asked as Asked
from tenantry.emulator.neighbours.events import Events
from tenantry.emulator.neighbours.metrics import Bucket, Metric
from tenantry.emulator.neighbours.organizations import Organizations
from tenantry.emulator.neighbours.place import Place
from tenantry.emulator.neighbours.queue import Queue
from tenantry.emulator.neighbours.quotas import DAILY, RATE, ServiceQuotas
from tenantry.emulator.neighbours.ses_events import DETAIL_TYPES
from tenantry.emulator.neighbours.ses_metrics import NAMESPACE, SesMetrics
from tenantry.emulator.neighbours.signing import Signer
from tenantry.emulator.neighbours.sns import Sns
from tenantry.emulator.neighbours.sns_delivery import Delivery
from tenantry.emulator.neighbours.sns_topics import Subscription, Topic
from tenantry.emulator.neighbours.sqs import Sqs
from tenantry.emulator.neighbours.sts import Sts
from tenantry.emulator.neighbours.support import Support
from tenantry.emulator.options import FEED_NAME, Options
from tenantry.wire.aws import WireError

if TYPE_CHECKING:
    from tenantry.emulator.accounts import Accounts

Operation = Callable[[Params, Call], Result]


@cache
def signer() -> Signer:
    """Return the key of this process's SNS: one, as all Regions' notices may be checked with one certificate."""
    return Signer()


def read(arrival: Arrival) -> Asked | None:
    """Read a call of one of the neighbours; None if it is none of theirs."""
    if arrival.target:
        return codecs.read_json(arrival.target, arrival.body)
    if arrival.is_form:
        return codecs.read_query(arrival.scope.service, arrival.path, arrival.body)
    if arrival.method == "GET" and "Action=" in arrival.query:
        return codecs.read_query(arrival.scope.service, arrival.path, arrival.query.encode())
    return None


class Neighbours:
    """The services around SES in one account and Region; `accounts` leads to the others (None: there are none)."""

    def __init__(self, options: Options, random: Random, now: float, accounts: "Accounts | None" = None) -> None:
        self._options = options
        self._accounts = accounts
        self.place = place = Place(
            options.account_id, options.region, random, self._find, accounts.news if accounts else None
        )
        self.sqs = Sqs(place)
        self.sns = Sns(place, signer())
        self.events = Events(place, self.sns)
        self.cloudwatch = CloudWatch(place, self.sns, self.events)
        self.quotas = ServiceQuotas(place, self._limits)
        self.support = Support(place)
        self.organizations = Organizations(place, accounts)
        self._services: dict[str, object] = {
            "sqs": self.sqs,
            "sns": self.sns,
            "events": self.events,
            "cloudwatch": self.cloudwatch,
            "sts": Sts(place, accounts),
            "service-quotas": self.quotas,
            "support": self.support,
            "organizations": self.organizations,
        }
        self._operations: dict[tuple[str, str], Operation | None] = {}
        self._ses_metrics = SesMetrics(options.judge_seconds)
        self._make_feed(now)

    @property
    def queues(self) -> dict[str, Queue]:
        """The queues of this place, by name."""
        return self.place.queues

    @property
    def published(self) -> int:
        """How much was ever put into a queue here."""
        return self.place.published

    def call(self, asked: Asked, call: Call, request_id: str) -> Answer:
        """Answer one call that was read."""
        try:
            if isinstance(asked.params, WireError):
                raise SesError(asked.params.code, asked.params.message, asked.params.status)
            method = self._operation(asked.service, asked.operation)
            if method is None:
                raise unsupported(f"{asked.operation} of {asked.service}")
            return Answer(*codecs.answer(asked, method(asked.params, call), request_id))
        except SesError as refusal:
            return Answer(*codecs.refuse(asked, refusal, request_id))

    def does(self, service: str, operation: str) -> bool:
        """Is this operation one that is answered here?"""
        return self._operation(service, operation) is not None

    def wait_of(self, asked: Asked, answer: Answer) -> float:
        """Return for how many seconds a call that was answered with nothing may wait for something; 0 is at once."""
        if asked.operation != "ReceiveMessage" or answer.status != 200 or isinstance(asked.params, WireError):
            return 0.0
        is_empty = b"<Message>" not in answer.body if asked.is_query else answer.body == b"{}"
        return self.sqs.wait_of(asked.params) if is_empty else 0.0

    def next_visible_at(self, asked: Asked) -> float | None:
        """Return when a call that waits may find something again that nobody published, or None."""
        queue = None if isinstance(asked.params, WireError) else self.sqs.queue_of(asked.params)
        return queue.next_visible_at() if queue else None

    def page(self, arrival: Arrival, call: Call) -> Answer | None:
        """Answer a request without a signature that needs none (a link in a notice, a certificate), or None."""
        if arrival.method == "GET" and arrival.path.startswith("/SimpleNotificationService-"):
            if arrival.path != self.sns.signer.path:
                return Answer(404, {"content-type": "text/plain"}, b"There is no such certificate.")
            return Answer(200, {"content-type": "application/x-pem-file"}, self.sns.signer.certificate)
        fields = parse_qs(arrival.body.decode("latin-1") if arrival.is_form else arrival.query)
        if fields.get("Action", [""])[0] not in codecs.OPEN_ACTIONS:
            return None
        asked = read(arrival)
        arn = (fields.get("TopicArn") or fields.get("SubscriptionArn") or [""])[0]
        place = self.place.place_of(arn)
        home = self if place is None or self._accounts is None else self._neighbours(place)
        return home.call(asked, call, self.place.new_uuid()) if asked else None

    def next_due(self) -> float | None:
        """Return when something here falls due by itself, or None."""
        alarms, metrics = self.cloudwatch.next_due(), self._ses_metrics.next_due()
        if alarms is None or metrics is None:
            return metrics if alarms is None else alarms
        return min(alarms, metrics)

    def do_due(self, now: float) -> int:
        """Do what has fallen due; return how much was published by it."""
        before = self.place.published
        account = self._accounts.find(self.place.account_id, self.place.region) if self._accounts else None
        if account and self._ses_metrics.publish(now, self.cloudwatch.measure, account):
            self.cloudwatch.wake(now)
        self.cloudwatch.evaluate_due(now)
        return self.place.published - before

    def deliveries(self, now: float, most: int) -> list[Delivery]:
        """Take the HTTP deliveries of SNS that are due; whoever makes them settles each by `delivered`."""
        return self.sns.outbox.take(now, most)

    def next_delivery(self) -> float | None:
        """Return when the next HTTP delivery of SNS is due, or None."""
        return self.sns.outbox.next_due()

    def delivered(self, delivery: Delivery, status: int | None, reason: str, now: float) -> None:
        """Take note of what an HTTP delivery came to: its status, or None and why there was no answer."""
        self.sns.settle(delivery, status, reason, now)

    def attach(self, destination: Mapping[str, Any], call: Call) -> None:
        """Take note that SES will publish to a destination (as of `EventDestination`), or raise SES's error for it."""
        if sns := destination.get("SnsDestination"):
            topic_arn = sns["TopicArn"]
            if not self._topic_is_known(topic_arn):
                raise bad_request(f"SNS topic <{topic_arn}> not found.")
        bus = destination.get("EventBridgeDestination", {}).get("EventBusArn")
        if bus not in (None, self.place.arn("events", "event-bus/default")):
            raise bad_request(f"Event bus <{bus}> is not the default bus of this account and Region.")

    def validated(self, destination: Mapping[str, Any], call: Call) -> None:
        """Publish what SES publishes to a destination that was just made: SNS topics get a plain text."""
        if sns := destination.get("SnsDestination"):
            self.notify(sns["TopicArn"], call.now, lambda: TEST_MESSAGE, subject=None)

    def bear(self, destination: Mapping[str, Any], event: EventRecord) -> None:
        """Publish one of SES's events to one destination."""
        if sns := destination.get("SnsDestination"):
            self.notify(sns["TopicArn"], event.at, event.render)
        elif "EventBridgeDestination" in destination:
            arn = event.sent.identity_arn if event.sent else None
            self.events.tell(DETAIL_TYPES[event.kind], event.at, event.render, [arn] if arn else [])
        elif watch := destination.get("CloudWatchDestination"):
            name = "".join(word.title() for word in event.kind.split("_"))
            dimensions = tuple(sorted(_dimension(each, event) for each in watch["DimensionConfigurations"]))
            self.cloudwatch.measure(Metric(NAMESPACE, name, dimensions), event.at, Bucket(1.0, 1.0, 1.0, 1.0), "Count")
            self.cloudwatch.wake(event.at)

    def weigh(self, what: str, number: int, sent: Sent, at: float) -> None:
        """Count recipients of a message (Sends, Bounces, Complaints, …) for the metrics of reputation."""
        self._ses_metrics.add(what, number, set_name=sent.configuration_set or "", tenant=sent.tenant or "", at=at)

    def start_afresh(self) -> None:
        """Forget the account's counts and its sets'."""
        self._ses_metrics.start_afresh()

    def notify(self, topic_arn: str, at: float, render: Callable[[], str], *, subject: str | None = SUBJECT) -> bool:
        """Publish a message of SES to a topic, rendered when it is read; False if the topic is gone."""
        return self.sns.tell(topic_arn, at, render, subject)

    def announce(self, detail_type: str, detail: str, resource_arn: str, at: float) -> None:
        """Put an event of SES's about a tenant or an identity on the default bus."""
        self.events.tell(detail_type, at, lambda: detail, [resource_arn])

    def _operation(self, service: str, name: str) -> Operation | None:
        known = (service, name)
        if known not in self._operations:
            self._operations[known] = getattr(self._services[service], xform_name(name), None)
        return self._operations[known]

    def _topic_is_known(self, arn: str) -> bool:
        return arn in self.sns.topics

    def _find(self, account_id: str, region: str) -> Place | None:
        found = self._accounts.find(account_id, region) if self._accounts else None
        return found.neighbours.place if found else None

    def _neighbours(self, place: Place) -> "Neighbours":
        found = self._accounts.find(place.account_id, place.region) if self._accounts else None
        return found.neighbours if found else self

    def _limits(self) -> dict[str, float | None]:
        found = self._accounts.find(self.place.account_id, self.place.region) if self._accounts else None
        options = found.options if found else self._options
        return {DAILY: options.max_24_hour_send, RATE: options.max_send_rate}

    def _make_feed(self, now: float) -> None:
        """Make the topic and the queue that exist from the start; their notices are not signed, which keeps them cheap."""
        region, arn = self.place.region, self._options.topic_arn
        self.place.queues[FEED_NAME] = Queue(FEED_NAME, now)
        topic = self.sns.topics[arn] = Topic(arn, f"https://sns.{region}.amazonaws.com", is_signed=False)
        name = f"{arn}:{self.place.new_uuid()}"
        queue_arn = self.place.arn("sqs", FEED_NAME)
        topic.subscriptions[name] = Subscription(name, arn, "sqs", queue_arn, self.place.account_id, "", True)


def _dimension(given: Mapping[str, str], event: EventRecord) -> tuple[str, str]:
    """Return a dimension with its value in this event, from tags, headers or the link; else its default."""
    name, sent, found = given["DimensionName"], event.sent, None
    match given["DimensionValueSource"]:
        case "MESSAGE_TAG" if sent:
            found = sent.tags.get(name) or sent.auto_tags.get(name)
        case "EMAIL_HEADER" if sent:
            found = next((value for header, value in sent.mail.headers if header.lower() == name.lower()), None)
        case "LINK_TAG":
            found = next(iter((event.link_tags or {}).get(name, ())), None)
    return name, found or given["DefaultDimensionValue"]
