"""A database that went back in time, on both stores: nothing of before is sent again unless a person says so."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import text

from tenantry.core.claim import Claim
from tenantry.core.ids import CellId
from tenantry.core.message import Refusal
from tenantry.core.outcome import Handed, Unknown
from tenantry.flow.dispatch import claim, settle
from tenantry.flow.ingest import ingest
from tenantry.flow.recover import begin, discard, notice, release
from tenantry.flow.sweep import sweep
from tenantry.store.engine import Opening, open_store
from tenantry.store.vault import Vault
from tests import worlds
from tests.conformance.conftest import Ground

MONTH = 30 * 86_400.0


async def claims(ground: Ground) -> list[Claim]:
    return list((await claim(ground.store, ground.cell, 100)).claims)


async def restored(ground: Ground) -> str | None:
    """Do what a restore does to the marks, and look."""
    async with ground.store.step() as step:
        if ground.store.claim_mark is None:
            await step.conn.execute(text("UPDATE stamp SET value = '1/00000001/1'"))
        else:
            await step.conn.execute(text("DELETE FROM attempt"))
    return await notice(ground.store, ground.cell)


async def state(ground: Ground, member: worlds.Member, one: Claim) -> tuple[str, str | None, bool]:
    view = await ground.store.of(member.tenant_id).message(one.message_id)
    assert view is not None
    return view.state, view.hold, view.possible_duplicate


async def held(ground: Ground) -> int:
    return sum(one.messages for one in await ground.store.fleet(worlds.OPERATOR).held())


async def recovering(ground: Ground) -> bool:
    async with ground.store.reading() as step:
        return await step.recovering(ground.cell)


async def before(ground: Ground) -> tuple[worlds.Member, Claim]:
    """Let a tenant have sent one message and two waiting, by the time the backup was made; the one waits in it, too."""
    member = await worlds.member(ground.store)
    assert await notice(ground.store, ground.cell) is None
    await worlds.accepted(ground.store, member, 3)
    (first,) = (await claim(ground.store, ground.cell, 1)).claims
    async with ground.store.step() as step:
        await step.hand_back([first.attempt_id])
    return member, first


async def test_a_database_that_is_itself_flows(ground: Ground) -> None:
    """Starts and restarts hold nothing."""
    member = await worlds.member(ground.store)
    for _ in range(3):
        assert await notice(ground.store, ground.cell) is None
        await worlds.accepted(ground.store, member)
        assert len(await claims(ground)) == 1
    assert not await recovering(ground)


async def test_what_waited_is_held_and_new_mail_flows(ground: Ground) -> None:
    """What waited in the backup may have gone since; what is accepted now cannot have."""
    member, first = await before(ground)
    assert await restored(ground)
    assert await recovering(ground)
    assert await claims(ground) == []
    assert await state(ground, member, first) == ("waiting", "recovery", False)
    assert await held(ground) == 3
    ground.advance(1)
    await worlds.accepted(ground.store, member)
    assert len(await claims(ground)) == 1
    ground.advance(MONTH)
    await sweep(ground.store, ground.cell)
    assert await held(ground) == 3, "held mail does not expire"
    assert await notice(ground.store, ground.cell) is None, "noticed once"


async def test_an_event_takes_out_what_it_proves_was_sent(ground: Ground) -> None:
    """It is handed then, and will not go again."""
    member, first = await before(ground)
    await restored(ground)
    await ingest(ground.store, ground.cell, [worlds.report("Send", first, "ses-1")])
    assert (await state(ground, member, first))[0] == "handed"
    assert await held(ground) == 2
    assert await release(ground.store, ground.cell) == 2
    assert first.message_id not in {one.message_id for one in await claims(ground)}


async def test_a_person_may_let_it_go_marked(ground: Ground) -> None:
    """A second copy at worst, and it says so; then recovery is over."""
    member, first = await before(ground)
    await restored(ground)
    assert await release(ground.store, member.marketing) == 0
    assert await release(ground.store, member.transactional) == 3
    assert len(await claims(ground)) == 3
    assert (await state(ground, member, first))[2]
    assert not await recovering(ground)


async def test_a_person_may_discard_it(ground: Ground) -> None:
    """None at worst: it is cancelled, and counted so."""
    member, first = await before(ground)
    await restored(ground)
    assert await discard(ground.store, member.tenant_id) == 3
    assert (await state(ground, member, first))[0] == "cancelled"
    assert await claims(ground) == []
    assert not await recovering(ground)
    waits = {one.stream_id: one.states for one in await ground.store.of(member.tenant_id).waits()}
    assert waits[member.transactional] == {"cancelled": 3}


async def test_an_unknown_of_before_is_not_resent_by_silence(ground: Ground) -> None:
    """Its event may have been read, acknowledged and lost with what was restored over."""
    member = await worlds.member(ground.store)
    await notice(ground.store, ground.cell)
    await worlds.accepted(ground.store, member)
    (one,) = await claims(ground)
    await settle(ground.store, [Unknown(one.attempt_id, "timeout")])
    if ground.store.claim_mark is not None:
        ground.store.note_claim(type(one.attempt_id)("att_" + "f" * 32))
        assert await notice(ground.store, ground.cell)
    else:
        assert await restored(ground)
    ground.advance(1)
    await worlds.accepted(ground.store, member)
    (later,) = await claims(ground)
    await settle(ground.store, [Handed(later.attempt_id, "ses-2")])
    await ingest(ground.store, ground.cell, [worlds.report("Send", later, "ses-2")])
    ground.advance(MONTH / 30)
    assert not (await sweep(ground.store, ground.cell)).resent
    assert await held(ground) == 1
    assert await release(ground.store, member.tenant_id) == 1
    assert [again.message_id for again in await claims(ground)] == [one.message_id]


async def test_what_there_is_not_cannot_be_released(ground: Ground) -> None:
    """A wrong id changes nothing."""
    answer = await release(ground.store, CellId("cell_" + "0" * 32))
    assert isinstance(answer, Refusal)


async def test_a_file_that_was_copied_back_is_noticed(tmp_path: Path) -> None:
    """The whole way: a backup of the SQLite file, more mail sent, the backup put in its place, the store opened again."""
    clock, vault = worlds.FixedClock(), Vault([Vault.new_key()])
    path = tmp_path / "t.db"
    store = await open_store(Opening(f"sqlite:///{path}", vault, clock.wall))
    cell = await worlds.cell(store)
    member = await worlds.member(store)
    await worlds.accepted(store, member, 5)
    await store.close()
    shutil.copy(path, tmp_path / "backup.db")
    store = await open_store(Opening(f"sqlite:///{path}", vault, clock.wall))
    assert await notice(store, cell) is None
    assert len(await worlds.handed(store, cell)) == 5
    await store.close()
    for name in ("t.db-wal", "t.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.db", path)
    store = await open_store(Opening(f"sqlite:///{path}", vault, clock.wall))
    assert await notice(store, cell)
    assert not (await claim(store, cell, 100)).claims
    clock.advance(1)
    await worlds.accepted(store, member)
    await store.close()
    store = await open_store(Opening(f"sqlite:///{path}", vault, clock.wall))
    assert await notice(store, cell) is None, "a restart is no other restore"
    assert len((await claim(store, cell, 100)).claims) == 1, "what came after it flows"
    await store.close()


async def test_a_file_that_was_copied_without_its_mark_is_noticed(tmp_path: Path) -> None:
    """Opened at another place nobody knows what was claimed on it since; what is noticed once is not noticed again."""
    clock, vault = worlds.FixedClock(), Vault([Vault.new_key()])
    store = await open_store(Opening(f"sqlite:///{tmp_path}/t.db", vault, clock.wall))
    cell = await worlds.cell(store)
    member = await worlds.member(store)
    assert await notice(store, cell) is None
    await worlds.accepted(store, member, 2)
    await store.close()
    for backup in ("before any claim", "after one"):
        shutil.copy(tmp_path / "t.db", tmp_path / f"{backup}.db")
        for expected in (True, False):
            copy = await open_store(Opening(f"sqlite:///{tmp_path}/{backup}.db", vault, clock.wall))
            assert ("copied" in (await notice(copy, cell) or "")) is expected
            assert not (await claim(copy, cell, 100)).claims
            await copy.close()
        store = await open_store(Opening(f"sqlite:///{tmp_path}/t.db", vault, clock.wall))
        assert await notice(store, cell) is None, "the original is itself"
        assert len((await claim(store, cell, 1)).claims) == 1
        await store.close()


async def test_a_mark_that_was_taken_away_says_that_the_file_went_back(tmp_path: Path) -> None:
    """The operator's way to say so, also where a process made the mark anew and died before it looked."""
    clock, vault = worlds.FixedClock(), Vault([Vault.new_key()])
    opening = Opening(f"sqlite:///{tmp_path}/t.db", vault, clock.wall)
    store = await open_store(opening)
    cell = await worlds.cell(store)
    member = await worlds.member(store)
    await worlds.accepted(store, member, 2)
    for _ in range(2):
        assert await notice(store, cell) is None
        assert len((await claim(store, cell, 1)).claims) == 1
        await store.close()
        store = await open_store(opening)
    await store.close()
    (tmp_path / "t.db.claims").unlink()
    await (await open_store(opening)).close()
    store = await open_store(opening)
    assert "copied" in (await notice(store, cell) or "")
    assert await notice(store, cell) is None, "noticed once"
    await store.close()


async def test_a_person_may_say_that_the_database_went_back(ground: Ground) -> None:
    """What waits is held, once more with what came meanwhile, nothing twice; recovery ends as any other does."""
    assert await begin(ground.store, ground.cell) == 0
    assert not await recovering(ground), "there is nothing to decide"
    member, first = await before(ground)
    assert await begin(ground.store, ground.cell) == 3
    assert await recovering(ground)
    assert await claims(ground) == []
    assert await state(ground, member, first) == ("waiting", "recovery", False)
    assert await begin(ground.store, ground.cell) == 0
    await worlds.accepted(ground.store, member)
    assert await begin(ground.store, ground.cell) == 1
    assert await held(ground) == 4
    assert await discard(ground.store, member.tenant_id) == 4
    assert not await recovering(ground)
    await worlds.accepted(ground.store, member)
    assert len(await claims(ground)) == 1


async def test_nobody_begins_the_recovery_of_a_cell_that_there_is_not(ground: Ground) -> None:
    """A refusal names what is wrong, and nothing is held."""
    await before(ground)
    refused = await begin(ground.store, CellId("cell_" + "0" * 32))
    assert isinstance(refused, Refusal)
    assert await held(ground) == 0
