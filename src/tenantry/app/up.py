"""Owns `tenantry up`: store, local SES as a child, doors and worker in one process; leaves each part to its own file."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

from tenantry.app.batch import Batcher
from tenantry.app.cell import open_cloud
from tenantry.app.clock import SystemClock
from tenantry.app.doors import listen, make_doors, make_server, url_of
from tenantry.app.logs import set_up_logs
from tenantry.app.process import Parts, serve
from tenantry.app.shared import NOBODY, opening_of
from tenantry.app.smtp import SmtpServer
from tenantry.app.watch import Watch
from tenantry.app.worker import Worker
from tenantry.core.ids import KeyId
from tenantry.core.tenant import Scope
from tenantry.ports import StoreBusy
from tenantry.settings import Settings
from tenantry.store.bootstrap import ensure_cell, ensure_partitions, forget_mirror
from tenantry.store.engine import open_store
from tenantry.store.roles import Role
from tenantry.store.store import Store
from tenantry.store.vault import Vault

SEALING_KEY_FILE = "secret.key"
OPERATOR_KEY_FILE = "operator.key"
CHILD_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Started:
    """Where things are, once the doors take requests."""

    url: str
    ses_url: str | None  # of the local SES that was started, if one was
    data: Path
    key_id: str
    key_secret: str
    created: bool  # whether the operator's key was made just now
    smtp: Mapping[str, str] = field(default_factory=dict)  # `smtp` and `smtps` as host:port, where they are open


def run_up(settings: Settings, on_ready: Callable[[Started], None]) -> None:
    """Run everything on this machine until interrupted; raises OSError for a port or folder that cannot be had."""
    set_up_logs(settings)
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    uvloop.run(_up(settings, on_ready))


async def _up(settings: Settings, on_ready: Callable[[Started], None]) -> None:
    door = listen(settings.host, settings.port)
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(door.close)
        vault = Vault([_secret_key(settings)])
        store = await open_store(opening_of(settings, vault, clock, tuple(Role), "up"))
        stack.push_async_callback(store.close)
        cell = await ensure_cell(store, settings.cell_name, settings.region)
        with contextlib.suppress(
            StoreBusy
        ):  # somebody reads for long: the loop tries again, and mail has a place meanwhile
            await ensure_partitions(store)
        ses_url = settings.aws_endpoint_url
        if settings.starts_local_ses:
            ses_url = await stack.enter_async_context(_local_ses(settings))
            await forget_mirror(store, cell)  # a new local SES knows nothing of ours
        cloud = open_cloud(settings, store, clock, ses_url)
        stack.push_async_callback(cloud.close)
        key_id, secret, created = await _operator_key(settings, store)
        local = ses_url if settings.starts_local_ses else None
        started = Started(url_of(door), local, settings.data, key_id, secret, created)
        operating = store.acting(Role.OPERATOR)
        watch = Watch(settings, operating, clock)
        worker = Worker(settings, store, clock, cell, cloud, observer=watch)
        batcher = Batcher(store, settings.accept_batch_size, 1, worker.pipeline.mail.ring, watch.door)
        pages = watch.pages(tenants_reach=True)
        doors = make_doors(settings, operating, clock, batcher, pages=pages, observer=watch.door)
        smtp = SmtpServer(settings, doors) if settings.has_smtp else None
        watch.readiness.smtp = smtp
        started = replace(started, smtp=smtp.addresses if smtp else {})
        parts = Parts(worker, make_server(doors), door, smtp, watch.drain)
        await serve(parts, lambda: on_ready(started))


@contextlib.asynccontextmanager
async def _local_ses(settings: Settings) -> AsyncIterator[str]:
    """Run a local SES as a child, and end it with this process."""
    command = [
        sys.executable,
        "-m",
        "tenantry",
        "ses-local",
        "--attached",
        "--json",
        "--port",
        str(settings.local_ses_port),
    ]
    command += ["--rate", str(settings.local_ses_rate), "--quota", str(settings.local_ses_quota)]
    command += ["--control-rate", str(settings.local_ses_control_rate), "--seed", str(settings.local_ses_seed)]
    command += ["--region", settings.region, "--account-id", settings.account_id]
    command += [] if settings.local_ses_verifies else ["--no-auto-verify"]
    for rule in settings.local_ses_recipients:
        command += ["--recipients", rule]
    child = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield await _child_url(child)
    finally:
        if child.returncode is None:
            child.terminate()
            try:
                async with asyncio.timeout(5):
                    await child.wait()
            except TimeoutError:
                child.kill()


async def _child_url(child: asyncio.subprocess.Process) -> str:
    """Read the URL that the child prints once it takes calls."""
    assert child.stdout is not None
    text = ""
    async with asyncio.timeout(CHILD_SECONDS):
        while line := await child.stdout.readline():
            text += line.decode()
            with contextlib.suppress(ValueError):
                return str(json.loads(text)["url"])
    raise OSError("The local SES did not start: see its message above.")


def _secret_key(settings: Settings) -> str:
    """Return the sealing key of the settings, or the one in the data folder, made at the first start."""
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    path = settings.data / SEALING_KEY_FILE
    if not path.exists():
        _write_private(path, Vault.new_key())
    return path.read_text().strip()


async def _operator_key(settings: Settings, store: Store) -> tuple[str, str, bool]:
    """Return the operator's key that an earlier start left in the data folder, or a new one."""
    path = settings.data / OPERATOR_KEY_FILE
    if path.exists():
        key_id, _, secret = path.read_text().strip().partition(".")
        known = await store.key(KeyId(key_id))
        if known is not None and known[0].revoked_at is None:
            return key_id, secret, False
    key, secret = await store.fleet(NOBODY).add_key(frozenset({Scope.OPERATE}))
    _write_private(path, f"{key.id}.{secret}")
    return key.id, secret, True


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
