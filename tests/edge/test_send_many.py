"""Many messages in one call, and one as raw mail: each is accepted or refused for itself, and a repeat sends nothing twice."""

from __future__ import annotations

import pytest

from tests.edge.doorstep import Doorstep, letter

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def count(doors: Doorstep) -> int:
    return len((await doors.rows())["message"])


async def test_each_message_of_a_batch_stands_for_itself(doors: Doorstep) -> None:
    """Good ones are stored though others in the call are refused; the results name each by its place and field."""
    before = await count(doors)
    wanted = [letter(doors.acme), letter(doors.acme, to=None), letter(doors.other), letter(doors.acme, extra=1), 7]
    reply = await doors.call("POST", "/v1/messages/batch", {"messages": wanted})
    results = reply.json["results"]
    assert [row["state"] for row in results] == ["accepted", *["refused"] * 4]
    assert [(row["error"]["code"], row["error"]["field"]) for row in results[1:]] == [
        ("no_recipients", "messages[1].to"),
        ("author_not_yours", "messages[2].from"),
        ("invalid_field", "messages[3].extra"),
        ("invalid_field", "messages[4].body"),
    ]
    assert await count(doors) == before + 1
    assert (await doors.call("GET", f"/v1/messages/{results[0]['id']}")).status == 200


async def test_a_repeated_batch_sends_what_is_new_and_nothing_twice(doors: Doorstep) -> None:
    """With the same key, messages that were accepted get their first answer, whatever the order of their fields."""
    good = letter(doors.acme)
    first = await doors.call(
        "POST", "/v1/messages/batch", {"messages": [good, letter(doors.acme, to=[])]}, Idempotency_Key="k"
    )
    before = await count(doors)
    mended = {"messages": [dict(reversed(good.items())), letter(doors.acme)]}
    second = await doors.call("POST", "/v1/messages/batch", mended, Idempotency_Key="k")
    assert second.json["results"][0] == first.json["results"][0]
    assert (second.json["results"][1]["state"], await count(doors)) == ("accepted", before + 1)
    other = await doors.call(
        "POST", "/v1/messages/batch", {"messages": [letter(doors.acme, subject="x")]}, Idempotency_Key="k"
    )
    assert other.json["results"][0]["error"]["code"] == "idempotency_mismatch"


async def test_five_hundred_go_in_one_call(doors: Doorstep) -> None:
    """The greatest batch is taken whole, one more is refused whole."""
    wanted = [letter(doors.acme, to=f"p{number}@example.com") for number in range(501)]
    before = await count(doors)
    assert (await doors.call("POST", "/v1/messages/batch", {"messages": wanted})).error == ("invalid_field", "messages")
    reply = await doors.call("POST", "/v1/messages/batch", {"messages": wanted[:500]})
    assert {row["state"] for row in reply.json["results"]} == {"accepted"}
    assert await count(doors) == before + 500


@pytest.mark.parametrize(
    "body", [{}, [], {"messages": []}, {"messages": {}}, {"messages": [1], "more": 2}, b"{", b"\xff"]
)
async def test_what_is_no_batch_is_refused(doors: Doorstep, body: object) -> None:
    """Anything but an object with a list of messages is refused as a whole."""
    assert (await doors.call("POST", "/v1/messages/batch", body)).status in (400, 422)


RAW = "From: hello@acme.example\r\nTo: ann@example.com\r\nBcc: boss@example.com\r\nSubject: Hi\r\n{more}\r\nHello\r\n"


async def test_raw_mail_can_be_uploaded(doors: Doorstep) -> None:
    """To, Cc and Bcc say who gets it, X-SES headers the stream and tags; a repeat with the same key is the same message."""
    more = "X-SES-CONFIGURATION-SET: marketing\r\nX-SES-MESSAGE-TAGS: a=b\r\nX-SES-TENANT: acme\r\n"
    body = RAW.format(more=more).encode()
    first = await doors.call("POST", "/v1/messages/mime", body, Idempotency_Key="mime")
    again = await doors.call("POST", "/v1/messages/mime", body, Idempotency_Key="mime")
    assert (first.status, again.json, again.headers["idempotent-replayed"]) == (202, first.json, "true")
    shown = (await doors.call("GET", f"/v1/messages/{first.json['id']}")).json
    assert (shown["stream"], shown["tags"]) == ("marketing", {"a": "b"})
    assert [(row["address"], row["kind"]) for row in shown["recipients"]] == [
        ("ann@example.com", "to"),
        ("boss@example.com", "bcc"),
    ]


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ("X-SES-TENANT: other\r\n", ("not_found", "X-SES-TENANT")),
        ("Sender: x@other.example\r\n", ("author_not_yours", "from")),
        ("From: x@acme.example\r\n", ("invalid_header", "from")),
    ],
)
async def test_raw_mail_is_bound_like_all_other(doors: Doorstep, more: str, error: tuple[str, str]) -> None:
    """Another tenant's name, another author, or a header that is there twice is refused."""
    assert (await doors.call("POST", "/v1/messages/mime", RAW.format(more=more).encode())).error == error
