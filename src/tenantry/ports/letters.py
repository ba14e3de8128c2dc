"""Owns what a tenant keeps about its mail and changes by hand: suppressions; leaves the rest of it to people.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from tenantry.core.ids import StreamId
from tenantry.core.suppression import NewSuppression, Suppressed, SuppressionFilter

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list and the cursor of the next one."""

    items: Sequence[T]
    next_cursor: str | None


class SuppressionStore(Protocol):
    """A tenant's suppressions. Addresses are kept and asked for in lower case."""

    async def suppressions(self, wanted: SuppressionFilter, cursor: str | None, limit: int) -> Page[Suppressed]:
        """Return entries by address, or raise StoreRejected for a cursor that was not made here."""
        ...

    async def suppress(self, entries: Sequence[NewSuppression]) -> int:
        """Write entries down, in place of what is there of the same address and scope; return how many are new.

        Raises StoreRejected, and writes nothing, where a stream is not this tenant's.
        """
        ...

    async def unsuppress(self, addresses: Sequence[str], stream_id: StreamId | None = None) -> int:
        """Take addresses off the list, of this stream alone or of every scope; return how many addresses were on it."""
        ...
