"""Suppressions over REST: what is listed, added and removed keeps mail back or lets it go, and a CSV file goes both ways."""

from __future__ import annotations

import json

import pytest

from tests.edge.doorstep import Doorstep, Reply, letter, make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def manage(doors: Doorstep, method: str, path: str, body: object = None) -> Reply:
    """Call as acme with a key that may do all that a tenant may."""
    _, token = await make_key(doors, doors.acme, "read", "manage", "send")
    return await doors.call(method, path, body, token=token)


async def suppressed(doors: Doorstep, address: str, stream: str) -> bool:
    sent = await doors.call("POST", "/v1/messages", letter(doors.acme, to=address, stream=stream))
    return sent.json["suppressed"] == [address]


async def test_what_is_added_is_not_mailed_until_it_is_removed(doors: Doorstep) -> None:
    """An address of a stream is kept from that stream alone; one of the tenant from all; removing lets mail go again."""
    one = await manage(
        doors, "POST", "/v1/suppressions", {"addresses": ["Ann@Example.com", "no one"], "stream": "marketing"}
    )
    assert (one.status, one.json["new"], one.json["left_out"][0]["index"]) == (200, 1, 1)
    assert await suppressed(doors, "ann@example.com", "marketing")
    assert not await suppressed(doors, "ann@example.com", "transactional")
    await manage(doors, "POST", "/v1/suppressions", {"addresses": ["ann@example.com"], "cause": "complaint"})
    assert await suppressed(doors, "ann@example.com", "transactional")
    listed = (await doors.call("GET", "/v1/suppressions?address=ANN@example.com")).json["items"]
    assert sorted((row["cause"], row["stream"]) for row in listed) == [("complaint", None), ("manual", "marketing")]
    gone = await manage(doors, "POST", "/v1/suppressions/remove", {"addresses": ["ann@example.com", "bob@example.com"]})
    assert gone.json == {"removed": 1}
    assert not await suppressed(doors, "ann@example.com", "marketing")


async def test_a_list_goes_on_where_its_page_ended(doors: Doorstep) -> None:
    """Pages hold each entry once, by address; a cursor from elsewhere is refused."""
    addresses = [f"page{number}@pages.example" for number in range(5)]
    await manage(doors, "POST", "/v1/suppressions", {"addresses": addresses, "cause": "unsubscribe"})
    seen, cursor = [], ""
    while cursor is not None:
        page = (await doors.call("GET", f"/v1/suppressions?cause=unsubscribe&limit=2{cursor}")).json
        seen += [row["address"] for row in page["items"]]
        cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
    assert seen == addresses
    assert (await doors.call("GET", "/v1/suppressions?cursor=none")).error == ("invalid_field", "cursor")


async def test_a_file_that_was_exported_can_be_imported(doors: Doorstep) -> None:
    """2,500 rows go in with their progress told and come out the same; rows that are none are counted and named by line."""
    rows = [f"p{number:04}@file.example,bounce,{'marketing' if number % 2 else ''}" for number in range(2_500)]
    body = "\r\n".join(
        ["address,cause,stream", *rows, "nobody,,", "a@b.example,odd,", "a@b.example,,nowhere", "a@b.example"]
    )
    reply = await manage(doors, "POST", "/v1/suppressions/import", body.encode())
    told = [json.loads(line) for line in reply.text.splitlines()]
    assert [(one["new"], one.get("done")) for one in told] == [(1_000, None), (2_000, None), (2_500, True)]
    assert (told[-1]["read"], told[-1]["left_out"]) == (2_504, 4)
    assert [line["line"] for line in told[-1]["lines"]] == [2_502, 2_503, 2_504, 2_505]
    exported = await doors.call("GET", "/v1/suppressions.csv")
    lines = [line.rpartition(",")[0] for line in exported.text.splitlines() if "@file.example" in line]
    assert lines == sorted(rows)
    again = await manage(doors, "POST", "/v1/suppressions/import", exported.text.encode())
    assert json.loads(again.text.splitlines()[-1])["new"] == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"email\nann@example.com", b"address,address\n", b"\xff\xfe", b"address,extra\n", b'"address"x,cause\n'],
)
async def test_a_file_of_another_form_is_refused_whole(doors: Doorstep, body: bytes) -> None:
    """A file whose first line is not as documented, or that is no text, is refused before anything is written."""
    before = await doors.rows()
    reply = await manage(doors, "POST", "/v1/suppressions/import", body)
    assert reply.error == ("invalid_field", "body")
    after = await doors.rows()
    assert after["suppression"] == before["suppression"]
