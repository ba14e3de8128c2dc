"""Owns the desk of the app's tests: a SQLite store with its cell and a way to keep it busy; PostgreSQL is for conformance."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tenantry.app.clock import SystemClock
from tenantry.core.ids import CellId
from tenantry.store.engine import Opening, open_store
from tenantry.store.store import Store
from tenantry.store.vault import Vault
from tests import worlds

VAULT = Vault([Vault.new_key()])


@dataclass
class Desk:
    """A store on the machine's own clock, its cell, and its file."""

    store: Store
    cell: CellId
    clock: SystemClock
    path: Path

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Hold the file's write lock, as another program might."""
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
            other.close()

    async def impatient(self) -> None:
        """Let the store say at once that it is busy."""
        async with self.store.step() as step:
            await step.run("PRAGMA busy_timeout = 1")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A fresh store with a cell that may send plenty."""
    clock = SystemClock()
    path = tmp_path / "t.db"
    store = await open_store(Opening(f"sqlite:///{path}", VAULT, clock.wall))
    yield Desk(store, await worlds.cell(store), clock, path)
    await store.close()
