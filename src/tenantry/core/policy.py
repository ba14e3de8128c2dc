"""Owns the limits that a reputation is held to, the verdict that follows from counts alone, and the ramp back.

Leaves counting to the store, the statistics to `reputation`, and acting on a verdict to the guard's flow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import exp, floor, inf, log, log10
from types import MappingProxyType

from tenantry.core.reputation import BOUNCE_PRIOR, COMPLAINT_PRIOR, Beta, Block, log_evalue, log_evalue_max


class LineKind(StrEnum):
    """What is counted against a line."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"


class Action(StrEnum):
    """What the numbers ask for; members stand in the order of severity."""

    KEEP = "keep"
    WATCH = "watch"
    THROTTLE = "throttle"
    PAUSE = "pause"

    @property
    def severity(self) -> int:
        """0 for keep, rising."""
        return _SEVERITY[self]


_SEVERITY = {action: place for place, action in enumerate(Action)}


class Rule(StrEnum):
    """How counts are held against a line."""

    EVIDENCE = "evidence"  # the bars are e-values
    RATIO = "ratio"  # the bars are rates, as most senders and Amazon write them


@dataclass(frozen=True, slots=True)
class Line:
    """A rate that mail is held to, and the bars for each action, above `min_bad` bad in `min_domains` domains.

    Bars are e-values or (rule ratio) rates, in blocks of at least min_recipients; infinity: this action is never taken.
    """

    kind: LineKind
    line: float
    prior: Beta
    min_domains: int
    min_bad: int = 3
    watch_at: float = 10.0
    throttle_at: float = 100.0
    pause_at: float = 1_000.0
    rule: Rule = Rule.EVIDENCE
    min_recipients: int = 0

    def action(self, block: Block, log_e: float) -> Action:
        """Return what this evidence asks for."""
        if block.x < self.min_bad or block.domains < self.min_domains or block.n < self.min_recipients:
            return Action.KEEP
        reached = exp(min(log_e, 700.0)) * _ROUNDING if self.rule is Rule.EVIDENCE else block.x / block.n
        if reached >= self.pause_at:
            return Action.PAUSE
        if reached >= self.throttle_at:
            return Action.THROTTLE
        return Action.WATCH if reached >= self.watch_at else Action.KEEP

    def bar(self, action: Action) -> float:
        """Return the bar that was reached for an action, the lowest one for keep."""
        bars = {Action.PAUSE: self.pause_at, Action.THROTTLE: self.throttle_at}
        return bars.get(action, self.watch_at)


_ROUNDING = 1 + 1e-12  # exp(log(bar)) reaches the bar


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits that a stream is held to; data, with a version that each verdict names.

    throttle_fraction, ramp: fractions of the rate while throttled, and by stage of probation. A stage passes after
    stage_seconds with at least stage_recipients handed. acts: whether verdicts slow and stop, or are only written down.
    """

    name: str
    version: int
    lines: tuple[Line, ...]
    acts: bool
    throttle_fraction: float = 0.10
    ramp: tuple[float, ...] = (0.10, 0.25, 0.50, 1.0)
    stage_seconds: float = 86_400.0
    stage_recipients: int = 1


BOUNCES = Line(LineKind.BOUNCE, line=0.05, prior=BOUNCE_PRIOR, min_domains=1)
COMPLAINTS = Line(LineKind.COMPLAINT, line=0.001, prior=COMPLAINT_PRIOR, min_domains=2)
_LINES = (BOUNCES, COMPLAINTS)


def ratio(given: Line, watch: float, pause: float, least: int) -> Line:
    """Return a line that is a plain rate from so many recipients on: one to watch at, one to pause at."""
    return replace(
        given, rule=Rule.RATIO, line=min(watch, pause), watch_at=watch, throttle_at=inf, pause_at=pause,
        min_recipients=least, min_bad=1, min_domains=1,
    )  # fmt: skip


POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "standard": Policy("standard", version=1, lines=_LINES, acts=True),
        "observe": Policy("observe", version=1, lines=_LINES, acts=False),
        "strict": Policy(  # for whoever is new, or shares a pool that must stay clean
            "strict",
            version=1,
            lines=(replace(BOUNCES, line=0.03), replace(COMPLAINTS, line=0.0008)),
            acts=True,
            stage_seconds=2 * 86_400.0,
            stage_recipients=50,
        ),
        "ses": Policy(  # Amazon's own documented lines: review, and pause
            "ses",
            version=1,
            lines=(ratio(BOUNCES, 0.05, 0.10, 1_000), ratio(COMPLAINTS, 0.001, 0.005, 1_000)),
            acts=True,
        ),
    }
)
"""What is shipped."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The guard's judgement with its numbers: the block with the strongest evidence, and the bar that it reached."""

    action: Action
    kind: LineKind
    block: Block
    line: float
    log_e: float
    bar: float
    policy: str
    version: int
    acts: bool
    rule: Rule = Rule.EVIDENCE

    @property
    def rate(self) -> float:
        """Bad recipients of the block's recipients."""
        return self.block.x / self.block.n if self.block.n else 0.0

    def words(self) -> str:
        """Explain the verdict to the tenant, in numbers that can be checked."""
        block = self.block
        what = "bounced" if self.kind is LineKind.BOUNCE else "complained"
        counted = f"{block.x:,} of {block.n:,} recipients {what} ({_percent(self.rate)})"
        where = f"{counted}, counted from recipient {block.first_recipient + 1:,} in sending order"
        if self.rule is Rule.RATIO:
            return f"{where}; the line is {_percent(self.line)}. {self._consequence()}"
        if self.log_e < log(2):
            return f"{where}: no evidence of a rate above the {_percent(self.line)} line."
        return (
            f"{where}; mail at or below the {_percent(self.line)} line would do this with odds under "
            f"1 in {_odds(self.log_e)}. {self._consequence()}"
        )

    def _consequence(self) -> str:
        bar = f"1 in {self.bar:,.0f}" if self.rule is Rule.EVIDENCE else _percent(self.bar)
        rule = f"policy {self.policy} version {self.version}, bar {bar}"
        if self.action is Action.KEEP:
            return f"Nothing changes: too little evidence to act on ({rule})."
        if self.action is Action.WATCH:
            return f"Watched, nothing changes yet ({rule})."
        if not self.acts:
            return f"Written down only; an acting policy would {self.action} ({rule})."
        return f"Sending is {'paused' if self.action is Action.PAUSE else 'throttled'} ({rule})."


