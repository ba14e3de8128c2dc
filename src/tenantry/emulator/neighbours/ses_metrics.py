"""Owns the metrics that SES itself publishes to CloudWatch: reputation of the account and its sets, counts of tenants.

Leaves which mail counts to `operations.delivery`. SES documents neither the interval nor the representative volume: here
they are five minutes, and counts that are halved whenever they pass 10,000 recipients, so that old mail fades.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from tenantry.emulator.neighbours.metrics import Bucket, Metric

NAMESPACE = "AWS/SES"
PERIOD_SECONDS = 300
REPRESENTATIVE = 10_000
RATES = {"Bounces": "Reputation.BounceRate", "Complaints": "Reputation.ComplaintRate"}
ACCOUNT = ("", "")
Measure = Callable[[Metric, float, Bucket], None]


@dataclass(slots=True)
class Tally:
    """What one scope sent and what came of it, faded; and what came since the last time it was published."""

    weights: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("Sends", *RATES), 0.0))
    fresh: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, number: int) -> None:
        """Count recipients; what is old weighs half as much from time to time."""
        self.weights[what] += number
        self.fresh[what] = self.fresh.get(what, 0) + number
        if self.weights["Sends"] > REPRESENTATIVE:
            self.weights = {name: each / 2 for name, each in self.weights.items()}


class SesMetrics:
    """The tallies of one place; `publish` every five minutes in which something happened."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str], Tally] = {}  # (kind of scope, its name)
        self._coming: dict[int, dict[tuple[str, str, str], int]] = {}  # end of a period -> what, set, tenant -> number
        self._next_at: int | None = None

    def add(self, what: str, number: int, *, set_name: str, tenant: str, at: float) -> None:
        """Count recipients (Sends, Bounces or Complaints) of a set and a tenant, now or when the time comes."""
        due = int(at) // PERIOD_SECONDS * PERIOD_SECONDS + PERIOD_SECONDS
        counts = self._coming.get(due)
        if counts is None:
            counts = self._coming[due] = {}
            self._next_at = min(self._coming)
        key = (what, set_name, tenant)
        counts[key] = counts.get(key, 0) + number

    def next_due(self) -> float | None:
        """Return when something is to be published, or None."""
        return self._next_at

    def publish(
        self,
        now: float,
        measure: Measure,
        set_is_watched: Callable[[str], bool],
        tenant_id: Callable[[str], str | None],
    ) -> bool:
        """Publish what is due: a point for each scope that changed; True if anything was."""
        if self._next_at is None or self._next_at > now:
            return False
        while self._next_at is not None and self._next_at <= now:
            at = self._next_at
            for scope in self._take(at):
                self._tell(scope, at - 1, measure, set_is_watched, tenant_id=tenant_id)  # within the period that ends
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

    def _tell(
        self,
        scope: tuple[str, str],
        at: float,
        measure: Measure,
        set_is_watched: Callable[[str], bool],
        *,
        tenant_id: Callable[[str], str | None],
    ) -> None:
        tally, (kind, name) = self._tallies[scope], scope
        fresh, tally.fresh = tally.fresh, {}
        if kind == "tenant":
            if known := tenant_id(name):
                dimensions = (("TenantId", known), ("TenantName", name))
                for what, number in fresh.items():
                    measure(Metric(NAMESPACE, what, dimensions), at, Bucket(1.0, number, number, number))
            return
        if kind == "set" and not set_is_watched(name):
            return
        own = (("ses:configuration-set", name),) if kind == "set" else ()
        for what, metric in RATES.items():
            if tally.weights[what] > 0.0:  # no point before the first bounce or complaint
                rate = tally.weights[what] / max(tally.weights["Sends"], tally.weights[what])
                measure(Metric(NAMESPACE, metric, own), at, Bucket(1.0, rate, rate, rate))
