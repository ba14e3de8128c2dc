"""Accept on both stores: durable, atomic, idempotent, and one bad submission harms no other."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from sqlalchemy import text

from tenantry.core.ids import KeyId
from tenantry.core.message import Accepted, Refusal, RefusalCode
from tenantry.flow.accept import accept
from tenantry.ports import Asked, Suppression
from tenantry.store.accept import SenderCache
from tests import worlds
from tests.conformance.conftest import Ground


async def count(ground: Ground, table: str) -> int:
    async with ground.store.reading() as step:
        found = await step.conn.scalar(text(f"SELECT COUNT(*) FROM {table}"))
    return int(found or 0)


async def test_an_accepted_message_is_there_whole(ground: Ground) -> None:
    """After the answer, message, recipients, content and waiting row are committed."""
    member = await worlds.member(ground.store)
    (answer,) = await accept(ground.store, [worlds.submission(member, "Ann <ann@there.example>", "bob@there.example")])
    assert isinstance(answer, Accepted)
    view = await ground.store.of(member.tenant_id).message(answer.id)
    assert view is not None
    assert [one.address for one in view.recipients] == ["ann@there.example", "bob@there.example"]
    assert (view.state, view.subject, view.stream) == ("waiting", "Hello", "transactional")
    assert await count(ground, "content") == await count(ground, "waiting") == 1


async def test_a_refused_submission_changes_nothing_and_harms_no_other(ground: Ground) -> None:
    """In one batch the good are accepted and the bad refused, each with its own rule."""
    member = await worlds.member(ground.store)
    good = worlds.submission(member)
    foreign = good._replace(authors=("boss@elsewhere.example",))
    nowhere = good._replace(stream="no-such-stream")
    crowd = good._replace(to=tuple(f"p{number}@there.example" for number in range(51)))
    stranger = good._replace(key_id=KeyId("key_" + "f" * 32))
    answers = await accept(ground.store, [foreign, good, nowhere, crowd, stranger, good])
    codes = [answer.code if isinstance(answer, Refusal) else "accepted" for answer in answers]
    assert codes == [
        RefusalCode.AUTHOR_NOT_YOURS,
        "accepted",
        RefusalCode.UNKNOWN_STREAM,
        RefusalCode.TOO_MANY_RECIPIENTS,
        RefusalCode.KEY_REVOKED,
        "accepted",
    ]
    assert await count(ground, "message") == await count(ground, "waiting") == 2


async def test_a_value_that_cannot_be_stored_refuses_its_own_submission_only(ground: Ground) -> None:
    """A batch that the store rejects is split until only the poisoned one is refused."""
    member = await worlds.member(ground.store)
    poisoned = worlds.submission(member)._replace(subject="half a character: \ud800")
    batch = [worlds.submission(member), poisoned, *(worlds.submission(member) for _ in range(5))]
    answers = await accept(ground.store, batch)
    assert [isinstance(answer, Refusal) for answer in answers] == [False, True, *[False] * 5]
    assert await count(ground, "message") == 6


async def test_a_revoked_key_is_refused_at_once(ground: Ground) -> None:
    """Accept reads the key in its own transaction, whatever a door still remembers."""
    member = await worlds.member(ground.store)
    assert await ground.store.of(member.tenant_id).revoke_key(member.key_id)
    (answer,) = await accept(ground.store, [worlds.submission(member)])
    assert isinstance(answer, Refusal)
    assert answer.code is RefusalCode.KEY_REVOKED


async def test_an_identity_verified_meanwhile_may_send(ground: Ground) -> None:
    """What accept remembers of a tenant is as fresh as the tenant's last change."""
    member = await worlds.member(ground.store)
    await worlds.accepted(ground.store, member)
    async with ground.store.step() as step:
        await step.conn.execute(text("UPDATE identity SET status = 'pending'"))
        await step.conn.execute(text("UPDATE tenant SET revision = revision + 1"))
    (answer,) = await accept(ground.store, [worlds.submission(member)])
    assert isinstance(answer, Refusal)
    assert answer.code is RefusalCode.IDENTITY_UNVERIFIED
    await worlds.verify(ground.store)
    assert await worlds.accepted(ground.store, member)


async def test_equal_idempotency_keys_get_the_first_answer(ground: Ground) -> None:
    """In one batch and later, the same key and body give one message; another body is refused."""
    member = await worlds.member(ground.store)
    wanted = worlds.submission(member, key="order-1")
    first, second = await accept(ground.store, [wanted, wanted])
    (third,) = await accept(ground.store, [wanted])
    assert isinstance(first, Accepted)
    assert [one._replace(repeated=False) for one in (second, third) if isinstance(one, Accepted)] == [first, first]
    (other,) = await accept(ground.store, [wanted._replace(body_digest=b"another body")])
    assert isinstance(other, Refusal)
    assert other.code is RefusalCode.IDEMPOTENCY_MISMATCH
    assert await count(ground, "message") == 1


