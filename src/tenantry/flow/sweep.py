"""Owns sweep: what has waited too long, in bounded rounds: expired mail, unknown outcomes, claims of dead workers.

Leaves stranded lanes to dispatch, SES's own state to provision, and old mail to retention.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tenantry.core.ids import CellId, MessageId
from tenantry.core.overdue import EVERY, SILENCE, Course, resends
from tenantry.ports import Clock, Store, StoreStep

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


@dataclass(slots=True)
class Calm:
    """The course of the store's clock against ours, from round to round: a clock that jumps makes silence of nothing."""

    clock: Clock
    course: Course = field(default_factory=Course)

    def look(self, now: datetime) -> Course:
        """Take the store's time; return the course so far."""
        self.course = self.course.after(now, self.clock.monotonic())
        return self.course


async def sweep(store: Store, cell: CellId, silence: timedelta = SILENCE, calm: Calm | None = None) -> Swept:
    """Do one round for a cell; what one round leaves, the next one finds.

    calm is kept from round to round: after a jump of the store's clock nothing unknown is sent again for a silence, no claim
    is taken for stuck until it may be, and mail of before a jump forwards does not expire earlier by it.
    """
    dead = await bury(store)
    async with store.reading() as step:  # it delays no turn, and mostly there is nothing to do
        course = Course() if calm is None else calm.look(step.now)
        stuck = await step.stuck(cell, step.now - STUCK) if course.calm_for(STUCK) else []
        expired = await step.expired(cell, EVERY, course.ahead)
        again = await _silent(step, cell, silence) if course.calm_for(silence) else []
    if not (stuck or expired or again):
        return Swept(dead=tuple(dead))
    async with store.step(lock=cell) as step:
        await step.give_up(stuck)
        gone = await step.expire(expired)
        again = await _silent(step, cell, silence) if again else []  # it may have gone again before the lock was had
        await step.resend(again)
    return Swept(gone, len(again), len(stuck), tuple(dead))


async def _silent(step: StoreStep, cell: CellId, silence: timedelta) -> list[MessageId]:
    """Return the unknown mail that goes again, none in recovery: the events of what was sent before may be gone."""
    if await step.recovering(cell):
        return []
    unknown = await step.unknown_mail(cell, step.now - silence, EVERY)
    return [mail.message_id for mail in unknown if resends(mail, step.now, silence)]


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
