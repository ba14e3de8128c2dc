"""Owns a tenant's templates and the tags on its things, as people read and change them; leaves rendering to flow.template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, and_, delete, func, insert, select

from tenantry.core.ids import TenantId
from tenantry.core.template import Template, TemplateParts
from tenantry.ports import Page, StoreConflict
from tenantry.store.opening import Opened, Opener, first, rows, unique
from tenantry.store.paging import cursor_at, texts_of
from tenantry.store.seam import DbRow
from tenantry.store.tables_mail import resource_tag, template

VERSIONS_KEPT = 50


class TemplateScope:
    """Implements ports.TemplateStore for one tenant."""

    _store: Opener
    _id: TenantId

    async def templates(self, cursor: str | None, limit: int) -> Page[Template]:
        """See ports.TemplateStore."""
        column, newer = template.c, template.alias("newer")
        later = newer.c.tenant_id == column.tenant_id, newer.c.name == column.name, newer.c.version > column.version
        where = [column.tenant_id == self._id, ~select(newer.c.version).where(*later).exists()]
        if cursor is not None:
            where.append(column.name > texts_of(cursor, 1)[0])
        query = select(template).where(*where).order_by(column.name).limit(limit + 1)
        async with self._store.reading() as step:
            found = await rows(step.conn, query)
        more = len(found) > limit
        return Page([_read(row) for row in found[:limit]], cursor_at(found[limit - 1].name) if more else None)

    async def template_count(self) -> int:
        """See ports.TemplateStore."""
        names = select(func.count(template.c.name.distinct())).where(template.c.tenant_id == self._id)
        async with self._store.reading() as step:
            return int(await step.conn.scalar(names) or 0)

    async def template(self, name: str, version: int | None = None) -> Template | None:
        """See ports.TemplateStore."""
        async with self._store.reading() as step:
            return await self._found(step, name, version)

    async def template_versions(self, name: str) -> Sequence[Template]:
        """See ports.TemplateStore."""
        mine = template.c.tenant_id == self._id, template.c.name == name
        async with self._store.reading() as step:
            query = select(template).where(*mine).order_by(template.c.version.desc())
            return [_read(row) for row in await rows(step.conn, query)]

    async def add_template(self, name: str, parts: TemplateParts) -> Template:
        """See ports.TemplateStore."""
        async with self._store.step() as step:
            made = Template(name, 1, parts, step.now, step.now)
            with unique(f"Template <{name}> already exists."):
                if await self._found(step, name) is not None:
                    raise StoreConflict(f"Template <{name}> already exists.")
                await self._insert(step, made)
            return made

    async def change_template(self, name: str, parts: TemplateParts, expected: int | None = None) -> Template | None:
        """See ports.TemplateStore."""
        async with self._store.step() as step:
            there = await self._found(step, name)
            if there is None:
                return None
            if expected not in (None, there.version):
                raise StoreConflict(f"Template <{name}> is at version {there.version} by now.")
            made = Template(name, there.version + 1, parts, there.created_at, step.now)
            with unique(f"Template <{name}> is being changed by somebody else."):
                await self._insert(step, made)
            old = template.c.version <= made.version - VERSIONS_KEPT
            await step.conn.execute(delete(template).where(self._of(name), old))
            return made

    async def remove_template(self, name: str) -> bool:
        """See ports.TemplateStore."""
        async with self._store.step() as step:
            gone = await step.conn.execute(delete(template).where(self._of(name)))
            named = resource_tag.c.tenant_id == self._id, resource_tag.c.resource == f"template/{name}"
            await step.conn.execute(delete(resource_tag).where(*named))
            return gone.rowcount > 0

    async def tags(self, resource: str) -> Mapping[str, str]:
        """See ports.TemplateStore."""
        async with self._store.reading() as step:
            return await self._tags(step, resource)

    async def put_tags(self, resource: str, tags: Mapping[str, str], most: int) -> bool:
        """See ports.TemplateStore."""
        async with self._store.step() as step:
            if len({**await self._tags(step, resource), **tags}) > most:
                return False
            await self._delete_tags(step, resource, list(tags))
            fresh = [
                {"tenant_id": self._id, "resource": resource, "key": key, "value": value}
                for key, value in sorted(tags.items())
            ]
            with unique("These tags are being changed by somebody else."):
                await step.conn.execute(insert(resource_tag), fresh)
            return True

    async def remove_tags(self, resource: str, keys: Sequence[str]) -> None:
        """See ports.TemplateStore."""
        async with self._store.step() as step:
            await self._delete_tags(step, resource, keys)

    def _of(self, name: str) -> ColumnElement[bool]:
        return and_(template.c.tenant_id == self._id, template.c.name == name)

    async def _found(self, step: Opened, name: str, version: int | None = None) -> Template | None:
        query = select(template).where(self._of(name)).order_by(template.c.version.desc()).limit(1)
        if version is not None:
            query = query.where(template.c.version == version)
        row = await first(step.conn, query)
        return _read(row) if row else None

    async def _insert(self, step: Opened, made: Template) -> None:
        await step.conn.execute(
            insert(template).values(
                tenant_id=self._id,
                name=made.name,
                version=made.version,
                subject=made.parts.subject,
                text=made.parts.text,
                html=made.parts.html,
                created_at=made.created_at,
                changed_at=made.changed_at,
            )
        )

    async def _tags(self, step: Opened, resource: str) -> dict[str, str]:
        tag = resource_tag.c
        mine = tag.tenant_id == self._id, tag.resource == resource
        query = select(tag.key, tag.value).where(*mine).order_by(tag.key)
        return {row.key: row.value for row in await rows(step.conn, query)}

    async def _delete_tags(self, step: Opened, resource: str, keys: Sequence[str]) -> None:
        tag = resource_tag.c
        these = tag.tenant_id == self._id, tag.resource == resource, tag.key.in_(keys)
        await step.conn.execute(delete(resource_tag).where(*these))


def _read(row: DbRow) -> Template:
    return Template(
        row.name, row.version, TemplateParts(row.subject, row.text, row.html), row.created_at, row.changed_at
    )
