"""Owns what goes wrong in one run: how likely, or when, each fault is, drawn from the seed; leaves doing it to the ports.

Each kind of fault is absent from some runs, so that one cannot hide another for ever.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random

HOUR = 3_600.0


@dataclass
class Faults:
    """The faults of a run, and how often each has happened so far. Every number of `odds` is a chance a call."""

    random: Random
    odds: dict[str, float] = field(default_factory=dict)
    happened: Counter[str] = field(default_factory=Counter)
    quiet: bool = False  # no more of them

    def strikes(self, kind: str) -> bool:
        """Say whether this fault happens now, and count it."""
        odds = self.odds.get(kind, 0.0)
        if self.quiet or not odds or self.random.random() >= odds:
            return False
        self.happened[kind] += 1
        return True

    def first(self, *kinds: str) -> str | None:
        """Return the first of these faults that happens now."""
        return next((kind for kind in kinds if self.strikes(kind)), None)


ODDS = {
    "ses refuses the connection": 0.1,
    "ses hangs and takes it": 0.08,
    "ses hangs and takes it not": 0.05,
    "ses takes it and cuts": 0.12,
    "ses cuts and takes it not": 0.06,
    "ses throttles": 0.06,
    "ses fails and takes it": 0.12,
    "ses fails and takes it not": 0.05,
    "ses is slow": 0.08,
    "store busy before the commit": 0.03,
    "store busy at a read": 0.02,
    "control is not reached": 0.1,
    "control loses the answer": 0.2,
    "control throttles": 0.1,
    "control fails": 0.08,
    "feed is not reached": 0.08,
    "feed loses what it gave": 0.08,
    "feed loses the acknowledgement": 0.15,
    "event twice": 0.3,
    "event late": 0.4,
    "event out of order": 0.5,
    "client goes away": 0.08,
}

MOST = {"crash": 2, "stop": 1, "freeze": 2, "clock jumps an hour": 1, "pause": 4}


@dataclass(frozen=True)
class Script:
    """What happens in a run at which instant, and with which odds."""

    odds: dict[str, float]
    events: tuple[tuple[float, str], ...]
    yields: float  # the chance that others step in at a call of the store


def script(random: Random, seconds: float) -> Script:
    """Draw a run's misfortunes: each kind with a chance of one half not at all."""
    odds = {kind: most * random.uniform(0.3, 1.5) for kind, most in ODDS.items() if random.random() < 0.5}
    events = [
        (random.uniform(0.2, seconds), kind)
        for kind, most in MOST.items()
        if random.random() < 0.6
        for _ in range(random.randint(1, most))
    ]
    return Script(odds, tuple(sorted(events)), random.choice([0.0, 0.02, 0.1]))
