"""Owns whole accounts: good tenants and adversaries in one fleet, under one way of isolation, with Amazon as the judge.

Bounces are told one chunk of mail after they were caused: a chunk is what leaves in the delay of the feedback. Pools only
change what the neighbours' mail is seen with; Amazon judges the account whole, by its newest REPRESENTATIVE mails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from tenantry.core.policy import POLICIES, Action, Policy, Verdict
from tenantry.lab.chance import hits, log_uniform
from tenantry.lab.cohort import Cohort
from tenantry.lab.goals import DOMAINS

DAYS = 10
NEIGHBOURS = 30
STEPS = DAYS * 24
REPRESENTATIVE = 10_000  # mails by which Amazon judges, of which an account needs as many
CHUNK = 630  # 14 a second for the 45 seconds until a first bounce can act
REVIEW, STOP = 0.05, 0.10  # Amazon's lines for bounces
COMPLAINT_REVIEW, COMPLAINT_STOP = 0.001, 0.005
COMPLAINT_STEPS = 24  # a complaint is told a day later


class Way(StrEnum):
    """How tenants are kept apart."""

    SHARED = "one account, shared IPs, nothing else"
    DEDICATED = "a dedicated pool for each tenant, nothing else"
    SES = "SES tenants, stopped at Amazon's own lines"
    TRIED = "Tenantry, the policy that is tried"
    STRICT = "Tenantry, policy strict"

    def policy(self, tried: Policy) -> Policy | None:
        """Return the policy that stops a tenant, None where none does."""
        return {Way.SES: POLICIES["ses"], Way.TRIED: tried, Way.STRICT: POLICIES["strict"]}.get(self)


@dataclass(frozen=True, slots=True)
class Plot:
    """What an adversary does: sign-ups, mails wanted, rates, good mails first, and the hours between its sign-ups."""

    name: str
    signups: int
    mails: int
    bounce_rate: float
    complaint_rate: float = 0.0
    good_first: int = 0
    hours_between: int = 0


PLOTS = (
    Plot("burst", 1, 50_000, 0.5),
    Plot("careless list", 1, 20_000, 0.12),
    Plot("just under the line", 1, 50_000, 0.045),
    Plot("good, then bad", 1, 30_000, 0.3, good_first=10_000),
    Plot("split over sign-ups", 4, 4_000, 0.4, hours_between=6),
    Plot("complaints", 1, 30_000, 0.005, complaint_rate=0.01),
)


@dataclass(slots=True)
class Sender:
    """One tenant in the fleet."""

    good: bool
    cohort: Cohort
    hourly: int
    bounce_rate: float
    complaint_rate: float
    left: int
    begins: int = 0
    good_first: int = 0
    limit: float = 1.0
    stopped: bool = False
    told: list[int] = field(default_factory=list)  # bounces of the chunk before
    later: deque[tuple[int, int]] = field(default_factory=deque)  # complaints: (step, ordinal)


@dataclass(frozen=True, slots=True)
class Played:
    """One fleet's ten days: worst account rates, whether Amazon stopped it, the good tenants' fate, the bad mail that left."""

    bounce_peak: float
    complaint_peak: float
    account_stopped: bool
    good_wanted: int
    good_sent: int
    good_clean: int  # of the sent, those out of a pool below Amazon's review line
    good_paused: int
    leaked: int  # mails of adversaries that left


class Window:
    """The newest REPRESENTATIVE mails of something, with their bounces and complaints, however late those are told."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._chunks: deque[tuple[int, int, int]] = deque()
        self.mails = self.bounces = self.complaints = 0

    def add(self, mails: int, bounces: int, complaints: int) -> None:
        """Add a chunk, and let the oldest go."""
        self._chunks.append((mails, bounces, complaints))
        self.mails += mails
        self.bounces += bounces
        self.complaints += complaints
        while self._chunks and self.mails - self._chunks[0][0] >= REPRESENTATIVE:
            gone = self._chunks.popleft()
            self.mails -= gone[0]
            self.bounces -= gone[1]
            self.complaints -= gone[2]

    def rates(self) -> tuple[float, float]:
        """Return the rates of bounces and complaints, 0 while there is too little mail."""
        if self.mails < REPRESENTATIVE:
            return 0.0, 0.0
        return self.bounces / self.mails, self.complaints / self.mails


