"""Hostile text, clocks and retries at both doors: each "no" has a code and a field, and leaves the store as it was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tenantry.wire.sigv4 import Signer
from tests.edge.doorstep import Doorstep, Reply, letter, plain

pytestmark = pytest.mark.asyncio(loop_scope="module")

OUTBOUND = "/v2/email/outbound-emails"
Path = tuple[str | int, ...]

# What ends a line or a text for somebody on the way, and half a character.
BREAKS = {
    "CR": "\r", "LF": "\n", "CRLF": "\r\nBcc: eve@evil.example", "NUL": "\0", "NEL": "\x85", "LS": "\u2028", "PS": "\u2029",
    "half": "\ud800",
}  # fmt: skip
LINES = tuple(BREAKS)
BODIES = ("NUL", "half")  # in a body a line may end

REST: dict[str, tuple[Path, tuple[str, ...]]] = {
    "from": (("from",), LINES),
    "to": (("to", 0), LINES),
    "cc": (("cc", 0), LINES),
    "bcc": (("bcc", 0), LINES),
    "reply_to": (("reply_to", 0), LINES),
    "subject": (("subject",), LINES),
    "text": (("text",), BODIES),
    "html": (("html",), BODIES),
    "header": (("headers", "X-Order"), LINES),
    "stream": (("stream",), LINES),
    "tag": (("tags", "campaign"), LINES),
    "file": (("attachments", 0, "filename"), LINES),
    "file's type": (("attachments", 0, "content_type"), LINES),
    "file's id": (("attachments", 0, "content_id"), LINES),
    "file's content": (("attachments", 0, "content"), LINES),
}
SES: dict[str, tuple[Path, tuple[str, ...]]] = {
    "from": (("FromEmailAddress",), LINES),
    "feedback": (("FeedbackForwardingEmailAddress",), LINES),
    "to": (("Destination", "ToAddresses", 0), LINES),
    "cc": (("Destination", "CcAddresses", 0), LINES),
    "bcc": (("Destination", "BccAddresses", 0), LINES),
    "reply to": (("ReplyToAddresses", 0), LINES),
    "subject": (("Content", "Simple", "Subject", "Data"), LINES),
    "text": (("Content", "Simple", "Body", "Text", "Data"), BODIES),
    "html": (("Content", "Simple", "Body", "Html", "Data"), BODIES),
    "header's name": (("Content", "Simple", "Headers", 0, "Name"), LINES),
    "header": (("Content", "Simple", "Headers", 0, "Value"), LINES),
    "file": (("Content", "Simple", "Attachments", 0, "FileName"), LINES),
    "file's type": (("Content", "Simple", "Attachments", 0, "ContentType"), LINES),
    "file's id": (("Content", "Simple", "Attachments", 0, "ContentId"), LINES),
    "file's words": (("Content", "Simple", "Attachments", 0, "ContentDescription"), LINES),
    "stream": (("ConfigurationSetName",), LINES),
    "tenant": (("TenantName",), LINES),
    "tag's name": (("EmailTags", 0, "Name"), LINES),
    "tag": (("EmailTags", 0, "Value"), LINES),
}


def full_letter(doors: Doorstep) -> dict:
    """Return a good REST body with every field."""
    return letter(
        doors.acme, to=["ann@example.com"], cc=["b@example.com"], bcc=["c@example.com"], reply_to=["d@example.com"],
        html="<p>", headers={"X-Order": "1"}, stream="transactional", tags={"campaign": "x"},
        attachments=[{"filename": "a.txt", "content": "eA==", "content_type": "text/plain", "content_id": "one"}],
    )  # fmt: skip


def full_call(doors: Doorstep) -> dict:
    """Return good SendEmail parameters with every text field."""
    call = deepcopy(plain(doors.acme))
    call["Destination"] |= {"CcAddresses": ["b@example.com"], "BccAddresses": ["c@example.com"]}
    call["Content"]["Simple"]["Body"]["Html"] = {"Data": "<p>"}
    call["Content"]["Simple"]["Headers"] = [{"Name": "X-Order", "Value": "1"}]
    call["Content"]["Simple"]["Attachments"] = [
        {
            "FileName": "a.txt",
            "RawContent": "eA==",
            "ContentType": "text/plain",
            "ContentId": "one",
            "ContentDescription": "a",
        }
    ]
    return call | {
        "FeedbackForwardingEmailAddress": f"back@{doors.acme.domain}",
        "ReplyToAddresses": ["d@example.com"],
        "ConfigurationSetName": "transactional",
        "TenantName": "acme",
        "EmailTags": [{"Name": "campaign", "Value": "x"}],
    }


def spoil(whole: dict, path: Path, mark: str, place: str) -> dict:
    """Return a copy with a mark put before, into or behind the text at a path."""
    spoiled = deepcopy(whole)
    inner = spoiled
    for step in path[:-1]:
        inner = inner[step]
    text, half = inner[path[-1]], len(inner[path[-1]]) // 2
    inner[path[-1]] = {"before": mark + text, "inside": text[:half] + mark + text[half:], "behind": text + mark}[place]
    return spoiled


async def post(doors: Doorstep, body: bytes, **headers: str) -> Reply:
    """Send a SES call's body as it is, signed by botocore."""
    given = {"content-type": "application/json", **headers}
    request = AWSRequest("POST", f"{doors.url}{OUTBOUND}", data=body, headers=given)
    SigV4Auth(Credentials(doors.acme.key_id, doors.acme.secret), "ses", "eu-west-1").add_auth(request)
    async with doors.http.post(request.url, data=body, headers=dict(request.headers)) as response:
        return Reply(response.status, response.headers, await response.text())


