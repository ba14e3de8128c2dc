"""Owns a store with many tenants that may send, without a cloud: rows put in by the thousand, and what the store's work costs."""

from __future__ import annotations

import contextlib
import json
import os
import resource
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncpg
import structlog
from sqlalchemy import select

from bench.world import database
from tenantry.app.clock import SystemClock
from tenantry.core.ids import CellId, IdentityId, KeyId, PoolId, StreamId, TenantId
from tenantry.core.message import Submission
from tenantry.core.plan import FOR_SENDING, Resource, ResourceKind, Wanted, desired
from tenantry.core.tenant import DkimMode, Identity, IdentityStatus, Pool, PoolKind, Stream, StreamClass, Tenant
from tenantry.ports import AccountReading
from tenantry.store import tables
from tenantry.store.bootstrap import ensure_cell, ensure_partitions
from tenantry.store.engine import Opening, open_store
from tenantry.store.store import Step, Store
from tenantry.store.tables_ses import mirror
from tenantry.store.vault import Vault

PORTION = 2_000  # tenants a commit
SMALL = json.dumps({"Simple": {"Subject": {"Data": "x"}, "Body": {"Text": {"Data": "Thank you. " * 15}}}}).encode()
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Member:
    """A tenant that may send."""

    id: TenantId
    key_id: KeyId
    domain: str
    streams: Mapping[str, StreamId]

    def submission(self, to: str, stream: str = "transactional") -> Submission:
        """A small message of this tenant."""
        sender = f"hello@{self.domain}"
        return Submission(self.key_id, sender, (sender,), (to,), (), (), (), "Your receipt", SMALL, stream=stream)


@dataclass(slots=True)
class Crowd:
    """A store with its cell and tenants, and the processor time that both cost."""

    store: Store
    cell: CellId
    url: str
    server: int | None  # PostgreSQL's first process
    members: list[Member] = field(default_factory=list)

    def cpu(self) -> float:
        """Return the seconds of processor time of this process and of PostgreSQL."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime + (server_cpu(self.server) if self.server else 0.0)

    async def analyse(self) -> None:
        """Bring PostgreSQL's statistics up to date, as autovacuum does in time; SQLite is used without."""
        if not self.store.alone:
            conn = await asyncpg.connect(self.url)
            await conn.execute("VACUUM ANALYZE")
            await conn.close()

    async def join(self, tenants: int) -> None:
        """Let tenants move in, with all that SES would have of them in the mirror."""
        if self.store.alone:
            await self._join(self.store, tenants)
        else:  # no role may write all of it
            store = await open_store(Opening(self.url, self.store.vault, SystemClock().wall, create=False, roles=()))
            await self._join(store, tenants)
            await store.close()
        await self.analyse()

    async def _join(self, store: Store, tenants: int) -> None:
        for start in range(len(self.members), tenants, PORTION):
            async with store.step() as step:
                pool = await step.conn.scalar(select(tables.pool.c.id).where(tables.pool.c.cell_id == self.cell))
                assert pool is not None
                made = [
                    _moved_in(step, self.cell, pool, number) for number in range(start, min(start + PORTION, tenants))
                ]
                await _write(step, self.cell, pool, made)
            self.members += [
                Member(one.tenant.id, one.key, one.identity.name, {stream.name: stream.id for stream in one.streams})
                for one in made
            ]


@dataclass(frozen=True, slots=True)
class _Made:
    tenant: Tenant
    streams: tuple[Stream, ...]
    identity: Identity
    key: KeyId


def _moved_in(step: Step, cell: CellId, pool: PoolId, number: int) -> _Made:
    name, now = f"tenant{number}", step.now
    tenant = Tenant(step.new_id(TenantId), name, cell, f"{10**11 + number}", {}, now)
    streams = tuple(
        Stream(step.new_id(StreamId), tenant.id, cell, pool, kind.value, kind, "standard",
               is_default=kind is StreamClass.TRANSACTIONAL, created_at=now, provisioned_at=now)
        for kind in StreamClass
    )  # fmt: skip
    identity = Identity(
        step.new_id(IdentityId), tenant.id, cell, f"{name}.example", DkimMode.EASY, IdentityStatus.VERIFIED, now
    )
    return _Made(tenant, streams, replace(identity, verified_at=now), step.new_id(KeyId))


