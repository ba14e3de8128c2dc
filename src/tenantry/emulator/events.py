"""Owns the JSON of SES's event publishing and of the SNS notices around it.

Leaves which events happen and when to `operations_sending`. Shapes follow the SES developer guide ("Examples of event
data that Amazon SES publishes to Amazon SNS"): where its examples lack a field, it is absent here too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from tenantry.emulator.links import Link
from tenantry.emulator.mail import HEADERS_MAX_BYTES, Mail
from tenantry.emulator.recipients import Fate
from tenantry.wire.sns import Envelope, build

SUBJECT = "Amazon SES Email Event Notification"
TEST_MESSAGE = "Successfully validated SNS topic for Amazon SES event publishing."
NOT_SIGNED = "TG9jYWwgU0VTIGRvZXMgbm90IHNpZ24u"  # base64 of "Local SES does not sign."
MTA = "a8-77.smtp-out.amazonses.com"
EXPIRES_SECONDS = 50_400.0  # how long SES tries, unless the configuration set says less
OPENED_FROM = "192.0.2.2"
READER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/60.0.3112.90 Safari/537.36"
FEEDBACK_AGENT = "Amazon SES Mailbox Simulator"

# bounceType and bounceSubType -> the enhanced status (RFC 3463) and what the server, or SES, says.
_BOUNCES = {
    ("Permanent", "General"): ("5.1.1", "smtp; 550 5.1.1 user unknown"),
    ("Permanent", "NoEmail"): ("5.1.1", "smtp; 550 5.1.1 no such mailbox"),
    ("Permanent", "Suppressed"): (
        "5.1.1",
        "Amazon SES has suppressed sending to this address because it has a recent history of bouncing"
        " as an invalid address.",
    ),
    ("Permanent", "OnAccountSuppressionList"): (
        "5.1.1",
        "Amazon SES did not send the message to this address because it is on the suppression list for your account.",
    ),
    ("Permanent", "OnTenantSuppressionList"): (
        "5.1.1",
        "Amazon SES did not send the message to this address because it is on the suppression list of the tenant.",
    ),
    ("Permanent", "EmailValidationSuppressed"): (
        "5.1.1",
        "Amazon SES did not send the message to this address because its validation found it likely to be invalid.",
    ),
    ("Permanent", "UnsubscribedRecipient"): (
        "5.7.1",
        "Amazon SES did not send the message to this address because the contact has unsubscribed.",
    ),
    ("Transient", "General"): ("4.4.7", "smtp; 450 4.4.7 Message expired"),
    ("Transient", "MailboxFull"): ("4.2.2", "smtp; 452 4.2.2 mailbox full"),
    ("Transient", "MessageTooLarge"): ("5.3.4", "smtp; 552 5.3.4 message too large"),
    ("Transient", "ContentRejected"): ("5.6.0", "smtp; 554 5.6.0 content rejected"),
    ("Transient", "AttachmentRejected"): ("5.6.1", "smtp; 554 5.6.1 attachment rejected"),
    ("Transient", "CustomTimeoutExceeded"): ("4.4.7", "smtp; 450 4.4.7 Message expired before its configured time"),
    ("Undetermined", "Undetermined"): ("5.0.0", "smtp; 550 5.0.0 undetermined"),
}


def stamp(moment: float) -> str:
    """Return a time as SES and SNS print it: UTC, milliseconds, Z."""
    second, part = divmod(round(moment * 1_000_000) // 1_000, 1_000)
    return f"{_second(second)}.{part:03}Z"


@lru_cache(maxsize=1_024)  # events of the same second are many
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]


@dataclass(slots=True, eq=False)
class Sent:
    """What the events of one accepted message share; it lives as long as they are unread."""

    message_id: str
    sent_at: float
    mail: Mail
    identity_arn: str
    account_id: str
    configuration_set: str | None
    tenant: str | None
    tags: Mapping[str, str]
    auto_tags: Mapping[str, str]
    outgoing_ip: str
    _head: str = ""
    _own_tags: str = ""

    def _plain_head(self) -> str:
        head = {
            "timestamp": stamp(self.sent_at),
            "source": self.mail.source,
            "sourceArn": self.identity_arn,
            "sendingAccountId": self.account_id,
            "messageId": self.message_id,
            "destination": self.mail.recipients,
        }
        return _text(head)[:-1]

    def _full_head(self) -> str:
        headers, truncated = _fitting(self.mail.headers)
        common: dict[str, Any] = {"from": [self.mail.source]}
        addresses = {"replyTo": self.mail.reply_to, "to": self.mail.to, "cc": self.mail.cc}
        common |= {name: values for name, values in addresses.items() if values}
        common["messageId"] = self.message_id
        if self.mail.subject is not None:
            common["subject"] = self.mail.subject
        rest = {"headersTruncated": truncated, "headers": headers, "commonHeaders": common}
        return f"{self._plain_head()}, {_text(rest)[1:-1]}"

    def mail_object(self, **more_tags: str) -> str:
        """Return the JSON text of `mail` with all its tags (each an array)."""
        if not self._head:  # the same for each event of the message
            self._head = f'{self._full_head()}, "tags": {{{_tags_text(self.auto_tags)}'
            self._own_tags = _tags_text(self.tags)
        texts = (self._head, _tags_text(more_tags), self._own_tags)
        return f"{', '.join(filter(None, texts))}}}}}"

    def plain_mail_object(self) -> str:
        """Return `mail` as DeliveryDelay has it: no headers, and the configuration set as the only tag."""
        tags = {"ses:configuration-set": [self.configuration_set]}
        return f'{self._plain_head()}, "headersTruncated": false, "tags": {_text(tags)}}}'

    @property
    def tenant_tag(self) -> dict[str, str]:
        """SES documents the tenant's tag on bounces and complaints only."""
        return {"ses:tenant-name": self.tenant} if self.tenant else {}


