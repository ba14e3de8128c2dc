"""Owns the transaction: one step on SQLite or PostgreSQL, with its time, ids, lock and errors.

Leaves what a step may do to the query modules, one a verb.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import URL, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.core.ids import AttemptId, CellId, KeyId, TenantId
from tenantry.core.tenant import Key
from tenantry.ports import StoreBusy, StoreInDoubt
from tenantry.store import tables
from tenantry.store.accept import AcceptQueries, SenderCache
from tenantry.store.counting import CountQueries
from tenantry.store.dispatch import DispatchQueries
from tenantry.store.floors import Floors
from tenantry.store.guard import GuardQueries
from tenantry.store.ingest import IngestQueries
from tenantry.store.manage import FleetScope, TenantScope
from tenantry.store.provision import ProvisionQueries
from tenantry.store.recovery import ClaimMark, RecoveryQueries
from tenantry.store.roles import Acting, Role
from tenantry.store.rows import read_key
from tenantry.store.seam import Driver, Refusals, Seam
from tenantry.store.types import EPOCH
from tenantry.store.vault import Vault
from tenantry.store.writing import Lines


class Step(
    AcceptQueries, DispatchQueries, IngestQueries, GuardQueries, CountQueries, ProvisionQueries, RecoveryQueries
):
    """One transaction with every verb's queries; implements ports.StoreStep."""

    def __init__(self, conn: AsyncConnection, driver: Driver, now: datetime, store: Store) -> None:
        """Bind the queries to a connection inside a transaction."""
        self._conn = conn
        self.driver = driver
        self.now = now
        self.seam = store.seam
        self.sender_cache = store.sender_cache
        self.vault = store.vault
        self.claim_mark = store.claim_mark
        self.floors = store.floors
        self.refusals = store.refusals


class Store:
    """Implements ports.Store on kept connections; on SQLite a single one writes."""

    def __init__(
        self,
        lines: Lines,
        seam: Seam,
        vault: Vault,
        on_close: Callable[[], None] | None = None,
        *,
        claim_mark: ClaimMark | None = None,
    ) -> None:
        """Take the lines as engine.open_store opened them."""
        self._on_close = on_close
        self.claim_mark = claim_mark
        self.seam = seam
        self.vault = vault
        self.sender_cache = SenderCache()
        self.floors = Floors()
        self.refusals = Refusals()
        self._lines = lines
        self._acting = Acting()

    def acting(self, role: Role, tenant_id: TenantId | None = None) -> Store:
        """Return this store with its transactions run as this role, for this tenant: walls that PostgreSQL holds."""
        view = copy(self)
        view._acting = Acting(role, tenant_id)
        return view

    @asynccontextmanager
    async def step(self, lock: CellId | None = None) -> AsyncIterator[Step]:
        """See ports.Store."""
        with self._port_errors() as begun:
            async with self._lines.of(self._acting, writes=True).transaction(self._acting) as kept:
                begun.step = Step(kept.conn, kept.driver, await self.seam.now(kept.driver, lock), self)
                yield begun.step

    def accepting(self) -> AbstractAsyncContextManager[Step]:
        """See ports.Store; where the database tells the time, the look-up does."""
        return self.acting(Role.ACCEPT)._accepting()

    @asynccontextmanager
    async def _accepting(self) -> AsyncIterator[Step]:
        with self._port_errors() as begun:
            async with self._lines.of(self._acting, writes=True).transaction(self._acting) as kept:
                begun.step = Step(kept.conn, kept.driver, self.seam.wall() or EPOCH, self)
                yield begun.step

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Step]:
        """Open one reading transaction: a consistent view that delays nobody."""
        with self._port_errors():
            line = self._lines.of(self._acting, writes=False)
            async with line.transaction(self._acting, writes=False) as kept:
                yield Step(kept.conn, kept.driver, await self.seam.now(kept.driver, None), self)

    @property
    def alone(self) -> bool:
        """Whether this process is the only one: SQLite's lock sees to it."""
        return self.seam.name == "sqlite"

    @property
    def url(self) -> URL:
        """Where the database is, with its password."""
        return self._lines.url

    def note_claim(self, last: AttemptId) -> None:
        """See ports.Store."""
        if self.claim_mark is not None:
            self.claim_mark.write(last)

    def of(self, tenant_id: TenantId) -> TenantScope:
        """See ports.Store."""
        return TenantScope(self.acting(Role.TENANT, tenant_id), tenant_id)

    def fleet(self, operator: KeyId) -> FleetScope:
        """See ports.Store."""
        return FleetScope(self.acting(Role.OPERATOR), operator)

    async def key(self, key_id: KeyId) -> tuple[Key, str] | None:
        """See ports.Store."""
        async with self.acting(Role.ACCEPT).reading() as step:
            row = (await step.conn.execute(select(tables.key).where(tables.key.c.id == key_id))).one_or_none()
        return (read_key(row), self.vault.unseal(row.secret).decode()) if row else None

    async def close(self) -> None:
        """Give every connection back."""
        await self._lines.close()
        if self._on_close:
            self._on_close()
            self._on_close = None

    @contextmanager
    def _port_errors(self) -> Iterator[_Begun]:
        """Turn the drivers' errors into the port's; what is a bug stays as it is."""
        begun = _Begun()
        try:
            yield begun
        except StoreInDoubt as error:
            self._note(error.__cause__, begun)
            raise
        except DBAPIError as error:  # SQLAlchemy's coat around the driver's
            ported = self._ported(_driver_error(error), begun)
            if ported is None:
                raise
            raise ported from error
        except PoolTimeout as error:
            raise StoreBusy(str(error)) from error
        except self.seam.errors as error:
            ported = self._ported(error, begun)
            if ported is None:
                raise
            raise ported from error

    def _ported(self, error: Exception, begun: _Begun) -> Exception | None:
        self._note(error, begun)
        return self.seam.port_error(error)

    def _note(self, error: BaseException | None, begun: _Begun) -> None:
        if begun.step is not None and self.seam.is_of_disk(error):
            self.refusals.at, self.refusals.words = begun.step.now, str(error)


@dataclass(slots=True)
class _Begun:
    """The writing step that was begun, with its time."""

    step: Step | None = None


def _driver_error(error: DBAPIError) -> Exception:
    """Find the driver's own error: asyncpg's stands behind SQLAlchemy's adapter."""
    found = error.orig
    cause = getattr(found, "__cause__", None)
    return cause if isinstance(cause, Exception) else found if isinstance(found, Exception) else error
