"""Owns from when on a turn looks for the heads of a lane; leaves the look to dispatch.py.

While somebody reads for long, PostgreSQL keeps the rows of all mail that has gone since, and a look from the lane's
beginning steps over each of them. So a lane's looks begin where its last one found mail. What is kept here is a hint, of
this process alone: losing it costs time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
MARGIN = timedelta(seconds=10)  # between a message's time and its commit: an accept answers within 5, busy or not
WHOLE_AFTER = timedelta(seconds=60)  # and for what took longer there is a whole look so often
KEPT = 50_000  # lanes, at some 250 bytes each


@dataclass(frozen=True, slots=True)
class _Floor:
    """From when on mail was found, when that was, and when the lane was last looked through from its beginning."""

    due_at: datetime
    looked_at: datetime
    whole_at: datetime


class Floors:
    """Remembers by lane the due time below which nothing waited.

    True of what was committed by then. What comes later is due at its own step's time or after, so it lies above unless
    its commit took longer than MARGIN. A claim that was undone lies above as well: a floor is what a look found before
    anything of it was taken.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self._floors: dict[str, _Floor] = {}

    def of(self, lane: str, now: datetime) -> datetime:
        """Return the due time from which on to look; the beginning where a whole look is due, or the clock was set back."""
        floor = self._floors.get(lane)
        if floor is None or not floor.looked_at <= now < floor.whole_at + WHOLE_AFTER:
            return BEGINNING
        return floor.due_at

    def note(self, lane: str, since: datetime, first: datetime | None, now: datetime) -> None:
        """Remember a look from a due time on: when the first message that it found was due, None where none was."""
        if len(self._floors) >= KEPT and lane not in self._floors:
            self._floors.clear()
        whole_at = now if since == BEGINNING else self._floors[lane].whole_at if lane in self._floors else BEGINNING
        self._floors[lane] = _Floor((now if first is None else first) - MARGIN, now, whole_at)

    def forget(self, lanes: Iterable[str]) -> None:
        """Look through these from their beginning next time."""
        for lane in lanes:
            self._floors.pop(lane, None)
