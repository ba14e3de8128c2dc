"""Owns by which lines SES judges: accounts over their representative volume, tenants by findings and policies.

Leaves what a judgement changes, and telling of it, to `operations.reputation`. Lines: SES guide, "Reputation dashboard"
(accounts) and "Tenants", AWS blog of November 2025 (tenants); third-party feedback: the spam rates of Gmail's guidelines
for senders. Amazon documents neither volumes nor windows of findings; docs/local-ses.md lists what is read here.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

HOUR_SECONDS = 3_600.0
DAY_SECONDS = 86_400.0
ACCOUNT_VOLUME_MIN = 1_000  # recipients, before an account is judged at all
ACCOUNT_LINES = {"Bounces": (0.05, 0.10), "Complaints": (0.001, 0.005)}  # review, pause
STATUSES = ("HEALTHY", "PROBATION", "SHUTDOWN")
# Which findings pause a tenant; `none` stops nobody.
PAUSED_BY = {"none": frozenset[str](), "standard": frozenset({"HIGH"}), "strict": frozenset({"LOW", "HIGH"})}


class Line(NamedTuple):
    """From where on a rate is a finding: above `low`, above `high`, of at least `volume_min` recipients in a window."""

    low: float
    high: float
    volume_min: int
    window_seconds: float
    base: str  # what is counted as recipients
    bad: str
    words: str


LINES = {
    "BOUNCE": Line(0.10, 0.15, 100, DAY_SECONDS, "Sends", "Bounces", "Bounce rate"),
    "COMPLAINT": Line(0.005, 0.01, 500, 7 * DAY_SECONDS, "Sends", "Complaints", "Complaint rate"),
    "FEEDBACK_3P": Line(
        0.001, 0.003, 500, 7 * DAY_SECONDS, "Untold sends", "Untold complaints", "Rate of spam at mailbox providers"
    ),
}


class Window:
    """Recipients and the bad ones among them within a time that moves on, by the hour."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.volume = 0
        self.bad = 0
        self._hours: deque[list[float]] = deque()  # [its start, recipients, bad ones]

    def add(self, at: float, volume: int, bad: int) -> None:
        """Count what happened at a time; what is older than the newest hour counts in that one."""
        start = at - at % HOUR_SECONDS
        if not self._hours or start > self._hours[-1][0]:
            self._hours.append([start, 0, 0])
        self._hours[-1][1] += volume
        self._hours[-1][2] += bad
        self.volume += volume
        self.bad += bad

    def move_to(self, now: float) -> None:
        """Forget the hours that began before the window."""
        while self._hours and self._hours[0][0] <= now - self.seconds:
            _, volume, bad = self._hours.popleft()
            self.volume -= int(volume)
            self.bad -= int(bad)


@dataclass(slots=True)
class Conduct:
    """What one tenant sent and what came of it, a window for each type of finding."""

    windows: dict[str, Window] = field(
        default_factory=lambda: {kind: Window(line.window_seconds) for kind, line in LINES.items()}
    )

    def add(self, at: float, fresh: Mapping[str, int]) -> None:
        """Count what happened, by what it is."""
        for kind, line in LINES.items():
            volume, bad = fresh.get(line.base, 0), fresh.get(line.bad, 0)
            if volume or bad:
                self.windows[kind].add(at, volume, bad)

    def findings(self, now: float) -> dict[str, tuple[str, str]]:
        """Return what is to be found by now: type -> impact (LOW, HIGH) and a description."""
        found = {}
        for kind, line in LINES.items():
            window = self.windows[kind]
            window.move_to(now)
            rate = window.bad / max(window.volume, window.bad, 1)
            if window.volume >= line.volume_min and rate > line.low:
                days = round(line.window_seconds / DAY_SECONDS)
                span = "24 hours" if days == 1 else f"{days} days"
                said = f"{line.words} of {rate:.2%} over {window.volume} emails sent in the last {span}."
                found[kind] = ("HIGH" if rate > line.high else "LOW", said)
        return found


def account_status(before: str, weights: Mapping[str, float]) -> str:
    """Return the status of an account by what it sent and what came of it.

    It gets worse by one step at a time, so that a review comes first, and better by itself as far as HEALTHY; a pause is
    lifted by people alone.
    """
    sends = weights["Sends"]
    if before == "SHUTDOWN" or sends < ACCOUNT_VOLUME_MIN:
        return before
    level = 0
    for what, lines in ACCOUNT_LINES.items():
        level = max(level, sum(weights[what] / sends >= line for line in lines))
    return STATUSES[min(level, STATUSES.index(before) + 1)]
