"""Owns what leaves SNS for an endpoint: signed notices, the letters about a subscription itself, and their outbox.

Leaves whom a message goes to to `neighbours.sns`, and the POST to `neighbours.post`.
"""

from collections.abc import Mapping

from tenantry.emulator.events import stamp
from tenantry.emulator.neighbours.place import Place, json_object
from tenantry.emulator.neighbours.signing import Signer
from tenantry.emulator.neighbours.sns_delivery import Delivery, Outbox, RetryPolicy, retry_policy
from tenantry.emulator.neighbours.sns_topics import Subscription, Topic, Topics
from tenantry.wire.sns import build_signed

AGENT = "Amazon Simple Notification Service Agent"
WELCOME = (
    "You have chosen to subscribe to the topic {topic}.\n"
    "To confirm the subscription, visit the SubscribeURL included in this message."
)
GOODBYE = (
    "You have chosen to deactivate subscription {subscription}.\n"
    "To cancel this operation and restore the subscription, visit the SubscribeURL included in this message."
)


class Letters(Topics):
    """The letters of one place's topics."""

    def __init__(self, place: Place, signer: Signer) -> None:
        super().__init__(place, signer)
        self.outbox = Outbox()

    def ask_to_confirm(self, topic: Topic, subscription: Subscription, now: float) -> None:
        """Send a SubscriptionConfirmation."""
        self._send_token(topic, subscription, now, "SubscriptionConfirmation", WELCOME)

    def say_goodbye(self, topic: Topic, subscription: Subscription, now: float) -> None:
        """Send an UnsubscribeConfirmation, by whose token the endpoint may come back."""
        self._send_token(topic, subscription, now, "UnsubscribeConfirmation", GOODBYE)

    def signed(self, topic: Topic, notice: Mapping[str, str], **more: object) -> str:
        """Return the JSON text of a notice, signed as the topic wants it."""
        version = topic.version
        return build_signed(
            notice,
            lambda text: self.signer.sign(text, version),
            version=version,
            cert_url=f"{topic.base}{self.signer.path}",
            **more,
        )

    def deliver(
        self, topic: Topic, subscription: Subscription, headers: Mapping[str, str], body: str, due: float
    ) -> None:
        """Put a message for an HTTP endpoint into the outbox."""
        policy = subscription.retries or retry_policy(topic.attributes.get("DeliveryPolicy")) or RetryPolicy()
        dead = dead_letters_of(subscription)
        self.place.news.posted += 1
        self.outbox.add(Delivery(due, subscription.endpoint, headers, body, subscription.arn, policy, dead))

    def _send_token(self, topic: Topic, subscription: Subscription, now: float, kind: str, text: str) -> None:
        message_id = self.place.new_uuid()
        notice = {
            "Type": kind,
            "MessageId": message_id,
            "Token": subscription.token,
            "TopicArn": topic.arn,
            "Message": text.format(topic=topic.arn, subscription=subscription.arn),
            "SubscribeURL": f"{topic.base}/?Action=ConfirmSubscription&TopicArn={topic.arn}&Token={subscription.token}",
            "Timestamp": stamp(now),
        }
        headers = headers_of(kind, message_id, subscription)
        self.deliver(topic, subscription, headers, self.signed(topic, notice), now)


def headers_of(kind: str, message_id: str, subscription: Subscription) -> dict[str, str]:
    """Return the headers of a POST of SNS (SNS guide: HTTP/HTTPS headers)."""
    headers = {
        "x-amz-sns-message-type": kind,
        "x-amz-sns-message-id": message_id,
        "x-amz-sns-topic-arn": subscription.topic_arn,
        "content-type": "text/plain; charset=UTF-8",
        "user-agent": AGENT,
    }
    return (
        headers if kind == "SubscriptionConfirmation" else {**headers, "x-amz-sns-subscription-arn": subscription.arn}
    )


def dead_letters_of(subscription: Subscription) -> str | None:
    """Return the ARN of the queue that gets what cannot be delivered, or None."""
    text = subscription.attributes.get("RedrivePolicy")
    return str((json_object(text) or {}).get("deadLetterTargetArn")) if text else None