async def test_what_is_spoiled_below_was_good(doors: Doorstep) -> None:
    """The mails that the next tests spoil in one place each are accepted as they are."""
    assert (await doors.call("POST", "/v1/messages", full_letter(doors))).status == 202
    assert (await post(doors, json.dumps(full_call(doors)).encode())).status == 200


@pytest.mark.parametrize("field", REST)
async def test_no_text_of_a_rest_mail_ends_its_line(doors: Doorstep, field: str) -> None:
    """A line's end, NUL or half a character in any field is refused by code and field, wherever it stands."""
    path, marks = REST[field]
    before = await doors.rows()
    for mark in marks:
        for place in ("before", "inside", "behind"):
            reply = await doors.call("POST", "/v1/messages", spoil(full_letter(doors), path, BREAKS[mark], place))
            assert reply.status in (400, 422), (mark, place, reply.text)
            code, at = reply.error
            assert at == "body" if mark == "half" else at and at.startswith(str(path[0])), (mark, place, reply.text)
            assert code in (
                "malformed",
                "invalid_field",
                "invalid_header",
                "invalid_address",
                "invalid_tag",
                "unknown_stream",
            )
            assert reply.text.isprintable()
    assert await doors.rows() == before
    assert not doors.bugs


@pytest.mark.parametrize("field", SES)
async def test_no_text_of_a_ses_call_ends_its_line(doors: Doorstep, field: str) -> None:
    """The same over the SES wire, where the answer has SES's shape and our code and field beside it."""
    path, marks = SES[field]
    before = await doors.rows()
    for mark in marks:
        for place in ("before", "inside", "behind"):
            reply = await post(doors, json.dumps(spoil(full_call(doors), path, BREAKS[mark], place)).encode())
            assert reply.status in (400, 404), (mark, place, reply.text)
            assert reply.headers["x-tenantry-code"]
            assert reply.headers["x-tenantry-field"]
            assert set(reply.json) == {"__type", "message"}
            assert reply.json["message"]
    assert await doors.rows() == before
    assert not doors.bugs


@pytest.mark.parametrize("name", ["FromEmailAddress", "Content", "Destination", "EmailTags", "TenantName"])
@pytest.mark.parametrize("value", [5, True, [], {}, [5], {"x": 1}, ""])
async def test_a_value_of_a_wrong_kind_is_refused_or_means_nothing(doors: Doorstep, name: str, value: object) -> None:
    """Whatever kind of JSON stands for a parameter, the answer is SES's or the mail is whole; never a failure of ours."""
    reply = await post(doors, json.dumps({**full_call(doors), name: value}).encode())
    assert reply.status in (200, 400, 404), reply.text
    assert not doors.bugs


async def test_reply_to_may_be_anybody(doors: Doorstep) -> None:
    """Answers may go to an address of somebody else: it is no author."""
    rest = await doors.call("POST", "/v1/messages", letter(doors.acme, reply_to=["help@other.example"]))
    simple = await doors.send(ReplyToAddresses=["help@other.example"])
    raw = b"From: a@acme.example\r\nReply-To: help@other.example\r\nTo: b@example.com\r\n\r\nHello\r\n"
    sent = await doors.send(FromEmailAddress=None, Destination=None, Content={"Raw": {"Data": raw}})
    assert rest.status == 202
    assert simple["MessageId"] != sent["MessageId"]


