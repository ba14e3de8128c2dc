"""What people may change, and what they read: refusals change nothing, and a tenant sees only its own."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from tenantry.core.ids import KeyId, MessageId, PoolId, StreamId, TenantId
from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.pause import Author
from tenantry.core.tenant import (
    DkimMode,
    Identity,
    NewIdentity,
    NewStream,
    NewTenant,
    Pool,
    PoolKind,
    Scope,
    Stream,
    StreamClass,
)
from tenantry.flow.dispatch import claim
from tenantry.flow.ingest import ingest
from tenantry.flow.manage import (
    POOLS_MAX,
    MadeTenant,
    add_identity,
    add_key,
    add_pool,
    add_stream,
    add_tenant,
    dns_records,
    identity_as_kept,
    name_flaw,
)
from tenantry.ports import MessageFilter, StoreConflict, StoreRejected
from tenantry.store.bootstrap import ensure_cell
from tenantry.store.engine import Opening, open_store
from tenantry.store.store import Store
from tenantry.store.vault import Vault, VaultError
from tests import worlds
from tests.worlds import OPERATOR, FixedClock

SENDS = frozenset({Scope.SEND})


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FixedClock) -> AsyncIterator[Store]:
    opened = await open_store(Opening(f"sqlite:///{tmp_path}/t.db", Vault([Vault.new_key()]), clock.wall))
    await ensure_cell(opened, "main", "us-east-1")
    yield opened
    await opened.close()


async def made(store: Store, name: str = "acme", domain: str | None = "acme.example") -> MadeTenant:
    identity = NewIdentity(domain, DkimMode.EASY) if domain else None
    answer = await add_tenant(store, OPERATOR, NewTenant(name, {"unit": "shoes"}), identity, "shared")
    assert isinstance(answer, MadeTenant), answer
    return answer


def refused(answer: object) -> tuple[RefusalCode, str | None]:
    assert isinstance(answer, Refusal), answer
    assert answer.message.endswith((".", "…")), answer
    return answer.code, answer.field


async def test_a_tenant_comes_with_both_streams_and_its_identity(store: Store) -> None:
    """One call makes all that it needs; transactional is the stream that is used when none is named."""
    acme = await made(store)
    assert [(one.name, one.stream_class, one.is_default) for one in acme.streams] == [
        ("transactional", StreamClass.TRANSACTIONAL, True),
        ("marketing", StreamClass.MARKETING, False),
    ]
    assert acme.identity is not None
    assert acme.identity.name == "acme.example"
    assert len(acme.tenant.account) == 12
    assert acme.tenant.account.isdigit()
    assert (
        await store.fleet(OPERATOR).tenant("acme") == await store.fleet(OPERATOR).tenant(acme.tenant.id) == acme.tenant
    )


async def test_what_is_taken_is_refused(store: Store) -> None:
    """A tenant's name and a domain have one holder, a stream's name is taken once in its tenant only."""
    acme = await made(store)
    other = await made(store, "other", None)
    assert refused(await add_tenant(store, OPERATOR, NewTenant("acme"), None, "shared")) == (
        RefusalCode.CONFLICT,
        "name",
    )
    held = await add_identity(store, other.tenant, NewIdentity("ACME.example", DkimMode.EASY))
    assert refused(held) == (RefusalCode.CONFLICT, "name")
    again = NewStream("marketing", StreamClass.MARKETING)
    assert refused(await add_stream(store, acme.tenant, again)) == (RefusalCode.CONFLICT, "name")


async def test_a_tenant_that_was_begun_is_finished_by_the_same_call(store: Store) -> None:
    """A domain that was taken leaves a tenant that the next call, with another domain, completes."""
    await made(store)
    taken = await add_tenant(store, OPERATOR, NewTenant("other"), NewIdentity("acme.example", DkimMode.EASY), "shared")
    assert refused(taken) == (RefusalCode.CONFLICT, "domain")
    other = await made(store, "other", "other.example")
    assert len(other.streams) == 2


@pytest.mark.parametrize("name", ["", "Acme", "a b", "x" * 65, "ä", "a\n", "ten_" + "0" * 32, "str_" + "f" * 32, "a/b"])
def test_a_name_is_short_plain_and_no_id(name: str) -> None:
    """Names go into URLs, SES names and tags as they are, so other characters are refused with the field."""
    assert refused(name_flaw(name)) == (RefusalCode.INVALID_FIELD, "name")


@pytest.mark.parametrize("name", ["acme", "a", "x" * 64, "shoe-brand_7", "ten_1"])
def test_a_plain_name_is_taken(name: str) -> None:
    """What people call things is not refused."""
    assert name_flaw(name) is None


async def test_bad_input_is_refused_with_its_field_and_changes_nothing(store: Store) -> None:
    """Labels, pool, policy and domain are checked before anything is written."""
    bad = [
        (NewTenant("a", {"Unit": "x"}), None, "shared", "labels"),
        (NewTenant("a", {"unit": "x\ny"}), None, "shared", "labels"),
        (NewTenant("a", {"tenantry-x": "y"}), None, "shared", "labels"),
        (NewTenant("a", {f"l{n}": "" for n in range(21)}), None, "shared", "labels"),
        (NewTenant("a"), None, "gold", "pool"),
        (NewTenant("a"), NewIdentity("not a domain"), "shared", "domain"),
        (NewTenant("A"), None, "shared", "name"),
    ]
    for wanted, domain, pool, field in bad:
        answer = await add_tenant(store, OPERATOR, wanted, domain, pool)
        assert refused(answer) == (RefusalCode.INVALID_FIELD, field)
    assert (await store.fleet(OPERATOR).tenants(None, 10)).items == []


async def test_a_stream_of_an_unknown_pool_or_policy_is_refused(store: Store) -> None:
    """The refusal names the field."""
    acme = (await made(store)).tenant
    kind = StreamClass.MARKETING
    assert refused(await add_stream(store, acme, NewStream("x", kind, "gold"))) == (RefusalCode.INVALID_FIELD, "pool")
    wrong = NewStream("x", kind, policy="lenient")
    assert refused(await add_stream(store, acme, wrong)) == (RefusalCode.INVALID_FIELD, "policy")
    pool = await add_pool(store, OPERATOR, "gold", PoolKind.STANDARD)
    assert isinstance(pool, Pool)
    stream = await add_stream(store, acme, NewStream("x", kind, "gold", is_default=True))
    assert isinstance(stream, Stream)
    assert stream.pool_id == pool.id
    assert [one.name for one in await store.of(acme.id).streams() if one.is_default] == ["x"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("ACME.Example", NewIdentity("acme.example")),
        ("bücher.example", NewIdentity("xn--bcher-kva.example")),
        (" acme.example ", NewIdentity("acme.example")),
        ("Ann@ACME.example", NewIdentity("ann@acme.example", DkimMode.EASY)),
    ],
)
def test_an_identity_has_one_name(given: str, kept: NewIdentity) -> None:
    """Case, IDNA and white space make no second holder; an address has no DKIM key of its own."""
    assert identity_as_kept(NewIdentity(given)) == kept


@pytest.mark.parametrize(
    "given", ["", "acme", "acme..example", "a@b@c.example", "Ann <ann@acme.example>", "1.2.3.4", "-a.example"]
)
def test_what_is_no_domain_or_address_is_no_identity(given: str) -> None:
    """A sentence says what to correct."""
    assert refused(identity_as_kept(NewIdentity(given))) == (RefusalCode.INVALID_FIELD, "name")


async def test_pools_are_few_and_dedicated(store: Store) -> None:
    """The shared pool is not made twice, and the fifty-first is refused before SES would refuse it."""
    assert refused(await add_pool(store, OPERATOR, "x", PoolKind.SHARED)) == (RefusalCode.INVALID_FIELD, "kind")
    assert isinstance(await add_pool(store, OPERATOR, "x", PoolKind.MANAGED), Pool)
    assert refused(await add_pool(store, OPERATOR, "x", PoolKind.MANAGED)) == (RefusalCode.CONFLICT, "name")
    for number in range(POOLS_MAX - 1):
        await store.fleet(OPERATOR).add_pool(f"p{number}", PoolKind.STANDARD)
    assert refused(await add_pool(store, OPERATOR, "y", PoolKind.STANDARD)) == (RefusalCode.CONFLICT, "name")


async def test_a_key_opens_what_its_scopes_say_until_it_is_revoked(store: Store) -> None:
    """The secret is given once and kept sealed; a tenant's key can never operate."""
    acme = (await made(store)).tenant
    answer = await add_key(store, OPERATOR, acme.id, SENDS)
    assert not isinstance(answer, Refusal)
    key, secret = answer
    assert "." not in secret
    assert await store.key(key.id) == (key, secret)
    assert await store.of(acme.id).keys() == [key]
    assert await store.of(acme.id).revoke_key(key.id)
    assert not await store.of(acme.id).revoke_key(key.id)
    assert (await store.of(acme.id).keys())[0].revoked_at is not None
    operate = frozenset({Scope.OPERATE})
    assert refused(await add_key(store, OPERATOR, acme.id, operate)) == (RefusalCode.INVALID_FIELD, "scopes")
    assert refused(await add_key(store, OPERATOR, acme.id, frozenset())) == (RefusalCode.INVALID_FIELD, "scopes")
    assert refused(await add_key(store, OPERATOR, None, SENDS)) == (RefusalCode.INVALID_FIELD, "scopes")
    assert refused(await add_key(store, None, None, operate)) == (RefusalCode.FORBIDDEN, "tenant")
    nobody = TenantId("ten_" + "0" * 32)
    assert refused(await add_key(store, OPERATOR, nobody, SENDS)) == (RefusalCode.NOT_FOUND, "tenant")
    assert not isinstance(await add_key(store, OPERATOR, None, operate), Refusal)
    assert [one.scopes for one in await store.fleet(OPERATOR).keys()] == [operate]