async def test_an_idempotency_key_is_the_tenants_own(ground: Ground) -> None:
    """Another tenant's equal key neither collides nor leaks."""
    ours, theirs = await worlds.member(ground.store), await worlds.member(ground.store, "other")
    one, two = await accept(
        ground.store, [worlds.submission(ours, key="order-1"), worlds.submission(theirs, key="order-1")]
    )
    assert isinstance(one, Accepted)
    assert isinstance(two, Accepted)
    assert one.id != two.id


async def test_an_idempotency_key_is_forgotten_after_its_time(ground: Ground) -> None:
    """After its seconds the key may be used again, with any body."""
    member = await worlds.member(ground.store)
    wanted = worlds.submission(member, key="order-1")
    (first,) = await accept(ground.store, [wanted])
    ground.advance(wanted.remember_seconds + 1)
    (again,) = await accept(ground.store, [wanted._replace(body_digest=b"another body")])
    assert isinstance(first, Accepted)
    assert isinstance(again, Accepted)
    assert again.id != first.id


async def test_equal_keys_at_the_same_moment_give_one_message(ground: Ground) -> None:
    """Two gateways that accept one key at once end with one message and one answer."""
    member = await worlds.member(ground.store)
    wanted = worlds.submission(member, key="order-1")
    answers = await asyncio.gather(*(accept(ground.store, [wanted]) for _ in range(8)))
    assert len({answer.id for (answer,) in answers if isinstance(answer, Accepted)}) == 1
    assert await count(ground, "message") == 1


async def test_a_suppressed_recipient_is_named_and_never_a_reason_to_refuse(ground: Ground) -> None:
    """It is accepted, settled as suppressed and named; a message with nobody left is settled at once."""
    member = await worlds.member(ground.store)
    async with ground.store.step() as step:
        await step.suppress(
            [
                Suppression(member.tenant_id, None, "gone@there.example", "bounce"),
                Suppression(member.tenant_id, member.marketing, "angry@there.example", "complaint"),
            ]
        )
    wanted = worlds.submission(member, "Gone@there.example", "angry@there.example")
    transactional, marketing = await accept(ground.store, [wanted, wanted._replace(stream="marketing")])
    assert isinstance(transactional, Accepted)
    assert isinstance(marketing, Accepted)
    assert transactional.suppressed == ("gone@there.example",)
    assert marketing.suppressed == ("gone@there.example", "angry@there.example")
    view = await ground.store.of(member.tenant_id).message(marketing.id)
    assert view is not None
    assert view.state == "suppressed"
    assert await count(ground, "waiting") == 1


async def test_the_answer_shows_a_hold(ground: Ground) -> None:
    """Mail for a stream that SES does not know yet is accepted and says why it waits."""
    member = await worlds.member(ground.store)
    async with ground.store.step() as step:
        await step.conn.execute(text("UPDATE stream SET provisioned_at = NULL"))
        await step.conn.execute(text("UPDATE tenant SET revision = revision + 1"))
    (answer,) = await accept(ground.store, [worlds.submission(member)])
    assert isinstance(answer, Accepted)
    assert answer.hold == "unprovisioned"


async def test_ids_are_in_the_order_of_arrival(ground: Ground) -> None:
    """Messages of one batch and of later ones sort by id as they came."""
    member = await worlds.member(ground.store)
    answers = await worlds.accepted(ground.store, member, 50)
    ground.advance(0.001)
    answers += await worlds.accepted(ground.store, member, 50)
    ids = [answer.id for answer in answers]
    assert ids == sorted(ids)


async def test_a_sender_that_is_remembered_is_read_anew_after_a_minute(ground: Ground) -> None:
    """A database that lost commits counts revisions again: what was read at such a number is not believed for good."""
    member = await worlds.member(ground.store)
    async with ground.store.accepting() as step:
        (sender,) = (await step.look_up(Asked([member.key_id], (), (), ()))).senders.values()
        now = step.now
    cache = SenderCache()
    cache.put(7, now, sender)
    at = {seconds: cache.get(member.tenant_id, 7, now + timedelta(seconds=seconds)) for seconds in (-1, 0, 59, 60)}
    assert at == {-1: None, 0: sender, 59: sender, 60: None}
    assert cache.get(member.tenant_id, 8, now) is None
