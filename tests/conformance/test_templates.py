"""A tenant's templates, tags and the streams of its identities, on both stores."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tenantry.core.ids import MessageId
from tenantry.core.message import Accepted
from tenantry.core.template import TemplateParts
from tenantry.flow.accept import accept
from tenantry.ports import StoreConflict
from tests import worlds
from tests.conformance.conftest import Ground


async def test_a_template_has_versions_and_the_newest_is_in_use(ground: Ground) -> None:
    """A change makes a version; whoever saw an older one can be told so; pages show each template once."""
    acme, other = await worlds.member(ground.store, "acme"), await worlds.member(ground.store, "other")
    mine = ground.store.of(acme.tenant_id)
    for name in ("c", "a", "b"):
        await mine.add_template(name, TemplateParts("One", "text"))
    with pytest.raises(StoreConflict):
        await mine.add_template("a", TemplateParts("Two", "text"))
    made = await mine.change_template("a", TemplateParts("Two", None, "<p>"), expected=1)
    assert made is not None
    assert (made.version, (await mine.template("a")).parts) == (2, TemplateParts("Two", None, "<p>"))
    assert (await mine.template("a", 1)).parts == TemplateParts("One", "text")
    with pytest.raises(StoreConflict):
        await mine.change_template("a", TemplateParts("Three", "x"), expected=1)
    assert [one.version for one in await mine.template_versions("a")] == [2, 1]
    first = await mine.templates(None, 2)
    rest = await mine.templates(first.next_cursor, 2)
    assert [(one.name, one.version) for one in (*first.items, *rest.items)] == [("a", 2), ("b", 1), ("c", 1)]
    assert rest.next_cursor is None
    assert await mine.template_count() == 3
    theirs = ground.store.of(other.tenant_id)
    assert await theirs.template("a") is None
    assert await theirs.change_template("a", TemplateParts("x", "x")) is None
    assert not await theirs.remove_template("a")
    assert await mine.remove_template("a")
    assert await mine.template("a", 1) is None


async def test_tags_stay_within_their_number_and_go_with_their_template(ground: Ground) -> None:
    """More than the most changes nothing; a template that is made again begins without the tags of the old one."""
    acme = await worlds.member(ground.store)
    mine = ground.store.of(acme.tenant_id)
    await mine.add_template("a", TemplateParts("One", "text"))
    assert await mine.put_tags("template/a", {"k": "1", "l": "2"}, 2)
    assert not await mine.put_tags("template/a", {"m": "3"}, 2)
    assert await mine.put_tags("template/a", {"k": "4"}, 2)
    assert await mine.tags("template/a") == {"k": "4", "l": "2"}
    await mine.remove_tags("template/a", ["l", "unheard-of"])
    assert await mine.tags("template/a") == {"k": "4"}
    await mine.remove_template("a")
    assert await mine.tags("template/a") == {}


async def test_mail_goes_by_the_stream_it_names_else_its_identitys_else_the_default(ground: Ground) -> None:
    """An address's own stream wins over its domain's; a stream that is taken back leaves the default."""
    acme = await worlds.member(ground.store)
    mine = ground.store.of(acme.tenant_id)
    (domain,) = await mine.identities()

    async def stream_of(stream: str | None = None) -> str:
        (answer,) = await accept(ground.store, [worlds.submission(acme, stream=stream)])
        assert isinstance(answer, Accepted)
        return answer.stream

    assert await stream_of() == "transactional"
    await mine.set_identity_stream(domain.id, acme.marketing)
    assert await stream_of() == "marketing"
    assert await stream_of("transactional") == "transactional"
    assert (await mine.identity(domain.name)).stream_id == acme.marketing
    await mine.set_identity_stream(domain.id, None)
    assert await stream_of() == "transactional"


async def test_what_was_sent_is_counted_since_a_time(ground: Ground) -> None:
    """Recipients, of this tenant alone, from the moment asked for."""
    acme, other = await worlds.member(ground.store, "acme"), await worlds.member(ground.store, "other")
    await worlds.accepted(ground.store, acme, 3)
    await worlds.accepted(ground.store, other, 1)
    ground.advance(7_200)
    (one,) = await worlds.accepted(ground.store, acme, 1)
    now = one.accepted_at
    assert await ground.store.of(acme.tenant_id).sent_since(now - timedelta(hours=24)) == 4
    assert await ground.store.of(acme.tenant_id).sent_since(now - timedelta(hours=1)) == 1
    assert isinstance(one.id, MessageId)
