"""Sending by `POST /v1/messages`: what is taken, what is refused and how, and that a refusal changes nothing."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from io import BytesIO

import pytest

from tests.edge.doorstep import Doorstep, letter, make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_message_is_taken_and_can_be_read_back(doors: Doorstep) -> None:
    """The answer names the message, and reading it shows what was handed in."""
    body = letter(
        doors.acme,
        to=["Ann <ann@example.com>", "bob@example.org"],
        cc="carol@example.net",
        html="<p>Hello</p>",
        headers={"X-Order": "12"},
        attachments=[{"filename": "a.txt", "content": b64encode(b"x").decode(), "content_type": "text/plain"}],
        stream="marketing",
        tags={"campaign": "autumn"},
    )
    reply = await doors.call("POST", "/v1/messages", body)
    assert reply.status == 202, reply.text
    assert reply.json == {
        "id": reply.json["id"],
        "stream": "marketing",
        "state": "accepted",
        "accepted_at": reply.json["accepted_at"],
        "suppressed": [],
        "hold": None,
    }
    assert reply.json["accepted_at"].endswith("Z")
    assert reply.headers["x-request-id"].startswith("req-")
    shown = (await doors.call("GET", f"/v1/messages/{reply.json['id']}")).json
    assert shown["from"] == "hello@acme.example"
    assert [row["address"] for row in shown["recipients"]] == [
        "ann@example.com",
        "bob@example.org",
        "carol@example.net",
    ]
    assert shown["timeline"][0]["what"] == "accepted"
    assert shown["tags"] == {"campaign": "autumn"}


REFUSED = {
    "not json": (b'{"from": ', 400, "malformed", "body"),
    "not an object": (b"[1]", 422, "invalid_field", "body"),
    "not utf-8": (b'{"subject": "\xff"}', 400, "malformed", "body"),
    "a lone surrogate": (b'{"subject": "\\ud800"}', 400, "malformed", "body"),
    "nested without end": (b'{"a":' * 5000, 400, "malformed", "body"),
    "an unknown field": ({"form": "x"}, 422, "invalid_field", "form"),
    "no from": ({"from_": None}, 422, "invalid_field", "from"),
    "no body": ({"text": None}, 422, "invalid_field", "text"),
    "a recipient of a wrong type": ({"to": [5]}, 422, "invalid_field", "to[0]"),
    "no recipient": ({"to": []}, 422, "no_recipients", "to"),
    "51 recipients": ({"to": [f"a{n}@example.com" for n in range(51)]}, 422, "too_many_recipients", "to"),
    "two addresses in from": ({"from_": "a@acme.example, b@acme.example"}, 422, "invalid_address", "from"),
    "somebody else's from": ({"from_": "a@other.example"}, 422, "author_not_yours", "from"),
    "a sub-domain that is not its own identity": ({"from_": "a@x.acme.example"}, 422, "author_not_yours", "from"),
    "an unknown stream": ({"stream": "news"}, 422, "unknown_stream", "stream"),
    "a line break in the subject": ({"subject": "a\r\nBcc: x@y.example"}, 422, "invalid_header", "subject"),
    "NUL in the subject": ({"subject": "a\0"}, 422, "invalid_header", "subject"),
    "NUL in the text": ({"text": "a\0"}, 422, "invalid_field", "text"),
    "a line break in from": ({"from_": "A\n <a@acme.example>"}, 422, "invalid_address", "from"),
    "a line break in a recipient": ({"cc": "a@b.example\r\nX: y"}, 422, "invalid_address", "cc"),
    "a line break in reply_to": ({"reply_to": ["a\r@b.example"]}, 422, "invalid_address", "reply_to[0]"),
    "a line break in a header": ({"headers": {"X-A": "a\nb"}}, 422, "invalid_header", "headers.X-A"),
    "a line break in a header's name": ({"headers": {"X\n-A": "a"}}, 422, "invalid_header", "headers.X\\n-A"),
    "a second author by header": ({"headers": {"Sender": "a@acme.example"}}, 422, "invalid_header", "headers.Sender"),
    "a header that steers SES": ({"headers": {"X-SES-TENANT": "o"}}, 422, "invalid_header", "headers.X-SES-TENANT"),
    "a tag of ours": ({"tags": {"tenantry-message": "x"}}, 422, "invalid_tag", "tags.tenantry-message"),
    "a tag of SES": ({"tags": {"ses:x": "x"}}, 422, "invalid_tag", "tags.ses:x"),
    "a tag with a space": ({"tags": {"a": "x y"}}, 422, "invalid_tag", "tags.a"),
    "an attachment that is not base64": (
        {"attachments": [{"filename": "a", "content": "*"}]}, 422, "invalid_field", "attachments[0].content",
    ),
    "a line break in a file's name": (
        {"attachments": [{"filename": "a\nb", "content": ""}]}, 422, "invalid_header", "attachments[0].filename",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_a_bad_message_is_refused_by_code_and_field(doors: Doorstep, case: str) -> None:
    """Each refusal has a code, the field at fault and a sentence, and no message comes of it."""
    wrong, status, code, field = REFUSED[case]
    before = await doors.rows()
    reply = await doors.call("POST", "/v1/messages", wrong if isinstance(wrong, bytes) else letter(doors.acme, **wrong))
    assert (reply.status, *reply.error) == (status, code, field), reply.text
    error = reply.json["error"]
    assert error["message"].endswith((".", "yours are: marketing, transactional."))
    assert error["request_id"] == reply.headers["x-request-id"]
    assert error["docs"].endswith(f"#{code}")
    assert await doors.rows() == before
    assert not doors.bugs


async def test_an_unverified_identity_cannot_send(doors: Doorstep) -> None:
    """A domain that was added but not verified yet is refused by its own code."""
    made = await doors.operate("POST", "/v1/identities", {"tenant": "acme", "name": "new.example"})
    assert made.status == 201, made.text
    reply = await doors.call("POST", "/v1/messages", letter(doors.acme, from_="a@new.example"))
    assert (reply.status, *reply.error) == (422, "identity_unverified", "from")


async def test_a_query_is_not_passed_over(doors: Doorstep) -> None:
    """What would be ignored is refused, so that nobody believes that it counted."""
    reply = await doors.call("POST", "/v1/messages?dry_run=1", letter(doors.acme))
    assert (reply.status, *reply.error) == (422, "invalid_field", "query")


@pytest.mark.parametrize("announced", [True, False])
async def test_an_oversize_body_is_refused_before_it_is_read_whole(doors: Doorstep, announced: bool) -> None:
    """A body over the limit is refused, whether its length is announced or only turns out."""
    chunk = b"x" * 1_000_000

    async def chunks() -> object:
        for _ in range(60):
            yield chunk

    data = BytesIO(chunk * 42) if announced else chunks()
    headers = {"authorization": f"Bearer {doors.token()}"}
    async with doors.http.post(f"{doors.url}/v1/messages", data=data, headers=headers) as response:
        assert response.status == 413
        assert (await response.json())["error"]["code"] == "too_large"


async def test_a_large_message_is_taken(doors: Doorstep) -> None:
    """A body that is decoded off the loop comes to the same answer."""
    file = {"filename": "a.bin", "content": b64encode(b"x" * 600_000).decode()}
    reply = await doors.call("POST", "/v1/messages", letter(doors.acme, attachments=[file]))
    assert reply.status == 202, reply.text


async def test_the_same_key_and_body_give_the_first_answer(doors: Doorstep) -> None:
    """A repeated call is answered alike, says so in a header, and makes no second message."""
    body = json.dumps(letter(doors.acme, subject="once")).encode()
    first = await doors.call("POST", "/v1/messages", body, idempotency_key="order 17")
    before = await doors.rows()
    again = await doors.call("POST", "/v1/messages", body, idempotency_key="order 17")
    assert first.status == again.status == 202
    assert first.json == again.json
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await doors.rows() == before


async def test_the_same_key_with_another_body_is_a_conflict(doors: Doorstep) -> None:
    """An idempotency key stands for one body."""
    await doors.call("POST", "/v1/messages", letter(doors.acme, subject="a"), idempotency_key="k2")
    reply = await doors.call("POST", "/v1/messages", letter(doors.acme, subject="b"), idempotency_key="k2")
    assert (reply.status, *reply.error) == (409, "idempotency_mismatch", "Idempotency-Key")


async def test_two_tenants_may_use_the_same_key(doors: Doorstep) -> None:
    """Idempotency keys are the tenant's own."""
    mine = await doors.call("POST", "/v1/messages", letter(doors.acme), idempotency_key="shared")
    theirs = await doors.call(
        "POST", "/v1/messages", letter(doors.other), idempotency_key="shared", token=doors.token(doors.other)
    )
    assert mine.status == theirs.status == 202
    assert mine.json["id"] != theirs.json["id"]


