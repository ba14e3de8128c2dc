"""Owns reading one parcel of the event queue into a report, or the reason why it cannot be; leaves applying it to ingest."""

from __future__ import annotations

from collections.abc import Mapping

from tenantry.core.claim import ATTEMPT_TAG, MESSAGE_TAG
from tenantry.core.event import Fact, Report
from tenantry.core.ids import AttemptId, MessageId
from tenantry.core.standing import counts_as_bounce, counts_as_complaint, fact_of, suppresses_bounce
from tenantry.wire.ses_event import EventError, SesEvent, parse_event
from tenantry.wire.sns import Malformed, parse


class Chatter(str):
    """A parcel that is no event, and is meant not to be: SNS's confirmations, SES's test notice."""

    __slots__ = ()


def read_report(body: str) -> Report | Chatter | EventError:
    """Read a parcel: an SNS notice around one SES event. Never raises; what cannot be read is an EventError with the reason."""
    notice = parse(body)
    if isinstance(notice, Malformed):
        return EventError(notice.reason)
    if notice.event is None:
        is_broken = notice.message.startswith("{")  # it was to be an event, and is kept to be looked at
        return EventError("the message is not JSON") if is_broken else Chatter(notice.message)
    try:
        return _report(parse_event(notice.event), notice.message)
    except EventError as error:
        return error


def _report(event: SesEvent, raw: str) -> Report:
    fact = fact_of(event.kind, event.bounce_type, event.complaint_feedback_type)
    subtype = event.bounce_subtype or ""
    hard = fact is Fact.BOUNCED and counts_as_bounce(event.bounce_type or "", subtype)
    complaint = fact is Fact.COMPLAINED and counts_as_complaint(event.complaint_feedback_type, event.complaint_subtype)
    return Report(
        kind=event.kind,
        fact=fact,
        ses_id=event.message_id,
        digest=event.digest,
        at=event.at,
        recipients=tuple([_bare(recipient.address) for recipient in event.recipients]),
        tags=event.tags,
        counts=hard or complaint,
        suppresses=complaint or (fact is Fact.BOUNCED and suppresses_bounce(event.bounce_type or "", subtype)),
        detail=_detail(event),
        raw=raw,
        message_id=_message(event.tags),
        attempt_id=_attempt(event.tags),
    )


def _bare(mailbox: str) -> str:
    return mailbox.rpartition("<")[2].rstrip("> ").lower()


def _message(tags: Mapping[str, tuple[str, ...]]) -> MessageId | None:
    try:
        return MessageId(tags[MESSAGE_TAG][0])
    except (KeyError, IndexError, ValueError):
        return None


def _attempt(tags: Mapping[str, tuple[str, ...]]) -> AttemptId | None:
    try:
        return AttemptId(tags[ATTEMPT_TAG][0])
    except (KeyError, IndexError, ValueError):
        return None


def _detail(event: SesEvent) -> Mapping[str, str]:
    """Return what a person wants to read of an event, without what SES left out."""
    diagnostics = sorted({one.diagnostic for one in event.recipients if one.diagnostic})
    found = {
        "bounce_type": event.bounce_type,
        "bounce_subtype": event.bounce_subtype,
        "feedback_type": event.complaint_feedback_type,
        "smtp_response": event.smtp_response,
        "diagnostic": "; ".join(diagnostics) or None,
    }
    return {name: value for name, value in found.items() if value}
