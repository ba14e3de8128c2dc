"""Owns the transaction: one step on SQLite or PostgreSQL, with its time, ids, lock and errors.

Leaves what a step may do to the query modules, one a verb.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tenantry.core.ids import CellId, KeyId, TenantId
from tenantry.core.tenant import Key
from tenantry.ports import StoreBusy, StoreConflict, StoreRejected
from tenantry.store import tables
from tenantry.store.accept import AcceptQueries, SenderCache
from tenantry.store.dispatch import DispatchQueries
from tenantry.store.guard import GuardQueries
from tenantry.store.ingest import IngestQueries
from tenantry.store.manage import FleetScope, TenantScope
from tenantry.store.provision import ProvisionQueries
from tenantry.store.rows import read_key
from tenantry.store.seam import Seam
from tenantry.store.vault import Vault


class Step(AcceptQueries, DispatchQueries, IngestQueries, GuardQueries, ProvisionQueries):
    """One transaction with every verb's queries; implements ports.StoreStep."""

    def __init__(self, conn: AsyncConnection, now: datetime, store: Store, lock: CellId | None) -> None:
        """Bind the queries to a connection inside a transaction."""
        self.conn = conn
        self.now = now
        self.seam = store.seam
        self.lock = lock
        self.sender_cache = store.sender_cache
        self.vault = store.vault


class Store:
    """Implements ports.Store on two engines: one writes (on SQLite a single connection), one reads."""

    def __init__(
        self,
        writer: AsyncEngine,
        reader: AsyncEngine,
        seam: Seam,
        vault: Vault,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        """Take the engines as opened by engine.open_store."""
        self._on_close = on_close
        self.seam = seam
        self.vault = vault
        self.sender_cache = SenderCache()
        self._writer = writer
        self._reader = reader

    @asynccontextmanager
    async def step(self, lock: CellId | None = None) -> AsyncIterator[Step]:
        """See ports.Store."""
        with _port_errors():
            async with self._writer.begin() as conn:
                if lock is not None and self.seam.name == "postgresql":
                    await conn.execute(
                        text("SELECT 1 FROM cell WHERE id = :id FOR UPDATE"), {"id": self.seam.raw(lock)}
                    )
                yield Step(conn, await self.seam.now(conn), self, lock)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Step]:
        """Open one reading transaction: a consistent view that delays nobody."""
        with _port_errors():
            async with self._reader.begin() as conn:
                yield Step(conn, await self.seam.now(conn), self, None)

    def of(self, tenant_id: TenantId) -> TenantScope:
        """See ports.Store."""
        return TenantScope(self, tenant_id)

    def fleet(self, operator: KeyId) -> FleetScope:
        """See ports.Store."""
        return FleetScope(self, operator)

    async def key(self, key_id: KeyId) -> tuple[Key, str] | None:
        """See ports.Store."""
        async with self.reading() as step:
            row = (await step.conn.execute(select(tables.key).where(tables.key.c.id == key_id))).one_or_none()
        return (read_key(row), self.vault.unseal(row.secret).decode()) if row else None

    async def close(self) -> None:
        """Give every connection back."""
        await self._writer.dispose()
        await self._reader.dispose()
        if self._on_close:
            self._on_close()
            self._on_close = None


@contextmanager
def _port_errors() -> Iterator[None]:
    """Turn the drivers' errors into the port's."""
    try:
        yield
    except IntegrityError as error:
        raise StoreConflict(str(error.orig)) from error
    except (DataError, OverflowError, UnicodeEncodeError) as error:
        raise StoreRejected(str(error)) from error
    except DBAPIError as error:
        state = str(getattr(error.orig, "sqlstate", ""))
        if state.startswith("22"):  # PostgreSQL's class of data exceptions: a value that no column can hold
            raise StoreRejected(str(error.orig)) from error
        raise StoreBusy(str(error.orig)) from error
    except (PoolTimeout, OSError) as error:
        raise StoreBusy(str(error)) from error
