"""Owns the routes of templates: their versions, and a preview; leaves what a template may be to `flow.template`."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict

from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.template import Template, TemplateParts
from tenantry.edge.api.reach import Changer, Reader, TenantPaging, TenantQuery, granted
from tenantry.edge.api.shapes import Listing, Shape
from tenantry.edge.errors import RefusedError
from tenantry.flow.template import add, change, filled, missing, name_flaw
from tenantry.ports import TenantStore

router = APIRouter(prefix="/v1")

TEMPLATE_BODY_BYTES_MAX = 2_000_000  # the parts as JSON, whose escapes may be longer than what they stand for
PLACE = "/v1/templates"
_ETAG = re.compile(r'"(\d{1,9})"')


class PartsIn(BaseModel):
    """What a template's mail is made of."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"subject": "Welcome, {{name}}", "text": "Hello {{name}}"}]},
    )

    subject: str
    text: str | None = None
    html: str | None = None
    tenant: str | None = None

    @property
    def parts(self) -> TemplateParts:
        """As the store keeps them."""
        return TemplateParts(self.subject, self.text, self.html)


class TemplateIn(PartsIn):
    """A template to make."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "welcome", "subject": "Welcome, {{name}}", "text": "Hello {{name}}"}]},
    )

    name: str


class PreviewIn(BaseModel):
    """The data that a preview is filled with."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"data": {"name": "Ann"}}]})

    data: dict[str, object] = {}
    version: int | None = None
    tenant: str | None = None


class VersionQuery(TenantQuery):
    """Which version is meant; none: the newest."""

    version: int | None = None


class TemplateSummaryOut(Shape):
    """One version of a template, without its parts but for the subject."""

    name: str
    version: int
    subject: str
    created_at: datetime
    changed_at: datetime

    @classmethod
    def of(cls, template: Template) -> TemplateSummaryOut:
        """Show a version in short."""
        return cls(
            name=template.name,
            version=template.version,
            subject=template.parts.subject,
            created_at=template.created_at,
            changed_at=template.changed_at,
        )


class TemplateOut(TemplateSummaryOut):
    """One version of a template."""

    text: str | None
    html: str | None

    @classmethod
    def whole(cls, template: Template) -> TemplateOut:
        """Show a version."""
        short = TemplateSummaryOut.of(template).model_dump()
        return cls(**short, text=template.parts.text, html=template.parts.html)


class PreviewOut(Shape):
    """What mail would come of a template."""

    subject: str
    text: str | None
    html: str | None


@router.get("/templates")
async def list_templates(caller: Reader, paging: Annotated[TenantPaging, Query()]) -> Listing[TemplateSummaryOut]:
    """List one tenant's templates by name, each in its newest version."""
    store = caller.of(await caller.tenant(paging.tenant))
    page = await store.templates(paging.cursor, paging.limit)
    return Listing(items=[TemplateSummaryOut.of(one) for one in page.items], next_cursor=page.next_cursor)


@router.post("/templates", status_code=201)
async def make_template(caller: Changer, wanted: TemplateIn, response: Response) -> TemplateOut:
    """Make a template; its text is checked, so that what is kept can be rendered."""
    tenant = await caller.tenant(wanted.tenant)
    return _shown(granted(await add(caller.doors.store, tenant.id, wanted.name, wanted.parts)), response)


@router.get("/templates/{template}")
async def show_template(
    caller: Reader, template: str, query: Annotated[VersionQuery, Query()], response: Response
) -> TemplateOut:
    """Show a template in its newest version, or in the one that is named; the ETag is the version."""
    store = caller.of(await caller.tenant(query.tenant))
    return _shown(await _named(store, template, query.version), response)


@router.get("/templates/{template}/versions")
async def list_template_versions(
    caller: Reader, template: str, query: Annotated[TenantQuery, Query()]
) -> Listing[TemplateSummaryOut]:
    """List the versions of a template that are kept, the last 50, newest first."""
    store = caller.of(await caller.tenant(query.tenant))
    await _named(store, template, None)
    return Listing(items=[TemplateSummaryOut.of(one) for one in await store.template_versions(template)])


@router.put("/templates/{template}")
async def change_template(
    caller: Changer,
    template: str,
    wanted: PartsIn,
    response: Response,
    if_match: Annotated[str | None, Header()] = None,
) -> TemplateOut:
    """Make the next version of a template; with If-Match only if the one that was read is still the newest."""
    tenant = await caller.tenant(wanted.tenant)
    await _named(caller.of(tenant), template, None)
    expected = None if if_match is None else _version(if_match)
    made = await change(caller.doors.store, tenant.id, template, wanted.parts, expected=expected)
    return _shown(granted(made), response)


@router.delete("/templates/{template}", status_code=204)
async def remove_template(caller: Changer, template: str, query: Annotated[TenantQuery, Query()]) -> Response:
    """Remove a template with its versions; mail that was accepted has its text already."""
    store = caller.of(await caller.tenant(query.tenant))
    await _named(store, template, None)
    await store.remove_template(template)
    return Response(status_code=204)


@router.post("/templates/{template}/preview")
async def preview_template(caller: Reader, template: str, wanted: PreviewIn) -> PreviewOut:
    """Show what mail would come of a template and this data, or say which data is missing."""
    store = caller.of(await caller.tenant(wanted.tenant))
    parts = (await _named(store, template, wanted.version)).parts
    made = granted(await asyncio.to_thread(filled, parts, wanted.data))
    return PreviewOut(subject=made.subject, text=made.text, html=made.html)


async def _named(store: TenantStore, name: str, version: int | None) -> Template:
    """Return a version; a name that none can have names nothing."""
    there = None if name_flaw(name) else await store.template(name, version)
    if there is None:
        raise RefusedError(missing(name))
    return there


def _version(if_match: str) -> int | None:
    if if_match.strip() == "*":
        return None
    match = _ETAG.fullmatch(if_match.strip().removeprefix("W/"))
    if match is None:
        words = 'Give If-Match the ETag that was answered, as "3", or *.'
        raise RefusedError(Refusal(RefusalCode.INVALID_FIELD, words, "If-Match"))
    return int(match[1])


def _shown(template: Template, response: Response) -> TemplateOut:
    response.headers["etag"] = f'"{template.version}"'
    return TemplateOut.whole(template)
