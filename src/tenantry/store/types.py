"""Owns how our values lie in a column on each database; leaves the tables to tables.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Dialect, LargeBinary, String, Uuid
from sqlalchemy.types import TypeDecorator, TypeEngine

from tenantry.core.ids import Id

K = TypeVar("K", bound=Id)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def micros(at: datetime) -> int:
    """Return a time as whole microseconds since the epoch."""
    return (at - EPOCH) // MICROSECOND


def from_micros(value: int) -> datetime:
    """Return the time that micros made."""
    return EPOCH + timedelta(microseconds=value)


def made_at(digits: str) -> datetime:
    """Return when a uuid7, in hex with or without dashes, was made."""
    return from_micros(int(digits.replace("-", "")[:12], 16) * 1_000)


def first_id(at: datetime) -> UUID:
    """Return the smallest uuid7 of this millisecond: ids made since then are not below it."""
    return UUID(int=(micros(at) // 1_000) << 80)


class IdColumn(TypeDecorator[K], Generic[K]):
    """An id: a uuid on PostgreSQL, its 32 hex digits on SQLite; to Python its digits on both."""

    impl = Uuid
    cache_ok = True

    def __init__(self, kind: type[K]) -> None:
        """Bind the column to one kind of id."""
        super().__init__()
        self.kind = kind

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """Choose the database's own type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Uuid(as_uuid=False))
        return dialect.type_descriptor(String(32))

    def process_bind_param(self, value: K | None, dialect: Dialect) -> str | None:
        """Take the prefix off."""
        return None if value is None else value.rpartition("_")[2]

    def process_result_value(self, value: str | None, dialect: Dialect) -> K | None:
        """Put the prefix back."""
        return None if value is None else str.__new__(self.kind, f"{self.kind.prefix}_{value}")


class Instant(TypeDecorator[datetime]):
    """A time: timestamptz on PostgreSQL, whole microseconds since the epoch on SQLite."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime] | TypeEngine[int]:
        """Choose the database's own type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | int | None:
        """Give the database its form."""
        if value is None or dialect.name == "postgresql":
            return value
        return micros(value)

    def process_result_value(self, value: datetime | int | None, dialect: Dialect) -> datetime | None:
        """Give back an aware time."""
        return from_micros(value) if isinstance(value, int) else value


Bytes = LargeBinary