@pytest.mark.parametrize("key", ["x" * 256, "caf\u00e9", ""])
async def test_an_odd_idempotency_key_is_refused(doors: Doorstep, key: str) -> None:
    """A key is 1 to 255 printable ASCII characters."""
    reply = await doors.call("POST", "/v1/messages", letter(doors.acme), idempotency_key=key)
    assert (reply.status, *reply.error) == (422, "invalid_field", "Idempotency-Key")


@pytest.mark.parametrize("token", ["", "nonsense", "key_1.x", f"key_{'0' * 32}.secret", "a.b"])
async def test_who_has_no_key_is_refused(doors: Doorstep, token: str) -> None:
    """No token, a malformed one and an unknown one are all unauthenticated."""
    reply = await doors.call("POST", "/v1/messages", letter(doors.acme), token=token)
    assert (reply.status, *reply.error) == (401, "unauthenticated", "authorization")
    assert reply.headers["www-authenticate"].startswith("Bearer")


async def test_a_wrong_secret_is_refused_like_an_unknown_key(doors: Doorstep) -> None:
    """The answer does not tell whether the id exists."""
    unknown = await doors.call("POST", "/v1/messages", letter(doors.acme), token=f"key_{'0' * 32}.x")
    wrong = await doors.call("POST", "/v1/messages", letter(doors.acme), token=f"{doors.acme.key_id}.x")
    assert unknown.json["error"] | {"request_id": ""} == wrong.json["error"] | {"request_id": ""}


