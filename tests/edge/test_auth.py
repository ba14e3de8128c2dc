"""The keyring: how long it remembers, how many reads it makes, and that guesses cost the keys in use nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tenantry.core.ids import KeyId
from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.tenant import Key, Scope
from tenantry.edge import auth
from tenantry.edge.auth import Keyring, barred_from_sending, lacks
from tenantry.store.engine import Opening, open_store
from tenantry.store.store import Store
from tenantry.store.vault import Vault
from tests import worlds
from tests.worlds import FixedClock, Member


@dataclass
class Counted:
    """A store's keys, with each read written down."""

    store: Store
    reads: list[str] = field(default_factory=list)

    async def key(self, key_id: KeyId) -> tuple[Key, str] | None:
        self.reads.append(key_id)
        return await self.store.key(key_id)


@dataclass
class Gate:
    """A keyring over a real store."""

    clock: FixedClock
    source: Counted
    keyring: Keyring
    acme: Member

    @property
    def header(self) -> bytes:
        return f"Bearer {self.acme.key_id}.{self.acme.secret}".encode()


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    """A keyring that nobody has asked yet."""
    clock = FixedClock()
    store = await open_store(Opening(f"sqlite:///{tmp_path / 'keys.db'}", Vault([Vault.new_key()]), clock.wall))
    await worlds.cell(store)
    acme = await worlds.member(store)
    source = Counted(store)
    yield Gate(clock, source, Keyring(source, clock, remembered_max=50), acme)
    await store.close()


async def test_a_key_is_read_once_a_second(gate: Gate) -> None:
    """Calls within a second share one read; the next second reads again."""
    for _ in range(5):
        assert isinstance(await gate.keyring.bearer(gate.header), Key)
    assert len(gate.source.reads) == 1
    gate.clock.advance(auth.TTL_SECONDS)
    await gate.keyring.bearer(gate.header)
    assert len(gate.source.reads) == 2


async def test_callers_that_miss_together_share_a_read(gate: Gate) -> None:
    """A thousand calls in the moment of expiry make one read, and one that hangs up fails nobody."""
    first = asyncio.create_task(gate.keyring.bearer(gate.header))
    await asyncio.sleep(0)
    others = [asyncio.create_task(gate.keyring.bearer(gate.header)) for _ in range(1_000)]
    await asyncio.sleep(0)
    first.cancel()
    found = await asyncio.gather(*others)
    assert all(isinstance(key, Key) for key in found)
    assert len(gate.source.reads) == 1


async def test_a_revoked_key_is_refused_within_a_second(gate: Gate) -> None:
    """What was read before the revocation counts for a second at most."""
    await gate.keyring.bearer(gate.header)
    await gate.source.store.of(gate.acme.tenant_id).revoke_key(gate.acme.key_id)
    gate.clock.advance(auth.TTL_SECONDS)
    refused = await gate.keyring.bearer(gate.header)
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.KEY_REVOKED


async def test_unknown_ids_are_remembered_too_and_bounded(gate: Gate) -> None:
    """Guessing ids asks the store once each, fills a bounded memory, and leaves the keys in use where they are."""
    await gate.keyring.bearer(gate.header)
    guesses = [f"key_{number:032x}" for number in range(50)]
    for guess in guesses * 2:
        assert await gate.keyring.find(guess) is None
    assert len(gate.source.reads) == 1 + len(guesses)
    assert await gate.keyring.find("not an id") is None
    assert len(gate.source.reads) == 1 + len(guesses)
    assert await gate.keyring.find(f"key_{'f' * 32}") is None  # pushes out the guess that was made first
    await gate.keyring.bearer(gate.header)
    await gate.keyring.find(guesses[1])
    assert len(gate.source.reads) == 2 + len(guesses)
    await gate.keyring.find(guesses[0])
    assert len(gate.source.reads) == 3 + len(guesses)


@pytest.mark.parametrize(
    "wrong",
    [None, b"", b"Bearer", b"Bearer x", b"Basic a.b", b"Bearer a.b", b"Bearer \xff.\xff", b"Bearer " + b"a.b" * 1000],
)
async def test_what_is_no_pair_is_unauthenticated(gate: Gate, wrong: bytes | None) -> None:
    """Whatever stands in the header, the answer is a refusal and never an error."""
    refused = await gate.keyring.bearer(wrong)
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.UNAUTHENTICATED


@pytest.mark.parametrize("scope", Scope)
def test_operators_may_all_but_send(scope: Scope) -> None:
    """The operator's scope includes the others, but its key is of no tenant whose mail it could send."""
    operator = Key(worlds.OPERATOR, None, frozenset({Scope.OPERATE}), worlds.NOON)
    assert lacks(operator, scope) is None
    assert barred_from_sending(operator) is not None


def test_a_tenants_key_never_operates() -> None:
    """Even a tenant's key that came to hold the operator's scope gains nothing by it."""
    tenant = worlds.TenantId("ten_" + "0" * 32)
    odd = Key(worlds.OPERATOR, tenant, frozenset({Scope.OPERATE}), worlds.NOON)
    assert {lacks(odd, scope) is None for scope in (Scope.SEND, Scope.READ, Scope.MANAGE)} == {False}
