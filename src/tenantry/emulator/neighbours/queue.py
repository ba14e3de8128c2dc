"""Owns one SQS standard queue: order of arrival, delay, visibility, receipts, dead letters; every step is O(1) or O(log n).

Leaves waiting to the server and the wire form to `neighbours.sqs`.
"""

import hashlib
import heapq
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

VISIBILITY_SECONDS = 30.0
RETENTION_SECONDS = 345_600.0


@dataclass(slots=True)
class Entry:
    """One message; its body is rendered when somebody reads it, which keeps sending cheap."""

    id: str
    sent_at: float
    render: Callable[[], str]
    receives: int = 0
    first_received_at: float = 0.0
    attributes: Mapping[str, Mapping[str, Any]] | None = None  # name -> DataType and value, as the API has them
    system: Mapping[str, str] | None = None  # what else the sender said: group, trace
    _body: str | None = None

    @property
    def body(self) -> str:
        """The body, rendered once."""
        if self._body is None:
            self._body = self.render()
        return self._body

    @property
    def md5(self) -> str:
        """The checksum that SDKs verify."""
        return hashlib.md5(self.body.encode(), usedforsecurity=False).hexdigest()

    @property
    def receipt(self) -> str:
        """The handle of the latest receive; an older one no longer deletes."""
        return f"{self.id}.{self.receives}"


@dataclass(slots=True)
class Redrive:
    """Where a message goes that was received too often without being deleted."""

    target: "Queue"
    receives_max: int


@dataclass(slots=True)
class Settings:
    """What the queue does with a message; seconds throughout."""

    visibility_seconds: float = VISIBILITY_SECONDS
    delay_seconds: float = 0.0
    retention_seconds: float = RETENTION_SECONDS
    wait_seconds: float = 0.0
    size_max: int = 1_048_576
    redrive: Redrive | None = None


class Queue:
    """A queue of entries: delayed, visible or in flight."""

    def __init__(self, name: str, created_at: float) -> None:
        self.name = name
        self.created_at = created_at
        self.settings = Settings()
        self._ready: deque[Entry] = deque()
        self._flying: dict[str, Entry] = {}
        self._visible_again: list[tuple[float, int, str]] = []
        self._back_at: dict[str, float] = {}  # what a change of visibility made of the time in the heap
        self._delayed: list[tuple[float, int, Entry]] = []
        self._delays = 0

    def put(self, entry: Entry) -> None:
        """Add an entry at the end."""
        self._ready.append(entry)

    def put_delayed(self, entry: Entry, visible_at: float) -> None:
        """Add an entry that nobody sees before its time."""
        self._delays += 1
        heapq.heappush(self._delayed, (visible_at, self._delays, entry))

    def receive(self, now: float, count: int, visibility_seconds: float | None = None) -> list[Entry]:
        """Hand out up to `count` entries; each stays invisible for the given time, unless deleted."""
        self._return_due(now)
        settings = self.settings
        hidden = settings.visibility_seconds if visibility_seconds is None else visibility_seconds
        taken: list[Entry] = []
        while self._ready and len(taken) < count:
            entry = self._ready.popleft()
            if now - entry.sent_at > settings.retention_seconds:
                continue
            if settings.redrive is not None and entry.receives >= settings.redrive.receives_max:
                settings.redrive.target.put(entry)
                continue
            entry.receives += 1
            entry.first_received_at = entry.first_received_at or now
            self._flying[entry.id] = entry
            heapq.heappush(self._visible_again, (now + hidden, entry.receives, entry.id))
            taken.append(entry)
        return taken

    def delete(self, receipt: str) -> bool:
        """Delete by receipt handle; a stale one succeeds and deletes nothing, a malformed one is False."""
        entry_id, dot, receives = receipt.rpartition(".")
        if not (dot and receives.isdigit()):
            return False
        entry = self._flying.get(entry_id)
        if entry is not None and entry.receives == int(receives):
            del self._flying[entry_id]
            if self._back_at:
                self._back_at.pop(entry_id, None)
        return True

    def hide(self, receipt: str, until: float) -> bool | None:
        """Change when an entry comes back; False if it is not in flight by this receipt, None for a malformed one."""
        entry_id, dot, receives = receipt.rpartition(".")
        if not (dot and receives.isdigit()):
            return None
        entry = self._flying.get(entry_id)
        if entry is None or entry.receives != int(receives):
            return False
        self._back_at[entry_id] = until
        heapq.heappush(self._visible_again, (until, entry.receives, entry_id))
        return True

    def purge(self) -> None:
        """Forget every entry."""
        self._ready.clear()
        self._delayed.clear()
        self._flying.clear()
        self._visible_again.clear()
        self._back_at.clear()

    def move_all(self, target: "Queue", now: float) -> int:
        """Give every visible entry to another queue, as new there; return how many."""
        self._return_due(now)
        number = len(self._ready)
        while self._ready:
            entry = self._ready.popleft()
            entry.receives, entry.first_received_at = 0, 0.0
            target.put(entry)
        return number

    def next_visible_at(self) -> float | None:
        """Return when something in flight or delayed may come to be seen, or None."""
        self._drop_settled()
        times = [heap[0][0] for heap in (self._visible_again, self._delayed) if heap]
        return min(times) if times else None

    def depth(self, now: float) -> tuple[int, int]:
        """Return how many entries are visible and how many are in flight."""
        self._return_due(now)
        return len(self._ready), len(self._flying)

    def delayed(self, now: float) -> int:
        """Return how many entries wait for their time."""
        self._return_due(now)
        return len(self._delayed)

    def _drop_settled(self) -> None:
        while self._visible_again:
            at, receives, entry_id = self._visible_again[0]
            entry = self._flying.get(entry_id)
            if entry is not None and entry.receives == receives and self._back_at.get(entry_id, at) == at:
                return
            heapq.heappop(self._visible_again)

    def _return_due(self, now: float) -> None:
        self._drop_settled()
        while self._visible_again and self._visible_again[0][0] <= now:
            _, _, entry_id = heapq.heappop(self._visible_again)
            self._back_at.pop(entry_id, None)
            self._ready.appendleft(self._flying.pop(entry_id))
            self._drop_settled()
        while self._delayed and self._delayed[0][0] <= now:
            self._ready.append(heapq.heappop(self._delayed)[2])
