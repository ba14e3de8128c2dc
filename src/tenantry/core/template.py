"""Owns the values of templates: their parts, their versions, and tags on what a tenant holds; leaves rendering to the wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class TemplateParts:
    """What a mail is made of by filling in data: a subject, and a text, an HTML body or both."""

    subject: str
    text: str | None = None
    html: str | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """One version of a template; versions count up from 1, and the highest is what mail is made of."""

    name: str
    version: int
    parts: TemplateParts
    created_at: datetime  # when the template was
    changed_at: datetime  # when this version was