def _text(value: object) -> str:
    try:
        return to_json(value).decode()
    except PydanticSerializationError:  # half a surrogate pair, which can only stand escaped
        return json.dumps(value)


def _tags_text(tags: Mapping[str, str]) -> str:
    return ",".join([f"{_text(name)}:[{_text(value)}]" for name, value in tags.items()])


def _fitting(headers: Sequence[tuple[str, str]]) -> tuple[list[dict[str, str]], bool]:
    shown: list[dict[str, str]] = []
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
        if size > HEADERS_MAX_BYTES:
            return shown, True
        shown.append({"name": name, "value": value})
    return shown, False


def send_event(sent: Sent) -> str:
    """Return the event of an accepted message."""
    return f'{{"eventType": "Send", "mail": {sent.mail_object()}, "send": {{}}}}'


def reject_event(sent: Sent) -> str:
    """Return the event of a message with a virus."""
    return f'{{"eventType": "Reject", "mail": {sent.mail_object()}, "reject": {{"reason": "Bad content"}}}}'


def delivery_event(sent: Sent, recipients: Sequence[str], at: float) -> str:
    """Return the event of recipients whose servers took the message."""
    detail = {
        "timestamp": stamp(at),
        "processingTimeMillis": max(1, round((at - sent.sent_at) * 1000)),
        "recipients": recipients,
        "smtpResponse": "250 2.6.0 Message received",
        "reportingMTA": MTA,
    }
    mail = sent.mail_object(**{"ses:outgoing-ip": sent.outgoing_ip})
    return f'{{"eventType": "Delivery", "mail": {mail}, "delivery": {_text(detail)}}}'


def bounce_event(sent: Sent, recipients: Sequence[str], fate: Fate, at: float, feedback_id: str) -> str:
    """Return the event of recipients whose mail bounced for one reason."""
    status, code = _BOUNCES[fate.bounce_type, fate.sub_type]
    detail = {
        "feedbackId": feedback_id,
        "bounceType": fate.bounce_type,
        "bounceSubType": fate.sub_type,
        "bouncedRecipients": [
            {"emailAddress": each, "action": "failed", "status": status, "diagnosticCode": code} for each in recipients
        ],
        "timestamp": stamp(at),
        "reportingMTA": f"dsn; {MTA}",
    }
    return f'{{"eventType": "Bounce", "bounce": {_text(detail)}, "mail": {sent.mail_object(**sent.tenant_tag)}}}'


def out_of_office_event(sent: Sent, recipients: Sequence[str], at: float, feedback_id: str) -> str:
    """Return the event of an automatic reply, which SES tells as a soft bounce after the delivery."""
    detail = {
        "feedbackId": feedback_id,
        "bounceType": "Transient",
        "bounceSubType": "General",
        "bouncedRecipients": [{"emailAddress": each} for each in recipients],
        "timestamp": stamp(at),
    }
    return f'{{"eventType": "Bounce", "bounce": {_text(detail)}, "mail": {sent.mail_object(**sent.tenant_tag)}}}'


