"""Wiring a cell: which credentials go where."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path

import pytest

from tenantry.app.cell import open_cloud
from tenantry.app.clock import SystemClock
from tenantry.emulator.local import Local
from tenantry.emulator.options import Options
from tenantry.settings import Settings
from tenantry.store.engine import Opening, open_store
from tenantry.store.vault import Vault


async def test_a_local_ses_never_sees_real_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever points Tenantry at a local SES signs with made-up keys, whatever the shell holds."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREALKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "real")
    clock = SystemClock()
    with Local(Options(control_rate_per_second=None)) as local:
        settings = Settings(data=tmp_path, aws_endpoint_url=local.url)
        store = await open_store(Opening(f"sqlite:///{tmp_path}/t.db", Vault([Vault.new_key()]), clock.wall))
        cell = open_cloud(settings, store, clock, local.url)
        await cell.control.account()
        await cell.close()
        await store.close()
        calls = await asyncio.to_thread(lambda: urllib.request.urlopen(f"{local.url}/_local/calls").read())
    assert b'"local"' in calls, json.loads(calls)
    assert b"AKIAREALKEY" not in calls
