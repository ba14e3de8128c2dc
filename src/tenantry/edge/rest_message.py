"""Owns what the body of `POST /v1/messages` means: its fields, their checks, and the submission that comes of it.

Leaves reading the request and answering it to `send`; who may send what to admission.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tenantry.core.ids import KeyId
from tenantry.core.message import Refusal, RefusalCode, Submission
from tenantry.edge.mail import mailbox, mailboxes, refusal_of, tags_refusal
from tenantry.wire.mime import MimeProblem
from tenantry.wire.mime_content import Attachment, Composed, simple_content

REMEMBER_SECONDS = 86_400
NAME_CHARS_MAX = 255
_IDEMPOTENCY_KEY = re.compile(rb"[!-~](?:[ -~]{0,253}[!-~])?")
_UNION_BRANCHES = frozenset({"str", "list[str]"})  # pydantic's names for the two forms of an address field

Mailboxes = str | list[str]


class AttachmentIn(BaseModel):
    """A file that goes with the mail; `content` is base64."""

    model_config = ConfigDict(extra="forbid", strict=True)

    filename: str
    content: str
    content_type: str | None = None
    content_id: str | None = None
    disposition: Literal["attachment", "inline"] = "attachment"


class MessageIn(BaseModel):
    """A message as `POST /v1/messages` takes it."""

    # Defaults are made by factories: pydantic copies a written one deeply for each message, a fifth of all decoding.

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "from": "Acme <hello@acme.example>",
                    "to": ["ann@example.com"],
                    "subject": "Your order",
                    "text": "Thank you.",
                    "stream": "transactional",
                    "tags": {"campaign": "autumn"},
                }
            ]
        },
    )

    sender: str = Field(alias="from")
    to: Mailboxes = Field(default_factory=list)
    cc: Mailboxes = Field(default_factory=list)
    bcc: Mailboxes = Field(default_factory=list)
    reply_to: Mailboxes = Field(default_factory=list)
    subject: str
    text: str | None = None
    html: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    attachments: list[AttachmentIn] = Field(default_factory=list)
    stream: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)


MESSAGE = TypeAdapter(MessageIn)


def decode(key_id: KeyId, body: bytes, idempotency_key: bytes | None) -> Submission | Refusal:
    """Turn the body of a call into a submission, or say the first thing that must change and where."""
    if idempotency_key is not None and (refused := name_refusal(idempotency_key)):
        return refused
    try:
        mail = MESSAGE.validate_json(body)
    except ValidationError as error:
        return shape_refusal(error)
    return submission_of(key_id, mail, sha256(body).digest(), idempotency_key.decode() if idempotency_key else None)


def name_refusal(idempotency_key: bytes, chars_max: int = NAME_CHARS_MAX) -> Refusal | None:
    """Refuse the value of an Idempotency-Key that is none."""
    if len(idempotency_key) <= chars_max and _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        return None
    message = f"Give an Idempotency-Key of 1 to {chars_max} printable ASCII characters."
    return Refusal(RefusalCode.INVALID_FIELD, message, "Idempotency-Key")


def submission_of(key_id: KeyId, mail: MessageIn, digest: bytes, known_as: str | None) -> Submission | Refusal:
    """Turn one message into a submission; digest: SHA-256 of what a repeat that is `known_as` the same must be equal to."""
    author = mailbox(mail.sender, "from")
    if isinstance(author, Refusal):
        return author
    parties: list[tuple[str, ...]] = []
    for name, given in (("to", mail.to), ("cc", mail.cc), ("bcc", mail.bcc), ("reply_to", mail.reply_to)):
        found = _addresses(given, name)
        if isinstance(found, Refusal):
            return found
        parties.append(found)
    if refused := tags_refusal(mail.tags, "tags"):
        return refused
    content = _content(mail)
    if isinstance(content, Refusal):
        return content
    to, cc, bcc, reply_to = parties
    return Submission(
        key_id=key_id,
        sender=author.header(),
        authors=(author.address,),
        to=to,
        cc=cc,
        bcc=bcc,
        reply_to=reply_to,
        subject=mail.subject,
        content=content,
        stream=mail.stream,
        tags=mail.tags,
        idempotency_key=f"rest:{known_as}" if known_as else None,
        body_digest=digest,
        remember_seconds=REMEMBER_SECONDS if known_as else 0,
    )


def _addresses(given: Mailboxes, field: str) -> tuple[str, ...] | Refusal:
    if not isinstance(given, str):
        return mailboxes(given, field)
    found = mailbox(given, field)
    return found if isinstance(found, Refusal) else (found.header(),)


def _content(mail: MessageIn) -> bytes | Refusal:
    attachments: list[Attachment] = []
    for number, row in enumerate(mail.attachments):
        try:
            data = a2b_base64(row.content, strict_mode=True)
        except (Base64Error, ValueError):
            where = f"attachments[{number}].content"
            return Refusal(RefusalCode.INVALID_FIELD, "Give the file's content in base64, without line breaks.", where)
        attachments.append(
            Attachment(row.filename, data, row.content_type, row.disposition == "inline", row.content_id)
        )
    composed = Composed(mail.subject, mail.text, mail.html, mail.headers, tuple(attachments))
    content = simple_content(composed)
    return refusal_of(content) if isinstance(content, MimeProblem) else content


def shape_refusal(error: ValidationError) -> Refusal:
    """Return what pydantic found first: not JSON at all, or the field that is not as documented."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    first = found[0]
    if first["type"] == "json_invalid":
        return Refusal(RefusalCode.MALFORMED, f"Send a JSON object in UTF-8. {first['msg']}.", "body")
    if _UNION_BRANCHES.isdisjoint(first["loc"]):
        return field_refusal(first["type"], first["loc"], first["msg"])
    # Each form of an address field says why it does not fit; the one that got furthest into the value is meant.
    meant = max((row for row in found if row["loc"][0] == first["loc"][0]), key=lambda row: len(row["loc"]))
    return field_refusal(meant["type"], meant["loc"], "give a string, or a list of strings")


def field_refusal(kind: str, loc: Sequence[int | str], words: str) -> Refusal:
    """Return one finding of pydantic as a refusal that names the field as the caller wrote it."""
    field = _path(loc) or "body"
    match kind:
        case "extra_forbidden":
            return Refusal(RefusalCode.INVALID_FIELD, f"Remove the unknown field {field}.", field)
        case "missing":
            return Refusal(RefusalCode.INVALID_FIELD, f"Give the field {field}.", field)
        case _:
            words = words.removeprefix("Value error, ")
            return Refusal(RefusalCode.INVALID_FIELD, f"Correct {field}: {words[:1].lower()}{words[1:]}.", field)


def _path(loc: Sequence[int | str]) -> str:
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part not in _UNION_BRANCHES:
            text += f".{ascii(part[:80])[1:-1]}"
    return text.removeprefix(".")