async def test_a_key_without_the_scope_cannot_send(doors: Doorstep) -> None:
    """Scopes are enforced, and an operator's key is no tenant's."""
    _, token = await make_key(doors, doors.acme, "read")
    for held in (token, doors.operator):
        reply = await doors.call("POST", "/v1/messages", letter(doors.acme), token=held)
        assert (reply.status, reply.error[0]) == (403, "forbidden")


async def test_a_revoked_key_opens_no_door_a_second_later(doors: Doorstep) -> None:
    """A key that was in use and is revoked is refused once the cache's second is over."""
    key_id, token = await make_key(doors, doors.acme, "send")
    assert (await doors.call("POST", "/v1/messages", letter(doors.acme), token=token)).status == 202
    assert (await doors.operate("DELETE", f"/v1/keys/{key_id}")).status == 204
    doors.clock.shift += doors.clock.shift.resolution * 1_100_000
    reply = await doors.call("POST", "/v1/messages", letter(doors.acme), token=token)
    assert (reply.status, *reply.error) == (401, "key_revoked", "authorization")


async def test_many_at_once_are_all_answered(doors: Doorstep) -> None:
    """Callers that miss the key cache together share a read and are served alike."""
    doors.clock.shift += doors.clock.shift.resolution * 1_100_000
    replies = await asyncio.gather(
        *(doors.call("POST", "/v1/messages", letter(doors.acme, subject=f"n{n}")) for n in range(20))
    )
    assert {reply.status for reply in replies} == {202}
    assert len({reply.json["id"] for reply in replies}) == 20
