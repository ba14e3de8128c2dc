"""Owns what a SendEmail call means: from its decoded parameters to a submission, or a refusal in our own words.

Leaves decoding to `wire.aws`, signatures to `wire.sigv4`, and SES's words for a refusal to `errors`.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple, NotRequired, Required

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from tenantry.core.ids import KeyId
from tenantry.core.message import Refusal, RefusalCode, Submission
from tenantry.edge.mail import mailboxes, refusal_of, tags_refusal, written
from tenantry.wire.mime import MimeProblem, RawMail, normalise
from tenantry.wire.mime_content import Attachment, Composed, raw_content, simple_content

RAW_BYTES_MAX = 30_000_000  # 40 MB after base64
SDK_RETRY_SECONDS = 900
_INVOCATION_CHARS_MAX = 128
_SUBJECT_AND_BODY = 2

# They would be dropped in silence otherwise. Sending authorization and endpoints would name another's AWS resources.
_UNSUPPORTED = (
    "FromEmailAddressIdentityArn",
    "FeedbackForwardingEmailAddressIdentityArn",
    "EndpointId",
    "ListManagementOptions",
    "ConfigurationOverrides",
)
_UNSUPPORTED_SET = frozenset(_UNSUPPORTED)


_BLOBS = ConfigDict(val_json_bytes="base64")


class _Text(TypedDict):
    Data: str
    Charset: NotRequired[str]


class _Header(TypedDict):
    Name: str
    Value: str


@with_config(_BLOBS)
class _Attachment(TypedDict):
    FileName: str
    RawContent: bytes
    ContentType: NotRequired[str]
    ContentDisposition: NotRequired[Literal["ATTACHMENT", "INLINE"]]
    ContentId: NotRequired[str]
    ContentDescription: NotRequired[str]
    ContentTransferEncoding: NotRequired[Literal["BASE64", "QUOTED_PRINTABLE", "SEVEN_BIT"]]


class _Body(TypedDict, total=False):
    Text: _Text
    Html: _Text


class _Simple(TypedDict):
    Subject: _Text
    Body: _Body
    Headers: NotRequired[list[_Header]]
    Attachments: NotRequired[list[_Attachment]]


@with_config(_BLOBS)
class _Raw(TypedDict):
    Data: bytes


class _Content(TypedDict, total=False):
    Simple: _Simple
    Raw: _Raw
    Template: Mapping[str, object]


class _Destination(TypedDict, total=False):
    ToAddresses: list[str]
    CcAddresses: list[str]
    BccAddresses: list[str]


class SendEmail(TypedDict, total=False):
    """SendEmail's parameters by their names in SES; those that have no meaning here are kept to be refused."""

    FromEmailAddress: str
    FromEmailAddressIdentityArn: str
    FeedbackForwardingEmailAddressIdentityArn: str
    EndpointId: str
    ListManagementOptions: Mapping[str, object]
    ConfigurationOverrides: Mapping[str, object]
    FeedbackForwardingEmailAddress: str
    Destination: _Destination
    ReplyToAddresses: list[str]
    Content: Required[_Content]
    EmailTags: list[_Header]
    ConfigurationSetName: str
    TenantName: str


QUICK = TypeAdapter(SendEmail)
"""Reads what SDKs really send, an order of magnitude quicker than the model's own reader.

What it does not take (a null, a wrong type, a broken text) is for the model's reader to accept or to refuse in AWS's words.
"""


class Call(NamedTuple):
    """Whose call it is, and what makes a retry of it recognisable."""

    key_id: KeyId
    body_digest: bytes  # SHA-256
    invocation_id: str | None


class Decoded(NamedTuple):
    """A submission, and the tenant names that it claims and that must be the sender's own."""

    submission: Submission
    tenant_names: tuple[str, ...] = ()


class _Mail(NamedTuple):
    """What either kind of content comes to."""

    content: bytes
    subject: str
    raw: RawMail | None = None
    removed: Mapping[str, str] = MappingProxyType({})


