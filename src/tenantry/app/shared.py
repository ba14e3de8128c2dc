"""Owns opening the database that gateways and workers share: PostgreSQL, brought up to date by `tenantry migrate`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace

from tenantry.app.clock import SteadyTime, SystemClock
from tenantry.core.ids import KeyId
from tenantry.core.tenant import Scope
from tenantry.ports import Clock
from tenantry.settings import Settings
from tenantry.store.engine import Limits, Opening, open_store
from tenantry.store.roles import Role
from tenantry.store.store import Store
from tenantry.store.vault import Vault

NOBODY = KeyId("key_" + "0" * 32)  # stands for a process where an operator's name is asked for


def opening_of(settings: Settings, vault: Vault, clock: Clock, roles: Collection[Role], name: str) -> Opening:
    """Return how a process opens its database: as which roles, named how, taking how much of it."""
    return Opening(
        settings.database,
        vault,
        SteadyTime(clock).now,
        roles=tuple(roles) if settings.database_roles else (),
        limits=Limits(
            settings.database_writers,
            settings.database_readers,
            settings.accept_connections,
            settings.database_statement_seconds,
            settings.database_lock_seconds,
            settings.database_idle_seconds,
        ),
        name=f"tenantry {name}",
    )


@asynccontextmanager
async def open_shared(settings: Settings, clock: Clock, roles: Collection[Role], name: str) -> AsyncIterator[Store]:
    """Open it as a process that takes these roles.

    Raises ValueError where it could not be shared, StoreBusy or StoreUnfit where it cannot be used.
    """
    if settings.database.startswith("sqlite"):
        raise ValueError(
            "gateways and workers share a PostgreSQL: set TENANTRY_DATABASE_URL=postgresql://..., or run `tenantry up`,"
            " which is one process on SQLite"
        )
    if settings.secret_key is None:
        raise ValueError(
            "set TENANTRY_SECRET_KEY, the same for every gateway and worker: 32 random bytes in URL-safe base64"
        )
    vault = Vault([settings.secret_key.get_secret_value()])
    store = await open_store(replace(opening_of(settings, vault, clock, roles, name), create=False))
    try:
        yield store
    finally:
        await store.close()


def make_operator_key(settings: Settings) -> tuple[str, str]:
    """Make an operator's key and return its id and secret; raises as open_shared does."""

    async def make() -> tuple[str, str]:
        async with open_shared(settings, SystemClock(), [Role.OPERATOR], "operator-key") as store:
            key, secret = await store.fleet(NOBODY).add_key(frozenset({Scope.OPERATE}))
            return key.id, secret

    return asyncio.run(make())
