"""Accept when the store fails half way: what was committed is answered, what was not is said to be busy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenantry.core.message import Accepted, Refusal, RefusalCode
from tenantry.flow.accept import accept
from tenantry.ports import MessageFilter, StoreBusy, StoreConflict, StoreRejected
from tenantry.store.engine import Opening, open_store
from tenantry.store.vault import Vault
from tests import worlds


@pytest.fixture
async def failing(tmp_path: Path) -> AsyncIterator[worlds.FailingStore]:
    store = await open_store(Opening(f"sqlite:///{tmp_path}/t.db", Vault([Vault.new_key()]), worlds.FixedClock().wall))
    await worlds.cell(store)
    yield worlds.FailingStore(store)
    await store.close()


async def kept(failing: worlds.FailingStore, member: worlds.Member) -> set[str]:
    page = await failing.real.of(member.tenant_id).messages(MessageFilter(), None, 50)
    return {view.id for view in page.items}


async def test_a_store_that_is_busy_accepts_nothing(failing: worlds.FailingStore) -> None:
    """Nobody of the batch is told yes, nothing is kept, and the caller knows to try again."""
    member = await worlds.member(failing.real)
    store = failing.next_fails(StoreBusy("locked"))
    with pytest.raises(StoreBusy):
        await accept(store, [worlds.submission(member)] * 3)
    assert await kept(failing, member) == set()


async def test_a_store_that_becomes_busy_while_a_batch_is_split_takes_back_no_yes(failing: worlds.FailingStore) -> None:
    """Each submission hears its own fate: the committed half is accepted, the other busy and not kept."""
    member = await worlds.member(failing.real)
    store = failing.next_fails(StoreRejected("poison"), None, StoreBusy("locked"))
    answers = await accept(store, [worlds.submission(member) for _ in range(4)])
    assert [isinstance(answer, Accepted) for answer in answers] == [True, True, False, False]
    assert [answer.code for answer in answers if isinstance(answer, Refusal)] == [RefusalCode.BUSY] * 2
    assert await kept(failing, member) == {answer.id for answer in answers if isinstance(answer, Accepted)}


async def test_a_conflict_is_read_again_and_not_for_ever(failing: worlds.FailingStore) -> None:
    """An equal name that another step took is looked up again; a conflict that stays is a defect, and raised."""
    member = await worlds.member(failing.real)
    store = failing.next_fails(StoreConflict("name"))
    (answer,) = await accept(store, [worlds.submission(member, key="order-1")])
    assert isinstance(answer, Accepted)
    store = failing.next_fails(*[StoreConflict("id")] * 50)
    with pytest.raises(StoreConflict):
        await accept(store, [worlds.submission(member)])
    assert failing.steps < 10


async def test_only_the_poisoned_is_refused_wherever_it_stands(failing: worlds.FailingStore) -> None:
    """Whatever the place of what cannot be stored in its batch, every other is accepted, in the order asked."""
    member = await worlds.member(failing.real)
    good = worlds.submission(member)
    for place in range(5):
        batch = [good] * 5
        batch[place] = good._replace(subject="half a character: \ud800")
        answers = await accept(failing.real, batch)
        assert [isinstance(answer, Refusal) for answer in answers] == [number == place for number in range(5)]


async def test_an_empty_batch_is_answered_with_nothing(failing: worlds.FailingStore) -> None:
    """No submission, no answer, no error."""
    assert await accept(failing.real, []) == []
