"""Owns which templates a tenant may keep, and what mail comes of one; leaves the language to the wire, keeping to the store."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache

from tenantry.core.ids import TenantId
from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.template import Template, TemplateParts
from tenantry.ports import Store, StoreConflict
from tenantry.wire.handlebars import RenderingError, parse
from tenantry.wire.handlebars import Template as Parsed

TEMPLATES_MOST = 20_000  # SES quotas, for an account
TEMPLATE_BYTES_MAX = 500 * 1024  # SES quotas
DATA_CHARS_MAX = 262_144  # SES v2, EmailTemplateData
FULL = "You keep as many templates as there may be: remove one first."
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_parsed = lru_cache(maxsize=1_024)(parse)
_REMEMBERED_CHARS = 20_000


async def add(store: Store, tenant_id: TenantId, name: str, parts: TemplateParts) -> Template | Refusal:
    """Make a template of this tenant's; `conflict` where the name is taken, `too_large` where there are too many."""
    if flaw := name_flaw(name) or parts_flaw(parts):
        return flaw
    mine = store.of(tenant_id)
    if await mine.template_count() >= TEMPLATES_MOST:
        return Refusal(RefusalCode.TOO_LARGE, FULL, "name")
    try:
        return await mine.add_template(name, parts)
    except StoreConflict as error:
        return Refusal(RefusalCode.CONFLICT, str(error), "name")


async def change(
    store: Store, tenant_id: TenantId, name: str, parts: TemplateParts, *, expected: int | None = None
) -> Template | Refusal:
    """Make the next version of a template; `conflict` when it is not at the expected version any more."""
    if flaw := parts_flaw(parts):
        return flaw
    try:
        made = await store.of(tenant_id).change_template(name, parts, expected)
    except StoreConflict as error:
        return Refusal(RefusalCode.CONFLICT, str(error), "version")
    return made or missing(name)


def missing(name: str) -> Refusal:
    """Refuse a template that is not there, in SES's words."""
    return Refusal(RefusalCode.NOT_FOUND, f"Template <{name[:64]}> does not exist.", "template")


def name_flaw(name: str) -> Refusal | None:
    """Say why this is no name of a template, or None."""
    if _NAME.fullmatch(name):
        return None
    words = "Give a template name of 1 to 64 letters, digits, '_' and '-'."
    return Refusal(RefusalCode.INVALID_FIELD, words, "name")


def parts_flaw(parts: TemplateParts) -> Refusal | None:
    """Say why no template can have these parts, or None; that they can be read is checked too, unlike SES does."""
    if not parts.subject:
        return Refusal(RefusalCode.INVALID_FIELD, "Give the template a subject.", "subject")
    if not (parts.text or parts.html):
        return Refusal(RefusalCode.INVALID_FIELD, "Give the template a text part, an HTML part, or both.", "text")
    texts = {"subject": parts.subject, "text": parts.text or "", "html": parts.html or ""}
    if any("\0" in text for text in texts.values()):
        return Refusal(RefusalCode.INVALID_FIELD, "Remove NUL characters from the template.", "text")
    if sum(len(text.encode("utf-8", "replace")) for text in texts.values()) > TEMPLATE_BYTES_MAX:
        words = f"Shorten the template to {TEMPLATE_BYTES_MAX // 1024} kB in all."
        return Refusal(RefusalCode.INVALID_FIELD, words, "html")
    for field, text in texts.items():
        try:
            _read(text)
        except RenderingError as error:
            return Refusal(RefusalCode.INVALID_FIELD, str(error), field)
    return None


def read_data(text: str | None) -> Mapping[str, object] | Refusal:
    """Read the data of a rendering: a JSON object, or nothing."""
    if text is not None and len(text) > DATA_CHARS_MAX:
        return Refusal(RefusalCode.INVALID_FIELD, f"TemplateData has at most {DATA_CHARS_MAX:,} characters.", "data")
    try:
        data = json.loads(text or "{}")
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict):
        return data
    return Refusal(RefusalCode.INVALID_FIELD, "TemplateData must be a JSON object.", "data")


def filled(parts: TemplateParts, data: Mapping[str, object]) -> TemplateParts | Refusal:
    """Return the parts with the data filled in, or say what is missing; takes CPU in proportion to what comes of it."""
    try:
        subject = " ".join(_read(parts.subject).render(data).splitlines())
        text = None if parts.text is None else _read(parts.text).render(data)
        html = None if parts.html is None else _read(parts.html).render(data)
    except RenderingError as error:
        return Refusal(RefusalCode.INVALID_FIELD, str(error), "data")
    except RecursionError:
        return Refusal(RefusalCode.INVALID_FIELD, "The data is nested too deeply.", "data")
    return TemplateParts(subject, text, html)


def _read(text: str) -> Parsed:
    return _parsed(text) if len(text) <= _REMEMBERED_CHARS else parse(text)
