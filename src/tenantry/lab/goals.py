"""Owns the goals of the guard, each tried by simulation: how many healthy tenants are stopped, how soon bad ones are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import merge
from random import Random

from tenantry.core.policy import Action, Policy
from tenantry.lab.chance import MONTH, bounce_delay, complaint_delay, hits, log_uniform
from tenantry.lab.cohort import Cohort

DOMAINS = tuple(f"d{number}.example" for number in range(40))
Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Healthy:
    """A month of healthy tenants: how many were slowed, and how many stopped."""

    tenants: int
    mails: int
    throttled: int
    paused: int


@dataclass(frozen=True, slots=True)
class Caught:
    """How many mails of a bad sender went before the guard acted, over many trials, ascending; never: those not caught."""

    mails: tuple[int, ...]
    never: int

    def quantile(self, share: float) -> int | None:
        """Return the mails within which this share was caught, None where so many were not."""
        place = max(-int(-share * (len(self.mails) + self.never) // 1) - 1, 0)
        return self.mails[place] if place < len(self.mails) else None


def healthy(seed: int, tenants: range, policy: Policy, tell: Tell = lambda done, of: None) -> Healthy:
    """Let healthy tenants send for 30 days: bounces 0.3 to 2 %, complaints 0.005 to 0.05 %, 20 to 1,000,000 mails each.

    Mail is spread evenly; reports come late as in `chance`; a fifth to two thirds of it goes to providers that are silent.
    """
    mails = throttled = paused = 0
    for number in tenants:
        chance = Random(f"{seed} healthy {number}")
        volume = round(log_uniform(chance, 20, 1_000_000))
        mails += volume
        worst = _month(chance, volume, policy)
        throttled += worst is Action.THROTTLE
        paused += worst is Action.PAUSE
        if number % 100 == 99:
            tell(number + 1, tenants.stop)
    return Healthy(len(tenants), mails, throttled, paused)


def _month(chance: Random, volume: int, policy: Policy) -> Action:
    cohort = Cohort(policy, reporting_share=chance.uniform(0.35, 0.8))
    bounce_rate, complaint_rate = chance.uniform(0.003, 0.02), chance.uniform(0.00005, 0.0005)
    between = MONTH / volume
    reports = [(place * between + bounce_delay(chance), place, 0) for place in hits(chance, bounce_rate, 0, volume)]
    reports += [
        (place * between + complaint_delay(chance), place, 1)
        for place in hits(chance, complaint_rate, 0, volume)
        if cohort.reports(place)
    ]
    reports.sort()
    worst = Action.KEEP
    for at, place, complaint in reports:
        if at > MONTH:
            break
        cohort.handed = min(volume, int(at / between) + 1)
        verdict = cohort.complained(place, chance.choice(DOMAINS)) if complaint else cohort.bounced(place)
        if verdict is not None:
            worst = max(worst, verdict.action, key=lambda action: action.severity)
            if worst is Action.PAUSE:
                break
    return worst


@dataclass(frozen=True, slots=True)
class Bad:
    """A bad sender: rates, how many good mails (at good_rate bounces) went before, and what the guard should do."""

    bounce_rate: float = 0.0
    complaint_rate: float = 0.0
    after_good: int = 0
    good_rate: float = 0.005
    until: Action = Action.PAUSE
    most: int = 100_000


def caught(seed: int, trials: int, bad: Bad, policy: Policy) -> Caught:
    """Let a bad sender send one mail after another, each told at once, until the guard acts; n counts reporting mail."""
    found: list[int] = []
    for number in range(trials):
        chance = Random(f"{seed} bad {number} {bad}")
        mails = _until_caught(chance, bad, policy)
        if mails is not None:
            found.append(mails)
    return Caught(tuple(sorted(found)), trials - len(found))


def _until_caught(chance: Random, bad: Bad, policy: Policy) -> int | None:
    cohort = Cohort(policy)
    for place in hits(chance, bad.good_rate if bad.after_good else 0.0, 0, bad.after_good):
        cohort.handed = place + 1
        cohort.bounced(place)
    last = bad.after_good + bad.most
    bounces = ((place, 0) for place in hits(chance, bad.bounce_rate, bad.after_good, last))
    complaints = ((place, 1) for place in hits(chance, bad.complaint_rate, bad.after_good, last))
    for place, complaint in merge(bounces, complaints):
        cohort.handed = place + 1
        verdict = cohort.complained(place, chance.choice(DOMAINS)) if complaint else cohort.bounced(place)
        if verdict is not None and verdict.action.severity >= bad.until.severity:
            return place + 1 - bad.after_good
    return None
