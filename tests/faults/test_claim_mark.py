"""The mark beside an SQLite database cannot be written: its claims are neither sent nor left lying."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import pytest

from tenantry.app.pipeline import Flow, Pipeline
from tenantry.ports import Ses, StoreBusy
from tenantry.store.engine import Opening, open_store
from tenantry.store.vault import Vault
from tests import worlds


async def test_claims_without_a_mark_go_back_and_are_made_again(tmp_path: Path) -> None:
    """A copy restored later would not be noticed and would send them again: so they wait until the mark takes writes."""
    clock = worlds.FixedClock()
    store = await open_store(Opening(f"sqlite:///{tmp_path}/t.db", Vault([Vault.new_key()]), clock.wall))
    cell = await worlds.cell(store)
    member = await worlds.member(store)
    await worlds.accepted(store, member, 2)
    pipeline = Pipeline(store, cast("Ses", None), clock, cell, Flow())  # no call may be made
    assert store.claim_mark is not None
    handle = store.claim_mark._handle
    good, full = os.dup(handle), os.open("/dev/full", os.O_RDWR)
    os.dup2(full, handle)
    with pytest.raises(StoreBusy):
        await pipeline.claim_round()
    os.dup2(good, handle)
    os.close(full)
    os.close(good)
    assert len(await worlds.handed(store, cell)) == 2
    await store.close()