async def test_a_tenant_sees_only_its_own(store: Store) -> None:
    """Another tenant's id answers exactly like a random one, whatever it names."""
    acme, other = await made(store), await made(store, "other", "other.example")
    await worlds.verify(store)
    member = await worlds.member(store, "third")
    (message,) = await worlds.accepted(store, member)
    mine = store.of(other.tenant.id)
    key, _ = await store.of(acme.tenant.id).add_key(SENDS)
    assert acme.identity is not None
    for foreign in (acme.streams[0].id, StreamId("str_" + "0" * 32)):
        assert await mine.stream(foreign) is None
        assert await mine.reputation(foreign) is None
    assert await mine.identity(acme.identity.id) is None
    assert await mine.identity("acme.example") is None
    assert await mine.message(message.id) is None
    assert (await mine.messages(MessageFilter(), None, 10)).items == []
    assert not await mine.revoke_key(key.id)
    assert await store.key(key.id) is not None
    assert {one.tenant_id for one in await mine.streams()} == {other.tenant.id}


async def test_the_operator_finds_the_owner_of_anything(store: Store) -> None:
    """Any id leads to its tenant, and an unknown one to nobody."""
    member = await worlds.member(store)
    (message,) = await worlds.accepted(store, member)
    fleet = store.fleet(OPERATOR)
    for thing in (member.transactional, member.key_id, message.id):
        assert await fleet.owner(thing) == member.tenant_id
    for unknown in (MessageId("msg_" + "0" * 32), KeyId("key_" + "0" * 32), PoolId("pool_" + "0" * 32)):
        assert await fleet.owner(unknown) is None