class Fleet:
    """One account: draws its tenants from a seed, then plays its days under one way of isolation."""

    def __init__(
        self, seed: int, way: Way, tried: Policy = POLICIES["standard"], plots: Iterable[Plot] | None = None
    ) -> None:
        """Draw tenants and adversaries; the same seed draws the same fleet for every way."""
        draw = Random(f"{seed} fleet")
        self._chance = Random(f"{seed} mail")
        self._way, self._policy = way, way.policy(tried)
        judged = self._policy or POLICIES["observe"]
        self._senders = [self._neighbour(draw, judged) for _ in range(NEIGHBOURS)]
        for plot in plots if plots is not None else draw.sample(PLOTS, draw.choice((1, 2))):
            begins = draw.randrange(STEPS // 4, STEPS // 2)
            self._senders += [
                self._adversary(plot, judged, begins + n * plot.hours_between) for n in range(plot.signups)
            ]
        self._account = Window()
        self._pools: dict[int, Window] = {}
        self._shut = False
        self._peaks = [0.0, 0.0]
        self._sums = {"wanted": 0, "sent": 0, "clean": 0, "leaked": 0}

    @staticmethod
    def _neighbour(draw: Random, policy: Policy) -> Sender:
        hourly = max(1, round(log_uniform(draw, 10, 400)))
        return Sender(
            good=True,
            cohort=Cohort(policy, draw.uniform(0.35, 0.8)),
            hourly=hourly,
            bounce_rate=draw.uniform(0.003, 0.02),
            complaint_rate=draw.uniform(0.00005, 0.0004),
            left=hourly * STEPS,
        )

    @staticmethod
    def _adversary(plot: Plot, policy: Policy, begins: int) -> Sender:
        return Sender(
            good=False,
            cohort=Cohort(policy, 0.6),
            hourly=20_000,
            bounce_rate=plot.bounce_rate,
            complaint_rate=plot.complaint_rate,
            left=plot.mails + plot.good_first,
            begins=begins,
            good_first=plot.good_first,
        )

    def play(self) -> Played:
        """Play all days, hour by hour."""
        for step in range(STEPS):
            for sender in self._senders:
                self._complaints(sender, step)
                if step >= sender.begins:
                    self._hour(sender, step)
        sums = self._sums
        return Played(
            bounce_peak=self._peaks[0],
            complaint_peak=self._peaks[1],
            account_stopped=self._shut,
            good_wanted=sums["wanted"],
            good_sent=sums["sent"],
            good_clean=sums["clean"],
            good_paused=sum(one.stopped for one in self._senders if one.good),
            leaked=sums["leaked"],
        )

    def _hour(self, sender: Sender, step: int) -> None:
        wanted = min(sender.hourly, sender.left)
        if sender.good:
            self._sums["wanted"] += wanted
        sender.left -= wanted
        while wanted > 0 and not sender.stopped and not self._shut:
            chunk = min(wanted, max(1, round(CHUNK * sender.limit)))
            wanted -= max(chunk, round(chunk / sender.limit))
            self._tell(sender)
            if not sender.stopped:
                self._send(sender, chunk, step)
        self._tell(sender)

    def _send(self, sender: Sender, mails: int, step: int) -> None:
        cohort = sender.cohort
        first, last = cohort.handed, cohort.handed + mails
        rate = 0.005 if first < sender.good_first else sender.bounce_rate
        bad = list(hits(self._chance, rate, first, last))
        angry = [one for one in hits(self._chance, sender.complaint_rate, first, last) if cohort.reports(one)]
        cohort.handed = last
        sender.told += bad
        sender.later.extend((step + COMPLAINT_STEPS, ordinal) for ordinal in angry)
        self._account.add(mails, len(bad), len(angry))
        pool = self._pools.setdefault(id(sender) if self._way is Way.DEDICATED else 0, Window())
        pool.add(mails, len(bad), len(angry))
        bounces, complaints = self._account.rates()
        self._peaks = [max(self._peaks[0], bounces), max(self._peaks[1], complaints)]
        self._shut = self._shut or bounces >= STOP or complaints >= COMPLAINT_STOP
        if sender.good:
            seen = pool.rates()
            self._sums["sent"] += mails
            self._sums["clean"] += mails if seen[0] < REVIEW and seen[1] < COMPLAINT_REVIEW else 0
        else:
            self._sums["leaked"] += mails

    def _tell(self, sender: Sender) -> None:
        told, sender.told = sender.told, []
        for ordinal in told:
            self._act(sender, sender.cohort.bounced(ordinal))

    def _complaints(self, sender: Sender, step: int) -> None:
        while sender.later and sender.later[0][0] <= step:
            _, ordinal = sender.later.popleft()
            self._act(sender, sender.cohort.complained(ordinal, self._chance.choice(DOMAINS)))

    def _act(self, sender: Sender, verdict: Verdict | None) -> None:
        if self._policy is None or verdict is None:
            return
        if verdict.action is Action.PAUSE:
            sender.stopped = True
        else:
            sender.limit = self._policy.throttle_fraction
