"""Builds a served app on a free loopback port, with the real store behind it; leaves what must hold to the tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import aiohttp
import boto3
import uvicorn
from botocore.config import Config
from botocore.loaders import Loader
from starlette.types import ASGIApp

from tenantry.core.message import Accepted, Refusal, RefusalCode, Submission
from tenantry.core.tenant import Key, Scope
from tenantry.edge.app import create_app
from tenantry.edge.doors import Doors
from tenantry.edge.watch import Page
from tenantry.flow.accept import accept
from tenantry.store.engine import Opening, open_store
from tenantry.store.store import Store
from tenantry.store.tables import metadata
from tenantry.store.vault import Vault
from tests import worlds

MODEL = Loader().load_service_model("sesv2", "service-2")
MODEL_V1 = Loader().load_service_model("ses", "service-2")
REGION = "eu-central-1"


class ShiftedClock:
    """The machine's clock, moved by what a test says."""

    def __init__(self) -> None:
        self.shift = timedelta()
        self.stands_at: datetime | None = None

    def wall(self) -> datetime:
        """See ports.Clock."""
        return self.stands_at or datetime.now(UTC) + self.shift

    def monotonic(self) -> float:
        """See ports.Clock."""
        return asyncio.get_running_loop().time() + self.shift.total_seconds()

    async def sleep(self, seconds: float) -> None:
        """See ports.Clock."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> dict:
        """The body read as JSON."""
        return json.loads(self.text)

    @property
    def error(self) -> tuple[str, str | None]:
        """The code and field of an error."""
        return self.json["error"]["code"], self.json["error"]["field"]


@dataclass
class Doorstep:
    """A served app, two tenants, an operator, and what the doors reported as bugs and as refusals."""

    url: str
    store: Store
    clock: ShiftedClock
    http: aiohttp.ClientSession
    operator: str
    acme: worlds.Member
    other: worlds.Member
    doors: Doors
    bugs: list[BaseException] = field(default_factory=list)
    refusals: list[RefusalCode] = field(default_factory=list)

    def token(self, member: worlds.Member | None = None) -> str:
        """Return a tenant's bearer token."""
        who = member or self.acme
        return f"{who.key_id}.{who.secret}"

    async def call(self, method: str, path: str, body: object = None, **options: str | bytes) -> Reply:
        """Call the REST API: as acme, unless `token` says otherwise; further options are headers."""
        token = options.pop("token", self.token())
        headers = {name.replace("_", "-"): str(value) for name, value in options.items()}
        if token:
            headers["authorization"] = f"Bearer {token!s}"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        async with self.http.request(method, f"{self.url}{path}", data=data, headers=headers) as response:
            return Reply(response.status, response.headers, await response.text())

    async def operate(self, method: str, path: str, body: object = None) -> Reply:
        """Call the REST API as the operator."""
        return await self.call(method, path, body, token=self.operator)

    def ses(self, member: worlds.Member | None = None, *, secret: str | None = None, attempts: int = 1) -> object:
        """Return an unmodified boto3 client with a tenant's key pair."""
        who = member or self.acme
        return boto3.client(
            "sesv2",
            endpoint_url=self.url,
            region_name="us-west-2",
            aws_access_key_id=who.key_id,
            aws_secret_access_key=secret or who.secret,
            config=Config(retries={"total_max_attempts": attempts}),
        )

    async def send(self, client: object | None = None, **parameters: object) -> dict:
        """Send by boto3 in a thread; parameters replace those of a plain good mail, None takes them away."""
        given = {name: value for name, value in {**plain(self.acme), **parameters}.items() if value is not None}
        return await asyncio.to_thread((client or self.ses()).send_email, **given)

    async def rows(self) -> dict[str, list[tuple[object, ...]]]:
        """Return all that the store holds: what changes nothing leaves it as it was."""
        async with self.store.reading() as step:
            found = {name: await step.run(f"SELECT * FROM {name}") for name in metadata.tables}
        return {name: sorted((tuple(row) for row in rows), key=repr) for name, rows in found.items()}


def plain(member: worlds.Member) -> dict:
    """Return SendEmail parameters of a plain good mail."""
    return {
        "FromEmailAddress": f"Acme <hello@{member.domain}>",
        "Destination": {"ToAddresses": ["ann@example.com"]},
        "Content": {"Simple": {"Subject": {"Data": "Hi"}, "Body": {"Text": {"Data": "Hello"}}}},
    }


def letter(member: worlds.Member, **fields: object) -> dict:
    """Return the REST body of a plain good mail; fields are added or replaced, None takes one away."""
    given = {"from": f"hello@{member.domain}", "to": "ann@example.com", "subject": "Hi", "text": "Hello"}
    replaced = {**given, **{name.rstrip("_"): value for name, value in fields.items()}}
    return {name: value for name, value in replaced.items() if value is not None}


async def _page(text: str) -> Page:
    return Page(200, "text/plain", text.encode())


@asynccontextmanager
async def doorstep(folder: Path) -> AsyncIterator[Doorstep]:
    """Serve the app over a fresh SQLite store with tenants `acme` and `other`."""
    clock, bugs, refusals, numbers = ShiftedClock(), list[BaseException](), list[RefusalCode](), count()
    store = await open_store(Opening(f"sqlite:///{folder / 'doors.db'}", Vault([Vault.new_key()]), clock.wall))

    async def one(submission: Submission) -> Accepted | Refusal:
        return (await accept(store, [submission]))[0]

    given = Doors(
        store=store,
        clock=clock,
        accept=one,
        sesv2_model=MODEL,
        ses_model=MODEL_V1,
        region=REGION,
        version="0.0.test",
        new_request_id=lambda: f"req-{next(numbers)}",
        report_bug=lambda _, error: bugs.append(error),
        pages={"/healthz": lambda given: _page(f"told {given}")},
        refused=refusals.append,
    )
    app = create_app(given)
    await worlds.cell(store)
    key, secret = await store.fleet(worlds.OPERATOR).add_key(frozenset({Scope.OPERATE, Scope.MANAGE, Scope.READ}))
    acme, other = await worlds.member(store, "acme"), await worlds.member(store, "other")
    async with served(app) as url, aiohttp.ClientSession() as http:
        yield Doorstep(url, store, clock, http, f"{key.id}.{secret}", acme, other, given, bugs, refusals)
    await store.close()


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an app by uvicorn on a free port of loopback, in this loop."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def make_key(step: Doorstep, member: worlds.Member, *scopes: str) -> tuple[Key | str, str]:
    """Make a key for a tenant by the API and return its id and token."""
    made = (await step.operate("POST", "/v1/keys", {"tenant": str(member.tenant_id), "scopes": list(scopes)})).json
    return made["id"], f"{made['id']}.{made['secret']}"
