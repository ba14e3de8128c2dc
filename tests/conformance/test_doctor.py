"""What doctor counts, on both stores: a silent feed is told apart from a fleet that sends nothing."""

from __future__ import annotations

from tenantry.flow.ingest import ingest
from tests import worlds
from tests.conformance.conftest import Ground


async def blind(ground: Ground) -> int:
    return (await ground.store.fleet(worlds.OPERATOR).counts())["blind_cells"]


async def test_a_cell_is_blind_when_mail_is_handed_over_and_nothing_is_heard(ground: Ground) -> None:
    """An idle cell is not blind, nor one whose events are on their way or have come; one without them is."""
    ground.advance(3_600)
    assert await blind(ground) == 0
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member, 2)
    (first, ses_id), *_ = await worlds.handed(ground.store, ground.cell)
    assert await blind(ground) == 0
    ground.advance(400)
    assert await blind(ground) == 1
    await ingest(ground.store, ground.cell, [worlds.report("Send", first, ses_id)])
    assert await blind(ground) == 0
    ground.advance(3_600)
    assert await blind(ground) == 0
    await worlds.accepted(ground.store, member)
    await worlds.handed(ground.store, ground.cell)
    ground.advance(400)
    assert await blind(ground) == 1
