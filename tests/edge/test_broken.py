"""When something breaks behind the doors: each answers in its own shape, says whether to try again, and reports it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import aiohttp
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tenantry.core.message import Accepted, RefusalCode, Submission
from tenantry.edge.app import create_app
from tenantry.edge.doors import Doors
from tenantry.ports import StoreBusy, StoreRejected
from tenantry.store.engine import Opening, open_store
from tenantry.store.store import Store
from tenantry.store.vault import Vault
from tests import worlds
from tests.edge.doorstep import MODEL, MODEL_V1, ShiftedClock, letter, plain, served

OUTBOUND = "/v2/email/outbound-emails"
Accept = Callable[[Submission], Awaitable[Accepted]]


@dataclass
class Broken:
    """A served app over whatever a test put behind it."""

    url: str
    acme: worlds.Member
    bugs: list[tuple[str, str]]
    refusals: list[RefusalCode]

    async def call(self, method: str, path: str) -> tuple[int, dict[str, str], dict]:
        """Call a route with a good key and a good mail."""
        body = (
            json.dumps(plain(self.acme) if path == OUTBOUND else letter(self.acme)).encode()
            if method == "POST"
            else b""
        )
        request = AWSRequest(method, f"{self.url}{path}", data=body, headers={"content-type": "application/json"})
        if path == OUTBOUND:
            SigV4Auth(Credentials(self.acme.key_id, self.acme.secret), "ses", "eu-west-1").add_auth(request)
        else:
            request.headers["authorization"] = f"Bearer {self.acme.key_id}.{self.acme.secret}"
        async with (
            aiohttp.ClientSession() as http,
            http.request(method, request.url, data=body, headers=dict(request.headers)) as response,
        ):
            return response.status, {k.lower(): v for k, v in response.headers.items()}, await response.json()


@asynccontextmanager
async def broken(folder: Path, accept: Accept, *, without_store: bool = False) -> AsyncIterator[Broken]:
    """Serve the doors with this behind accept, or with no store at all."""
    store = await open_store(Opening(f"sqlite:///{folder / 'b.db'}", Vault([Vault.new_key()]), ShiftedClock().wall))
    await worlds.cell(store)
    acme, bugs, refusals = await worlds.member(store), list[tuple[str, str]](), list[RefusalCode]()
    doors = Doors(
        store=cast(Store, object()) if without_store else store,
        clock=ShiftedClock(),
        accept=accept,
        sesv2_model=MODEL,
        ses_model=MODEL_V1,
        region="eu-central-1",
        version="0.0.test",
        new_request_id=lambda: "req-7",
        report_bug=lambda request_id, error: bugs.append((request_id, type(error).__name__)),
        refused=refusals.append,
    )
    async with served(create_app(doors)) as url:
        yield Broken(url, acme, bugs, refusals)
    await store.close()


def failing(error: Exception) -> Accept:
    """An accept that fails so."""

    async def accept(submission: Submission) -> Accepted:
        raise error

    return accept


DOORS = [("POST", "/v1/messages"), ("POST", OUTBOUND)]


@pytest.mark.parametrize(("method", "path"), [*DOORS, ("GET", "/v1/streams")])
async def test_a_bug_is_answered_in_the_doors_shape_and_reported(tmp_path: Path, method: str, path: str) -> None:
    """Nothing of the error is told outside; the request's id stands in the answer and in the report."""
    async with broken(tmp_path, failing(RuntimeError("secret inside")), without_store=True) as step:
        status, headers, body = await step.call(method, path)
    assert status == 500
    if path == OUTBOUND:
        assert (body["__type"], headers["x-amzn-errortype"]) == ("InternalFailure", "InternalFailure")
        assert headers["x-amzn-requestid"] == "req-7"
    else:
        assert (body["error"]["code"], body["error"]["request_id"]) == ("internal", "req-7")
        assert headers["x-request-id"] == "req-7"
    assert step.bugs == [("req-7", "AttributeError")]
    assert step.refusals == ["internal"]


@pytest.mark.parametrize(("method", "path"), DOORS)
async def test_a_bug_in_accept_tells_nothing_of_itself(tmp_path: Path, method: str, path: str) -> None:
    """The words of an error stay inside."""
    async with broken(tmp_path, failing(RuntimeError("secret inside"))) as step:
        status, _, body = await step.call(method, path)
    assert status == 500
    assert "secret" not in json.dumps(body)
    assert step.bugs == [("req-7", "RuntimeError")]


@pytest.mark.parametrize(("method", "path"), DOORS)
async def test_a_busy_store_says_try_again(tmp_path: Path, method: str, path: str) -> None:
    """What an SDK repeats by itself (503), and no bug of anybody."""
    async with broken(tmp_path, failing(StoreBusy("locked"))) as step:
        status, headers, body = await step.call(method, path)
    assert status == 503
    if path == OUTBOUND:
        assert body["__type"] == "ServiceUnavailable"
    else:
        assert (body["error"]["code"], headers["retry-after"]) == ("busy", "1")
    assert not step.bugs
    assert step.refusals == ["busy"]


@pytest.mark.parametrize(("method", "path"), DOORS)
async def test_what_the_store_cannot_hold_is_the_callers_to_change(tmp_path: Path, method: str, path: str) -> None:
    """A value that the store rejects is a refusal of the request, not a failure."""
    async with broken(tmp_path, failing(StoreRejected("NUL"))) as step:
        status, headers, body = await step.call(method, path)
    code = headers["x-tenantry-code"] if path == OUTBOUND else body["error"]["code"]
    assert (status, code) == (400 if path == OUTBOUND else 422, "invalid_field")
    assert not step.bugs


@pytest.mark.parametrize(("method", "path"), [*DOORS, ("POST", "/v1/streams")])
async def test_a_caller_that_hangs_up_is_nobodys_bug(tmp_path: Path, method: str, path: str) -> None:
    """Half a request, then silence: the door forgets it, and the next caller is served."""
    async with broken(tmp_path, failing(StoreBusy("locked"))) as step:
        host, _, port = step.url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        token = f"{step.acme.key_id}.{step.acme.secret}"
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 100\r\n\r\n"
        writer.write(head.encode() + b'{"from"')
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
        assert (await step.call("GET", "/v1/streams"))[0] == 200
    assert not step.bugs
