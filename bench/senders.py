"""Owns the tenants of the bench, made straight in the store, and the mail that they send; leaves SES to provision."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from sqlalchemy import text

from tenantry.app.cell import Cloud, open_cloud
from tenantry.app.clock import SystemClock
from tenantry.core.ids import CellId, KeyId
from tenantry.core.message import Submission
from tenantry.core.tenant import NewIdentity, NewTenant, Scope
from tenantry.flow.manage import add_tenant
from tenantry.flow.provision import Course, Pace, Provisioning, reconcile
from tenantry.ports import AccountReading
from tenantry.settings import Settings
from tenantry.store.bootstrap import ensure_cell, ensure_partitions
from tenantry.store.engine import Opening, open_store
from tenantry.store.store import Store
from tenantry.store.vault import Vault

OPERATOR = KeyId("key_" + "0" * 32)
REGION = "us-east-1"
RATE = 100_000.0  # what is granted where the rate is not what is measured
BODY = "We have received your order and will tell you as soon as it leaves our house. " * 6


@dataclass(frozen=True, slots=True)
class Member:
    """A tenant that is ready to send."""

    name: str
    key_id: str
    secret: str

    @property
    def sender(self) -> str:
        """The author of its mail."""
        return f"{self.name} <orders@{self.name}.example>"


def content(number: int) -> dict[str, object]:
    """Return the SES Content of a small mail of its own, half a kilobyte of text."""
    body = {"Text": {"Data": f"Order {number}\n\n{BODY}"}}
    return {"Simple": {"Subject": {"Data": f"Your order {number}"}, "Body": body}}


def submission(member: Member, number: int, domain: str = "there.example") -> Submission:
    """Return a mail as a door hands it in, with the name that an SDK gives each call."""
    body = json.dumps(content(number), separators=(",", ":")).encode()
    return Submission(
        key_id=KeyId(member.key_id),
        sender=member.sender,
        authors=(f"orders@{member.name}.example",),
        to=(f"p{number}@{domain}",),
        cc=(),
        bcc=(),
        reply_to=(),
        subject=f"Your order {number}",
        content=body,
        idempotency_key=f"sdk:{number}",
        body_digest=sha256(body).digest(),
        remember_seconds=900,
    )


async def open_bench(url: str) -> tuple[Store, CellId]:
    """Open a fresh store with a cell that may send plenty."""
    store = await open_store(Opening(url, Vault([Vault.new_key()]), SystemClock().wall))
    cell = await ensure_cell(store, "main", REGION)
    await ensure_partitions(store)
    async with store.step() as step:
        reading = AccountReading(RATE, -1.0, 0.0, sending_enabled=True, enforcement="HEALTHY")
        await step.set_account(cell, reading)
        await step.conn.execute(text("UPDATE cell SET tokens = rate_per_second"))
    return store, cell


async def members(store: Store, count: int) -> list[Member]:
    """Make tenants with both streams, a domain and a key."""
    made = []
    for number in range(count):
        name = f"brand{number}"
        tenant = await add_tenant(store, OPERATOR, NewTenant(name, {}), NewIdentity(f"{name}.example"), "shared")
        key, secret = await store.of(tenant.tenant.id).add_key(frozenset({Scope.SEND}))
        made.append(Member(name, key.id, secret))
    return made


async def declare_ready(store: Store) -> None:
    """Make every identity verified and every stream provisioned without an SES, where nothing is handed over."""
    async with store.step() as step:
        now = {"now": step.seam.raw(step.now)}
        await step.conn.execute(text("UPDATE identity SET status = 'verified', verified_at = :now"), now)
        await step.conn.execute(text("UPDATE stream SET provisioned_at = :now"), now)
        await step.conn.execute(text("UPDATE tenant SET revision = revision + 1"))


def cloud_at(store: Store, ses_url: str) -> Cloud:
    """Wire the real adapters to a local SES."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    settings = Settings(aws_endpoint_url=ses_url, region=REGION, feed_wait_seconds=0)
    return open_cloud(settings, store, SystemClock(), ses_url)


async def provision(store: Store, cell: CellId, cloud: Cloud) -> None:
    """Let provision make all of it in the local SES, as fast as it answers."""
    course = Course(Pace(SystemClock(), 1_000.0), Provisioning(poll=0.05, refresh=3_600.0))
    clock = SystemClock()
    until = clock.wall() + timedelta(seconds=120)
    while clock.wall() < until:
        await reconcile(store, cloud.control, cell, course)
        async with store.reading() as step:
            query = text(
                "SELECT (SELECT count(*) FROM stream WHERE provisioned_at IS NULL)"
                " + (SELECT count(*) FROM identity WHERE status <> 'verified')"
            )
            if not await step.conn.scalar(query):
                return
        await clock.sleep(0.05)
    raise TimeoutError("provision did not come to an end")


def names(made: Sequence[Member]) -> str:
    """Say how many tenants there are."""
    return f"{len(made)} tenants"
