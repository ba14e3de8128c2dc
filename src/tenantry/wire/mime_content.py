"""Owns the SES `Content` JSON that is handed over: composed from fields, or wrapped around raw mail.

Leaves to others: addresses and recipients (they go as parameters of the call) and the grammar of raw mail (`mime`).
Limits are those of the SES v2 API (SendEmail: Message, MessageHeader, Attachment).
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from pydantic_core import to_json

from tenantry.wire.mime import MimeProblem

CONTENT_BYTES_MAX = 40_000_000  # SES v2 counts after base64
CUSTOM_HEADERS_MAX = 15
HEADER_NAME_CHARS_MAX = 126
HEADER_VALUE_CHARS_MAX = 995
SUBJECT_CHARS_MAX = 998
ATTACHMENTS_MAX = 490  # SES takes 500 MIME parts; the text, the HTML and what holds them are some
FILENAME_CHARS_MAX = 255
CONTENT_TYPE_CHARS_MAX = 78
CONTENT_ID_CHARS_MAX = 78

RESERVED_HEADERS = frozenset(
    {
        "from", "to", "cc", "bcc", "subject", "sender", "return-path", "reply-to", "date", "message-id", "mime-version",
        "dkim-signature", "domainkey-signature", "received", "received-spf", "authentication-results", "delivered-to",
        "apparently-to", "errors-to",
    }
)  # fmt: skip
RESERVED_PREFIXES = ("content-", "x-ses-", "x-amz-", "resent-", "arc-")

_NAME = re.compile(r"[!-9;-~]{1,126}")
_VALUE = re.compile(r"[ -~]{1,995}")
_MEDIA_TYPE = re.compile(
    r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:; ?[A-Za-z0-9_.-]+=(?:[A-Za-z0-9!#$&^_.+-]+|\"[A-Za-z0-9 _.-]*\"))*"
)
_CONTENT_ID = re.compile(r"[!-;=?-~]{1,78}")
# One line of text: no controls, no line or paragraph separators, no half characters.
_UNFIT_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UNFIT_BODY = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Attachment:
    """One file that goes with a mail; an inline one is shown where the HTML refers to its content id."""

    filename: str
    content: bytes
    content_type: str | None = None
    inline: bool = False
    content_id: str | None = None


class Composed(NamedTuple):
    """Mail given as fields; text, HTML or both."""

    subject: str
    text: str | None = None
    html: str | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    attachments: tuple[Attachment, ...] = ()


def simple_content(mail: Composed) -> bytes | MimeProblem:
    """Return the SES `Content` JSON for mail given as fields, or the first thing about it that must change."""
    if not _is_plain(mail) and (problem := next(_problems(mail), None)):
        return problem
    body: dict[str, dict[str, str]] = {}
    if mail.text is not None:
        body["Text"] = _utf8(mail.text)
    if mail.html is not None:
        body["Html"] = _utf8(mail.html)
    simple: dict[str, object] = {"Subject": _utf8(mail.subject), "Body": body}
    if mail.headers:
        simple["Headers"] = [{"Name": name, "Value": value} for name, value in mail.headers.items()]
    if mail.attachments:
        simple["Attachments"] = [_attachment(attachment) for attachment in mail.attachments]
    content = to_json({"Simple": simple})
    if len(content) > CONTENT_BYTES_MAX:
        return _too_large("attachments" if mail.attachments else "html")
    return content


def raw_content(raw: bytes) -> bytes:
    """Return the SES `Content` JSON for raw mail, which should have been normalised."""
    return b'{"Raw":{"Data":"' + b64encode(raw) + b'"}}'


def _utf8(text: str) -> dict[str, str]:
    return {"Data": text, "Charset": "UTF-8"}


def _attachment(attachment: Attachment) -> dict[str, str]:
    shown = {
        "FileName": attachment.filename,
        "RawContent": b64encode(attachment.content).decode(),
        "ContentDisposition": "INLINE" if attachment.inline else "ATTACHMENT",
        "ContentTransferEncoding": "BASE64",
    }
    if attachment.content_type is not None:
        shown["ContentType"] = attachment.content_type
    if attachment.content_id is not None:
        shown["ContentId"] = attachment.content_id
    return shown


def _is_plain(mail: Composed) -> bool:
    """Tell whether nothing can be wrong: a short line of a subject, ASCII bodies without NUL, and nothing else."""
    text, html = mail.text, mail.html
    return (
        not mail.headers
        and not mail.attachments
        and len(mail.subject) <= SUBJECT_CHARS_MAX
        and mail.subject.isprintable()
        and (text is not None or html is not None)
        and (text is None or (text.isascii() and "\x00" not in text))
        and (html is None or (html.isascii() and "\x00" not in html))
    )


def _problems(mail: Composed) -> Iterator[MimeProblem]:
    if len(mail.subject) > SUBJECT_CHARS_MAX:
        yield MimeProblem("subject_too_long", "subject", f"Shorten the subject to {SUBJECT_CHARS_MAX} characters.")
    yield from _line_problems("subject", mail.subject[:SUBJECT_CHARS_MAX])
    if mail.text is None and mail.html is None:
        yield MimeProblem("body_missing", "text", "Give a text body, an HTML body, or both.")
    for name, text in (("text", mail.text), ("html", mail.html)):
        # Most bodies are plain ASCII, where a search for NUL tells all.
        if text is None or (text.isascii() and "\x00" not in text):
            continue
        if found := _UNFIT_BODY.search(text):
            yield _unfit(name, found[0])
    yield from _header_problems(mail.headers)
    yield from _attachment_problems(mail.attachments)


def _line_problems(name: str, text: str) -> Iterator[MimeProblem]:
    if not text.isprintable() and (found := _UNFIT_LINE.search(text)):
        yield _unfit(name, found[0])


def _unfit(name: str, character: str) -> MimeProblem:
    what = "the half character" if "\ud800" <= character <= "\udfff" else "the control character"
    return MimeProblem("control_character", name, f"Remove {what} U+{ord(character):04X} from {name}.")


def _header_problems(headers: Mapping[str, str]) -> Iterator[MimeProblem]:
    if len(headers) > CUSTOM_HEADERS_MAX:
        yield MimeProblem("too_many_headers", "headers", f"Give at most {CUSTOM_HEADERS_MAX} headers of your own.")
        return
    seen: set[str] = set()
    for name, value in headers.items():
        where, lower = f"headers.{ascii(name[:HEADER_NAME_CHARS_MAX])[1:-1]}", name.lower()
        yield from _line_problems(where, name)
        yield from _line_problems(where, value)
        if not _NAME.fullmatch(name):
            yield MimeProblem("header_name_invalid", where, "Use 1 to 126 ASCII characters, no space, no colon.")
        if lower in RESERVED_HEADERS or lower.startswith(RESERVED_PREFIXES):
            yield MimeProblem("header_reserved", where, f"Leave out {lower}: other fields or SES set it.")
        if lower in seen:
            yield MimeProblem("header_repeated", where, f"Give {lower} once, in whatever case.")
        if not _VALUE.fullmatch(value):
            yield MimeProblem(
                "header_value_invalid",
                where,
                f"Use 1 to {HEADER_VALUE_CHARS_MAX} printable ASCII characters.",
            )
        seen.add(lower)


def _attachment_problems(attachments: tuple[Attachment, ...]) -> Iterator[MimeProblem]:
    if len(attachments) > ATTACHMENTS_MAX:
        yield MimeProblem("too_many_attachments", "attachments", f"Attach at most {ATTACHMENTS_MAX} files.")
        return
    if sum(len(attachment.content) for attachment in attachments) * 4 > CONTENT_BYTES_MAX * 3:
        yield _too_large("attachments")
    for number, attachment in enumerate(attachments):
        yield from _one_attachment_problems(f"attachments[{number}]", attachment)


def _one_attachment_problems(where: str, attachment: Attachment) -> Iterator[MimeProblem]:
    name, kind, content_id = attachment.filename, attachment.content_type, attachment.content_id
    yield from _line_problems(f"{where}.filename", name[: FILENAME_CHARS_MAX + 1])
    if not 1 <= len(name) <= FILENAME_CHARS_MAX:
        yield MimeProblem(
            "filename_invalid", f"{where}.filename", f"Give a file name of 1 to {FILENAME_CHARS_MAX} characters."
        )
    if kind is not None:
        yield from _line_problems(f"{where}.content_type", kind)
        if len(kind) > CONTENT_TYPE_CHARS_MAX or not _MEDIA_TYPE.fullmatch(kind):
            yield MimeProblem(
                "content_type_invalid",
                f"{where}.content_type",
                "Give a type like image/png, at most 78 characters.",
            )
    if content_id is not None:
        yield from _line_problems(f"{where}.content_id", content_id)
        if not _CONTENT_ID.fullmatch(content_id):
            yield MimeProblem(
                "content_id_invalid", f"{where}.content_id", "Give 1 to 78 ASCII characters, no space or angle bracket."
            )


def _too_large(field_name: str) -> MimeProblem:
    return MimeProblem("message_too_large", field_name, "Shorten the mail: SES takes 40 MB after base64.")
