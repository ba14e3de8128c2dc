"""Owns the reading of one SES report (event publishing, or legacy identity feedback) into a plain value.

Leaves to others: whose message it is, what it means for a recipient, and the envelope it came in.
What grows over time (event types, subtypes, fields) is kept as SES says it; what is broken is an EventError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import chain

IDENTIFIER_CHARS_MAX = 1_024
FREE_TEXT_CHARS_MAX = 2_048

# The name of an event's detail object where it is not the event type with a small first letter.
_DETAIL_NAMES = {"Rendering Failure": "failure", "RenderingFailure": "failure"}
_RECIPIENT_LISTS = {
    "Bounce": "bouncedRecipients",
    "Complaint": "complainedRecipients",
    "Delivery": "recipients",
    "DeliveryDelay": "delayedRecipients",
}
_UNFIT = re.compile("[\x00\ud800-\udfff]")


class EventError(ValueError):
    """A report that cannot be read; it belongs raw in quarantine."""


# Neither is frozen, since making a frozen one takes three times as long, and each event makes both.
@dataclass(slots=True)
class RecipientReport:
    """What a report says of one recipient; parts that SES left out are None."""

    address: str
    status: str | None = None
    action: str | None = None
    diagnostic: str | None = None


@dataclass(slots=True)
class SesEvent:
    """One report from SES.

    `kind`, `bounce_type` and all subtypes are SES's own words, known or not. `digest` is the same for every copy of a
    report, whatever channel or transport id it comes by: SHA-256 over message id, kind, recipients in lower case,
    and feedback id or else time.
    """

    kind: str
    message_id: str
    at: datetime
    tags: Mapping[str, tuple[str, ...]]
    recipients: tuple[RecipientReport, ...]
    digest: bytes
    bounce_type: str | None = None
    bounce_subtype: str | None = None
    feedback_id: str | None = None
    complaint_subtype: str | None = None
    complaint_feedback_type: str | None = None
    smtp_response: str | None = None
    reporting_mta: str | None = None


def parse_event(document: object) -> SesEvent:
    """Read a report from its decoded JSON, or raise EventError and nothing else.

    Where the event type has no list of recipients of its own (Send, Reject, Open and any unknown type), the
    recipients are those of the mail. Text that receivers write (diagnostics, answers) is cleaned instead of refused,
    since they must not be able to make a bounce unreadable.
    """
    root = _mapping(document, "event")
    kind = _identifier(root.get("eventType", root.get("notificationType")), "eventType")
    mail = _mapping(root.get("mail"), "mail")
    message_id = _identifier(mail.get("messageId"), "mail.messageId")
    detail_name = _DETAIL_NAMES.get(kind, kind[0].lower() + kind[1:])
    detail = _detail(root, kind, detail_name)
    at = _time(detail.get("timestamp", mail.get("timestamp")), "timestamp")
    recipients = _recipients(kind, detail, mail, detail_name)
    tags = _tags(mail.get("tags"))
    if not detail:
        return SesEvent(kind, message_id, at, tags, recipients, _digest(message_id, kind, recipients, at.isoformat()))
    feedback_id = _optional(detail, "feedbackId")
    return SesEvent(
        kind=kind,
        message_id=message_id,
        at=at,
        tags=tags,
        recipients=recipients,
        digest=_digest(message_id, kind, recipients, feedback_id or at.isoformat()),
        bounce_type=_optional(detail, "bounceType"),
        bounce_subtype=_optional(detail, "bounceSubType"),
        feedback_id=feedback_id,
        complaint_subtype=_optional(detail, "complaintSubType"),
        complaint_feedback_type=_optional(detail, "complaintFeedbackType"),
        smtp_response=_free_text(detail, "smtpResponse"),
        reporting_mta=_free_text(detail, "reportingMTA"),
    )


def _detail(root: Mapping[str, object], kind: str, name: str) -> Mapping[str, object]:
    """Return the object that tells more; only the types whose recipients stand in it must have it."""
    detail = root.get(name)
    if kind in _RECIPIENT_LISTS:
        return _mapping(detail, name)
    return detail if isinstance(detail, dict) else {}


def _recipients(
    kind: str, detail: Mapping[str, object], mail: Mapping[str, object], detail_name: str
) -> tuple[RecipientReport, ...]:
    name = _RECIPIENT_LISTS.get(kind)
    if name is None:
        where, found = "mail.destination", mail.get("destination", [])
    else:
        where, found = f"{detail_name}.{name}", detail.get(name)
    if not isinstance(found, list) or (name and not found):
        raise EventError(f"{where} is not a list of recipients.")
    return tuple(_recipient(entry, where) for entry in found)


def _recipient(entry: object, where: str) -> RecipientReport:
    if isinstance(entry, str):
        return RecipientReport(_address(entry, where))
    fields = _mapping(entry, where)
    return RecipientReport(
        address=_address(fields.get("emailAddress"), f"{where}.emailAddress"),
        status=_free_text(fields, "status"),
        action=_free_text(fields, "action"),
        diagnostic=_free_text(fields, "diagnosticCode"),
    )


def _address(value: object, where: str) -> str:
    """Return the address alone: SES repeats a recipient as it was given, display name and brackets included."""
    text = _identifier(value, where).strip()
    if text.endswith(">"):
        text = text[text.rfind("<") + 1 : -1].strip()
    if not text:
        raise EventError(f"{where} holds no address.")
    return text


def _tags(value: object) -> dict[str, tuple[str, ...]]:
    if value is None:
        return {}
    found: dict[str, list[str]] = {}
    for name, values in _mapping(value, "mail.tags").items():
        if not isinstance(values, list):
            raise EventError("mail.tags holds a tag that is not a list of values.")
        found[name] = values
    if not _are_short(found):
        _check_tags(found)
    return {name: tuple(values) for name, values in found.items()}


def _are_short(tags: Mapping[str, list[str]]) -> bool:
    """Say at one look whether all names and values are texts that may stand: false is no answer yet."""
    try:
        together = "".join(chain(tags, *tags.values()))
    except TypeError:
        return False
    return len(together) <= IDENTIFIER_CHARS_MAX and together.isprintable() and "" not in tags


def _check_tags(tags: Mapping[str, list[str]]) -> None:
    for name, values in tags.items():
        for text in (name, *(one for one in values if one != "")):
            _identifier(text, "mail.tags")


def _digest(message_id: str, kind: str, recipients: tuple[RecipientReport, ...], last: str) -> bytes:
    parts = [message_id, kind, *sorted(recipient.address.lower() for recipient in recipients), last]
    # Each part goes with its length, so that no two lists of parts are written alike.
    return sha256("".join([f"{len(part)}:{part}," for part in parts]).encode()).digest()


def _mapping(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise EventError(f"{where} is not an object.")
    return value


def _identifier(value: object, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= IDENTIFIER_CHARS_MAX or not _is_fit(value):
        raise EventError(f"{where} is not a text of 1 to {IDENTIFIER_CHARS_MAX} whole characters.")
    return value


def _is_fit(text: str) -> bool:
    return text.isprintable() or not _UNFIT.search(text)  # what is unfit cannot be printed, and asking that is quick


def _optional(detail: Mapping[str, object], name: str) -> str | None:
    value = detail.get(name)
    return None if value is None or value == "" else _identifier(value, name)


def _free_text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    if not isinstance(value, str):
        return None
    text = value[:FREE_TEXT_CHARS_MAX]
    return text if text.isprintable() else _UNFIT.sub("\ufffd", text)


def _time(value: object, where: str) -> datetime:
    try:
        at = datetime.fromisoformat(_identifier(value, where))
        if at.tzinfo is None:
            raise EventError(f"{where} has no zone.")
        return at.astimezone(UTC)
    except EventError:
        raise
    except (ValueError, OverflowError):
        raise EventError(f"{where} is not a time like 2026-01-31T23:59:59.000Z.") from None
