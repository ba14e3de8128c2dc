"""Owns what one tenant reads and changes: every query here carries the tenant's id.

Leaves the longer readings to reading.py, and the operator's view over all tenants to manage.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import ColumnElement, Table, Text, case, cast, func, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from tenantry.core.backtest import History
from tenantry.core.counts import CountCheck, DayCounts
from tenantry.core.ids import Id, IdentityId, KeyId, MessageId, PauseId, StreamId, TenantId, VerdictId
from tenantry.core.pause import Pause
from tenantry.core.reading import CellOutlook, MessageView, ReputationView, StreamWaits, VerdictView
from tenantry.core.tenant import (
    DkimMode,
    Identity,
    IdentityStatus,
    Key,
    NewIdentity,
    NewStream,
    Scope,
    Stream,
    Tenant,
    account_sends,
)
from tenantry.ports import MessageFilter, Page, StoreConflict, StoreRejected
from tenantry.store import tables as t
from tenantry.store.opening import Opened, Opener, first, rows, unique
from tenantry.store.reading import message_page, message_view, reputation_view, stream_waits
from tenantry.store.rows import (
    OPEN_COLUMNS,
    read_identity,
    read_key,
    read_pause,
    read_stream,
    read_tenant,
    read_verdict,
)
from tenantry.store.suppression import SuppressionScope
from tenantry.store.templates import TemplateScope
from tenantry.store.types import IdColumn, first_id
from tenantry.store.vault import Vault

V = TypeVar("V")
NAMES_LOCK = 8_320_260  # the advisory lock under which identities are claimed
SELECTOR = "tenantry1"  # of two that are used in turn, so that a key can be rotated


def named(table: Table, kind: type[Id], name_or_id: str) -> ColumnElement[bool]:
    """Match a thing by its id where the text is one, else by its name."""
    try:
        return table.c.id == kind(name_or_id)
    except ValueError:
        return table.c.name == name_or_id


async def insert_key(
    step: Opened, vault: Vault, tenant_id: TenantId | None, scopes: frozenset[Scope]
) -> tuple[Key, str]:
    """Make a key of this tenant's, or (None) the operator's, and return it with its secret."""
    secret = vault.new_secret()
    made = Key(step.new_id(KeyId), tenant_id, scopes, step.now)
    sealed = vault.seal(secret.encode())
    await step.conn.execute(
        insert(t.key).values(
            id=made.id, tenant_id=tenant_id, secret=sealed, scopes=" ".join(sorted(scopes)), created_at=step.now
        )
    )
    return made, secret


async def revoke(step: Opened, whose: ColumnElement[bool], key_id: KeyId, after_seconds: float) -> bool:
    """Let one of these keys end, now or later but never later than it would, and say whether it was live."""
    at = step.now + timedelta(seconds=after_seconds)
    ends_later = or_(t.key.c.revoked_at.is_(None), t.key.c.revoked_at > step.now)
    live = (whose, t.key.c.id == key_id, ends_later)
    sooner = case((t.key.c.revoked_at < at, t.key.c.revoked_at), else_=literal(at, t.key.c.revoked_at.type))
    done = await step.conn.execute(update(t.key).where(*live).values(revoked_at=sooner))
    return done.rowcount == 1


class TenantScope(SuppressionScope, TemplateScope):
    """The port TenantStore: everything of one tenant and nothing else."""

    def __init__(self, store: Opener, tenant_id: TenantId) -> None:
        self._store = store
        self._id = tenant_id

    async def _all(self, table: Table, read: Callable[..., V], *where: ColumnElement[bool]) -> list[V]:
        """Return what is this tenant's in a table, oldest first."""
        columns = OPEN_COLUMNS.get(table.name, table.c)
        mine = select(*columns).where(table.c.tenant_id == self._id, *where).order_by(table.c.id)
        async with self._store.reading() as step:
            return [read(row) for row in await rows(step.conn, mine)]

    async def _one(self, table: Table, read: Callable[..., V], which: ColumnElement[bool]) -> V | None:
        return next(iter(await self._all(table, read, which)), None)

    async def _bump(self, step: Opened) -> None:
        """Make accept look at this tenant again."""
        risen = update(t.tenant).where(t.tenant.c.id == self._id).values(revision=t.tenant.c.revision + 1)
        await step.conn.execute(risen)

    async def _mine(self, step: Opened) -> Tenant:
        row = await first(step.conn, select(t.tenant).where(t.tenant.c.id == self._id))
        if row is None:
            raise StoreRejected("There is no such tenant.")
        return read_tenant(row)

    async def tenant(self) -> Tenant | None:
        async with self._store.reading() as step:
            row = await first(step.conn, select(t.tenant).where(t.tenant.c.id == self._id))
        return read_tenant(row) if row else None

    async def streams(self) -> Sequence[Stream]:
        return await self._all(t.stream, read_stream)

    async def stream(self, name_or_id: str) -> Stream | None:
        return await self._one(t.stream, read_stream, named(t.stream, StreamId, name_or_id))

    async def identities(self) -> Sequence[Identity]:
        return await self._all(t.identity, read_identity)

    async def identity(self, name_or_id: str) -> Identity | None:
        return await self._one(t.identity, read_identity, named(t.identity, IdentityId, name_or_id))

    async def keys(self) -> Sequence[Key]:
        return await self._all(t.key, read_key)

    async def message(self, message_id: MessageId) -> MessageView | None:
        async with self._store.reading() as step:
            return await message_view(step.conn, self._id, message_id)

    async def messages(self, wanted: MessageFilter, cursor: str | None, limit: int) -> Page[MessageView]:
        async with self._store.reading() as step:
            return await message_page(step.conn, self._id, wanted, cursor, limit)

    async def pauses(self, *, open_only: bool) -> Sequence[Pause]:
        where = [t.pause.c.ended_at.is_(None)] if open_only else []
        return await self._all(t.pause, read_pause, *where)

    async def pause(self, pause_id: PauseId) -> Pause | None:
        return await self._one(t.pause, read_pause, t.pause.c.id == pause_id)

    async def reputation(self, stream_id: StreamId) -> ReputationView | None:
        async with self._store.reading() as step:
            return await reputation_view(step.conn, self._id, stream_id)

    async def mail_days(self, days: int) -> Sequence[DayCounts]:
        async with self._store.reading() as step:
            return await step.mail_days(self._id, (step.now - timedelta(days=days - 1)).date())

    async def histories(self, days: int) -> Sequence[History]:
        async with self._store.reading() as step:
            return await step.histories(self._id, step.now - timedelta(days=days))

    async def count_check(self, days: int) -> CountCheck:
        async with self._store.reading() as step:
            return await step.count_check(self._id, step.now - timedelta(days=days))

    async def verdict(self, verdict_id: VerdictId) -> VerdictView | None:
        return await self._one(t.verdict, read_verdict, t.verdict.c.id == verdict_id)

    async def waits(self) -> Sequence[StreamWaits]:
        async with self._store.reading() as step:
            return await stream_waits(step.conn, self._id)

    async def outlook(self) -> CellOutlook:
        cell = t.cell.c
        columns = select(cell.sending_enabled, cell.enforcement, cell.breaker_opened_at)
        query = columns.join(t.tenant, t.tenant.c.cell_id == cell.id).where(t.tenant.c.id == self._id)
        async with self._store.reading() as step:
            row = await first(step.conn, query)
        assert row is not None, "every tenant has a cell"
        return CellOutlook(not account_sends(row.sending_enabled, row.enforcement), row.breaker_opened_at)

    async def add_stream(self, wanted: NewStream) -> Stream:
        async with self._store.step() as step:
            tenant = await self._mine(step)
            wanted_pool = select(t.pool).where(t.pool.c.cell_id == tenant.cell_id, t.pool.c.name == wanted.pool)
            pool = await first(step.conn, wanted_pool)
            if pool is None:
                raise StoreRejected(f"There is no pool named {wanted.pool!r}.")
            made = Stream(
                id=step.new_id(StreamId),
                tenant_id=self._id,
                cell_id=tenant.cell_id,
                pool_id=pool.id,
                name=wanted.name,
                stream_class=wanted.stream_class,
                policy=wanted.policy,
                is_default=wanted.is_default,
                created_at=step.now,
            )
            with unique(f"A stream named {wanted.name!r} exists already."):
                await self._insert_stream(step, made)
            await self._insert_lane(step, made)
            await self._bump(step)
            return made

    async def _insert_stream(self, step: Opened, made: Stream) -> None:
        if made.is_default:
            mine = update(t.stream).where(t.stream.c.tenant_id == self._id, t.stream.c.is_default)
            await step.conn.execute(mine.values(is_default=False))
        await step.conn.execute(
            insert(t.stream).values(
                id=made.id,
                tenant_id=self._id,
                cell_id=made.cell_id,
                pool_id=made.pool_id,
                name=made.name,
                stream_class=made.stream_class.value,
                policy=made.policy,
                is_default=made.is_default,
                stage_handed=0,
                cohort=0,
                handed=0,
                created_at=step.now,
            )
        )

    async def _insert_lane(self, step: Opened, made: Stream) -> None:
        """Give the stream its lane; it takes up the tag of its tenant's class, so that a new stream buys no share."""
        lane = t.lane.c
        tag = select(func.coalesce(func.max(lane.tag), 0.0)).where(
            lane.tenant_id == self._id, lane.stream_class == made.stream_class.value
        )
        await step.conn.execute(
            insert(t.lane).values(
                stream_id=made.id,
                cell_id=made.cell_id,
                tenant_id=self._id,
                pool_id=made.pool_id,
                stream_class=made.stream_class.value,
                tag=tag.scalar_subquery(),
                weight=1.0,
                ready=False,
                tokens=0.0,
                tokens_at=step.now,
            )
        )

    async def _refuse_overlap(self, step: Opened, name: str) -> None:
        """Raise StoreConflict when another tenant holds a domain around this name, or a name inside it."""
        domain = name.rpartition("@")[2]
        labels = domain.split(".")
        around = [".".join(labels[place:]) for place in range(len(labels) - 1)]
        if step.dialect == "postgresql":  # others' rows are out of sight: a function says yes or no, and no more
            asked = func.tenantry_name_is_near(name, cast(around, ARRAY(Text)), cast(self._id, IdColumn(TenantId)))
            held = bool(await step.conn.scalar(select(asked)))
        else:
            inside = t.identity.c.name.endswith(f".{name}", autoescape=True) | t.identity.c.name.endswith(
                f"@{name}", autoescape=True
            )
            theirs = t.identity.c.tenant_id != self._id, t.identity.c.name.in_(around) | inside
            held = await first(step.conn, select(t.identity.c.id).where(*theirs)) is not None
        if held:
            raise StoreConflict(
                f"The identity {name!r} is held already: it lies in, or around, what another tenant holds."
            )

    async def add_identity(self, wanted: NewIdentity) -> Identity:
        byo = wanted.dkim is DkimMode.BYODKIM
        private, public = await asyncio.to_thread(self._store.vault.new_dkim_pair) if byo else ("", "")
        async with self._store.step() as step:
            tenant = await self._mine(step)
            made = Identity(
                id=step.new_id(IdentityId),
                tenant_id=self._id,
                cell_id=tenant.cell_id,
                name=wanted.name,
                dkim=wanted.dkim,
                status=IdentityStatus.PENDING,
                created_at=step.now,
                selector=SELECTOR if byo else "",
                public_key=public,
            )
            if step.dialect == "postgresql":  # two that overlap, at once, would not see each other
                await step.conn.execute(select(func.pg_advisory_xact_lock(NAMES_LOCK)))
            if not wanted.allotted:
                await self._refuse_overlap(step, wanted.name)
            with unique(f"The identity {wanted.name!r} is held already."):
                await step.conn.execute(
                    insert(t.identity).values(
                        id=made.id,
                        tenant_id=self._id,
                        cell_id=made.cell_id,
                        name=made.name,
                        dkim=made.dkim.value,
                        selector=made.selector,
                        public_key=public,
                        private_key=self._store.vault.seal(private.encode()),
                        status=made.status.value,
                        ses_status="{}",
                        tokens="[]",
                        created_at=step.now,
                    )
                )
            await self._bump(step)
            return made

    async def set_identity_stream(self, identity_id: IdentityId, stream_id: StreamId | None) -> None:
        mine = t.identity.c.tenant_id == self._id, t.identity.c.id == identity_id
        async with self._store.step() as step:
            await step.conn.execute(update(t.identity).where(*mine).values(stream_id=stream_id))
            await self._bump(step)

    async def sent_since(self, since: datetime) -> int:
        mine = t.message.c.tenant_id == self._id, t.message.c.id >= MessageId.of(first_id(since))
        async with self._store.reading() as step:
            total = await step.conn.scalar(select(func.coalesce(func.sum(t.message.c.recipients), 0)).where(*mine))
        return int(total or 0)

    async def add_key(self, scopes: frozenset[Scope]) -> tuple[Key, str]:
        async with self._store.step() as step:
            await self._mine(step)
            made = await insert_key(step, self._store.vault, self._id, scopes)
            await self._bump(step)
            return made

    async def revoke_key(self, key_id: KeyId, after_seconds: float = 0.0) -> bool:
        async with self._store.step() as step:
            revoked = await revoke(step, t.key.c.tenant_id == self._id, key_id, after_seconds)
            if revoked:
                await self._bump(step)
            return revoked