async def test_a_new_stream_takes_up_its_tenants_tag(store: Store) -> None:
    """More streams buy no more share: the lane starts where the tenant's class stands."""
    member = await worlds.member(store)
    async with store.step() as step:
        await step.conn.exec_driver_sql("UPDATE lane SET tag = 7.5 WHERE stream_class = 'marketing'")
    added = await store.of(member.tenant_id).add_stream(NewStream("news", StreamClass.MARKETING))
    other = await store.of(member.tenant_id).add_stream(NewStream("alerts", StreamClass.TRANSACTIONAL))
    async with store.reading() as step:
        tags = dict((await step.conn.exec_driver_sql("SELECT stream_id, tag FROM lane")).all())
    assert tags[added.id.uuid.hex] == 7.5
    assert tags[other.id.uuid.hex] == 0


async def test_whatever_accept_must_see_raises_the_tenants_revision(store: Store) -> None:
    """A sender that was read before cannot be used after a stream, identity or key changed."""
    acme = (await made(store)).tenant
    mine = store.of(acme.id)
    seen = [await _revision(store)]
    await mine.add_stream(NewStream("news", StreamClass.MARKETING))
    seen.append(await _revision(store))
    await mine.add_identity(NewIdentity("two.example", DkimMode.EASY))
    seen.append(await _revision(store))
    key, _ = await mine.add_key(SENDS)
    seen.append(await _revision(store))
    await mine.revoke_key(key.id)
    seen.append(await _revision(store))
    assert seen == sorted(set(seen))


