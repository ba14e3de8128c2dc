"""Owns what raw mail with an envelope means: the submission that comes of it, by SMTP or as a MIME upload.

Leaves the grammar of headers to `wire.mime`, who may send what to admission.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from tenantry.core.ids import KeyId
from tenantry.core.message import Refusal, RefusalCode, Submission
from tenantry.edge.mail import refusal_of, tags_refusal
from tenantry.edge.ses_message import RAW_BYTES_MAX
from tenantry.wire.mime import MimeProblem, RawMail, normalise
from tenantry.wire.mime_content import raw_content
from tenantry.wire.smtp import message_tags

_READ = frozenset({"x-ses-configuration-set", "x-ses-message-tags", "x-ses-tenant", "bcc", "return-path"})


class Envelope(NamedTuple):
    """Whose mail it is, and what goes with it: recipients None means those of the headers."""

    key_id: KeyId
    sender: str | None = None  # MAIL FROM; the null path names nobody
    recipients: Sequence[str] | None = None


class Raw(NamedTuple):
    """A submission, and the tenant that its headers claim, which must be the sender's own."""

    submission: Submission
    tenant_name: str | None


def read_raw(envelope: Envelope, data: bytes) -> Raw | Refusal:
    """Turn raw mail into a submission, or say the first thing that must change.

    Each author is bound: From, Sender, Return-Path and the envelope's sender. Who is in the envelope but not in To or Cc
    is a blind copy; who is in the headers but not in the envelope gets nothing.
    """
    mail = normalise(data, max_bytes=RAW_BYTES_MAX)
    if isinstance(mail, MimeProblem):
        return refusal_of(mail)
    for name in mail.removed:
        if name not in _READ:
            return Refusal(RefusalCode.UNSUPPORTED, f"Remove {name}: Tenantry does not take it.", name)
    tags = message_tags(mail.removed.get("x-ses-message-tags", ""))
    if tags is None:
        return Refusal(RefusalCode.INVALID_TAG, "Give each tag once.", "X-SES-MESSAGE-TAGS")
    if refused := tags_refusal(tags, "X-SES-MESSAGE-TAGS"):
        return refused
    to, cc, bcc = _sorted(mail, envelope.recipients)
    submission = Submission(
        key_id=envelope.key_id,
        sender=mail.authors[0].header(),
        authors=_authors(mail, envelope.sender),
        to=to,
        cc=cc,
        bcc=bcc,
        reply_to=(),  # it stands in the headers
        subject=mail.subject,
        content=raw_content(mail.content),
        stream=mail.removed.get("x-ses-configuration-set"),
        tags=tags,
        body_digest=sha256(data).digest(),
    )
    return Raw(submission, mail.removed.get("x-ses-tenant"))


def _authors(mail: RawMail, envelope_sender: str | None) -> tuple[str, ...]:
    authors = [mailbox.address for mailbox in mail.authors]
    authors += [mail.sender.address] if mail.sender else []
    authors += [text for text in (mail.return_path, envelope_sender) if text]
    return tuple(dict.fromkeys(authors))


def _sorted(
    mail: RawMail, recipients: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return who gets it as To, Cc and Bcc, each once."""
    if recipients is None:
        return mail.to, mail.cc, mail.bcc
    places: tuple[list[str], list[str], list[str]] = ([], [], [])
    shown_to, shown_cc = ({address.lower() for address in shown} for shown in (mail.to, mail.cc))
    for address in {address.lower(): address for address in recipients}.values():
        place = 0 if address.lower() in shown_to else 1 if address.lower() in shown_cc else 2
        places[place].append(address)
    return tuple(places[0]), tuple(places[1]), tuple(places[2])
