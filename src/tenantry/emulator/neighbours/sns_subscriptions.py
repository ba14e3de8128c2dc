"""Owns the SNS operations on subscriptions: subscribe, confirm, attributes, filter policies, unsubscribe.

Leaves what is sent to a subscriber to `neighbours.sns`. Protocols: http, https and sqs; the others are refused.
"""

from typing import Any
from urllib.parse import urlsplit

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import unsupported
from tenantry.emulator.neighbours.pattern import pattern_fault
from tenantry.emulator.neighbours.place import json_object, refused
from tenantry.emulator.neighbours.sns_delivery import retry_policy
from tenantry.emulator.neighbours.sns_letters import Letters
from tenantry.emulator.neighbours.sns_topics import Subscription, Topic

FILTER_KEYS_MAX = 5
PENDING = "PendingConfirmation"
_KNOWN = frozenset({"RawMessageDelivery", "FilterPolicy", "FilterPolicyScope", "DeliveryPolicy", "RedrivePolicy"})
_ELSEWHERE = frozenset({"email", "email-json", "sms", "application", "lambda", "firehose"})


class Subscriptions(Letters):
    """The subscriptions of one place's topics."""

    def subscribe(self, params: Params, call: Call) -> Result:
        topic, protocol, endpoint = self.topic(params["TopicArn"]), params["Protocol"], params.get("Endpoint", "")
        self._check_endpoint(protocol, endpoint)
        attributes = params.get("Attributes", {})
        wants_arn = params.get("ReturnSubscriptionArn", False)
        for found in topic.subscriptions.values():
            if (found.protocol, found.endpoint) == (protocol, endpoint):
                if any(found.attributes.get(name) != value for name, value in attributes.items()):
                    message = (
                        "Invalid parameter: Attributes Reason: Subscription already exists with different attributes"
                    )
                    raise refused("InvalidParameterException", message)
                if not found.is_confirmed:
                    self.ask_to_confirm(topic, found, call.now)
                return {"SubscriptionArn": found.arn if found.is_confirmed or wants_arn else "pending confirmation"}
        made = Subscription(
            arn=f"{topic.arn}:{self.place.new_uuid()}",
            topic_arn=topic.arn,
            protocol=protocol,
            endpoint=endpoint,
            owner=self.place.account_id,
            token=self.place.new_hex(128),
            is_confirmed=protocol == "sqs",
        )
        for name, value in attributes.items():
            self._set(made, name, value)
        topic.subscriptions[made.arn] = made
        if not made.is_confirmed:
            topic.base = call.endpoint
            self.ask_to_confirm(topic, made, call.now)
        return {"SubscriptionArn": made.arn if made.is_confirmed or wants_arn else "pending confirmation"}

    def confirm_subscription(self, params: Params, call: Call) -> Result:
        topic = self.topic(params["TopicArn"])
        for found in topic.subscriptions.values():
            if found.token == params["Token"]:
                found.is_confirmed = True
                found.needs_key_to_leave |= params.get("AuthenticateOnUnsubscribe") == "true"
                return {"SubscriptionArn": found.arn}
        raise refused("InvalidParameterException", "Invalid parameter: Token")

    def unsubscribe(self, params: Params, call: Call) -> Result:
        topic, found = self._subscription(params["SubscriptionArn"])
        if found.needs_key_to_leave and not call.key_id:
            raise refused(
                "AuthorizationErrorException", "This subscription asks for a signed call to unsubscribe.", 403
            )
        del topic.subscriptions[found.arn]
        topic.deleted += 1
        if found.protocol != "sqs" and found.is_confirmed:
            self.say_goodbye(topic, found, call.now)
        return None

    def get_subscription_attributes(self, params: Params, call: Call) -> Result:
        _, found = self._subscription(params["SubscriptionArn"])
        return {
            "Attributes": {
                "SubscriptionArn": found.arn,
                "TopicArn": found.topic_arn,
                "Protocol": found.protocol,
                "Endpoint": found.endpoint,
                "Owner": found.owner,
                "RawMessageDelivery": "false",
                "PendingConfirmation": str(not found.is_confirmed).lower(),
                "ConfirmationWasAuthenticated": str(found.needs_key_to_leave or found.protocol == "sqs").lower(),
                **found.attributes,
            }
        }

    def set_subscription_attributes(self, params: Params, call: Call) -> Result:
        _, found = self._subscription(params["SubscriptionArn"])
        self._set(found, params["AttributeName"], params.get("AttributeValue", ""))
        return None

    def list_subscriptions(self, params: Params, call: Call) -> Result:
        return self._listed([each for topic in self.topics.values() for each in topic.subscriptions.values()], params)

    def list_subscriptions_by_topic(self, params: Params, call: Call) -> Result:
        return self._listed(list(self.topic(params["TopicArn"]).subscriptions.values()), params)

    def _listed(self, found: list[Subscription], params: Params) -> Result:
        by_arn = {each.arn: each for each in found}
        shown, token = self._page(list(by_arn), params)
        return {"Subscriptions": [_row(by_arn[arn]) for arn in shown], "NextToken": token}

    def _subscription(self, arn: str) -> tuple[Topic, Subscription]:
        topic = self.topics.get(arn.rpartition(":")[0])
        found = topic.subscriptions.get(arn) if topic else None
        if topic is None or found is None:
            raise refused("NotFoundException", "Subscription does not exist", 404)
        return topic, found

    def _check_endpoint(self, protocol: str, endpoint: str) -> None:
        if protocol in _ELSEWHERE:
            raise unsupported(f"SNS subscriptions of the protocol {protocol}; http, https and sqs are here")
        if protocol not in ("http", "https", "sqs"):
            raise refused(
                "InvalidParameterException", f"Invalid parameter: Does not support this protocol string: {protocol}"
            )
        if protocol == "sqs":
            if endpoint.endswith(".fifo"):
                raise unsupported("FIFO queues; only standard ones are here")
            if not endpoint.startswith("arn:aws:sqs:") or len(endpoint.split(":")) != 6:
                raise refused("InvalidParameterException", "Invalid parameter: SQS endpoint ARN")
        elif urlsplit(endpoint).scheme != protocol or not urlsplit(endpoint).hostname:
            raise refused("InvalidParameterException", "Invalid parameter: Endpoint must match the specified protocol")

    def _set(self, found: Subscription, name: str, value: str) -> None:
        if name not in _KNOWN:
            raise refused("InvalidParameterException", "Invalid parameter: AttributeName")
        before = dict(found.attributes)
        if value:
            found.attributes[name] = value
        else:
            found.attributes.pop(name, None)
        try:
            self._understand(found)
        except BaseException:
            found.attributes = before
            raise

    def _understand(self, found: Subscription) -> None:
        """Make of the attributes what holds for each message, or refuse them."""
        now = found.attributes
        raw, scope = now.get("RawMessageDelivery", "false"), now.get("FilterPolicyScope", "MessageAttributes")
        policy: dict[str, Any] | None = None
        if text := now.get("FilterPolicy"):
            policy = json_object(text)
            if policy is None:
                raise refused("InvalidParameterException", "Invalid parameter: FilterPolicy: failed to parse JSON")
            if policy and (fault := pattern_fault(policy)):
                raise refused("InvalidParameterException", f"Invalid parameter: FilterPolicy: {fault}")
            if scope == "MessageAttributes" and len(policy) > FILTER_KEYS_MAX:
                raise refused(
                    "FilterPolicyLimitExceededException", f"A filter policy has at most {FILTER_KEYS_MAX} keys.", 403
                )
        if raw.lower() not in ("true", "false"):
            raise refused("InvalidParameterException", "Invalid parameter: RawMessageDelivery")
        if scope not in ("MessageAttributes", "MessageBody"):
            raise refused("InvalidParameterException", "Invalid parameter: FilterPolicyScope")
        if (delivery := now.get("DeliveryPolicy")) and retry_policy(delivery) is None:
            raise refused("InvalidParameterException", "Invalid parameter: DeliveryPolicy")
        if redrive := now.get("RedrivePolicy"):
            target = (json_object(redrive) or {}).get("deadLetterTargetArn")
            if self.place.queue_at(str(target)) is None:
                raise refused(
                    "InvalidParameterException", "Invalid parameter: RedrivePolicy: deadLetterTargetArn is no queue"
                )
        found.filter, found.filters_body = policy or None, scope == "MessageBody"
        found.is_raw, found.retries = raw.lower() == "true", retry_policy(now.get("DeliveryPolicy"))


def _row(found: Subscription) -> dict[str, str]:
    return {
        "SubscriptionArn": found.arn if found.is_confirmed else PENDING,
        "Owner": found.owner,
        "Protocol": found.protocol,
        "Endpoint": found.endpoint,
        "TopicArn": found.topic_arn,
    }
