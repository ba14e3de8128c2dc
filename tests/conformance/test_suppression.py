"""What people do to a tenant's suppressions, on both stores: list, add, remove, and what that does to mail."""

from __future__ import annotations

import pytest

from tenantry.core.ids import StreamId
from tenantry.core.message import Accepted, Refusal, RefusalCode
from tenantry.core.suppression import Cause, NewSuppression, SuppressionFilter
from tenantry.flow.accept import accept
from tenantry.flow.suppress import Added, add, remove
from tenantry.ports import StoreRejected
from tests import worlds
from tests.conformance.conftest import Ground

EVERYTHING = SuppressionFilter()


async def addresses(ground: Ground, member: worlds.Member, wanted: SuppressionFilter, limit: int = 2) -> list[str]:
    """Walk a list page by page."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await ground.store.of(member.tenant_id).suppressions(wanted, cursor, limit)
        assert len(page.items) <= limit
        found += [one.address for one in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return found


async def test_what_is_added_keeps_mail_back_until_it_is_removed(ground: Ground) -> None:
    """Whatever the case it is written in; another tenant mails the address as before."""
    acme, other = await worlds.member(ground.store, "acme"), await worlds.member(ground.store, "other")
    done = await add(ground.store, acme.tenant_id, [NewSuppression("Ann@There.example"), NewSuppression("no address")])
    assert isinstance(done, Added)
    assert done.new == 1
    assert done.refused[0] is None
    assert done.refused[1] is not None
    assert done.refused[1].code is RefusalCode.INVALID_ADDRESS

    async def kept_back(member: worlds.Member) -> tuple[str, ...]:
        (answer,) = await accept(ground.store, [worlds.submission(member, "ann@there.example")])
        assert isinstance(answer, Accepted)
        return answer.suppressed

    assert await kept_back(acme) == ("ann@there.example",)
    assert await kept_back(other) == ()
    assert await remove(ground.store, other.tenant_id, ["ann@there.example"]) == 0
    assert await remove(ground.store, acme.tenant_id, ["ANN@there.example", "bob@there.example"]) == 1
    assert await kept_back(acme) == ()


async def test_a_list_has_pages_filters_and_each_address_once_on_demand(ground: Ground) -> None:
    """Pages meet without gap or repetition though an address has several entries; filters hold over all pages."""
    acme = await worlds.member(ground.store)
    people = [f"p{number}@there.example" for number in range(5)]
    entries = [NewSuppression(one, Cause.BOUNCE) for one in people]
    entries += [NewSuppression(one, Cause.UNSUBSCRIBE, acme.marketing) for one in (*people[3:], "q@there.example")]
    await add(ground.store, acme.tenant_id, entries)
    assert await addresses(ground, acme, EVERYTHING) == [
        *people[:4],
        people[3],
        people[4],
        people[4],
        "q@there.example",
    ]
    assert await addresses(ground, acme, SuppressionFilter(once=True)) == [*people, "q@there.example"]
    assert await addresses(ground, acme, SuppressionFilter(causes=frozenset({Cause.UNSUBSCRIBE}))) == [
        *people[3:],
        "q@there.example",
    ]
    assert await addresses(ground, acme, SuppressionFilter(stream_id=acme.transactional)) == people
    assert await addresses(ground, acme, SuppressionFilter(address=people[4], once=True)) == [people[4]]
    since = ground.clock.at
    ground.advance(3_600)
    await add(ground.store, acme.tenant_id, [NewSuppression(people[0], Cause.COMPLAINT)])
    page = await ground.store.of(acme.tenant_id).suppressions(SuppressionFilter(address=people[0]), None, 5)
    assert [(one.cause, one.created_at > since) for one in page.items] == [(Cause.COMPLAINT, True)]
    later = SuppressionFilter(since=page.items[0].created_at)
    assert await addresses(ground, acme, later) == [people[0]]


async def test_a_stream_alone_can_be_freed(ground: Ground) -> None:
    """Removal for one stream leaves the tenant-wide entry; removal for all takes every entry of the address."""
    acme = await worlds.member(ground.store)
    both = [NewSuppression("a@b.example"), NewSuppression("a@b.example", Cause.UNSUBSCRIBE, acme.marketing)]
    await add(ground.store, acme.tenant_id, both)
    assert await remove(ground.store, acme.tenant_id, ["a@b.example"], acme.marketing) == 1
    assert await addresses(ground, acme, EVERYTHING) == ["a@b.example"]
    await add(ground.store, acme.tenant_id, both)
    assert await remove(ground.store, acme.tenant_id, ["a@b.example"]) == 1
    assert await addresses(ground, acme, EVERYTHING) == []


async def test_a_foreign_stream_is_refused_like_one_that_nobody_has(ground: Ground) -> None:
    """Nothing is written then, and the answers are the same."""
    acme, other = await worlds.member(ground.store, "acme"), await worlds.member(ground.store, "other")
    answers = [
        await add(ground.store, acme.tenant_id, [NewSuppression("a@b.example", Cause.MANUAL, stream)])
        for stream in (other.marketing, StreamId("str_" + "f" * 32))
    ]
    assert answers[0] == answers[1]
    assert isinstance(answers[0], Refusal)
    assert await addresses(ground, acme, EVERYTHING) == []


@pytest.mark.parametrize("cursor", ["x", "", "bm9wZQ", "WzEsMl0", "W10", "é", "W1wiXQ" * 2_000, "WyJcdWQ4MDAiLCIiXQ"])
async def test_a_cursor_that_was_not_made_here_is_refused(ground: Ground, cursor: str) -> None:
    """Whatever the text: it is the caller's mistake and not a bug of ours."""
    acme = await worlds.member(ground.store)
    with pytest.raises(StoreRejected):
        await ground.store.of(acme.tenant_id).suppressions(EVERYTHING, cursor, 10)