async def _revision(store: Store) -> int:
    async with store.reading() as step:
        return int((await step.conn.exec_driver_sql("SELECT revision FROM tenant")).scalar_one())


async def test_lists_come_in_pages_newest_first(store: Store, clock: FixedClock) -> None:
    """Following the cursor shows everything once, whatever is added meanwhile; a made-up cursor is refused."""
    member = await worlds.member(store)
    ids = []
    for _ in range(5):
        clock.advance(1)
        ids += [one.id for one in await worlds.accepted(store, member)]
    mine, seen, cursor = store.of(member.tenant_id), [], None
    while True:
        page = await mine.messages(MessageFilter(), cursor, 2)
        seen += [one.id for one in page.items]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
        clock.advance(1)
        await worlds.accepted(store, member)
    assert seen == ids[::-1]
    for wrong in ("x", "!!", "bXNnXw", "é"):
        with pytest.raises(StoreRejected):
            await mine.messages(MessageFilter(), wrong, 2)


async def test_messages_are_found_by_recipient_stream_and_state(store: Store) -> None:
    """Each filter narrows, and case in an address makes no difference."""
    member = await worlds.member(store)
    (first,) = await worlds.accepted(store, member)
    await worlds.accepted(store, member, 3, stream="marketing")
    mine = store.of(member.tenant_id)

    async def found(wanted: MessageFilter) -> int:
        return len((await mine.messages(wanted, None, 50)).items)

    assert await found(MessageFilter()) == 4
    assert await found(MessageFilter(stream_id=member.marketing)) == 3
    assert await found(MessageFilter(state="waiting")) == 4
    assert await found(MessageFilter(state="handed")) == 0
    assert await found(MessageFilter(recipient="P0@There.example")) == 2
    assert await found(MessageFilter(stream_id=member.transactional, recipient="p0@there.example")) == 1
    assert (await mine.message(first.id)) is not None


async def test_a_message_tells_its_story_oldest_first(store: Store, clock: FixedClock) -> None:
    """Acceptance, claim, hand-over and SES's reports stand in the order of their times, with who they are about."""
    cell = await worlds.cell(store)
    member = await worlds.member(store)
    (message,) = await worlds.accepted(store, member)
    clock.advance(1)
    ((taken, ses_id),) = await worlds.handed(store, cell)
    clock.advance(1)
    await ingest(store, cell, [worlds.report("Bounce", taken, ses_id)])
    view = await store.of(member.tenant_id).message(message.id)
    assert view is not None
    what = [one.what for one in view.timeline]
    assert what[:2] == ["accepted", "claimed"]
    assert sorted(what[2:]) == ["Bounce", "handed", "settled: handed"]
    assert [one.at for one in view.timeline] == sorted(one.at for one in view.timeline)
    assert view.recipients[0].standing.name == "BOUNCED"
    assert view.ses_id == ses_id


async def test_accepted_recipients_equal_the_sum_over_all_states(store: Store, clock: FixedClock) -> None:
    """Nothing is lost on any way: waiting, claimed, handed and bounced recipients add up, and waits are measured."""
    cell = await worlds.cell(store)
    member = await worlds.member(store)
    await worlds.accepted(store, member, 6)
    clock.advance(2)
    handed = await worlds.handed(store, cell)
    await ingest(store, cell, [worlds.report("Bounce", *handed[0])])
    await worlds.accepted(store, member, 4)
    await claim(store, cell, 1)
    waits = {one.stream_id: one for one in await store.of(member.tenant_id).waits()}
    mine = waits[member.transactional]
    assert dict(mine.states) == {"handed": 5, "bounced": 1, "suppressed": 1, "claimed": 1, "waiting": 2}
    assert len((await store.of(member.tenant_id).messages(MessageFilter(state="claimed"), None, 9)).items) == 1
    assert mine.accepted == sum(mine.states.values()) == 10
    assert mine.wait_p50_seconds == mine.wait_p99_seconds == 2.0
    assert mine.oldest_waiting_at == clock.wall()
    assert waits[member.marketing].accepted == 0
    assert waits[member.marketing].wait_p50_seconds is None


