"""Owns one SQS standard queue: order of arrival, visibility, receipts; every step is O(1) or O(log n).

Leaves waiting to the server and the wire form to `operations_queue`.
"""

import hashlib
import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

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


class Queue:
    """A queue of entries, visible or in flight."""

    def __init__(self, name: str, created_at: float) -> None:
        self.name = name
        self.created_at = created_at
        self._ready: deque[Entry] = deque()
        self._flying: dict[str, Entry] = {}
        self._visible_again: list[tuple[float, int, str]] = []

    def put(self, entry: Entry) -> None:
        """Add an entry at the end."""
        self._ready.append(entry)

    def receive(self, now: float, count: int, visibility_seconds: float = VISIBILITY_SECONDS) -> list[Entry]:
        """Hand out up to `count` entries; each stays invisible for the given time, unless deleted."""
        self._return_expired(now)
        taken: list[Entry] = []
        while self._ready and len(taken) < count:
            entry = self._ready.popleft()
            if now - entry.sent_at > RETENTION_SECONDS:
                continue
            entry.receives += 1
            entry.first_received_at = entry.first_received_at or now
            self._flying[entry.id] = entry
            heapq.heappush(self._visible_again, (now + visibility_seconds, entry.receives, entry.id))
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
        return True

    def next_visible_at(self) -> float | None:
        """Return when something in flight may come back, or None."""
        self._drop_settled()
        return self._visible_again[0][0] if self._visible_again else None

    def depth(self, now: float) -> tuple[int, int]:
        """Return how many entries are visible and how many are in flight."""
        self._return_expired(now)
        return len(self._ready), len(self._flying)

    def _drop_settled(self) -> None:
        while self._visible_again:
            _, receives, entry_id = self._visible_again[0]
            entry = self._flying.get(entry_id)
            if entry is not None and entry.receives == receives:
                return
            heapq.heappop(self._visible_again)

    def _return_expired(self, now: float) -> None:
        self._drop_settled()
        while self._visible_again and self._visible_again[0][0] <= now:
            _, _, entry_id = heapq.heappop(self._visible_again)
            self._ready.appendleft(self._flying.pop(entry_id))
            self._drop_settled()