def open_event(sent: Sent, at: float) -> str:
    """Return the event of a recipient who opened the message."""
    detail = {"ipAddress": OPENED_FROM, "timestamp": stamp(at), "userAgent": READER}
    return f'{{"eventType": "Open", "mail": {sent.mail_object()}, "open": {_text(detail)}}}'


def click_event(sent: Sent, at: float, link: Link) -> str:
    """Return the event of a recipient who followed a link."""
    detail = {
        "ipAddress": OPENED_FROM,
        "timestamp": stamp(at),
        "userAgent": READER,
        "link": link.url,
        "linkTags": link.tags,
    }
    return f'{{"eventType": "Click", "click": {_text(detail)}, "mail": {sent.mail_object()}}}'


def complaint_event(sent: Sent, recipients: Sequence[str], at: float, feedback_id: str) -> str:
    """Return the event of recipients who called the message abuse."""
    detail = {
        "feedbackId": feedback_id,
        "complainedRecipients": [{"emailAddress": each} for each in recipients],
        "timestamp": stamp(at),
        "userAgent": FEEDBACK_AGENT,
        "complaintFeedbackType": "abuse",
        "arrivalDate": stamp(at),
    }
    mail = sent.mail_object(**sent.tenant_tag)
    return f'{{"eventType": "Complaint", "complaint": {_text(detail)}, "mail": {mail}}}'


def delay_event(sent: Sent, recipients: Sequence[str], at: float, expires_at: float) -> str:
    """Return the event of recipients whose server cannot be reached for now; SES gives up at `expires_at`."""
    detail = {
        "timestamp": stamp(at),
        "delayType": "TransientCommunicationFailure",
        "expirationTime": stamp(expires_at),
        "delayedRecipients": [
            {
                "emailAddress": each,
                "status": "4.4.1",
                "diagnosticCode": "smtp; 421 4.4.1 Unable to connect to remote host",
            }
            for each in recipients
        ],
    }
    return f'{{"eventType": "DeliveryDelay", "mail": {sent.plain_mail_object()}, "deliveryDelay": {_text(detail)}}}'


def failure_event(sent: Sent, template: str, reason: str) -> str:
    """Return the event of a message whose template could not be rendered."""
    detail = {"errorMessage": reason, "templateName": template}
    return f'{{"eventType": "Rendering Failure", "mail": {sent.plain_mail_object()}, "failure": {_text(detail)}}}'


def subscription_event(
    sent: Sent, contact_list: str, preferences: tuple[Mapping[str, Any], Mapping[str, Any]], at: float
) -> str:
    """Return the event of a contact who chose anew by a message's link; `preferences` are the old and the new."""
    old, new = preferences
    detail = {
        "contactList": contact_list,
        "timestamp": stamp(at),
        "source": "UnsubscribeHeader",
        "newTopicPreferences": new,
        "oldTopicPreferences": old,
    }
    return f'{{"eventType": "Subscription", "mail": {sent.mail_object()}, "subscription": {_text(detail)}}}'


def notice(message: str, topic_arn: str, message_id: str, at: float, subject: str | None = SUBJECT) -> str:
    """Return an SNS Notification as it stands in the body of an SQS message."""
    start, before_message, before_time, rest = _frame(topic_arn, subject)
    return f'{start}"{message_id}"{before_message}{json.dumps(message)}{before_time}"{stamp(at)}"{rest}'


@cache
def _frame(topic_arn: str, subject: str | None) -> list[str]:
    """Return the text around the id, message and time of a topic's notices."""
    region = topic_arn.split(":")[3]
    host = f"https://sns.{region}.amazonaws.com"
    gap = "\0"
    envelope = Envelope(
        topic_arn=topic_arn,
        message_id=gap,
        timestamp=gap,
        subject=subject,
        signature=NOT_SIGNED,
        signing_cert_url=f"{host}/SimpleNotificationService-local.pem",
        unsubscribe_url=f"{host}/?Action=Unsubscribe&SubscriptionArn={topic_arn}:local",
    )
    return build(gap, envelope).split(json.dumps(gap))