def judge(counts: Mapping[LineKind, Sequence[Block]], policy: Policy) -> Verdict:
    """Decide whether a scope must slow or stop, and why: the worst finding over the blocks and lines.

    counts: for each kind the blocks that contain the touched bucket (`reputation.blocks`). Depends on the counts
    alone, so that a stored verdict can be recomputed: one more bad recipient never softens the action, one more good
    one never hardens it. The bound says: at or below the line, one block's E reaches B with probability 1/B at most.
    """
    worst, verdict = (0, 0.0), None
    for line in policy.lines:
        for block in counts.get(line.kind, ()):
            most = log_evalue_max(block.n, block.x, line.line)
            harmless = most <= 0 and line.rule is Rule.EVIDENCE
            if harmless or (line.action(block, most).severity, most) <= worst:
                continue  # cannot be worse; spares nearly every incomplete beta function
            log_e = log_evalue(block.n, block.x, line.line, line.prior)
            found = (line.action(block, log_e).severity, log_e)
            if found > worst:
                worst, verdict = found, _verdict(policy, line, block, log_e)
    return verdict or _innocent(counts, policy)


def ramp_fraction(policy: Policy, stage: int) -> float:
    """Return the fraction of the rate at a stage of probation, counted from 0; all of it after the last."""
    return policy.ramp[stage] if stage < len(policy.ramp) else 1.0


@dataclass(frozen=True, slots=True)
class Probation:
    """How a stage has gone: its length so far, recipients handed in its cohort, and its worst verdict's action."""

    stage: int
    seconds: float
    handed: int
    worst: Action


def next_stage(policy: Policy, probation: Probation) -> int | None:
    """Return the stage that probation is in now: the same, the next after a clean one, or None when it is over.

    A stage is clean when its own cohort gave no cause to throttle or pause; one that is not starts the ramp again. A
    stage without mail proves nothing and does not pass.
    """
    if probation.worst.severity >= Action.THROTTLE.severity:
        return 0
    if probation.seconds < policy.stage_seconds or probation.handed < policy.stage_recipients:
        return probation.stage
    return probation.stage + 1 if probation.stage + 1 < len(policy.ramp) else None


def _innocent(counts: Mapping[LineKind, Sequence[Block]], policy: Policy) -> Verdict:
    """Without evidence for any block, show the one with the most mail, of the first line that has any."""
    for line in policy.lines:
        if found := counts.get(line.kind):
            block = max(found, key=lambda block: block.n)
            return _verdict(policy, line, block, log_evalue(block.n, block.x, line.line, line.prior))
    return _verdict(policy, policy.lines[0], Block(0, 1, 0, 0, 0), 0.0)


def _verdict(policy: Policy, line: Line, block: Block, log_e: float) -> Verdict:
    action = line.action(block, log_e)
    return Verdict(
        action=action,
        kind=line.kind,
        block=block,
        line=line.line,
        log_e=log_e,
        bar=line.bar(action),
        policy=policy.name,
        version=policy.version,
        acts=policy.acts,
        rule=line.rule,
    )


def _percent(rate: float) -> str:
    return f"{rate * 100:.3g} %"


def _odds(log_e: float) -> str:
    """Write E with two digits, rounded down; as a power of ten where nobody reads the noughts."""
    if log_e >= log(1e15):
        return f"10^{floor(log_e / log(10))}"
    value = exp(log_e)
    unit = 10 ** max(floor(log10(value)) - 1, 0)
    return f"{floor(value / unit) * unit:,}"
