"""Owns the SNS operations on topics: create, list, attributes, tags, delete; and what a topic and a subscription are.

Leaves subscribing to `neighbours.sns_subscriptions` and publishing to `neighbours.sns`. FIFO topics are refused.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import unsupported
from tenantry.emulator.neighbours.place import TAGS_MAX, Place, json_object, page_of, refused
from tenantry.emulator.neighbours.signing import Signer
from tenantry.emulator.neighbours.sns_delivery import RetryPolicy, retry_policy

PAGE = 100
TOPICS_MAX = 100_000
SIZE_MAX = 262_144
_NAME = re.compile(r"[A-Za-z0-9_-]{1,256}")
_KNOWN = frozenset(
    {
        "DisplayName",
        "Policy",
        "DeliveryPolicy",
        "KmsMasterKeyId",
        "SignatureVersion",
        "TracingConfig",
        "MaximumMessageSize",
    }
)
_FEEDBACK = re.compile(
    r"(HTTP|SQS|Lambda|Firehose|Application)(SuccessFeedbackRoleArn|SuccessFeedbackSampleRate|FailureFeedbackRoleArn)"
)


@dataclass(slots=True)
class Subscription:
    """One endpoint that hears of a topic, once it has confirmed."""

    arn: str
    topic_arn: str
    protocol: str
    endpoint: str
    owner: str
    token: str
    is_confirmed: bool
    attributes: dict[str, str] = field(default_factory=dict)
    filter: dict[str, Any] | None = None
    filters_body: bool = False
    is_raw: bool = False
    retries: RetryPolicy | None = None
    needs_key_to_leave: bool = False


@dataclass(slots=True)
class Topic:
    """A topic; `base` is the address under which its certificate and links are reached, `is_signed` if notices are."""

    arn: str
    base: str
    attributes: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    is_signed: bool = True
    deleted: int = 0

    @property
    def version(self) -> str:
        """The version of the signatures: 1 (SHA-1) or 2 (SHA-256)."""
        return self.attributes.get("SignatureVersion", "1")


class Topics:
    """The topics of one place."""

    def __init__(self, place: Place, signer: Signer) -> None:
        self.place = place
        self.signer = signer
        self.topics: dict[str, Topic] = {}

    def create_topic(self, params: Params, call: Call) -> Result:
        name, attributes = params["Name"], params.get("Attributes", {})
        if name.endswith(".fifo") or "FifoTopic" in attributes:
            raise unsupported("FIFO topics; only standard ones are here")
        if not _NAME.fullmatch(name):
            raise refused("InvalidParameterException", "Invalid parameter: Topic Name")
        arn, tags = self.place.arn("sns", name), {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}
        if found := self.topics.get(arn):
            if any(found.attributes.get(key) != value for key, value in attributes.items()):
                message = "Invalid parameter: Attributes Reason: Topic already exists with different attributes"
                raise refused("InvalidParameterException", message)
            if any(found.tags.get(key) != value for key, value in tags.items()):
                raise refused(
                    "InvalidParameterException",
                    "Invalid parameter: Tags Reason: Topic already exists with different tags",
                )
            return {"TopicArn": arn}
        if len(self.topics) >= TOPICS_MAX:
            raise refused("TopicLimitExceededException", f"There are {TOPICS_MAX} topics already.")
        for key, value in attributes.items():
            _check_attribute(key, value)
        _check_tags(tags)
        self.topics[arn] = Topic(arn, call.endpoint, dict(attributes), tags)
        return {"TopicArn": arn}

    def delete_topic(self, params: Params, call: Call) -> Result:
        self.topics.pop(params["TopicArn"], None)
        return None

    def list_topics(self, params: Params, call: Call) -> Result:
        shown, token = self._page(list(self.topics), params)
        return {"Topics": [{"TopicArn": arn} for arn in shown], "NextToken": token}

    def get_topic_attributes(self, params: Params, call: Call) -> Result:
        topic = self.topic(params["TopicArn"])
        confirmed = sum(each.is_confirmed for each in topic.subscriptions.values())
        return {
            "Attributes": {
                "TopicArn": topic.arn,
                "Owner": self.place.account_id,
                "DisplayName": "",
                "Policy": self._default_policy(topic.arn),
                "EffectiveDeliveryPolicy": json.dumps({"http": {"defaultHealthyRetryPolicy": _retries(topic)}}),
                "SubscriptionsConfirmed": str(confirmed),
                "SubscriptionsPending": str(len(topic.subscriptions) - confirmed),
                "SubscriptionsDeleted": str(topic.deleted),
                **topic.attributes,
            }
        }

    def set_topic_attributes(self, params: Params, call: Call) -> Result:
        topic, name, value = self.topic(params["TopicArn"]), params["AttributeName"], params.get("AttributeValue", "")
        _check_attribute(name, value)
        if value:
            topic.attributes[name] = value
        else:
            topic.attributes.pop(name, None)
        if name == "SignatureVersion":
            topic.is_signed, topic.base = True, call.endpoint
        return None

    def tag_resource(self, params: Params, call: Call) -> Result:
        topic = self._tagged(params)
        tags = {**topic.tags, **{tag["Key"]: tag["Value"] for tag in params["Tags"]}}
        _check_tags(tags)
        topic.tags = tags
        return None

    def untag_resource(self, params: Params, call: Call) -> Result:
        topic = self._tagged(params)
        for key in params["TagKeys"]:
            topic.tags.pop(key, None)
        return None

    def list_tags_for_resource(self, params: Params, call: Call) -> Result:
        return {"Tags": [{"Key": key, "Value": value} for key, value in self._tagged(params).tags.items()]}

    def topic(self, arn: str) -> Topic:
        """Return the topic or raise NotFound."""
        if found := self.topics.get(arn):
            return found
        if len(arn.split(":")) != 6 or not arn.startswith("arn:aws:sns:"):
            raise refused(
                "InvalidParameterException", "Invalid parameter: TopicArn Reason: An ARN must have at least 6 elements"
            )
        raise refused("NotFoundException", "Topic does not exist", 404)

    def _tagged(self, params: Params) -> Topic:
        if found := self.topics.get(params["ResourceArn"]):
            return found
        raise refused("ResourceNotFoundException", "Resource does not exist", 404)

    def _page(self, names: list[str], params: Params) -> tuple[list[str], str | None]:
        page = page_of(names, params.get("NextToken") or None, PAGE)
        if page is None:
            raise refused("InvalidParameterException", "Invalid parameter: NextToken")
        return page

    def _default_policy(self, arn: str) -> str:
        actions = ("GetTopicAttributes", "SetTopicAttributes", "DeleteTopic", "Subscribe", "Publish")
        statement = {
            "Sid": "__default_statement_ID",
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": [f"SNS:{each}" for each in actions],
            "Resource": arn,
            "Condition": {"StringEquals": {"AWS:SourceOwner": self.place.account_id}},
        }
        return json.dumps({"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]})


def _retries(topic: Topic) -> dict[str, object]:
    policy = retry_policy(topic.attributes.get("DeliveryPolicy")) or RetryPolicy()
    return {
        "numRetries": policy.retries,
        "minDelayTarget": policy.delay_min_seconds,
        "maxDelayTarget": policy.delay_max_seconds,
        "backoffFunction": "linear",
    }


def _check_attribute(name: str, value: str) -> None:
    is_bad = False
    match name:
        case "SignatureVersion":
            is_bad = value not in ("1", "2")
        case "DisplayName":
            is_bad = len(value) > 100
        case "Policy":
            is_bad = bool(value) and json_object(value) is None
        case "DeliveryPolicy":
            is_bad = bool(value) and retry_policy(value) is None
        case "TracingConfig":
            is_bad = value not in ("PassThrough", "Active")
        case "MaximumMessageSize":
            is_bad = not (value.isdigit() and 1_024 <= int(value) <= 1_048_576)
        case _:
            if name not in _KNOWN and not _FEEDBACK.fullmatch(name):
                raise refused("InvalidParameterException", "Invalid parameter: AttributeName")
    if is_bad:
        raise refused("InvalidParameterException", f"Invalid parameter: {name}")


def _check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > TAGS_MAX:
        raise refused("TagLimitExceededException", "Could not complete request: tag quota of per resource exceeded")
