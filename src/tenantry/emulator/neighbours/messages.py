"""Owns what SQS and SNS ask of a message alike: its attributes, their checksum, its size and its characters.

Leaves which error a fault becomes to each service.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

ATTRIBUTES_MAX = 10  # of SQS (and of raw delivery into it)
_UNSPEAKABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME = re.compile(r"(?!\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)")
Attributes = Mapping[str, Mapping[str, Any]]


def body_fault(text: str) -> str | None:
    """Return what is wrong with a body: SQS carries only what XML 1.0 can."""
    if not text:
        return "Message must not be empty."
    if _UNSPEAKABLE.search(text):
        return "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF and above."
    return None


def attributes_fault(attributes: Attributes) -> str | None:
    """Return what is wrong with message attributes (SQS guide: message attributes), or None."""
    for name, given in attributes.items():
        kind = given.get("DataType", "").partition(".")[0]
        if not _NAME.fullmatch(name) or name.lower().startswith(("aws.", "amazon.")):
            return f"The message attribute name '{name}' is invalid."
        if kind not in ("String", "Number", "Binary"):
            return f"The type of message (user) attribute '{name}' is invalid: it must be String, Number or Binary."
        value = given.get("BinaryValue" if kind == "Binary" else "StringValue")
        if not value:
            return f"The message (user) attribute '{name}' must contain a non-empty message attribute value."
        if kind == "Number" and not _is_number(value):
            return f"Can't cast the value of message (user) attribute '{name}' to a number."
        if kind != "Binary" and _UNSPEAKABLE.search(value):
            return f"The value of message (user) attribute '{name}' holds invalid characters."
    return None


def attributes_md5(attributes: Attributes) -> str:
    """Return the checksum of attributes (SQS guide: calculating the MD5 message digest for message attributes)."""
    digest = hashlib.md5(usedforsecurity=False)
    for name in sorted(attributes):
        given = attributes[name]
        is_binary = given["DataType"].startswith("Binary")
        value = given["BinaryValue"] if is_binary else given["StringValue"].encode()
        for part in (name.encode(), given["DataType"].encode()):
            digest.update(len(part).to_bytes(4, "big") + part)
        digest.update((b"\x02" if is_binary else b"\x01") + len(value).to_bytes(4, "big") + value)
    return digest.hexdigest()


def size_of(body: str, attributes: Attributes) -> int:
    """Return the size in bytes that SQS and SNS hold against their limits."""
    size = len(body.encode())
    for name, given in attributes.items():
        value = given.get("StringValue", "").encode() or given.get("BinaryValue", b"")
        size += len(name.encode()) + len(given.get("DataType", "").encode()) + len(value)
    return size


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return len(text) <= 130
