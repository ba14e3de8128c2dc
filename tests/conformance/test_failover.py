"""Fail-over to a standby that lags behind: from the first turn on, what was sent meanwhile is not sent again."""

from __future__ import annotations

import asyncio

from tenantry.flow.dispatch import Claimed, claim
from tenantry.flow.recover import notice, release
from tenantry.ports import StoreBusy
from tenantry.store.engine import Opening, open_store
from tests import worlds
from tests.conformance.conftest import VAULT
from tests.conformance.cutting import cutting
from tests.conformance.standby import pair


async def test_the_first_turn_after_a_fail_over_holds_what_may_have_gone() -> None:
    """The worker goes on with its store, knows of nothing, and its kept connections lead to another server."""
    clock = worlds.FixedClock()
    async with pair() as servers, cutting(servers.url(servers.primary)) as door:
        store = await open_store(Opening(door.url, VAULT, clock.wall, create=False))
        cell, other = await worlds.cell(store), await worlds.another_cell(store)
        assert await notice(store, cell) is None and await notice(store, other) is None
        member = await worlds.member(store)
        await worlds.accepted(store, member, 5)
        await servers.until_caught_up()
        await servers.cut()
        sent = await worlds.handed(store, cell, room=3)
        assert len(sent) == 5

        await servers.fail_over()
        door.lead_to(servers.url(servers.standby))
        turn = await _turn(store, cell)
        assert turn.restored and "failed over" in turn.restored
        assert not turn.claims
        async with store.reading() as step:
            assert await step.recovering(cell)
            assert not await step.recovering(other), "each cell is held under its own lock, by its own worker"
        assert sum(one.messages for one in await store.fleet(worlds.OPERATOR).held()) == 5
        clock.advance(1)
        await worlds.accepted(store, member)
        assert len((await _turn(store, cell)).claims) == 1, "what was accepted after it flows"
        assert (await _turn(store, other)).restored
        assert await notice(store, cell) is None, "noticed once"
        assert await release(store, member.tenant_id) == 5
        assert len((await _turn(store, cell)).claims) == 5
        await store.close()


async def _turn(store: object, cell: object) -> Claimed:
    """Take a turn, again while connections are found to be lost."""
    for _ in range(20):
        try:
            return await claim(store, cell, 100)  # type: ignore[arg-type]
        except StoreBusy:
            await asyncio.sleep(0.05)
    raise AssertionError("the database did not come back")
