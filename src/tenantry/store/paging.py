"""Owns cursors of lists that are ordered by texts: opaque, so that their form may change; leaves those by id to opening.py."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

from tenantry.ports import StoreRejected

CURSOR_CHARS_MAX = 4_096


def cursor_at(*texts: str) -> str:
    """Make the cursor of the page that begins after these texts."""
    return urlsafe_b64encode(json.dumps(texts, separators=(",", ":")).encode()).decode().rstrip("=")


def texts_of(cursor: str, count: int) -> tuple[str, ...]:
    """Read a cursor of so many texts back, or raise StoreRejected for one that was not made here."""
    try:
        if len(cursor) > CURSOR_CHARS_MAX:
            raise ValueError("too long")
        found = json.loads(urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
        if not (isinstance(found, list) and len(found) == count and all(isinstance(one, str) for one in found)):
            raise ValueError("not ours")
        "".join(found).encode()  # half a surrogate pair is no text of a database
    except (ValueError, RecursionError) as error:
        raise StoreRejected("The cursor was not made here: begin again without one.") from error
    return tuple(found)
