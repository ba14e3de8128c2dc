"""Owns the decision to accept: the rules by which a submission becomes a message, the first "no" wins.

Leaves decoding and header grammar to the doors, suppression's and idempotency's lookups to the flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from tenantry.core.ids import MessageId, StreamId, TenantId
from tenantry.core.message import Addressee, Message, Refusal, RefusalCode, Submission
from tenantry.core.tenant import Sender, Stream, StreamClass

RECIPIENTS_MOST = 50  # SES: recipients of one message (SES quotas)
CONTENT_MOST_BYTES = 40 * 1024 * 1024  # SES v2, after base64 (SES quotas)
TAGS_MOST = 20
OUR_PREFIXES = ("tenantry-", "ses:")
KEPT = {StreamClass.TRANSACTIONAL: timedelta(hours=12), StreamClass.MARKETING: timedelta(days=3)}
"""How long mail of a class may wait before it expires."""

Suppressed = Mapping[tuple[TenantId, StreamId, str], str]


class Stamp(NamedTuple):
    """What the step gives a message that is admitted."""

    id: MessageId
    at: datetime


def bare_address(mailbox: str) -> str:
    """Return the lower-case address of a well-formed mailbox, with or without a display name."""
    return mailbox.rpartition("<")[2].rstrip("> ").strip().lower()


def stream_for(submission: Submission, sender: Sender) -> Stream | Refusal:
    """Return the stream that the submission names, else the one of its author's identity, else the tenant's default."""
    if submission.stream is None:
        stream = (_own_stream(submission, sender) if sender.own_streams else None) or sender.default_stream
        return stream or Refusal(RefusalCode.UNKNOWN_STREAM, "You have no default stream: name one.", "stream")
    if (stream := sender.streams.get(submission.stream)) is not None:
        return stream
    known = ", ".join(sorted(sender.streams)) or "none"
    return Refusal(
        RefusalCode.UNKNOWN_STREAM, f"You have no stream {submission.stream[:64]!r}; yours are: {known}.", "stream"
    )


def _own_stream(submission: Submission, sender: Sender) -> Stream | None:
    """Return the stream of the first author's identity: of its address, else of its domain."""
    address = submission.authors[0].lower() if submission.authors else ""
    return sender.own_streams.get(address) or sender.own_streams.get(address.rpartition("@")[2])


def admit(submission: Submission, sender: Sender, suppressed: Suppressed, stamp: Stamp) -> Message | Refusal:
    """Turn a submission into a message, or say which rule it fails and what to do about it."""
    stream = stream_for(submission, sender)
    if isinstance(stream, Refusal):
        return stream
    for rule in (authors_are_yours, recipients_are_few, size_is_allowed, tags_are_yours):
        if (refusal := rule(submission, sender)) is not None:
            return refusal
    addressees = _addressees(submission, sender, stream, suppressed)
    kept_out = sum([addressee.suppressed is not None for addressee in addressees]) if suppressed else 0
    return Message(
        stamp.id,
        sender.tenant.id,
        stream.id,
        stream.stream_class,
        submission,
        addressees,
        cost=len(addressees) - kept_out,
        accepted_at=stamp.at,
        expires_at=stamp.at + KEPT[stream.stream_class],
    )


def authors_are_yours(submission: Submission, sender: Sender) -> Refusal | None:
    """Each author's address, or its domain, is a verified identity of the tenant; sub-domains are identities of their own."""
    for author in submission.authors:
        address = author.lower()
        domain = address.rpartition("@")[2]
        if address in sender.verified or domain in sender.verified:
            continue
        if address in sender.unverified or domain in sender.unverified:
            return Refusal(
                RefusalCode.IDENTITY_UNVERIFIED,
                f"{domain} is not verified yet: publish its DNS records and wait until SES has seen them.",
                "from",
            )
        return Refusal(
            RefusalCode.AUTHOR_NOT_YOURS,
            f"You may not send as {address[:320]}: send from an identity of yours, or have {domain[:255]} added.",
            "from",
        )
    if not submission.authors:
        return Refusal(RefusalCode.INVALID_ADDRESS, "A message needs an author: give from.", "from")
    return None


def recipients_are_few(submission: Submission, _sender: Sender) -> Refusal | None:
    """One message has 1 to 50 recipients."""
    count = len(submission.to) + len(submission.cc) + len(submission.bcc)
    if count == 0:
        return Refusal(RefusalCode.NO_RECIPIENTS, "A message needs a recipient: give to, cc or bcc.", "to")
    if count > RECIPIENTS_MOST:
        message = f"{count} recipients are more than the {RECIPIENTS_MOST} that SES takes: send several messages."
        return Refusal(RefusalCode.TOO_MANY_RECIPIENTS, message, "to")
    return None


def size_is_allowed(submission: Submission, _sender: Sender) -> Refusal | None:
    """The content is what SES takes at most."""
    if len(submission.content) > CONTENT_MOST_BYTES:
        message = f"The message has {len(submission.content):,} bytes; SES takes {CONTENT_MOST_BYTES:,} at most."
        return Refusal(RefusalCode.TOO_LARGE, message, "content")
    return None


def tags_are_yours(submission: Submission, _sender: Sender) -> Refusal | None:
    """Tags are few and none bears a prefix that attributes events."""
    if not submission.tags:
        return None
    if len(submission.tags) > TAGS_MOST:
        message = f"{len(submission.tags)} tags are more than the {TAGS_MOST} allowed."
        return Refusal(RefusalCode.INVALID_TAG, message, "tags")
    for name in submission.tags:
        if name.lower().startswith(OUR_PREFIXES):
            message = f"The tag {name[:64]!r} bears a reserved prefix: choose another name."
            return Refusal(RefusalCode.INVALID_TAG, message, "tags")
    return None


def _addressees(
    submission: Submission, sender: Sender, stream: Stream, suppressed: Suppressed
) -> tuple[Addressee, ...]:
    addressees = []
    for kind, mailboxes in (("to", submission.to), ("cc", submission.cc), ("bcc", submission.bcc)):
        for mailbox in mailboxes:
            address = bare_address(mailbox)
            cause = suppressed.get((sender.tenant.id, stream.id, address)) if suppressed else None
            addressees.append(Addressee(kind, mailbox, address, cause))
    return tuple(addressees)
