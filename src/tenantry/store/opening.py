"""Owns what the scoped stores need of the store: its transactions and its vault; leaves opening them to the engine."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import date, datetime
from typing import Protocol, TypeVar, TypeVarTuple

from sqlalchemy import Row, Select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.core.backtest import History
from tenantry.core.counts import CountCheck, DayCounts
from tenantry.core.ids import CellId, Id, TenantId
from tenantry.core.plan import Change
from tenantry.core.recovery import HeldMail
from tenantry.ports import StoreConflict, StoreRejected
from tenantry.store.seam import Refusals
from tenantry.store.vault import Vault

IdT = TypeVar("IdT", bound=Id)
Ts = TypeVarTuple("Ts")


class Opened(Protocol):
    """One open transaction."""

    @property
    def conn(self) -> AsyncConnection:
        """The connection, inside its transaction."""
        ...

    @property
    def now(self) -> datetime:
        """The time of the step."""
        ...

    @property
    def dialect(self) -> str:
        """SQLAlchemy's name of the database."""
        ...

    def new_id(self, kind: type[IdT]) -> IdT:
        """Make an id whose time is the step's."""
        ...

    @property
    def refusals(self) -> Refusals:
        """When the database last could not write."""
        ...

    async def differences(self, cell: CellId) -> Sequence[Change]:
        """Return all that provision would change in a cell."""
        ...

    async def mail_days(self, tenant_id: TenantId, since: date) -> Sequence[DayCounts]:
        """Return what each stream sent to each provider by day of sending, since that day."""
        ...

    async def histories(self, tenant_id: TenantId, since: datetime) -> Sequence[History]:
        """Return what each stream of a tenant sent since then, and what of it came back bad."""
        ...

    async def count_check(self, tenant_id: TenantId, since: datetime) -> CountCheck:
        """Count recipients anew and say where buckets and days that began since then are kept otherwise."""
        ...

    async def held(self) -> Sequence[HeldMail]:
        """Return the mail that recovery holds, by stream."""
        ...


class Opener(Protocol):
    """The store, as far as the scoped stores use it."""

    @property
    def vault(self) -> Vault:
        """What seals and opens secrets."""
        ...

    def reading(self) -> AbstractAsyncContextManager[Opened]:
        """Open a transaction that only reads."""
        ...

    def step(self, lock: CellId | None = None) -> AbstractAsyncContextManager[Opened]:
        """Open a transaction that writes."""
        ...


async def rows(conn: AsyncConnection, query: Select[*Ts]) -> list[Row[*Ts]]:
    """Return every row of a query."""
    return list(await conn.execute(query))


async def first(conn: AsyncConnection, query: Select[*Ts]) -> Row[*Ts] | None:
    """Return the first row of a query, or None."""
    return (await conn.execute(query)).first()


@contextmanager
def unique(what: str) -> Iterator[None]:
    """Turn a broken unique constraint into StoreConflict; what: the sentence that says which name is taken."""
    try:
        yield
    except IntegrityError as error:
        raise StoreConflict(what) from error


def cursor_after(thing: Id) -> str:
    """Make the cursor of the page that begins after this thing; opaque, so that its form may change."""
    return urlsafe_b64encode(thing.encode()).decode().rstrip("=")


def read_cursor(cursor: str, kind: type[IdT]) -> IdT:
    """Read a cursor back, or raise StoreRejected for one that was not made here."""
    try:
        return kind(urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode())
    except ValueError as error:
        raise StoreRejected("The cursor was not made here: begin again without one.") from error