def decode(call: Call, given: SendEmail) -> Decoded | Refusal:
    """Turn a SendEmail call into a submission, or say the first thing that must change."""
    if not _UNSUPPORTED_SET.isdisjoint(given):
        name = next(name for name in _UNSUPPORTED if name in given)
        return Refusal(RefusalCode.UNSUPPORTED, f"Leave out {name}: Tenantry does not take it.", name)
    mail = _content(given["Content"])
    if isinstance(mail, Refusal):
        return mail
    parties = _parties(given, mail.raw)
    if isinstance(parties, Refusal):
        return parties
    tags = _tags(given, mail.removed)
    if isinstance(tags, Refusal):
        return tags
    submission = Submission(
        key_id=call.key_id,
        sender=parties.sender,
        authors=parties.authors,
        to=parties.to,
        cc=parties.cc,
        bcc=parties.bcc,
        reply_to=parties.reply_to,
        subject=mail.subject,
        content=mail.content,
        stream=given.get("ConfigurationSetName") or mail.removed.get("x-ses-configuration-set"),
        tags=tags,
        # Another body under the same id is another call, so the digest is part of the name.
        idempotency_key=f"sdk:{call.invocation_id}:{call.body_digest.hex()[:32]}" if call.invocation_id else None,
        body_digest=call.body_digest,
        remember_seconds=SDK_RETRY_SECONDS if call.invocation_id else 0,
    )
    claimed = (given.get("TenantName"), mail.removed.get("x-ses-tenant"))
    return Decoded(submission, () if claimed == (None, None) else tuple(name for name in claimed if name is not None))


def invocation_id(header: bytes | None) -> str | None:
    """Return the id that an AWS SDK gives all tries of one call; text that is no such id counts as none."""
    text = (header or b"").decode("latin-1")
    return text if 0 < len(text) <= _INVOCATION_CHARS_MAX and text.isascii() and text.isprintable() else None


# ---- content


def _content(given: _Content) -> _Mail | Refusal:
    if len(given) != 1:
        return Refusal(RefusalCode.INVALID_FIELD, "Give exactly one of Content.Simple and Content.Raw.", "Content")
    if "Simple" in given:
        return _simple(given["Simple"])
    if "Raw" in given:
        return _raw(given["Raw"]["Data"])
    raise AssertionError("a template is rendered before its mail is decoded")


def _simple(given: _Simple) -> _Mail | Refusal:
    """Check by the same rules as REST mail; hand over what the caller wrote where UTF-8 alone would not say it."""
    body = given["Body"]
    subject = given["Subject"]["Data"]
    text = body["Text"]["Data"] if "Text" in body else None
    html = body["Html"]["Data"] if "Html" in body else None
    headers: list[_Header] = []
    attachments: list[_Attachment] = []
    if len(given) == _SUBJECT_AND_BODY:
        content = simple_content(Composed(subject, text, html))
    else:
        headers, attachments = given.get("Headers", []), given.get("Attachments", [])
        fields = {row["Name"]: row["Value"] for row in headers}
        content = simple_content(Composed(subject, text, html, fields, tuple(map(_attachment, attachments))))
    if isinstance(content, MimeProblem):
        return refusal_of(content)
    if refused := _beyond_rest(headers, attachments):
        return refused
    if attachments:  # descriptions and encodings are the caller's
        own = {"Simple": given}
        content = json.dumps(own, ensure_ascii=False, separators=(",", ":"), default=_base64).encode()
    return _Mail(content, subject)


def _beyond_rest(headers: Sequence[_Header], attachments: Sequence[_Attachment]) -> Refusal | None:
    if headers and len({row["Name"].lower() for row in headers}) != len(headers):
        return Refusal(RefusalCode.INVALID_HEADER, "Give each header once, in whatever case.", "Content.Simple.Headers")
    for number, row in enumerate(attachments):
        described = row.get("ContentDescription", "")
        if not described.isascii() or (described and not described.isprintable()):
            where = f"Content.Simple.Attachments.{number}.ContentDescription"
            return Refusal(RefusalCode.INVALID_HEADER, "Describe an attachment in printable ASCII.", where)
    return None


