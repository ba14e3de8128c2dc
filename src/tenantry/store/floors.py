"""Owns from where on a turn looks for lanes and for the heads of a lane; leaves the look to dispatch.py.

While somebody reads for long, PostgreSQL keeps the rows of all mail that has gone since, and a look from the lane's
beginning steps over each of them. So a lane's looks begin where its last one found mail. The same with lanes: each turn
leaves their rows of before, with smaller tags, and the choice begins at the smallest tag that can stand. What is kept here
is a hint, of this process alone: losing it costs time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
MARGIN = timedelta(seconds=10)  # between a message's time and its commit: an accept answers within 5, busy or not
WHOLE_AFTER = timedelta(seconds=60)  # and for what took longer there is a whole look so often
KEPT = 50_000  # lanes, at some 250 bytes each
TAGS_WHOLE_AFTER = timedelta(seconds=1)  # a worker of an older version wakes lanes with tags below their class's time


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
        self.tags = TagFloors()

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


class TagFloors:
    """Remembers by class the tag below which no ready lane stood.

    It stays true: a turn moves tags up, and who wakes a lane lifts its tag to the virtual time of its class, which only
    grows. So a floor is the smaller of both as a look found them, before anything was served.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self._floors: dict[str, tuple[float, datetime]] = {}

    def of(self, stream_class: str, now: datetime) -> float:
        """Return the tag from which on to look; the beginning where a whole look is due, or the clock was set back."""
        tag, whole_at = self._floors.get(stream_class, (-inf, BEGINNING))
        return tag if whole_at <= now < whole_at + TAGS_WHOLE_AFTER else -inf

    def note(self, stream_class: str, since: float, floor: float, now: datetime) -> None:
        """Remember what a look from a tag on has shown."""
        whole_at = now if since == -inf else self._floors[stream_class][1]
        self._floors[stream_class] = floor, whole_at
