"""Owns what a caller may reach: its own tenant, or (an operator's key) every tenant, each through its scoped store.

Leaves proving who calls to `auth`. Whatever cannot be reached answers like what does not exist.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, TypeVar

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from tenantry.core.ids import Id
from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.tenant import Key, Scope, Tenant
from tenantry.edge.auth import Keyring, lacks
from tenantry.edge.doors import Doors
from tenantry.edge.errors import NOT_FOUND, RefusedError
from tenantry.ports import FleetStore, Page, TenantStore

T = TypeVar("T")
K = TypeVar("K", bound=Id)

NAME_A_TENANT = Refusal(RefusalCode.INVALID_FIELD, "Name the tenant: an operator's key is not of one.", "tenant")


class Paging(BaseModel):
    """Where a list goes on, and how long a page is."""

    model_config = ConfigDict(extra="forbid")

    cursor: Annotated[str, Field(max_length=200)] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class TenantQuery(BaseModel):
    """The tenant that is meant, by name or id."""

    model_config = ConfigDict(extra="forbid")

    tenant: str | None = None


class TenantPaging(Paging):
    """One tenant's list, or (an operator's key) that of all tenants."""

    tenant: str | None = None


class HasId(Protocol):
    """A thing with an id of ours."""

    @property
    def id(self) -> Id:
        """Its id; ids sort by the time of their making."""
        ...


H = TypeVar("H", bound=HasId)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and the scoped stores that this opens."""

    doors: Doors
    key: Key

    @property
    def is_operator(self) -> bool:
        """Whether the key is of no tenant, and so of all."""
        return self.key.tenant_id is None

    @property
    def fleet(self) -> FleetStore:
        """All tenants; for operators only."""
        if not self.is_operator:
            raise RefusedError(NOT_FOUND)
        return self.doors.store.fleet(self.key.id)

    async def tenant(self, named: str | None) -> Tenant:
        """Return the tenant that is meant by name or id; a tenant's own key may leave it out."""
        if self.key.tenant_id is not None:
            own = found(await self.doors.store.of(self.key.tenant_id).tenant())
            if named not in (None, own.id, own.name):
                raise RefusedError(NOT_FOUND)
            return own
        if named is None:
            raise RefusedError(NAME_A_TENANT)
        return found(await self.fleet.tenant(named))

    def of(self, tenant: Tenant) -> TenantStore:
        """Open one tenant's store, once `tenant` said that it may be reached."""
        return self.doors.store.of(tenant.id)

    async def holding(self, thing: Id) -> TenantStore:
        """Open the store of the tenant that a thing belongs to; for a tenant's key its own, whatever the thing."""
        tenant_id = self.key.tenant_id or await self.fleet.owner(thing)
        if tenant_id is None:
            raise RefusedError(NOT_FOUND)
        return self.doors.store.of(tenant_id)

    async def where(self, kind: type[Id], name_or_id: str, tenant: str | None) -> TenantStore:
        """Open the store in which a thing is to be looked up by name or id."""
        thing = as_id(kind, name_or_id)
        if self.is_operator and thing is not None and tenant is None:
            return await self.holding(thing)
        return self.of(await self.tenant(tenant))

    async def gather(self, paging: TenantPaging, read: Callable[[Tenant], Awaitable[Sequence[T]]]) -> Page[T]:
        """Return what `read` gives for one tenant whole, or (an operator who names none) tenant by tenant."""
        if not self.is_operator or paging.tenant is not None:
            return Page(await read(await self.tenant(paging.tenant)), None)
        tenants = await self.fleet.tenants(paging.cursor, paging.limit)
        return Page([item for tenant in tenants.items for item in await read(tenant)], tenants.next_cursor)

    async def listing(self, paging: TenantPaging, read: Callable[[TenantStore], Awaitable[Sequence[H]]]) -> Page[H]:
        """Return a page of what each tenant's store lists."""
        page = await self.gather(paging, lambda tenant: read(self.of(tenant)))
        if self.is_operator and paging.tenant is None:
            return page
        return window(page.items, paging)


def allowed(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """Make the dependency that lets in callers whose key has this scope."""

    async def caller(request: Request) -> Caller:
        keyring: Keyring = request.app.state.keyring
        key = await keyring.bearer(request.headers.get("authorization", "").encode("latin-1"))
        if isinstance(key, Refusal):
            raise RefusedError(key)
        if refused := lacks(key, scope) or _unasked(request):
            raise RefusedError(refused)
        return Caller(request.app.state.doors, key)

    return caller


def _unasked(request: Request) -> Refusal | None:
    """Refuse the query of a route that takes none; where there is one, its shape refuses what it does not know."""
    route: APIRoute = request.scope["route"]
    if not request.query_params or route.dependant.query_params:
        return None
    name = ascii(next(iter(request.query_params))[:80])[1:-1]
    return Refusal(RefusalCode.INVALID_FIELD, f"Remove the unknown field {name}.", name)


Reader = Annotated[Caller, Depends(allowed(Scope.READ))]
Changer = Annotated[Caller, Depends(allowed(Scope.MANAGE))]
Operator = Annotated[Caller, Depends(allowed(Scope.OPERATE))]


def found(thing: T | None) -> T:
    """Return what is there, or refuse as not found."""
    if thing is None:
        raise RefusedError(NOT_FOUND)
    return thing


def granted(outcome: T | Refusal) -> T:
    """Return what was made, or raise the refusal."""
    if isinstance(outcome, Refusal):
        raise RefusedError(outcome)
    return outcome


def as_id(kind: type[K], text: str) -> K | None:
    """Read text as an id of this kind, or return None."""
    try:
        return kind(text)
    except ValueError:
        return None


def the_id(kind: type[K], text: str) -> K:
    """Read text as an id of this kind; text that is none names nothing."""
    return found(as_id(kind, text))


def window(items: Sequence[H], paging: Paging, *, newest_first: bool = False) -> Page[H]:
    """Cut one page out of a short list that was read whole, in the order of making."""
    ordered = sorted(items, key=lambda item: item.id, reverse=newest_first)
    after = _read_cursor(paging.cursor) if paging.cursor else None
    if after is not None:
        ordered = [item for item in ordered if (item.id < after if newest_first else item.id > after)]
    page = ordered[: paging.limit]
    more = len(ordered) > len(page)
    return Page(page, urlsafe_b64encode(page[-1].id.encode()).decode().rstrip("=") if more else None)


def _read_cursor(text: str) -> str:
    try:
        return b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        message = "The cursor was not made here: begin again without one."
        raise RefusedError(Refusal(RefusalCode.INVALID_FIELD, message, "cursor")) from None