def _attachment(row: _Attachment) -> Attachment:
    inline = row.get("ContentDisposition") == "INLINE"
    return Attachment(row["FileName"], row["RawContent"], row.get("ContentType"), inline, row.get("ContentId"))


def _base64(value: object) -> str:
    assert isinstance(value, bytes)
    return b64encode(value).decode()


def _raw(data: bytes) -> _Mail | Refusal:
    mail = normalise(data, max_bytes=RAW_BYTES_MAX)
    if isinstance(mail, MimeProblem):
        return refusal_of(mail)
    return _Mail(raw_content(mail.content), mail.subject, mail, mail.removed)


# ---- who, to whom


class _Parties(NamedTuple):
    sender: str
    authors: tuple[str, ...]
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    reply_to: tuple[str, ...]


def _parties(given: SendEmail, raw: RawMail | None) -> _Parties | Refusal:
    author = _author(given, raw)
    if isinstance(author, Refusal):
        return author
    sender, authors = author
    if "Destination" in given:
        named = given["Destination"]
        lists = [
            mailboxes(named.get("ToAddresses", ()), "Destination.ToAddresses"),
            mailboxes(named.get("CcAddresses", ()), "Destination.CcAddresses"),
            mailboxes(named.get("BccAddresses", ()), "Destination.BccAddresses"),
        ]
    else:
        lists = [raw.to, raw.cc, raw.bcc] if raw else [(), (), ()]
    lists.append(mailboxes(given.get("ReplyToAddresses", ()), "ReplyToAddresses"))
    checked: list[tuple[str, ...]] = []
    for found in lists:
        if isinstance(found, Refusal):
            return found
        checked.append(found)
    to, cc, bcc, reply_to = checked
    return _Parties(sender, authors, to, cc, bcc, reply_to)


def _author(given: SendEmail, raw: RawMail | None) -> tuple[str, tuple[str, ...]] | Refusal:
    """Return From as it is handed over, and every address that must belong to the sender."""
    authors: list[str] = []
    sender = ""
    if (text := given.get("FromEmailAddress")) is not None:
        found = written(text, "FromEmailAddress")
        if isinstance(found, Refusal):
            return found
        authors, sender = [found[0].address], found[1]
        if raw is None and "FeedbackForwardingEmailAddress" not in given:
            return sender, tuple(authors)
    if (text := given.get("FeedbackForwardingEmailAddress")) is not None:
        found = written(text, "FeedbackForwardingEmailAddress")
        if isinstance(found, Refusal):
            return found
        authors.append(found[0].address)
    if raw:
        sender = sender or raw.authors[0].header()
        authors += [mailbox.address for mailbox in raw.authors]
        authors += [raw.sender.address] if raw.sender else []
        authors += [raw.return_path] if raw.return_path else []
    if not sender:
        return Refusal(RefusalCode.INVALID_FIELD, "Give FromEmailAddress.", "FromEmailAddress")
    return sender, tuple(dict.fromkeys(authors))


def _tags(given: SendEmail, removed: Mapping[str, str]) -> dict[str, str] | Refusal:
    if not removed and "EmailTags" not in given:
        return {}
    field = "EmailTags"
    if "EmailTags" in given:
        pairs = [(row["Name"], row["Value"]) for row in given["EmailTags"]]
    else:
        field = "X-SES-MESSAGE-TAGS"
        parts = (part.partition("=") for part in removed.get("x-ses-message-tags", "").split(",") if part.strip())
        pairs = [(name.strip(), value.strip()) for name, _, value in parts]
    tags = dict(pairs)
    if len(tags) != len(pairs):
        return Refusal(RefusalCode.INVALID_TAG, "Give each tag once.", field)
    return tags_refusal(tags, field) or tags
