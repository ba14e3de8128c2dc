"""Provision's look at many tenants, on both stores: what is to be done is found in small portions, and nothing is passed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import text

from tenantry.core.claim import ses_name
from tenantry.core.ids import PauseId, PoolId, TenantId
from tenantry.core.outcome import Hold, Retry
from tenantry.core.pause import Author, Pause
from tenantry.core.plan import SENDING, Change, Resource, ResourceKind, Urgency
from tenantry.core.tenant import NewStream, StreamClass
from tenantry.flow.dispatch import claim, settle
from tenantry.ports import Places, Survey
from tests import worlds
from tests.conformance.conftest import Ground

MOST = 2


async def survey(ground: Ground, places: Places | None = None, *, walk: bool = False) -> Survey:
    async with ground.store.reading() as step:
        return await step.survey(ground.cell, places or Places(), MOST, walk=walk)


async def put(ground: Ground, present: Sequence[Resource], gone: Sequence[Resource] = ()) -> None:
    async with ground.store.step() as step:
        await step.set_mirror(ground.cell, present, gone)


async def note(ground: Ground, tenants: Sequence[TenantId], pauses: Sequence[PauseId] = ()) -> None:
    async with ground.store.step() as step:
        await step.note_progress(ground.cell, tenants, pauses)


async def settled(ground: Ground, count: int) -> list[worlds.Member]:
    """Make tenants of which SES has all that is wanted, with nothing left to do."""
    members = [await worlds.member(ground.store, f"t{number}") for number in range(count)]
    changes = await ground.store.fleet(worlds.OPERATOR).changes()
    await put(ground, [replace(one.resource, observed={"for_sending": "true"}) for one in changes])
    await note(ground, [one.tenant_id for one in members])
    assert (await survey(ground)).changes == []
    return members


async def switched(ground: Ground, changes: Sequence[Change]) -> None:
    """Let SES do what these changes say."""
    await put(ground, [one.result for one in changes])


def names(changes: Sequence[Change]) -> set[str]:
    return {one.resource.name for one in changes}


async def test_new_tenants_are_found_some_at_a_time(ground: Ground) -> None:
    """However many have something left to do, a look reads a few; with places it goes on, and at the end it begins anew."""
    members = [await worlds.member(ground.store, f"t{number}") for number in range(5)]
    places, found = Places(), list[set[str]]()
    for _ in range(3):
        seen = await survey(ground, places)
        found.append(
            {
                one.name
                for one in (change.resource for change in seen.changes)
                if "." in one.name and "/" not in one.name
            }
        )
        places = seen.after
    assert [len(one) for one in found] == [2, 2, 1]
    assert set.union(*found) == {member.domain for member in members}
    assert places.tenant is None


async def test_a_tenant_with_nothing_left_is_read_no_more_until_it_changes(ground: Ground) -> None:
    """A new stream, and what SES says of a missing association, are found at once; the others stay unread."""
    members = await settled(ground, 4)
    made = await ground.store.of(members[3].tenant_id).add_stream(NewStream("news", StreamClass.MARKETING))
    assert all(ses_name(made.id) in name for name in names((await survey(ground)).changes))
    await worlds.accepted(ground.store, members[0])
    (one,) = (await claim(ground.store, ground.cell, 1)).claims
    await settle(ground.store, [Retry(one.attempt_id, "not associated", burned=False, hold=Hold.UNPROVISIONED)])
    missing = names((await survey(ground)).changes)
    own = ses_name(members[0].transactional)
    assert {own, f"{own}/events", f"{own}/identity/{members[0].domain}", f"{own}/configuration-set/{own}"} <= missing
    assert not any(ses_name(members[1].transactional) in name for name in missing)


async def test_a_change_while_it_is_noted_is_not_lost(ground: Ground) -> None:
    """What changed after it was read has another revision, so that it is looked at again."""
    (member,) = await settled(ground, 1)
    mine = ground.store.of(member.tenant_id)
    async with ground.store.step() as step:
        await step.conn.execute(text("UPDATE tenant SET surveyed = 0"))
    if ground.store.seam.name == "sqlite":
        await mine.add_stream(NewStream("news", StreamClass.MARKETING))
        await note(ground, [member.tenant_id])
    else:
        async with ground.store.step() as step:
            read = step._known  # between its reading and its writing somebody else commits

            async def slow(*given: object) -> object:
                known = await read(*given)  # type: ignore[arg-type]
                await mine.add_stream(NewStream("news", StreamClass.MARKETING))
                return known

            step._known = slow  # type: ignore[method-assign, assignment]
            await step.note_progress(ground.cell, [member.tenant_id])
    assert (await survey(ground)).changes


async def test_the_walk_finds_what_no_mark_tells_of(ground: Ground) -> None:
    """A difference without a mark, and an object that nobody wants, are found when the walk comes to them, and noted."""
    members = await settled(ground, 4)
    lost = Resource(ResourceKind.EVENT_DESTINATION, f"{ses_name(members[2].marketing)}/events", {}, {})
    stray = Resource(ResourceKind.ASSOCIATION, f"{ses_name(members[1].marketing)}/identity/old.example", {}, {})
    orphan = Resource(ResourceKind.TENANT, f"tenantry-{'0' * 32}", {}, {})
    await put(ground, [stray, orphan], [lost])
    assert (await survey(ground)).changes == []
    places, found, unnoted = Places(), list[Change](), set[TenantId]()
    for _ in range(40):
        seen = await survey(ground, places, walk=True)
        found += seen.changes
        unnoted |= set(seen.unnoted)
        places = seen.after
        if places == Places():
            break
    assert names(found) == {lost.name, stray.name, orphan.name}
    assert {one.resource.name for one in found if one.delete} == {stray.name, orphan.name}
    assert unnoted == {members[2].tenant_id}
    await note(ground, sorted(unnoted))
    assert names((await survey(ground)).changes) == {lost.name}
    everything = await ground.store.fleet(worlds.OPERATOR).changes()
    assert [one.resource.name for one in everything] == [lost.name, stray.name, orphan.name]


@pytest.mark.parametrize("kind", ["pool", "cell"])
async def test_a_pause_of_many_tenants_is_fenced_once_no_set_sends(ground: Ground, kind: str) -> None:
    """Each look finds some of the sets that still send; the pause holds in SES after the last, and ends after the last."""
    members = await settled(ground, 3)
    other = members[0].transactional
    async with ground.store.step(lock=ground.cell) as step:
        found = await step.run("SELECT id FROM pool")
        scope = ground.cell if kind == "cell" else step.seam.id(PoolId, found[0][0])
        pause = await step.open_pause((kind, scope), Author.OPERATOR, "a test", None)
        own = await step.open_pause(("stream", other), Author.OPERATOR, "another test", None)
    assert pause is not None
    assert own is not None
    looks = 0
    while not (seen := await survey(ground)).still:
        assert {one.urgency for one in seen.changes} == {Urgency.PAUSE}
        assert all(one.resource.attributes[SENDING] == "false" for one in seen.changes)
        assert (await fresh(ground, pause.id)).fenced_at is None
        await note(ground, seen.unnoted, [pause.id])  # too early: it is asked again inside the step
        await switched(ground, seen.changes[:2])
        looks += 1
    assert looks == 3
    await note(ground, seen.unnoted, seen.still)
    assert (await fresh(ground, pause.id)).fenced_at is not None
    async with ground.store.step(lock=ground.cell) as step:
        await step.end_pause(pause.id, "over")
    while not (seen := await survey(ground)).still:
        assert {one.urgency for one in seen.changes} == {Urgency.UNPAUSE}
        assert ses_name(other) not in names(seen.changes), "its own pause holds"
        await switched(ground, seen.changes)
    await note(ground, seen.unnoted, seen.still)
    assert (await fresh(ground, pause.id)).ended_at is not None
    assert (await fresh(ground, own.id)).ended_at is None


async def fresh(ground: Ground, pause: PauseId) -> Pause:
    found = await ground.store.fleet(worlds.OPERATOR).pause(pause)
    assert found is not None
    return found
