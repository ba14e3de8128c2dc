"""Owns `tenantry migrate` against the settings: which database, with or without roles; leaves the work to store.migrate."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from tenantry.ports import StoreBusy
from tenantry.settings import Settings
from tenantry.store.engine import lock_file, read_url
from tenantry.store.fitness import check_version, prepare, saying_why
from tenantry.store.migrate import Migrated, migrate, pending
from tenantry.store.revision import head


def bring_up_to_date(settings: Settings) -> Migrated:
    """Migrate, and make PostgreSQL's partitions; raises StoreUnfit or StoreBusy with what to do."""
    url = read_url(settings.database)
    written = url.render_as_string(hide_password=False)
    with saying_why():
        if url.get_backend_name() == "sqlite":
            return _alone(Path(url.database or ""), written)
        asyncio.run(check_version(url))
        done = migrate(written, roles=settings.database_roles)
        with contextlib.suppress(StoreBusy):  # a worker makes what is missing, once nobody is in its way
            asyncio.run(prepare(url))
        return done


def look(settings: Settings) -> Migrated:
    """Return what migrating would do, and do nothing; raises as bring_up_to_date does."""
    url = read_url(settings.database)
    with saying_why():
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            return Migrated(None, head())
        if url.get_backend_name() == "postgresql":
            asyncio.run(check_version(url))
        return pending(url.render_as_string(hide_password=False), roles=settings.database_roles)


def _alone(path: Path, written: str) -> Migrated:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = lock_file(path)
    try:
        return migrate(written)
    finally:
        os.close(lock)
