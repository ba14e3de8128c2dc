"""Templates over REST: each change is a version, nobody overwrites what they have not read, a preview tells what is missing."""

from __future__ import annotations

import pytest

from tests.edge.doorstep import Doorstep, Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARTS = {"subject": "Hi {{name}}", "text": "Hello {{name}}", "tenant": "acme"}


async def make(doors: Doorstep, name: str) -> Reply:
    return await doors.operate("POST", "/v1/templates", {"name": name, **PARTS})


async def change(doors: Doorstep, name: str, text: str, **headers: str) -> Reply:
    return await doors.call("PUT", f"/v1/templates/{name}", {**PARTS, "text": text}, token=doors.operator, **headers)


async def test_each_change_is_a_version(doors: Doorstep) -> None:
    """The newest version is shown, older ones by their number, and a list has each template once."""
    assert (await make(doors, "welcome")).headers["etag"] == '"1"'
    await make(doors, "bye")
    assert (await change(doors, "welcome", "Welcome")).json["version"] == 2
    newest = await doors.call("GET", "/v1/templates/welcome")
    assert (newest.json["text"], newest.headers["etag"]) == ("Welcome", '"2"')
    assert (await doors.call("GET", "/v1/templates/welcome?version=1")).json["text"] == PARTS["text"]
    assert (await doors.call("GET", "/v1/templates/welcome?version=3")).status == 404
    versions = (await doors.call("GET", "/v1/templates/welcome/versions")).json["items"]
    listed = (await doors.call("GET", "/v1/templates?limit=1")).json
    assert ([row["version"] for row in versions], [row["name"] for row in listed["items"]]) == ([2, 1], ["bye"])
    rest = (await doors.call("GET", f"/v1/templates?cursor={listed['next_cursor']}")).json["items"]
    assert [row["name"] for row in rest] == ["welcome"]
    assert (await make(doors, "welcome")).error == ("conflict", "name")


async def test_nobody_overwrites_what_they_have_not_read(doors: Doorstep) -> None:
    """With If-Match the second of two who read the same version is told so; without it the last one wins."""
    await make(doors, "shared")
    assert (await change(doors, "shared", "mine", If_Match='"1"')).json["version"] == 2
    assert (await change(doors, "shared", "theirs", If_Match='"1"')).error == ("conflict", "version")
    assert (await change(doors, "shared", "theirs", If_Match="one")).error == ("invalid_field", "If-Match")
    assert (await change(doors, "shared", "theirs", If_Match="*")).json["version"] == 3
    assert (await change(doors, "shared", "last")).json["version"] == 4


async def test_a_preview_is_filled_or_says_what_is_missing(doors: Doorstep) -> None:
    """The data of the call is filled in; where some is missing the answer names it, and a broken text is never kept."""
    await make(doors, "letter")
    shown = await doors.call("POST", "/v1/templates/letter/preview", {"data": {"name": "Ann"}})
    assert shown.json == {"subject": "Hi Ann", "text": "Hello Ann", "html": None}
    lacking = await doors.call("POST", "/v1/templates/letter/preview", {})
    assert lacking.error == ("invalid_field", "data") and "name" in lacking.json["error"]["message"]
    broken = await doors.operate("POST", "/v1/templates", {"name": "broken", **PARTS, "text": "{{#if a}}"})
    assert broken.error == ("invalid_field", "text")
    large = await doors.operate("POST", "/v1/templates", {"name": "large", **PARTS, "text": "x" * 400_000})
    assert large.status == 201


async def test_a_removed_template_is_gone(doors: Doorstep) -> None:
    """Removing takes the versions along, and names that none can have name nothing."""
    await make(doors, "old")
    assert (await doors.operate("DELETE", "/v1/templates/old?tenant=acme")).status == 204
    for name in ("old", "a%00b", "x" * 65, "a%2Fb"):
        assert (await doors.call("GET", f"/v1/templates/{name}")).status == 404
