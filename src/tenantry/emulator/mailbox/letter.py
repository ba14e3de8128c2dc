"""Owns reading a kept message as a person reads mail: its header, its texts, its attachments, its source.

Leaves pages and addresses to `emulator.mailbox.pages`; content may be hostile, so nothing is trusted and much is bounded.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import policy
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.parser import BytesParser
from typing import Any

from tenantry.emulator.ledger import MessageRecord

PARTS_MAX = 200
BOUNDARIES_MAX = (
    2_000  # more lines that look like boundaries, and only the header is parsed: each costs time, or a stack frame
)
SHOWN_MAX_CHARACTERS = 2_000_000
_parser = BytesParser(policy=policy.compat32)
_CID = re.compile(r"""(?<=["'(=])cid:([^"')\s>]{1,250})""", re.IGNORECASE)
_HEADERS_FIRST = ("From", "To", "Cc", "Reply-To", "Subject")


@dataclass(frozen=True, slots=True)
class Attachment:
    """One part that is not the text: its name, its media type, its bytes, and the id that HTML calls it by."""

    name: str
    media_type: str
    data: bytes
    content_id: str | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """One message as it reads; `source` is the whole MIME message."""

    headers: tuple[tuple[str, str], ...]
    text: str | None
    html: str | None
    attachments: tuple[Attachment, ...]
    source: bytes

    def page(self) -> str:
        """Return the HTML with its `cid:` pictures put in place, so that it needs nothing from anywhere."""
        pictures = {
            each.content_id: each
            for each in self.attachments
            if each.content_id and each.media_type.startswith("image/") and each.media_type != "image/svg+xml"
        }

        def picture(found: re.Match[str]) -> str:
            each = pictures.get(found[1])
            return f"data:{each.media_type};base64,{base64.b64encode(each.data).decode()}" if each else found[0]

        return _CID.sub(picture, self.html or "")


def read_letter(content: Mapping[str, Any], headers: Mapping[str, str]) -> Letter:
    """Read a kept SES Content, Raw or Simple; `headers` (From, To, …) are the call's, which Simple content does not have."""
    source = content["Raw"]["Data"] if "Raw" in content else _composed(content["Simple"], headers)
    message = _parsed(source)
    text = html = None
    attachments: list[Attachment] = []
    for part in _leaves(message):
        kind, is_attached = part.get_content_type(), part.get_content_disposition() == "attachment"
        if kind == "text/plain" and text is None and not is_attached:
            text = _text(part)
        elif kind == "text/html" and html is None and not is_attached:
            html = _text(part)
        else:
            attachments.append(_attachment(part, len(attachments) + 1))
    return Letter(_read_headers(message), text, html, tuple(attachments), source)


def letter_of(record: MessageRecord, content: Mapping[str, Any] | None) -> Letter | None:
    """Read the letter of a message of the ledger; None if its content is no longer kept."""
    if content is None:
        return None
    to, cc = ", ".join(record.to), ", ".join(record.cc)
    return read_letter(content, {"From": record.source, "To": to, "Cc": cc, "Subject": record.subject or ""})


def _parsed(source: bytes) -> Message:
    """Parse the whole, or only the header of what was made to be costly; its source can be read all the same."""
    try:
        return _parser.parsebytes(source, headersonly=source.count(b"\n--") > BOUNDARIES_MAX)
    except RecursionError:
        return _parser.parsebytes(source, headersonly=True)


def _leaves(message: Message) -> Iterator[Message]:
    """Give the parts that hold bytes, in order; what is nested too deep or too often is left out."""
    waiting, given = [message], 0
    while waiting and given < PARTS_MAX:
        part = waiting.pop()
        inner = part.get_payload() if part.is_multipart() else None
        if isinstance(inner, list) and part.get_content_maintype() != "message":
            waiting.extend(each for each in reversed(inner) if isinstance(each, Message))
            continue
        given += 1
        yield part


def _text(part: Message) -> str:
    data = _bytes(part)
    try:
        text = data.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:
        text = data.decode("utf-8", "replace")
    return text[:SHOWN_MAX_CHARACTERS]


def _bytes(part: Message) -> bytes:
    if part.is_multipart():  # a forwarded message is kept as the bytes that it came as
        return b"".join(each.as_bytes() for each in part.get_payload() if isinstance(each, Message))
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _attachment(part: Message, number: int) -> Attachment:
    name = _decoded(part.get_filename() or f"part-{number}").replace("/", "_").replace("\\", "_")
    content_id = (part.get("Content-ID") or "").strip().strip("<>") or None
    return Attachment(name, part.get_content_type(), _bytes(part), content_id)


def _read_headers(message: Message) -> tuple[tuple[str, str], ...]:
    return tuple((name, _decoded(value)) for name, value in message.raw_items())


def _decoded(value: str) -> str:
    unfolded = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\r\n", "").replace("\n", "")
    try:
        return str(make_header(decode_header(unfolded)))
    except (ValueError, LookupError):
        return unfolded


def _composed(simple: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    """Return Simple content as the MIME message that it stands for."""
    message = EmailMessage(policy=policy.SMTP.clone(utf8=True, max_line_length=998))
    for name in _HEADERS_FIRST:
        if headers.get(name):
            message[name] = _clean(headers[name])
    for each in simple.get("Headers", ()):
        if each["Name"].lower() not in {name.lower() for name in message}:
            message[each["Name"]] = _clean(each["Value"])
    body = simple["Body"]
    if "Text" in body:
        message.set_content(_encodable(body["Text"]["Data"]))
    if "Html" in body:
        add = message.add_alternative if "Text" in body else message.set_content
        add(_encodable(body["Html"]["Data"]), subtype="html")
    for each in simple.get("Attachments", ()):
        _attach(message, each)
    return message.as_bytes()


def _attach(message: EmailMessage, given: Mapping[str, Any]) -> None:
    main, _, sub = str(given.get("ContentType") or "application/octet-stream").partition(";")[0].strip().partition("/")
    message.add_attachment(
        given["RawContent"],
        maintype=main or "application",
        subtype=sub or "octet-stream",
        filename=_clean(given["FileName"]),
        disposition=str(given.get("ContentDisposition", "ATTACHMENT")).lower(),
        cid=f"<{given['ContentId']}>" if given.get("ContentId") else None,
    )


def _clean(value: str) -> str:
    return _encodable(re.sub(r"[\r\n\0]+", " ", value))


def _encodable(text: str) -> str:
    """Return the text with lone surrogates replaced: JSON can carry them, no mail can."""
    return text.encode("utf-8", "replace").decode()
