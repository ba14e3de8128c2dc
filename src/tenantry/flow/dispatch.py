"""Owns dispatch: claim what may start now, and write down what became of it; nobody waits for the slowest.

Leaves the pipeline that runs both to app/, the send to the Ses port.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tenantry.core.claim import Claim
from tenantry.core.ids import AttemptId, CellId
from tenantry.core.outcome import Outcome
from tenantry.core.turn import Ending, choose
from tenantry.flow.recover import look
from tenantry.ports import Settled, Store, StoreBusy, StoreInDoubt, StoreStep

NOBODY = 0  # no worker has this number: its claims are found by their age


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a turn took, and why it took no more.

    written: False where the connection was lost at the commit: whether these claims stand is not known. marked: beside
    the database, by Store.note_claim; a restored copy would send unmarked ones again. Either way they go back. restored:
    why the database behind a new connection is an earlier copy of itself: the mail of before is held then.
    """

    claims: Sequence[Claim]
    ending: Ending
    written: bool = True
    marked: bool = True
    restored: str | None = None

    @property
    def may_begin(self) -> bool:
        """Whether its calls may begin."""
        return self.written and self.marked


async def claim(store: Store, cell: CellId, room: int, worker: int = NOBODY) -> Claimed:
    """Take what one cell may start now, each lane in its fair turn; room is how many more this worker may have in flight."""
    taken: Claimed | None = None
    try:
        async with store.step(lock=cell) as step:
            taken = await _turn(step, cell, room, worker)
    except StoreInDoubt:
        if taken is None or not taken.claims:
            raise
        return replace(taken, written=False)
    if taken.claims:
        try:
            store.note_claim(max(one.attempt_id for one in taken.claims))
        except StoreBusy:
            return replace(taken, marked=False)
    return taken


async def _turn(step: StoreStep, cell: CellId, room: int, worker: int) -> Claimed:
    if not step.looked(cell):  # a fail-over shows itself as a new connection
        if restored := await look(step, cell):
            return Claimed((), Ending.CLOSED, restored=restored)
        step.note_looked(cell)
    credit, shares = await step.credit(cell, room)
    await step.consume_wakes(cell)
    if room and not credit.messages:
        return Claimed((), Ending.CLOSED)
    lanes = await step.lanes(cell, credit)
    if not lanes:
        return Claimed((), Ending.NO_MAIL if credit.recipients >= 1 else Ending.RATE)
    turn = choose(lanes, credit, shares)
    return Claimed(await step.claim(cell, lanes, turn, worker), turn.ending)


async def settle(store: Store, outcomes: Sequence[Outcome]) -> Settled:
    """Write down what became of finished attempts, as one group commit."""
    async with store.step() as step:
        return await step.settle(outcomes)


async def hand_back(store: Store, attempts: Sequence[AttemptId], doubted_in: CellId | None = None) -> int:
    """Undo claims whose calls never began; no attempt is burned, and whoever took them for lost is put right.

    doubted_in: the cell of claims that may not be committed yet. Their transaction holds its lock until that is decided.
    """
    async with store.step(lock=doubted_in) as step:
        return await step.hand_back(attempts)


async def abandon(store: Store, cell: CellId) -> int:
    """Make what a dead worker left open unknown: it may have reached SES, so it is never resent blindly."""
    async with store.step(lock=cell) as step:
        return await step.abandon(cell)


async def wake_stranded(store: Store, cell: CellId) -> int:
    """Make ready every lane with due mail and open gates, so that no lost wake strands a lane for long."""
    async with store.reading() as step:  # it delays no turn, and mostly there is none
        if not await step.is_stranded(cell):
            return 0
    async with store.step(lock=cell) as step:
        return await step.wake_stranded(cell)
