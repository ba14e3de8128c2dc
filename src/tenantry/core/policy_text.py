"""Owns policies as text: reading YAML into a policy with every complaint by its line, and writing a policy out.

A policy that contradicts itself, counts one thing twice or would stop healthy senders is no policy: the complaints say
which line, and why. Leaves keeping versions and whom a policy is for to the store.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import inf, isfinite

import yaml

from tenantry.core.policy import BOUNCES, COMPLAINTS, POLICIES, Action, Line, LineKind, Policy, Rule, judge
from tenantry.core.reputation import Beta, Block, beta_cdf

NAME = re.compile(r"[a-z][a-z0-9-]{0,39}\Z")
TEXT_MOST = 20_000
HEALTHY: Mapping[LineKind, float] = {LineKind.BOUNCE: 0.02, LineKind.COMPLAINT: 0.0005}
"""Rates that nobody may be stopped for: Amazon advises to stay below 2 % bounces; half its review line for complaints."""
HEALTHY_MAILS = (50, 200, 1_000, 10_000, 100_000)


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with a policy's text, and where; line counts from 1."""

    line: int
    what: str

    def __str__(self) -> str:
        """Say it as a person reads it."""
        return f"line {self.line}: {self.what}"


class _Wrong(Exception):
    def __init__(self, node: yaml.Node, what: str) -> None:
        super().__init__(what)
        self.complaint = Complaint(node.start_mark.line + 1, what)


Reader = Callable[[yaml.Node], object]
_DEFAULTS = POLICIES["standard"]  # what a text does not say


def read_policy(text: str, version: int = 1) -> Policy | Sequence[Complaint]:
    """Return the policy that a text describes, or all that is wrong with it in the order of its lines."""
    if len(text) > TEXT_MOST:
        return [Complaint(1, f"a policy has at most {TEXT_MOST:,} characters")]
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        return [Complaint(mark.line + 1 if mark else 1, f"this is not YAML: {error.problem}")]
    except (yaml.YAMLError, RecursionError):
        return [Complaint(1, "this is not YAML")]
    if node is None:
        return [Complaint(1, "the text is empty")]
    complaints: list[Complaint] = []
    found = _table(node, _POLICY, complaints, ("policy", "lines"))
    at = {key.value: value for key, value in node.value} if isinstance(node, yaml.MappingNode) else {}
    if complaints:
        return sorted(set(complaints), key=lambda one: one.line)
    values = {field.name: getattr(_DEFAULTS, field.name) for field in fields(Policy)} | found | {"version": version}
    policy = Policy(**values)
    return _contradictions(policy, at) or policy


def write_policy(policy: Policy) -> str:
    """Write a policy out as text that reads back as the same."""
    out = [f"policy: {policy.name}", f"acts: {str(policy.acts).lower()}", "lines:"]
    for line in policy.lines:
        out += [
            f"  - counts: {line.kind}",
            f"    rule: {line.rule}",
            f"    line: {_percent(line.line)}",
            f"    prior: [{line.prior.a:g}, {line.prior.b:g}]",
            f"    least_bad: {line.min_bad}",
            f"    least_domains: {line.min_domains}",
            f"    least_recipients: {line.min_recipients}",
            f"    watch: {_bar(line, line.watch_at)}",
            f"    throttle: {_bar(line, line.throttle_at)}",
            f"    pause: {_bar(line, line.pause_at)}",
        ]
    ramp = ", ".join(_percent(one) for one in policy.ramp)
    out += [
        f"throttled_to: {_percent(policy.throttle_fraction)}",
        f"ramp: [{ramp}]",
        f"stage_hours: {policy.stage_seconds / 3600:g}",
        f"stage_recipients: {policy.stage_recipients}",
    ]
    return "\n".join(out) + "\n"


def _percent(rate: float) -> str:
    return f"{rate * 100:.10g}%"


def _bar(line: Line, value: float) -> str:
    if value == inf:
        return "never"
    return f"{value:.10g}" if line.rule is Rule.EVIDENCE else _percent(value)


# ---- reading: a table of keys, each with the field that it fills and its reader


