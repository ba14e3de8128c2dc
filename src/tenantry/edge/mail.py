"""Owns what every sending door checks alike: addresses, tags, and the names of what is wrong with mail.

Leaves to admission whose authors, how many recipients and which stream; to the wire, the grammar.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from tenantry.core.claim import NAME_PREFIX
from tenantry.core.message import Refusal, RefusalCode
from tenantry.wire.address import AddressError, Mailbox, parse_mailbox
from tenantry.wire.mime import MimeProblem

_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")  # SES v2, MessageTag
_TAG_PREFIXES = (NAME_PREFIX, "ses:")

_CODES = {
    "message_too_large": RefusalCode.TOO_LARGE,
    "address_invalid": RefusalCode.INVALID_ADDRESS,
    "body_missing": RefusalCode.INVALID_FIELD,
    "body_nul": RefusalCode.INVALID_FIELD,
    "line_too_long": RefusalCode.INVALID_FIELD,
    "filename_invalid": RefusalCode.INVALID_FIELD,
    "content_type_invalid": RefusalCode.INVALID_FIELD,
    "content_id_invalid": RefusalCode.INVALID_FIELD,
    "too_many_attachments": RefusalCode.INVALID_FIELD,
}


def refusal_of(problem: MimeProblem) -> Refusal:
    """Return a problem of mail as the refusal that callers see; what concerns headers is `invalid_header`."""
    code = _CODES.get(problem.code, RefusalCode.INVALID_HEADER)
    if problem.code == "control_character" and problem.field in ("text", "html"):
        code = RefusalCode.INVALID_FIELD
    return Refusal(code, problem.message, problem.field)


def _both(text: str) -> tuple[Mailbox, str]:
    """Return a mailbox with the form in which it is handed over."""
    found = parse_mailbox(text)
    return found, found.header()


_remembered = lru_cache(maxsize=8_192)(_both)
_REMEMBERED_CHARS = 320


def _read(text: str) -> tuple[Mailbox, str]:
    """Read one address; short texts are remembered, since senders write the same From."""
    return _remembered(text) if len(text) <= _REMEMBERED_CHARS else _both(text)


def mailbox(text: str, field: str) -> Mailbox | Refusal:
    """Read one address, or say what is wrong with it."""
    found = written(text, field)
    return found if isinstance(found, Refusal) else found[0]


def written(text: str, field: str) -> tuple[Mailbox, str] | Refusal:
    """Read one address, and return it with the form in which it is handed over; or say what is wrong with it."""
    try:
        return _read(text)
    except AddressError as error:
        return _unreadable(error, field)


def mailboxes(texts: Sequence[str], field: str) -> tuple[str, ...] | Refusal:
    """Read addresses, one in each text, into the form that is handed over; the field is named with its place."""
    if not texts:
        return ()
    read: list[str] = []
    try:
        for text in texts:
            read.append(_read(text)[1])  # noqa: PERF401 - how many were read names the place of a bad one
    except AddressError as error:
        return _unreadable(error, f"{field}[{len(read)}]")
    return tuple(read)


def _unreadable(error: AddressError, field: str) -> Refusal:
    return Refusal(RefusalCode.INVALID_ADDRESS, f"Correct the address in {field}: {error}", field)


def tags_refusal(tags: Mapping[str, str], field: str) -> Refusal | None:
    """Refuse tags that SES would not take, and those whose names are ours or SES's."""
    for name, value in tags.items():
        shown = ascii(name[:80])[1:-1]
        if name.lower().startswith(_TAG_PREFIXES):
            return Refusal(
                RefusalCode.INVALID_TAG, f"Rename the tag {shown}: names beginning so are reserved.", f"{field}.{shown}"
            )
        if not _TAG.fullmatch(name) or not _TAG.fullmatch(value):
            message = "Write a tag's name and value in 1 to 256 letters, digits, '_' and '-'."
            return Refusal(RefusalCode.INVALID_TAG, message, f"{field}.{shown}")
    return None
