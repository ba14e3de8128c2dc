"""Owns what the lab draws: who is bad, and how late it is told; every draw comes from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, log, log1p
from random import Random

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
MONTH = 30 * DAY
COMPLAINT_LATEST = 15 * DAY


def hits(chance: Random, rate: float, first: int, last: int) -> Iterator[int]:
    """Yield which of these places are bad, each with this chance; costs only the bad ones (geometric gaps)."""
    if rate <= 0:
        return
    scale = log1p(-rate) if rate < 1 else -1e9
    place = first - 1
    while True:
        place += 1 + int(log(1 - chance.random()) / scale)
        if place >= last:
            return
        yield place


def log_uniform(chance: Random, least: float, most: float) -> float:
    """Return a size between these, each order of magnitude as likely as another."""
    return exp(chance.uniform(log(least), log(most)))


def bounce_delay(chance: Random) -> float:
    """Return seconds until a bounce is told: nine of ten in minutes, the others within hours, as deferrals end."""
    return chance.expovariate(1 / (2 * MINUTE)) if chance.random() < 0.9 else chance.expovariate(1 / (6 * HOUR))


def complaint_delay(chance: Random) -> float:
    """Return seconds until a complaint is told: a day in the middle, minutes to 15 days."""
    return min(MINUTE + chance.lognormvariate(log(DAY), 1.4), COMPLAINT_LATEST)