def _scalar(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _Wrong(node, "write one value here")
    return str(node.value).strip()


def _number(node: yaml.Node) -> float:
    text = _scalar(node)
    try:
        value = float(text)
    except ValueError:
        raise _Wrong(node, f"{text!r} is not a number") from None
    if not isfinite(value):
        raise _Wrong(node, f"{text!r} is not a finite number")
    return value


def _between(least: float, most: float, unit: float = 1.0) -> Callable[[yaml.Node], float]:
    def read(node: yaml.Node) -> float:
        value = _number(node)
        if not least <= value <= most:
            raise _Wrong(node, f"{value:g} is not between {least:g} and {most:g}")
        return value * unit

    return read


def _whole(least: int, most: int) -> Callable[[yaml.Node], int]:
    def read(node: yaml.Node) -> int:
        value = _between(least, most)(node)
        if value != int(value):
            raise _Wrong(node, f"{value:g} is not a whole number")
        return int(value)

    return read


def _rate(node: yaml.Node) -> float:
    text = _scalar(node)
    if not text.endswith("%"):
        raise _Wrong(node, f"write a rate with a percent sign, as 5%, not {text!r}")
    try:
        value = float(text[:-1]) / 100
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise _Wrong(node, f"{text!r} is not a rate above 0% and up to 100%")
    return value


def _bar_of(node: yaml.Node) -> float:
    text = _scalar(node)
    if text == "never":
        return inf
    return _rate(node) if text.endswith("%") else _between(1, 1e12)(node)


def _name(node: yaml.Node) -> str:
    text = _scalar(node)
    if not NAME.match(text):
        raise _Wrong(node, "a name has small letters, digits and dashes, begins with a letter, and is 40 long at most")
    return text


def _flag(node: yaml.Node) -> bool:
    text = _scalar(node)
    if text not in ("true", "false"):
        raise _Wrong(node, f"write true or false, not {text!r}")
    return text == "true"


def _one_of(kind: type[LineKind] | type[Rule]) -> Reader:
    def read(node: yaml.Node) -> object:
        text = _scalar(node)
        if text not in {one.value for one in kind}:
            raise _Wrong(node, f"write {' or '.join(one.value for one in kind)}, not {text!r}")
        return kind(text)

    return read


def _each(node: yaml.Node, read: Callable[[yaml.Node], float], most: int) -> tuple[float, ...]:
    if not isinstance(node, yaml.SequenceNode) or not 0 < len(node.value) <= most:
        raise _Wrong(node, f"write a list of 1 to {most} values")
    return tuple(read(each) for each in node.value)


def _prior(node: yaml.Node) -> Beta:
    found = _each(node, _between(0.01, 1e6), 2)
    if len(found) != 2:
        raise _Wrong(node, "a prior is the two numbers of a Beta distribution, as [2, 18]")
    return Beta(*found)


def _ramp(node: yaml.Node) -> tuple[float, ...]:
    return _each(node, _rate, 10)


_LINE: Mapping[str, tuple[str, Reader]] = {
    "counts": ("kind", _one_of(LineKind)),
    "rule": ("rule", _one_of(Rule)),
    "line": ("line", _rate),
    "prior": ("prior", _prior),
    "least_bad": ("min_bad", _whole(1, 1_000)),
    "least_domains": ("min_domains", _whole(1, 100)),
    "least_recipients": ("min_recipients", _whole(0, 100_000)),
    "watch": ("watch_at", _bar_of),
    "throttle": ("throttle_at", _bar_of),
    "pause": ("pause_at", _bar_of),
}


def _line(node: yaml.Node) -> Line:
    complaints: list[Complaint] = []
    found = _table(node, _LINE, complaints, ("counts", "line"))
    if complaints:
        raise _Many(complaints)
    given = BOUNCES if found["kind"] is LineKind.BOUNCE else COMPLAINTS
    values = {field.name: getattr(given, field.name) for field in fields(Line)} | found
    bars = [node for key, node in node.value if key.value in ("watch", "throttle", "pause")]
    for bar in bars:
        if bar.value != "never" and bar.value.endswith("%") != (values["rule"] is Rule.RATIO):
            raise _Wrong(bar, "a bar is a number of odds under the rule evidence, and a rate under the rule ratio")
    if values["rule"] is Rule.RATIO and len(bars) < 3:
        raise _Wrong(node, "the rule ratio needs watch, throttle and pause, each a rate or never")
    return Line(**values)


class _Many(Exception):
    def __init__(self, complaints: Sequence[Complaint]) -> None:
        super().__init__()
        self.complaints = complaints


def _lines(node: yaml.Node) -> tuple[Line, ...]:
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise _Wrong(node, "a policy needs at least one line")
    read: dict[LineKind, int] = {}
    lines = []
    for each in node.value:
        line = _line(each)
        if line.kind in read:
            raise _Wrong(
                each, f"{line.kind}s are counted twice, here and in line {read[line.kind]}: which one would hold?"
            )
        read[line.kind] = each.start_mark.line + 1
        lines.append(line)
    return tuple(lines)


_POLICY: Mapping[str, tuple[str, Reader]] = {
    "policy": ("name", _name),
    "acts": ("acts", _flag),
    "lines": ("lines", _lines),
    "throttled_to": ("throttle_fraction", _rate),
    "ramp": ("ramp", _ramp),
    "stage_hours": ("stage_seconds", _between(0.01, 720, 3600)),
    "stage_recipients": ("stage_recipients", _whole(1, 1_000_000)),
}


def _table(
    node: yaml.Node, known: Mapping[str, tuple[str, Reader]], complaints: list[Complaint], needed: Sequence[str]
) -> dict[str, object]:
    """Read a mapping by a table of its keys; what is wrong with it is added to the complaints."""
    at = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        complaints.append(Complaint(at, f"write keys and values here: {', '.join(known)}"))
        return {}
    found: dict[str, object] = {}
    seen: set[str] = set()
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = str(key.value)
        if name not in known:
            complaints.append(Complaint(line, f"{name[:40]!r} is not known here; known are {', '.join(known)}"))
        elif name in seen:
            complaints.append(Complaint(line, f"{name} stands here twice"))
        else:
            field, read = known[name]
            try:
                found[field] = read(value)
            except _Wrong as wrong:
                complaints.append(wrong.complaint)
            except _Many as many:
                complaints += many.complaints
        seen.add(name)
    complaints += [Complaint(at, f"{name} is missing") for name in needed if name not in seen]
    return found


# ---- what reads well but contradicts itself


def _contradictions(policy: Policy, at: Mapping[str, yaml.Node]) -> list[Complaint]:
    complaints = []
    for node, line in zip(at["lines"].value, policy.lines, strict=True):
        where = {key.value: value.start_mark.line + 1 for key, value in node.value}
        complaints += [Complaint(where.get(key, node.start_mark.line + 1), what) for key, what in _of_line(line)]
        if not any(one.line >= node.start_mark.line + 1 for one in complaints) and (harm := _harms(policy, line)):
            complaints.append(Complaint(where["line"], harm))
    if any(later <= earlier for earlier, later in zip(policy.ramp, policy.ramp[1:], strict=False)):
        complaints.append(Complaint(_at(at, "ramp"), "each stage of the ramp must allow more than the one before"))
    if policy.throttle_fraction >= 1:
        complaints.append(Complaint(_at(at, "throttled_to"), "throttled to 100% is not throttled"))
    return sorted(complaints, key=lambda one: one.line)


def _at(at: Mapping[str, yaml.Node], key: str) -> int:
    return at[key].start_mark.line + 1 if key in at else 1


def _of_line(line: Line) -> list[tuple[str, str]]:
    found = []
    if line.watch_at > line.throttle_at != inf or line.watch_at > line.pause_at:
        found.append(("watch", "it watches later than it acts: the bars must rise from watch to throttle to pause"))
    if line.throttle_at > line.pause_at and line.throttle_at != inf:
        found.append(
            ("throttle", "it throttles later than it pauses: the bars must rise from watch to throttle to pause")
        )
    if line.rule is Rule.RATIO and min(line.watch_at, line.throttle_at, line.pause_at) < line.line:
        found.append(("line", "a bar lies below the line"))
    if line.rule is Rule.EVIDENCE and 1 - beta_cdf(line.line, line.prior.a, line.prior.b) < 0.01:
        found.append(("prior", "the prior says that hardly anybody is above the line: the test would find nobody"))
    return found


def _harms(policy: Policy, line: Line) -> str | None:
    """Say whether a sender with a healthy rate, exactly and for ever, would be slowed or stopped."""
    rate = HEALTHY[line.kind]
    for n in HEALTHY_MAILS:
        x = round(n * rate)
        if line.rule is Rule.RATIO and line.min_recipients < 1 and line.min_bad <= 1:
            n, x = 1, 1
        action = judge({line.kind: [Block(0, 2048, n, x, 99)]}, policy).action
        if action.severity >= Action.THROTTLE.severity:
            return (
                f"it would {action} everybody: {x:,} of {n:,} recipients is a healthy sender"
                f" ({rate * 100:g}% {line.kind}s), or one by bad luck"
            )
    return None