async def test_doctor_sees_what_is_stuck(store: Store, clock: FixedClock) -> None:
    """A lane with due mail that nobody serves is counted, unless a gate of its own is closed."""
    cell = await worlds.cell(store)
    member = await worlds.member(store)
    await worlds.accepted(store, member)
    fleet = store.fleet(OPERATOR)
    assert (await fleet.figures()).cells[0].stranded_lanes == 0
    clock.advance(5)
    figures = await fleet.figures()
    assert figures.cells[0].stranded_lanes == 1
    assert [(one.messages, one.held) for one in figures.waiting] == [(1, False)]
    assert figures.cells[0].events_at is None
    async with store.step(lock=cell) as step:
        await step.open_pause(("tenant", member.tenant_id), Author.OPERATOR, "a test", None)
    clock.advance(90)
    figures = await fleet.figures()
    assert figures.cells[0].stranded_lanes == 0
    assert [(one.messages, one.held) for one in figures.waiting] == [(1, True)]
    assert [(one.pauses, one.oldest_at) for one in figures.pauses] == [(1, clock.wall() - timedelta(seconds=90))]


async def test_the_records_of_an_identity_can_be_published(store: Store) -> None:
    """BYODKIM is one TXT with our public key, Easy DKIM three CNAMEs once SES gave tokens, an address has none."""
    acme = (await made(store, domain=None)).tenant
    own = await add_identity(store, acme, NewIdentity("own.example"))
    assert isinstance(own, Identity)
    dkim, dmarc = dns_records(own)
    assert (dkim.type, dkim.name) == ("TXT", "tenantry1._domainkey.own.example")
    assert dkim.value.startswith("v=DKIM1; k=rsa; p=MIIB")
    assert dmarc.name == "_dmarc.own.example"
    easy = await add_identity(store, acme, NewIdentity("easy.example", DkimMode.EASY))
    assert isinstance(easy, Identity)
    assert [one.type for one in dns_records(easy)] == ["TXT"]
    address = await add_identity(store, acme, NewIdentity("ann@there.example"))
    assert isinstance(address, Identity)
    assert dns_records(address) == ()


async def test_two_who_want_one_name_at_once_get_it_once(store: Store) -> None:
    """Whoever comes second is told so; nothing of its attempt stays."""
    answers = await asyncio.gather(
        *(store.fleet(OPERATOR).add_tenant(NewTenant("acme")) for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(one, StoreConflict) for one in answers) == 3
    assert len((await store.fleet(OPERATOR).tenants(None, 10)).items) == 1


def test_what_the_vault_seals_only_its_keys_open() -> None:
    """Keys rotate: the newest seals, all open; without the key, or altered, nothing opens."""
    old, new = Vault.new_key(), Vault.new_key()
    sealed = Vault([old]).seal(b"secret")
    assert b"secret" not in sealed
    assert Vault([new, old]).unseal(sealed) == b"secret"
    with pytest.raises(VaultError):
        Vault([new]).unseal(sealed)
    with pytest.raises(VaultError):
        Vault([old]).unseal(sealed[:-4] + b"AAA=")
    with pytest.raises(ValueError, match="needs a key"):
        Vault([])
    with pytest.raises(ValueError, match="Fernet key"):
        Vault(["short"])


def test_a_dkim_pair_belongs_together() -> None:
    """The private half is PKCS#8 DER of 2,048 bits as SES takes it, and the public half is its own."""
    private, public = Vault.new_dkim_pair()
    key = load_der_private_key(b64decode(private), None)
    assert isinstance(key, RSAPrivateKey)
    assert key.key_size == 2048
    assert key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == b64decode(public)
