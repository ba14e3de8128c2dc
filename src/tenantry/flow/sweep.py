"""Owns sweep: what has waited too long, in bounded rounds: expired mail, unknown outcomes, claims of dead workers.

Leaves stranded lanes to dispatch, SES's own state to provision, and old mail to retention.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tenantry.core.ids import CellId, MessageId
from tenantry.core.overdue import EVERY, SILENCE, resends
from tenantry.ports import Store

STUCK = timedelta(minutes=5)  # no send lasts as long, and no outcome waits as long to be written


@dataclass(frozen=True, slots=True)
class Swept:
    """What a round did: messages expired, marked and queued again; claims given up; workers found dead."""

    expired: int = 0
    resent: int = 0
    given_up: int = 0
    dead: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether anything was done."""
        return bool(self.expired or self.resent or self.given_up or self.dead)


async def sweep(store: Store, cell: CellId, silence: timedelta = SILENCE) -> Swept:
    """Do one round for a cell; what one round leaves, the next one finds."""
    dead = await bury(store)
    async with store.step(lock=cell) as step:
        given_up = await step.give_up(cell, step.now - STUCK)
        expired = await step.expire(cell, EVERY)
        again: list[MessageId] = []
        if not await step.recovering(cell):  # the events of what was sent before the restore may be gone
            unknown = await step.unknown_mail(cell, step.now - silence, EVERY)
            again = [mail.message_id for mail in unknown if resends(mail, step.now, silence)]
        await step.resend(again)
    return Swept(expired, len(again), given_up, tuple(dead))


async def bury(store: Store) -> list[int]:
    """Make the open claims of workers that are gone unknown: they may have reached SES, so nothing is resent blindly.

    A worker is gone once nobody holds its lock. What it claims after that, not knowing yet, falls in the next round.
    """
    async with store.reading() as step:
        if not await step.suspects():
            return []
    async with store.step() as step:
        dead = list(await step.dead_workers())
        await step.bury(dead)
        return dead