async def _write(step: Step, cell: CellId, pool: PoolId, made: Sequence[_Made]) -> None:
    now = step.now
    await step.insert(
        tables.tenant,
        "id, name, cell_id, account, labels, revision, surveyed, created_at",
        [(one.tenant.id, one.tenant.name, cell, one.tenant.account, "{}", 1, 1, now) for one in made],
    )
    streams = [stream for one in made for stream in one.streams]
    await step.insert(
        tables.stream,
        "id, tenant_id, cell_id, pool_id, name, stream_class, policy, is_default, provisioned_at, stage_handed, cohort,"
        " handed, on_unknown, created_at",
        [
            (one.id, one.tenant_id, cell, pool, one.name, one.stream_class.value, one.policy, one.is_default, now, 0, 0,
             0, "resend", now)
            for one in streams
        ],
    )  # fmt: skip
    await step.insert(
        tables.lane,
        "stream_id, cell_id, tenant_id, pool_id, stream_class, tag, weight, ready, tokens, tokens_at",
        [(one.id, cell, one.tenant_id, pool, one.stream_class.value, 0.0, 1.0, False, 0.0, now) for one in streams],
    )
    await step.insert(
        tables.identity,
        "id, tenant_id, cell_id, name, dkim, selector, public_key, private_key, status, ses_status, tokens, verified_at,"
        " created_at",
        [
            (one.identity.id, one.tenant.id, cell, one.identity.name, one.identity.dkim.value, "", "", b"",
             one.identity.status.value, "{}", "[]", now, now)
            for one in made
        ],
    )  # fmt: skip
    await step.insert(
        tables.key,
        "id, tenant_id, secret, scopes, created_at",
        [(one.key, one.tenant.id, b"", '["send"]', now) for one in made],
    )
    seen = [_as_seen(resource) for resource in desired(_wanted(cell, pool, made))]
    await step.insert(
        mirror,
        "cell_id, kind, name, attributes, observed, seen_at",
        [
            (cell, one.kind.value, one.name, json.dumps(dict(one.attributes), sort_keys=True),
             json.dumps(dict(one.observed), sort_keys=True), now)
            for one in seen
        ],
    )  # fmt: skip


def _wanted(cell: CellId, pool: PoolId, made: Sequence[_Made]) -> Wanted:
    return Wanted(
        tenants={one.tenant.id: one.tenant for one in made},
        streams=[stream for one in made for stream in one.streams],
        identities=[one.identity for one in made],
        pools=[Pool(pool, cell, "shared", PoolKind.SHARED)],
        pauses=[],
    )


def _as_seen(resource: Resource) -> Resource:
    seen = {FOR_SENDING: "true"} if resource.kind is ResourceKind.IDENTITY else {}
    return replace(resource, observed=seen)


@contextlib.asynccontextmanager
async def crowd(kind: str, tenants: int, *, rate: float = 100_000.0) -> AsyncIterator[Crowd]:
    """Open a fresh store with tenants that may send at this rate."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    async with database(kind) as url:
        store = await open_store(Opening(url, Vault([Vault.new_key()]), SystemClock().wall))
        await ensure_partitions(store)
        cell = await ensure_cell(store, "main", "us-east-1")
        async with store.step(lock=cell) as step:
            await step.set_account(cell, AccountReading(rate, -1, 0, True, "HEALTHY"))
        made = Crowd(store, cell, url, await _server(store))
        await made.join(tenants)
        yield made
        await store.close()


async def _server(store: Store) -> int | None:
    """Return PostgreSQL's first process, of which all others are children."""
    if store.alone:
        return None
    async with store.reading() as step:
        return parent_of(int((await step.run("SELECT pg_backend_pid()"))[0][0]))


def _stat(process: int) -> list[str]:
    """Return what Linux tells of a process, from its state on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def parent_of(process: int) -> int:
    """Return the process that started a process."""
    return int(_stat(process)[1])


def process_cpu(process: int) -> float:
    """Return the processor time of a process, in seconds."""
    return sum(int(value) for value in _stat(process)[11:13]) / TICK


def server_cpu(server: int) -> float:
    """Return the processor time of a process, its children, and those that it has buried."""
    ticks = sum(int(value) for value in _stat(server)[11:15])
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                stat = _stat(int(folder.name))
                ticks += sum(int(value) for value in stat[11:13]) if int(stat[1]) == server else 0
    return ticks / TICK
