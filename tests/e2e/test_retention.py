"""Forgetting in a process that runs: nobody has to ask for it."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tenantry.store.engine import Opening, open_store
from tenantry.store.vault import Vault
from tests import worlds
from tests.e2e.running import until, up


async def _of_long_ago(database: Path, secret: str) -> None:
    """Leave a database in which mail was handed over, and other mail began to wait, 120 days ago."""
    clock = worlds.FixedClock(at=datetime.now(UTC) - timedelta(days=120))
    store = await open_store(Opening(f"sqlite:///{database}", Vault([secret]), clock.wall))
    cell = await worlds.cell(store)
    member = await worlds.member(store)
    await worlds.accepted(store, member, 250)
    await worlds.handed(store, cell)
    await worlds.accepted(store, member, 2)
    await store.close()


def test_a_process_forgets_by_itself(tmp_path: Path) -> None:
    """Whatever is past its time when `up` starts is soon gone, a piece after another; what never went out has to expire first."""
    data, secret = tmp_path / "data", Vault.new_key()
    data.mkdir()
    asyncio.run(_of_long_ago(data / "tenantry.db", secret))
    with up(data, secret_key=secret) as running:
        assert until(lambda: "handed" not in _states(data / "tenantry.db"))
        assert until(lambda: "forgotten" in running.log.read_text())


def _states(database: Path) -> dict[str, int]:
    """Count messages by state."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return dict(connection.execute("SELECT state, COUNT(*) FROM message GROUP BY state"))
    finally:
        connection.close()
