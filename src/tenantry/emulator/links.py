"""Owns the links of a message that SES would follow: which one a recipient clicks, and its tags.

Leaves the event to `emulator.events`. `ses:tags` and `ses:no-track` are attributes of `<a>` (SES guide, "Metrics FAQs").
"""

import re
from collections.abc import Mapping
from email import message_from_bytes
from random import Random
from typing import Any, NamedTuple

_ANCHOR = re.compile(r"<a\s([^<>]{1,4000})>", re.IGNORECASE)
_HREF = re.compile(r"""href\s*=\s*["']?(https?://[^"'\s]{1,2000})""", re.IGNORECASE)
_TAGS = re.compile(r"""ses:tags\s*=\s*["']([^"']{1,1000})""", re.IGNORECASE)
_URL = re.compile(r"https?://[^\s<>\"]{1,2000}")
LINKS_MAX = 250  # as many as SES tracks in a message
READ_MAX_BYTES = 262_144


class Link(NamedTuple):
    """A link with its tags, each an array as in events."""

    url: str
    tags: Mapping[str, list[str]] | None


def has_html(content: Mapping[str, Any]) -> bool:
    """Has the Content of a send an HTML part, so that SES can see it opened?"""
    if simple := content.get("Simple"):
        return bool(simple["Body"].get("Html", {}).get("Data"))
    return b"text/html" in content["Raw"]["Data"].lower()


def link_of(content: Mapping[str, Any], random: Random) -> Link | None:
    """Return one of the links of a message that are tracked, or None if it has none."""
    html, text = _bodies(content)
    found = [] if html is None else [each for each in map(_link, _ANCHOR.findall(html[:READ_MAX_BYTES])) if each]
    if html is None:
        found = [Link(url, None) for url in _URL.findall(text[:READ_MAX_BYTES])]
    return random.choice(found[:LINKS_MAX]) if found else None


def _link(attributes: str) -> Link | None:
    href, tags = _HREF.search(attributes), _TAGS.search(attributes)
    if href is None or "ses:no-track" in attributes.lower():
        return None
    pairs = [each.partition(":") for each in tags[1].split(";") if each.strip()] if tags else []
    return Link(href[1].replace("&amp;", "&"), {name.strip(): [value.strip()] for name, _, value in pairs} or None)


def _bodies(content: Mapping[str, Any]) -> tuple[str | None, str]:
    if simple := content.get("Simple"):
        body = simple["Body"]
        return body.get("Html", {}).get("Data"), body.get("Text", {}).get("Data", "")
    html, text = None, ""
    for part in message_from_bytes(content["Raw"]["Data"][:READ_MAX_BYTES]).walk():
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes):
            if part.get_content_type() == "text/html":
                html = payload.decode("utf-8", "replace")
            elif part.get_content_type() == "text/plain":
                text = payload.decode("utf-8", "replace")
    return html, text
