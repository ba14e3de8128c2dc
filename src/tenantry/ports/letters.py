"""Owns what a tenant keeps about its mail and changes by hand: suppressions, templates, tags; leaves the rest to people.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from tenantry.core.ids import StreamId
from tenantry.core.suppression import NewSuppression, Suppressed, SuppressionFilter
from tenantry.core.template import Template, TemplateParts

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


class TemplateStore(Protocol):
    """A tenant's templates with their versions, and the tags on its things."""

    async def templates(self, cursor: str | None, limit: int) -> Page[Template]:
        """Return templates by name, each in its newest version; raises StoreRejected for a cursor not made here."""
        ...

    async def template_count(self) -> int: ...
    async def template(self, name: str, version: int | None = None) -> Template | None:
        """Return a template in its newest version, or in this one."""
        ...

    async def template_versions(self, name: str) -> Sequence[Template]:
        """Return the versions that are kept, the last 50, newest first."""
        ...

    async def add_template(self, name: str, parts: TemplateParts) -> Template:
        """Make a template, or raise StoreConflict when the name is taken."""
        ...

    async def change_template(self, name: str, parts: TemplateParts, expected: int | None = None) -> Template | None:
        """Make the next version, None where there is no such template; StoreConflict when it is not at `expected`."""
        ...

    async def remove_template(self, name: str) -> bool:
        """Remove a template with its versions and tags, and say whether there was one."""
        ...

    async def tags(self, resource: str) -> Mapping[str, str]:
        """Return the tags of a thing, which is named as its ARN ends: identity/acme.example."""
        ...

    async def put_tags(self, resource: str, tags: Mapping[str, str], most: int) -> bool:
        """Set tags, at least one, beside those that are there; False, and nothing done, if there were more than `most`."""
        ...

    async def remove_tags(self, resource: str, keys: Sequence[str]) -> None: ...
