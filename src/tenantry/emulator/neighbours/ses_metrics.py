"""Owns the metrics that SES itself publishes to CloudWatch: reputation of the account and its sets, counts of tenants.

Leaves which mail counts to `operations.delivery`, judging by it to `operations.reputation`. SES documents neither the
interval nor the representative volume: here they are five minutes (unless the options say otherwise), and counts that are
halved whenever they pass 10,000 recipients, so that old mail fades.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tenantry.emulator.neighbours.metrics import Bucket, Metric

NAMESPACE = "AWS/SES"
PERIOD_SECONDS = 300
REPRESENTATIVE = 10_000
RATES = {"Bounces": "Reputation.BounceRate", "Complaints": "Reputation.ComplaintRate"}
ACCOUNT = ("", "")
COUNTED = ("Sends", *RATES)  # what is published; the rest is counted for whoever judges
Measure = Callable[[Metric, float, Bucket], None]


class Judged(Protocol):
    """The account whose reputation it is."""

    def watches(self, set_name: str) -> bool:
        """Does SES publish the reputation of this configuration set?"""

    def tenant_id(self, name: str) -> str | None:
        """Return the id of a tenant, or None if it is gone."""

    def judge(self, at: float, account: Mapping[str, float], tenants: Mapping[str, Mapping[str, int]]) -> None:
        """Judge by the weights of the account's tally, and by what is new of each tenant."""


@dataclass(slots=True)
class Tally:
    """What one scope sent and what came of it, faded; and what came since the last time it was published."""

    weights: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0.0))
    fresh: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, number: int) -> None:
        """Count recipients; what is old weighs half as much from time to time."""
        if what in self.weights:
            self.weights[what] += number
        self.fresh[what] = self.fresh.get(what, 0) + number
        if self.weights["Sends"] > REPRESENTATIVE:
            self.weights = {name: each / 2 for name, each in self.weights.items()}


class SesMetrics:
    """The tallies of one place; `publish` at the end of each period in which something happened."""

    def __init__(self, judge_seconds: float) -> None:
        self._period = int(judge_seconds) or PERIOD_SECONDS
        self._is_judged = judge_seconds > 0
        self._tallies: dict[tuple[str, str], Tally] = {}  # (kind of scope, its name)
        self._coming: dict[int, dict[tuple[str, str, str], int]] = {}  # end of a period -> what, set, tenant -> number
        self._next_at: int | None = None

    def add(self, what: str, number: int, *, set_name: str, tenant: str, at: float) -> None:
        """Count recipients (Sends, Bounces, Complaints, …) of a set and a tenant, now or when the time comes."""
        due = int(at) // self._period * self._period + self._period
        counts = self._coming.get(due)
        if counts is None:
            counts = self._coming[due] = {}
            self._next_at = min(self._coming)
        key = (what, set_name, tenant)
        counts[key] = counts.get(key, 0) + number

    def next_due(self) -> float | None:
        """Return when something is to be published, or None."""
        return self._next_at

    def start_afresh(self) -> None:
        """Forget the tallies of the account and its sets."""
        self._tallies = {scope: each for scope, each in self._tallies.items() if scope[0] == "tenant"}

    def publish(self, now: float, measure: Measure, home: Judged) -> bool:
        """Publish what is due, a point for each scope that changed, and have it judged; True if anything was."""
        if self._next_at is None or self._next_at > now:
            return False
        while self._next_at is not None and self._next_at <= now:
            at = self._next_at
            scopes = self._take(at)
            if self._is_judged:
                tenants = {name: self._tallies[kind, name].fresh for kind, name in scopes if kind == "tenant"}
                home.judge(at, self._tallies[ACCOUNT].weights, tenants)
            for scope in scopes:
                self._tell(scope, at - 1, measure, home)  # within the period that ends
            self._next_at = min(self._coming, default=None)
        return True

    def _take(self, period: int) -> list[tuple[str, str]]:
        changed: dict[tuple[str, str], None] = {}
        for (what, set_name, tenant), number in self._coming.pop(period).items():
            for scope in (ACCOUNT, ("set", set_name), ("tenant", tenant)):
                if scope[1] or scope == ACCOUNT:
                    self._tallies.setdefault(scope, Tally()).add(what, number)
                    changed[scope] = None
        return list(changed)

    def _tell(self, scope: tuple[str, str], at: float, measure: Measure, home: Judged) -> None:
        tally, (kind, name) = self._tallies[scope], scope
        fresh, tally.fresh = tally.fresh, {}
        if kind == "tenant":
            if known := home.tenant_id(name):
                dimensions = (("TenantId", known), ("TenantName", name))
                for what in COUNTED:
                    if number := fresh.get(what, 0):
                        measure(Metric(NAMESPACE, what, dimensions), at, Bucket(1.0, number, number, number))
            return
        if kind == "set" and not home.watches(name):
            return
        own = (("ses:configuration-set", name),) if kind == "set" else ()
        for what, metric in RATES.items():
            if tally.weights[what] > 0.0:  # no point before the first bounce or complaint
                rate = tally.weights[what] / max(tally.weights["Sends"], tally.weights[what])
                measure(Metric(NAMESPACE, metric, own), at, Bucket(1.0, rate, rate, rate))
