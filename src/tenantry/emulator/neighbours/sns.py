"""Owns publishing to SNS topics: from calls, from SES and from alarms, to queues and over HTTP, signed as SNS signs.

Leaves topics and subscriptions to their modules, and the POST of a delivery to `neighbours.post`.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import SesError, unsupported
from tenantry.emulator.events import notice as unsigned_notice
from tenantry.emulator.events import stamp
from tenantry.emulator.neighbours.messages import Attributes, attributes_fault, size_of
from tenantry.emulator.neighbours.pattern import matches
from tenantry.emulator.neighbours.place import json_object, refused
from tenantry.emulator.neighbours.queue import Entry
from tenantry.emulator.neighbours.sns_delivery import Delivery
from tenantry.emulator.neighbours.sns_letters import dead_letters_of, headers_of
from tenantry.emulator.neighbours.sns_subscriptions import Subscriptions
from tenantry.emulator.neighbours.sns_topics import SIZE_MAX, Subscription, Topic

BATCH_MAX = 10
_SUBJECT = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(slots=True)
class Publication:
    """One message on its way to all subscribers of a topic; its text is made when somebody reads it."""

    id: str
    at: float
    render: Callable[[], str]
    subject: str | None = None
    attributes: Attributes | None = None
    by_protocol: Mapping[str, str] | None = None  # of MessageStructure json

    def text_for(self, protocol: str) -> str:
        """Return the message as subscribers of a protocol get it."""
        if self.by_protocol is None:
            return self.render()
        return self.by_protocol.get(protocol, self.by_protocol["default"])


class Sns(Subscriptions):
    """The notification service of one place."""

    def publish(self, params: Params, call: Call) -> Result:
        if "PhoneNumber" in params:
            raise unsupported("SNS messages to phone numbers")
        arn = params.get("TopicArn") or params.get("TargetArn")
        if not arn:
            raise refused(
                "InvalidParameterException",
                "Invalid parameter: TopicArn or TargetArn Reason: no value for required parameter",
            )
        return {"MessageId": self._publish(self.topic(arn), params, call)}

    def publish_batch(self, params: Params, call: Call) -> Result:
        topic, rows = self.topic(params["TopicArn"]), params["PublishBatchRequestEntries"]
        ids = [row["Id"] for row in rows]
        if not rows:
            raise refused("EmptyBatchRequestException", "The batch request doesn't contain any entries.")
        if len(rows) > BATCH_MAX:
            raise refused(
                "TooManyEntriesInBatchRequestException", f"The batch request contains more than {BATCH_MAX} entries."
            )
        if len(set(ids)) < len(ids):
            raise refused(
                "BatchEntryIdsNotDistinctException", "Two or more batch entries in the request have the same Id."
            )
        if not all(map(_ENTRY_ID.fullmatch, ids)):
            raise refused(
                "InvalidBatchEntryIdException", "The Id of a batch entry in a batch request doesn't fit the form."
            )
        if sum(size_of(row["Message"], row.get("MessageAttributes", {})) for row in rows) > SIZE_MAX:
            raise refused("BatchRequestTooLongException", f"The batch is longer than {SIZE_MAX} bytes.")
        done: dict[str, list[dict[str, Any]]] = {"Successful": [], "Failed": []}
        for row in rows:
            try:
                done["Successful"].append({"Id": row["Id"], "MessageId": self._publish(topic, row, call)})
            except SesError as refusal:
                fault = {"Id": row["Id"], "Code": refusal.code, "Message": refusal.message, "SenderFault": True}
                done["Failed"].append(fault)
        return done

    def tell(self, arn: str, at: float, render: Callable[[], str], subject: str | None = None) -> bool:
        """Publish a message of another service to a topic, rendered only if somebody reads it; False if it is gone."""
        topic = self.topics.get(arn)
        if topic is None:
            return False
        notice_id, subscribers = self.place.new_uuid(), topic.subscriptions.values()
        if topic.is_signed or any(each.attributes or each.protocol != "sqs" for each in subscribers):
            self._spread(topic, Publication(notice_id, at, render, subject))
            return True
        for each in subscribers:  # the short way of the topic that exists from the start
            entry = Entry(self.place.new_uuid(), at, lambda: unsigned_notice(render(), arn, notice_id, at, subject))
            self.place.put(each.endpoint, entry)
        return True

    def settle(self, delivery: Delivery, status: int | None, reason: str, now: float) -> None:
        """Take note of what a delivery came to; one that failed for good goes to its dead-letter queue."""
        if self.outbox.settle(delivery, status, reason, now) and delivery.dead_letter_arn:
            body = delivery.body
            self.place.put(delivery.dead_letter_arn, Entry(self.place.new_uuid(), now, lambda: body))

    def _publish(self, topic: Topic, params: Params, call: Call) -> str:
        text, subject, attributes = params["Message"], params.get("Subject"), params.get("MessageAttributes") or {}
        if "MessageDeduplicationId" in params:
            raise refused(
                "InvalidParameterException", "Invalid parameter: MessageDeduplicationId Reason: this is no FIFO topic"
            )
        if not text:
            raise refused("InvalidParameterException", "Invalid parameter: Empty message")
        if subject is not None and not _SUBJECT.fullmatch(subject):
            raise refused("InvalidParameterException", "Invalid parameter: Subject")
        if fault := attributes_fault({name: _plain(each) for name, each in attributes.items()}):
            raise refused("InvalidParameterValueException", fault)
        if size_of(text, attributes) > int(topic.attributes.get("MaximumMessageSize", SIZE_MAX)):
            raise refused("InvalidParameterException", "Invalid parameter: Message too long")
        made = Publication(self.place.new_uuid(), call.now, lambda: text, subject, attributes)
        if structure := params.get("MessageStructure"):
            made.by_protocol = _by_protocol(text, structure)
        self._spread(topic, made)
        return made.id

    def _spread(self, topic: Topic, publication: Publication) -> None:
        for subscription in topic.subscriptions.values():
            if not subscription.is_confirmed or not _passes(subscription, publication):
                continue
            if subscription.protocol == "sqs":
                self._enqueue(topic, subscription, publication)
            else:
                self._post(topic, subscription, publication)

    def _enqueue(self, topic: Topic, subscription: Subscription, publication: Publication) -> None:
        if subscription.is_raw:
            entry = Entry(
                self.place.new_uuid(),
                publication.at,
                lambda: publication.text_for("sqs"),
                attributes={name: _plain(each) for name, each in (publication.attributes or {}).items()},
            )
        else:
            render = self._notice_of(topic, subscription, publication)
            entry = Entry(self.place.new_uuid(), publication.at, render)
        if not self.place.put(subscription.endpoint, entry) and (dead := dead_letters_of(subscription)):
            self.place.put(dead, entry)

    def _post(self, topic: Topic, subscription: Subscription, publication: Publication) -> None:
        headers = headers_of("Notification", publication.id, subscription)
        if subscription.is_raw:
            body = publication.text_for(subscription.protocol)
            headers["x-amz-sns-rawdelivery"] = "true"
        else:
            body = self._signed_notice(topic, subscription, publication)
        self.deliver(topic, subscription, headers, body, publication.at)

    def _notice_of(self, topic: Topic, subscription: Subscription, publication: Publication) -> Callable[[], str]:
        if topic.is_signed or publication.attributes:
            return lambda: self._signed_notice(topic, subscription, publication)
        arn, subject = topic.arn, publication.subject
        return lambda: unsigned_notice(publication.text_for("sqs"), arn, publication.id, publication.at, subject)

    def _signed_notice(self, topic: Topic, subscription: Subscription, publication: Publication) -> str:
        notice = {"Type": "Notification", "MessageId": publication.id, "TopicArn": topic.arn}
        if publication.subject is not None:
            notice["Subject"] = publication.subject
        notice |= {"Message": publication.text_for(subscription.protocol), "Timestamp": stamp(publication.at)}
        more: dict[str, object] = {
            "UnsubscribeURL": f"{topic.base}/?Action=Unsubscribe&SubscriptionArn={subscription.arn}"
        }
        if publication.attributes:
            more["MessageAttributes"] = {name: _shown(each) for name, each in publication.attributes.items()}
        return self.signed(topic, notice, **more)


def _passes(subscription: Subscription, publication: Publication) -> bool:
    if subscription.filter is None:
        return True
    if subscription.filters_body:
        body = json_object(publication.text_for(subscription.protocol))
        return body is not None and matches(subscription.filter, body)
    values = {name: _value(each) for name, each in (publication.attributes or {}).items()}
    return matches(subscription.filter, values)


def _value(attribute: Mapping[str, Any]) -> Any:
    """Return an attribute as filter policies see it: text, number or a list of such."""
    kind, text = attribute["DataType"], attribute.get("StringValue", "")
    if kind == "String.Array":
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    if kind.startswith("Number"):
        return float(text)
    return text


def _plain(attribute: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an attribute as SQS has it: its array type is a string there."""
    return {**attribute, "DataType": "String"} if attribute["DataType"] == "String.Array" else attribute


def _shown(attribute: Mapping[str, Any]) -> dict[str, str]:
    value = attribute.get("StringValue")
    return {
        "Type": attribute["DataType"],
        "Value": value if value is not None else base64.b64encode(attribute["BinaryValue"]).decode(),
    }


def _by_protocol(text: str, structure: str) -> dict[str, str]:
    if structure != "json":
        raise refused("InvalidParameterException", "Invalid parameter: MessageStructure")
    given = json_object(text)
    if given is None:
        raise refused(
            "InvalidParameterException", "Invalid parameter: Message Structure - JSON message body failed to parse"
        )
    texts = {name: value for name, value in given.items() if isinstance(value, str)}
    if "default" not in texts:
        raise refused(
            "InvalidParameterException", "Invalid parameter: Message Structure - No default entry in JSON message body"
        )
    return texts
