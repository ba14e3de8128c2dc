"""Owns the SNS notice: the envelope around a message, its parsing, and the text that SNS signs.

Leaves keys, certificates and fetching to others, and what the message says to its reader.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
SIGNED_FIELDS: Mapping[str, tuple[str, ...]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice as it arrived; `event` is the message read as a JSON object, None for plain text (SES sends a test)."""

    kind: str
    message_id: str
    topic_arn: str
    message: str
    timestamp: str
    subject: str | None
    event: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Malformed:
    """A body that is no SNS notice, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the sender of a Notification knows; signature fields are given by whoever signs."""

    topic_arn: str
    message_id: str
    timestamp: str
    subject: str | None = None
    signature: str = ""
    signing_cert_url: str = ""
    unsubscribe_url: str = ""


def build(message: str, envelope: Envelope) -> str:
    """Return the JSON text of a Notification around a message, in SNS's order of members."""
    notice = {"Type": "Notification", "MessageId": envelope.message_id, "TopicArn": envelope.topic_arn}
    if envelope.subject is not None:
        notice["Subject"] = envelope.subject
    notice |= {
        "Message": message,
        "Timestamp": envelope.timestamp,
        "SignatureVersion": "1",
        "Signature": envelope.signature,
        "SigningCertURL": envelope.signing_cert_url,
        "UnsubscribeURL": envelope.unsubscribe_url,
    }
    return json.dumps(notice)


def parse(body: str | bytes) -> Notice | Malformed:
    """Read a notice from the body of an SQS message or a web hook; a message that is plain text is no error."""
    try:
        raw = _read(body)
        if not isinstance(raw, dict):
            return Malformed("the body is not a JSON object")
        kind = raw.get("Type")
        if not isinstance(kind, str) or kind not in SIGNED_FIELDS:
            return Malformed("Type is not one of SNS's")
        message_id, topic_arn, message, timestamp = map(raw.get, ("MessageId", "TopicArn", "Message", "Timestamp"))
        if not (
            isinstance(message_id, str)
            and isinstance(topic_arn, str)
            and isinstance(message, str)
            and isinstance(timestamp, str)
        ):
            return Malformed("MessageId, TopicArn, Message or Timestamp is missing")
        subject = raw.get("Subject")
        event = _object(message)
    except _NotTextError:
        return Malformed("a text holds half a surrogate pair, which is no Unicode")
    except (ValueError, RecursionError):
        return Malformed("the body is not JSON")
    return Notice(kind, message_id, topic_arn, message, timestamp, subject if isinstance(subject, str) else None, event)


def build_signed(
    notice: Mapping[str, str], sign: Callable[[bytes], str], *, version: str, cert_url: str, **more: object
) -> str:
    """Return the JSON text of a notice of any type with its signature; `more` stands last, unsigned (UnsubscribeURL)."""
    signature = {"SignatureVersion": version, "Signature": sign(signed_text(notice)), "SigningCertURL": cert_url}
    return json.dumps({**notice, **signature, **more})


def signed_text(notice: Mapping[str, str]) -> bytes:
    """Return the exact bytes SNS signs for this notice (SNS guide: verifying the signatures of messages)."""
    names = (name for name in SIGNED_FIELDS[notice["Type"]] if name in notice)
    return "".join(f"{name}\n{notice[name]}\n" for name in names).encode()


class _NotTextError(Exception):
    """A JSON value that holds half a surrogate pair."""


def _object(message: str) -> Mapping[str, Any] | None:
    if not message.startswith("{"):
        return None
    try:
        value = _read(message)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _read(text: str | bytes) -> Any:
    """Read JSON, whole texts only; the quick reader's no is asked again of the one that knows no limits of its own."""
    try:
        return from_json(text)
    except (ValueError, TypeError):  # the latter for half a surrogate pair as it is
        value = json.loads(text)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _NotTextError from None
    return value
