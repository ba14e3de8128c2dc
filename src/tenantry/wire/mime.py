"""Owns the header grammar of raw mail: one meaning per header, nothing that steers SES, clean line endings.

Leaves to others: what a body holds (it is opaque), who may use an author's address, and mail given as fields
(`mime_content`). Only the header block is read, so the cost does not depend on the MIME structure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header

from tenantry.wire.address import AddressError, Mailbox, parse_mailboxes

HEADER_BYTES_MAX = 65_536
HEADER_COUNT_MAX = 500
LINE_BYTES_MAX = 998  # RFC 5322 2.1.1, without its line ending; SES refuses raw lines over 1,000 with it
SUBJECT_CHARS_MAX = 500
_SUBJECT_RAW_CHARS_MAX = 2_000

_ONE_ONLY = frozenset(
    {
        "from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references",
        "mime-version", "content-type", "content-transfer-encoding",
    }
)  # fmt: skip
_ADDRESS_HEADERS = frozenset({"from", "sender", "reply-to", "to", "cc", "bcc", "return-path"})
# They would name a second author, or recipients that nobody checked.
_REFUSED = frozenset({"resent-from", "resent-sender", "resent-to", "resent-cc", "resent-bcc", "resent-reply-to"})

_END_OF_HEADERS = re.compile(rb"\n\r?\n")
_NAME = re.compile(r"[!-9;-~]{1,126}")
_CLEAN_BYTES = bytes([0x09, 0x0A, *range(0x20, 0x7F)])
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_EMPTY_GROUP = re.compile(r"[A-Za-z0-9 _-]+:[ \t]*;[ \t]*")
_WORD_CHARSETS = re.compile(
    r"(us-ascii|utf-8|iso-8859-\d{1,2}|iso-2022-(jp|kr)|windows-125\d|koi8-[ru]|gb2312|gbk|gb18030|big5|shift_jis|euc-(jp|kr))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class MimeProblem:
    """Why mail is refused: a stable code, the header or field at fault, and a sentence that says what to do."""

    code: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class RawMail:
    """Raw mail in its one accepted form, with what its headers say.

    `removed` holds what was cut out by lower-case name; a repeated header's values are joined by a comma.
    """

    content: bytes
    authors: tuple[Mailbox, ...]
    sender: Mailbox | None
    return_path: str | None
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    reply_to: tuple[str, ...]
    subject: str
    removed: dict[str, str]


class _RefusedError(Exception):
    """Carries a problem out of the nested steps; never leaves this module."""

    def __init__(self, code: str, field: str, message: str) -> None:
        super().__init__(message)
        self.problem = MimeProblem(code, field, message)


def normalise(raw: bytes, *, max_bytes: int) -> RawMail | MimeProblem:
    """Bring raw mail into its one accepted form, or say what must be changed.

    Line endings become CRLF; Bcc, Return-Path and every X-SES-* header are cut out and reported. Normalising the
    result again changes nothing.
    """
    try:
        if len(raw) > max_bytes:
            raise _RefusedError("message_too_large", "raw", f"Shorten the message to {max_bytes} bytes at most.")
        block, body = _split(raw)
        fields = _fields(block)
        kept, removed = _sorted_out(fields)
        return _mail(kept, removed, _clean_body(body))
    except _RefusedError as refused:
        return refused.problem


def _split(raw: bytes) -> tuple[bytes, bytes]:
    """Return the header block (CRLF or LF endings made LF, none at its end) and the untouched body."""
    end = _END_OF_HEADERS.search(raw, 0, HEADER_BYTES_MAX + 4)
    if not end and len(raw) > HEADER_BYTES_MAX:
        raise _RefusedError(
            "headers_too_large",
            "raw",
            f"Shorten the headers to {HEADER_BYTES_MAX} bytes and end them by an empty line.",
        )
    block, body = (raw[: end.start() + 1], raw[end.end() :]) if end else (raw, b"")
    block = block.replace(b"\r\n", b"\n").removesuffix(b"\n")
    if b"\r" in block:
        raise _RefusedError("bare_cr", "headers", "End each header line by CRLF: a CR stands alone.")
    return block, body


def _fields(block: bytes) -> list[tuple[str, str, str]]:
    """Return each header as lower-case name, unfolded value, and text as it will be sent (without the last CRLF)."""
    lines = _text(block).split("\n")
    folded: list[list[str]] = []
    for line in lines:
        _check_line(line)
        if not line.startswith((" ", "\t")):
            folded.append([line])
        elif not folded or not line.strip(" \t"):
            raise _RefusedError("header_malformed", "headers", "Start with a header and fold none by a blank line.")
        else:
            folded[-1].append(line)
    if len(folded) > HEADER_COUNT_MAX:
        raise _RefusedError("too_many_headers", "headers", f"Send at most {HEADER_COUNT_MAX} headers.")
    return [_field(parts) for parts in folded]


def _text(block: bytes) -> str:
    """Return the header block as text without control characters, or refuse it."""
    if not block.translate(None, _CLEAN_BYTES):
        return block.decode("ascii")
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError:
        raise _RefusedError(
            "header_not_utf8", "headers", "Write headers in ASCII or UTF-8, or as encoded words (RFC 2047)."
        ) from None
    if found := _UNFIT.search(text):
        raise _RefusedError(
            "header_control_character", "headers", f"Remove the character U+{ord(found[0]):04X} from the headers."
        )
    return text


def _check_line(line: str) -> None:
    if len(line) > LINE_BYTES_MAX or (not line.isascii() and len(line.encode()) > LINE_BYTES_MAX):
        raise _RefusedError("line_too_long", "headers", f"Fold header lines at {LINE_BYTES_MAX} bytes at most.")


def _field(parts: list[str]) -> tuple[str, str, str]:
    name, colon, value = "".join(parts).partition(":")
    if not colon or not _NAME.fullmatch(name):
        raise _RefusedError("header_malformed", "headers", f"Write headers as Name: value, not as {parts[0][:40]!a}.")
    name = name.lower()
    if name in _ADDRESS_HEADERS and not value.isascii():
        raise _RefusedError(
            "header_not_ascii",
            name,
            f"Write {name} in ASCII: encoded words for names, xn-- for domains. SES has no SMTPUTF8.",
        )
    return name, value.strip(" \t"), "\r\n".join(parts)


def _sorted_out(fields: list[tuple[str, str, str]]) -> tuple[list[tuple[str, str, str]], dict[str, str]]:
    """Part what is sent from what is cut out, and refuse headers that may not be there or not twice."""
    kept, removed, seen = [], dict[str, str](), set[str]()
    for field in fields:
        name, value, _ = field
        if name in _REFUSED:
            raise _RefusedError("header_refused", name, f"Remove {name}: resent mail would have a second author.")
        if name in _ONE_ONLY and name in seen:
            raise _RefusedError("header_repeated", name, f"Give {name} once: readers disagree on which of two counts.")
        seen.add(name)
        if name.startswith("x-ses-") or name in ("bcc", "return-path"):
            removed[name] = f"{removed[name]}, {value}" if name in removed else value
        else:
            kept.append(field)
    if "from" not in seen:
        raise _RefusedError("from_missing", "from", "Give a From header.")
    return kept, removed


def _mail(kept: list[tuple[str, str, str]], removed: dict[str, str], body: bytes) -> RawMail:
    values = {name: value for name, value, _ in kept if name in _ONE_ONLY}
    senders = _mailboxes("sender", values.get("sender"))
    if len(senders) > 1:
        raise _RefusedError("address_invalid", "sender", "Give one address in Sender.")
    head = "\r\n".join([text for _, _, text in kept]).encode()
    return RawMail(
        content=b"".join((head, b"\r\n\r\n", body)),
        authors=_mailboxes("from", values["from"]),
        sender=senders[0] if senders else None,
        return_path=_return_path(removed.get("return-path")),
        to=_recipients("to", values.get("to")),
        cc=_recipients("cc", values.get("cc")),
        bcc=_recipients("bcc", removed.get("bcc")),
        reply_to=_recipients("reply-to", values.get("reply-to")),
        subject=shown_subject(values.get("subject", "")),
        removed=removed,
    )


def _mailboxes(field: str, value: str | None) -> tuple[Mailbox, ...]:
    if value is None:
        return ()
    try:
        return parse_mailboxes(value)
    except AddressError as error:
        raise _RefusedError("address_invalid", field, f"Correct the {field} header. {error}") from None


def _recipients(field: str, value: str | None) -> tuple[str, ...]:
    # Mail programs write "undisclosed-recipients:;" where everybody is in Bcc; a Bcc may be left empty.
    if value is None or _EMPTY_GROUP.fullmatch(value) or (field == "bcc" and not value):
        return ()
    return tuple(mailbox.address for mailbox in _mailboxes(field, value))


def _return_path(value: str | None) -> str | None:
    if value is None or value == "<>":
        return None
    found = _mailboxes("return-path", value)
    if len(found) > 1:
        raise _RefusedError("address_invalid", "return-path", "Give one address in Return-Path.")
    return found[0].address


def _clean_body(body: bytes) -> bytes:
    """Return the body with CRLF line endings, copied only where it has others, or refuse it."""
    if b"\x00" in body:
        raise _RefusedError("body_nul", "body", "Remove NUL bytes from the body, or encode it as base64.")
    pairs = body.count(b"\r\n")
    if body.count(b"\r") != pairs:
        raise _RefusedError("bare_cr", "body", "End each line of the body by CRLF: a CR stands alone.")
    if body.count(b"\n") != pairs:
        body = body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if not _lines_fit(body):
        raise _RefusedError(
            "line_too_long",
            "body",
            f"Break lines at {LINE_BYTES_MAX} bytes or encode the body, as base64 for one.",
        )
    return body


def _lines_fit(body: bytes) -> bool:
    """Tell whether all lines (CRLF endings) fit, in steps of a line's greatest length instead of line by line."""
    at, step = 0, LINE_BYTES_MAX + 2
    while len(body) - at > LINE_BYTES_MAX:
        newline = body.rfind(b"\n", at, at + step)
        if newline < 0:
            return False
        at = newline + 1
    return True


def shown_subject(value: str) -> str:
    """Return a Subject header's text for display: decoded, without control characters, at most 500 characters.

    Only the first 2,000 characters are looked at and only mail's own character sets are decoded, so that hostile
    text costs nothing.
    """
    value = value[:_SUBJECT_RAW_CHARS_MAX]
    text = value
    if "=?" in value:
        try:
            text = "".join(_decoded(part, charset) for part, charset in decode_header(value))
        except (MessageError, ValueError):
            text = value
    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text)
    return text.strip()[:SUBJECT_CHARS_MAX]


def _decoded(part: str | bytes, charset: str | None) -> str:
    if isinstance(part, str):
        return part
    if charset is None:
        return part.decode("raw-unicode-escape", "replace")  # how the decoder carries text between encoded words
    name = charset.partition("*")[0]  # RFC 2231 adds a language
    try:
        return part.decode(name if _WORD_CHARSETS.fullmatch(name) else "ascii", "replace")
    except LookupError:
        return part.decode("ascii", "replace")
