"""Owns pauses at random instants under load, each held to SES's own clock; leaves every other fault to trouble.py."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from time import monotonic, time

from tests.chaos.judge import Delivery
from tests.chaos.trouble import FENCE_SECONDS, Fault, Trouble

PAUSE = "pause"
CALL_SECONDS = 0.1  # SES takes a mail in its middle: long enough that calls are under way at every instant
DRAIN_SECONDS = 10.0  # after which a pause is acknowledged though an older claim may be under way
JITTER_SECONDS = 0.05
HELD_SECONDS = 0.3  # most, once fenced
LOOK_SECONDS = 0.15


@dataclass(slots=True)
class Paused:
    """One pause in epoch seconds: asked for and answered as its client saw it, seen fenced, and asked to end."""

    id: str
    streams: list[str]
    asked: float
    answered: float
    fenced: float
    end_asked: float


def against(paused: Iterable[Paused], deliveries: Iterable[Delivery]) -> list[str]:
    """Name the pauses during which SES took mail of theirs: none after the answer, but for a claim older than the deadline."""
    calls: dict[str, list[float]] = defaultdict(list)
    for one in deliveries:
        calls[one.configuration_set.rpartition("-")[2]].append(one.at)
    for times in calls.values():
        times.sort()
    found = []
    for pause in paused:
        since = pause.answered if pause.answered - pause.asked < DRAIN_SECONDS else pause.fenced
        late = [
            at
            for s in pause.streams
            for at in calls[s][bisect_right(calls[s], since) : bisect_left(calls[s], pause.end_asked)]
        ]
        if late:
            found.append(
                f"{pause.id}: SES took {len(late)} messages while it stood, the last after {max(late) - since:.3f} s"
            )
    return found


@dataclass
class Pauses(Trouble):
    """Opens pauses of streams and tenants, several at a time but one for each, and ends each once it was fenced."""

    made: list[Paused] = field(default_factory=list)
    _scopes: dict[str, list[str]] = field(default_factory=dict)  # the streams of each
    _busy: set[str] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def do(self, fault: Fault) -> None:
        """Open a pause beside the rest as soon as a scope has none."""
        if fault.kind != PAUSE:
            super().do(fault)
            return
        random = Random(fault.chance)
        self._know_scopes()
        threading.Event().wait(random.uniform(0, JITTER_SECONDS))
        with self._changed:
            free = self._changed.wait_for(lambda: sorted(self._scopes.keys() - self._busy), FENCE_SECONDS)
            assert free, f"every scope has been paused for {FENCE_SECONDS:g} s"
            scope = random.choice(free)
            self._busy.add(scope)
        thread = threading.Thread(target=self._paused, args=(scope, random.uniform(0, HELD_SECONDS)))
        self._beside.append(thread)
        thread.start()
        self.done[PAUSE] += 1

    def objections(self, deliveries: Iterable[Delivery]) -> list[str]:
        """See Trouble."""
        taken = list(deliveries)
        return super().objections(taken) + against(self.made, taken)

    def _know_scopes(self) -> None:
        if self._scopes:
            return
        for tenant in self._until_done("GET", "/v1/tenants")["items"]:
            streams = self._until_done("GET", f"/v1/streams?tenant={tenant['id']}")["items"]
            bare = [one["id"].partition("_")[2] for one in streams]
            self._scopes[tenant["id"]] = bare
            self._scopes |= {one["id"]: [name] for one, name in zip(streams, bare, strict=True)}

    def _paused(self, scope: str, held: float) -> None:
        try:
            self._pause_once(scope, held)
        except BaseException as error:
            self._failed.append(error)
        finally:
            with self._changed:
                self._busy.discard(scope)
                self._changed.notify()

    def _pause_once(self, scope: str, held: float) -> None:
        asked, began = time(), monotonic()
        pause = self._until_done("POST", "/v1/pauses", {"scope": scope, "reason": "chaos"})
        answered = time()
        self.acknowledged.append(monotonic() - began)
        while not self._until_done("GET", f"/v1/pauses/{pause['id']}")["fenced_at"]:
            assert monotonic() - began < FENCE_SECONDS, f"{pause['id']} is not fenced"
            threading.Event().wait(LOOK_SECONDS)
        fenced = time()
        self.fenced.append(monotonic() - began)
        threading.Event().wait(held)
        end_asked = time()
        self._until_done("POST", f"/v1/pauses/{pause['id']}/end", {"reason": "chaos is over"})
        self.made.append(Paused(pause["id"], self._scopes[scope], asked, answered, fenced, end_asked))
        while not self._until_done("GET", f"/v1/pauses/{pause['id']}")["ended_at"]:
            assert monotonic() - began < 2 * FENCE_SECONDS, f"{pause['id']} does not end"
            threading.Event().wait(LOOK_SECONDS)
