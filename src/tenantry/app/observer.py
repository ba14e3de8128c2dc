"""Owns what the loops and doors tell of their work, a call a batch; by itself it does nothing with it.

Leaves counting to metrics and what a failing loop means to health. Instants are of the Clock's monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tenantry.core.event import Report
from tenantry.core.message import RefusalCode
from tenantry.flow.accept import Answer
from tenantry.flow.dispatch import Claimed
from tenantry.flow.ingest import Ingested
from tenantry.ports import Settled


class DoorObserver:
    """Is told of submissions."""

    def instant(self) -> float:
        """Return the present instant."""
        return 0.0

    def committed(self, began: Sequence[float], answers: Sequence[Answer]) -> None:
        """Take one batch: when each submission came in, and its answer, which is on its way now."""

    def refused(self, code: RefusalCode) -> None:
        """Take one "no" of a door, whoever said it: the door, accept, or a store that is busy."""


class CellObserver:
    """Is told of one cell's turns, sends, settled outcomes and events, with the instant at which each began."""

    def in_flight(self, calls: Callable[[], int]) -> None:
        """Take the way to ask how many calls to SES are under way."""

    def turned(self, began: float, claimed: Claimed) -> None:
        """Take one turn."""

    def late(self, claims: int) -> None:
        """Take claims that were not begun in time and went back."""

    def sent(self, began: float) -> None:
        """Take one call to SES that ended, whatever its outcome."""

    def settled(self, began: float, settled: Settled) -> None:
        """Take one batch of outcomes that is written down."""

    def ingested(self, reports: Sequence[Report], done: Ingested, unreadable: int = 0) -> None:
        """Take one batch of events whose effects are committed; unreadable: how many more went to quarantine as text."""


class LoopObserver:
    """Is told of the rounds of one loop."""

    def began(self) -> None:
        """Take the begin of a round."""

    def done(self) -> None:
        """Take the good end of a round."""

    def failed(self, error: Exception) -> None:
        """Take the bad end of a round."""


UNSEEN_DOOR, UNSEEN_CELL, UNSEEN_LOOP = DoorObserver(), CellObserver(), LoopObserver()


class ProcessObserver:
    """Hands out the observers of one process; of itself those that do nothing."""

    @property
    def door(self) -> DoorObserver:
        """The observer of everything that is submitted here."""
        return UNSEEN_DOOR

    def cell(self, name: str) -> CellObserver:
        """Return the observer of a cell."""
        return UNSEEN_CELL

    def loop(self, cell: str, name: str) -> LoopObserver:
        """Return the observer of one loop of a cell."""
        return UNSEEN_LOOP


UNSEEN = ProcessObserver()