async def test_an_identity_that_is_not_verified_is_refused_at_both_doors(doors: Doorstep) -> None:
    """The code is its own, SES's sentence names the address, and nothing is kept."""
    assert (await doors.operate("POST", "/v1/identities", {"tenant": "acme", "name": "soon.example"})).status == 201
    before = await doors.rows()
    rest = await doors.call("POST", "/v1/messages", letter(doors.acme, from_="a@soon.example"))
    call = {**plain(doors.acme), "FromEmailAddress": "a@soon.example"}
    wire = await post(doors, json.dumps(call).encode())
    assert (rest.status, *rest.error) == (422, "identity_unverified", "from")
    assert (wire.status, wire.json["__type"]) == (400, "MessageRejected")
    assert wire.headers["x-tenantry-code"] == "identity_unverified"
    assert wire.json["message"].endswith("failed the check in region EU-CENTRAL-1: a@soon.example")
    assert await doors.rows() == before


# ---- the clock


@contextmanager
def standing(doors: Doorstep, at: datetime) -> Iterator[None]:
    """Let the doors' clock stand."""
    doors.clock.stands_at = at
    try:
        yield
    finally:
        doors.clock.stands_at = None


@pytest.mark.parametrize(
    ("seconds", "good"), [(-301, False), (-300, True), (-299, True), (299, True), (300, True), (301, False)]
)
async def test_a_clock_may_be_five_minutes_off_and_no_more(doors: Doorstep, seconds: int, good: bool) -> None:
    """4:59 early or late is taken, 5:01 is not, and a refusal keeps nothing."""
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    body = json.dumps(plain(doors.acme)).encode()
    signer = Signer(doors.acme.key_id, doors.acme.secret, "eu-west-1", "ses")
    host = doors.url.removeprefix("http://")
    at = now + timedelta(seconds=seconds)
    headers = signer.headers("POST", OUTBOUND, "", host, body, now=at, content_type="application/json")
    before = await doors.rows()
    with standing(doors, now):
        async with doors.http.post(f"{doors.url}{OUTBOUND}", data=body, headers=headers) as response:
            assert response.status == (200 if good else 403), await response.text()
            assert response.headers.get("x-tenantry-code") == (None if good else "clock_skew")
    assert good or await doors.rows() == before


# ---- the same call again


class CutOnce:
    """A proxy that lets the first call through to the app and cuts the line instead of passing its answer on."""

    def __init__(self, port: int) -> None:
        self.port, self.calls = port, 0
        self.lines: set[asyncio.Task[None]] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.calls += 1
        line = asyncio.current_task()
        assert line is not None
        self.lines.add(line)
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.port)
        up = asyncio.create_task(self._pass(reader, inner_writer))
        try:
            if self.calls == 1:
                await inner_reader.readuntil(b"\r\n\r\n")  # the answer is there: the message was committed
            else:
                await self._pass(inner_reader, writer)
        finally:
            up.cancel()
            inner_writer.close()
            writer.close()

    async def close(self) -> None:
        """End every line that is still open: an SDK keeps its connection for the next call."""
        for line in self.lines:
            line.cancel()
        await asyncio.gather(*self.lines, return_exceptions=True)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()


async def test_an_sdk_that_tries_again_after_a_cut_line_sends_once(doors: Doorstep) -> None:
    """boto3 repeats a call whose answer was lost; it gets the first message's id and no second message is made."""
    cut = CutOnce(int(doors.url.rpartition(":")[2]))
    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    before = {row[0] for row in (await doors.rows())["message"]}
    through = replace(doors, url=f"http://127.0.0.1:{port}")
    client = through.ses(attempts=3)
    answer = await through.send(client)
    client.close()
    server.close()
    await cut.close()
    assert cut.calls == 2
    assert answer["ResponseMetadata"]["RetryAttempts"] == 1
    made = {row[0] for row in (await doors.rows())["message"]} - before
    assert len(made) == 1
    assert (await doors.call("GET", f"/v1/messages/{answer['MessageId']}")).status == 200


async def test_an_idempotency_key_counts_at_its_own_door(doors: Doorstep) -> None:
    """A REST key that looks like an SDK's id is another name: neither door replays the other's answers."""
    body = json.dumps(plain(doors.acme)).encode()
    first = await post(doors, body, **{"amz-sdk-invocation-id": "one-two"})
    again = await post(doors, body, **{"amz-sdk-invocation-id": "one-two"})
    other = await doors.call("POST", "/v1/messages", letter(doors.acme), idempotency_key="one-two")
    assert first.json == again.json
    assert other.status == 202
    assert "Idempotent-Replayed" not in other.headers
