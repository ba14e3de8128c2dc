"""Keys that are rotated: the new one opens every door at once, the old one until its overlap is over and no longer."""

from __future__ import annotations

from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from tests.edge.doorstep import Doorstep, letter, make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def sends(doors: Doorstep, token: str) -> int:
    return (await doors.call("POST", "/v1/messages", letter(doors.acme), token=token)).status


async def test_both_keys_open_doors_until_the_overlap_is_over(doors: Doorstep) -> None:
    """Each door takes old and new during the overlap, and the old one alone is refused after it, at the store too."""
    key_id, old = await make_key(doors, doors.acme, "send", "read")
    made = (await doors.operate("POST", f"/v1/keys/{key_id}/rotate", {"overlap_seconds": 60})).json
    new = f"{made['id']}.{made['secret']}"
    assert (made["scopes"], made["tenant_id"], made["revoked_at"]) == (["read", "send"], doors.acme.tenant_id, None)
    assert (await sends(doors, old), await sends(doors, new)) == (202, 202)
    doors.clock.shift += timedelta(seconds=61)
    try:
        assert (await sends(doors, old), await sends(doors, new)) == (401, 202)
        with pytest.raises(ClientError, match="security token"):
            await doors.send(doors.ses(worldly(doors, old)))
    finally:
        doors.clock.shift -= timedelta(seconds=61)


def worldly(doors: Doorstep, token: str) -> object:
    """Return acme with another key."""
    from dataclasses import replace

    key_id, _, secret = token.partition(".")
    return replace(doors.acme, key_id=key_id, secret=secret)


async def test_an_overlap_never_lets_a_key_live_longer(doors: Doorstep) -> None:
    """A key that ends already soon does not end later by being rotated again; revoking it ends it now."""
    key_id, old = await make_key(doors, doors.acme, "send")
    await doors.operate("POST", f"/v1/keys/{key_id}/rotate", {"overlap_seconds": 60})
    first = await ends(doors, key_id)
    await doors.operate("POST", f"/v1/keys/{key_id}/rotate", {"overlap_seconds": 2_592_000})
    assert await ends(doors, key_id) == first
    assert (await doors.operate("DELETE", f"/v1/keys/{key_id}")).status == 204
    doors.clock.shift += timedelta(seconds=1.1)
    assert await sends(doors, old) == 401
    again = await doors.operate("POST", f"/v1/keys/{key_id}/rotate", {})
    assert again.error == ("conflict", "key")


async def ends(doors: Doorstep, key_id: str) -> str:
    keys = (await doors.operate("GET", f"/v1/keys?tenant={doors.acme.tenant_id}&limit=200")).json["items"]
    return next(key["revoked_at"] for key in keys if key["id"] == key_id)


async def test_nobody_rotates_up(doors: Doorstep) -> None:
    """A key that may manage cannot get the secret of one that may do more than itself."""
    key_id, _ = await make_key(doors, doors.acme, "send")
    _, manager = await make_key(doors, doors.acme, "manage")
    refused = await doors.call("POST", f"/v1/keys/{key_id}/rotate", {}, token=manager)
    assert refused.error == ("forbidden", "scopes")


async def test_a_key_with_an_end_ahead_is_known_to_accept(doors: Doorstep) -> None:
    """What the store reads for accept leaves out keys that have ended, and those alone."""
    key_id, token = await make_key(doors, doors.acme, "send")
    mine = doors.store.of(doors.acme.tenant_id)
    assert await mine.revoke_key(key_id, 3_600)
    assert await sends(doors, token) == 202
    assert await mine.revoke_key(key_id)
    assert await sends(doors, token) == 401
