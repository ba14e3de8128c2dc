"""Owns what becomes of a recipient: the mailbox simulator's addresses and the scripts of domains and addresses.

Leaves the events that tell of it to `emulator.events`, and what a script says to `emulator.scripts`.
"""

import re
from collections.abc import Iterable
from fnmatch import translate
from random import Random
from typing import Literal, NamedTuple

from tenantry.emulator.scripts import BOUNCES, RecipientRule

FateKind = Literal["delivered", "bounced", "silent", "deferred"]
SIMULATOR = "simulator.amazonses.com"
REMEMBERED_MAX = 10_000  # domains whose script is known without trying patterns


class Fate(NamedTuple):
    """How one recipient's mail ends; recipients of a message who share all but the last two are told of in one event."""

    kind: FateKind
    sub_type: str = ""
    bounce_type: str = "Permanent"
    domain: str = ""
    is_deferred: bool = False
    delay: float = 0.0
    then: tuple[str, ...] = ()  # what follows a delivery: complaint, out_of_office, open, click
    rule: RecipientRule | None = None

    @property
    def outcome(self) -> str:
        """The word for it in the record of a message."""
        return "complained" if "complaint" in self.then else self.kind


_SIMULATED = {
    "success": Fate("delivered", domain=SIMULATOR),
    "ooto": Fate("delivered", domain=SIMULATOR),  # answered to the Return-Path, which is no bounce
    "bounce": Fate("bounced", "General", domain=SIMULATOR),
    "complaint": Fate("delivered", domain=SIMULATOR, then=("complaint",)),
    "suppressionlist": Fate("bounced", "Suppressed", domain=SIMULATOR),
}


class Recipients:
    """The scripted world of mailboxes; a rule's time of being down is counted from `since` (epoch seconds).

    The most specific rule counts: an address, then patterns of addresses, a domain, patterns of domains, `*`; among
    patterns the one that was given last, as among equals.
    """

    def __init__(self, rules: tuple[RecipientRule, ...], since: float = 0.0) -> None:
        self.rules = rules
        self.since = since
        exact = {rule.pattern: rule for rule in rules if "*" not in rule.pattern}
        self._addresses = {pattern: rule for pattern, rule in exact.items() if "@" in pattern}
        self._domains = {pattern: rule for pattern, rule in exact.items() if "@" not in pattern}
        shaped = [rule for rule in reversed(rules) if "*" in rule.pattern and rule.pattern != "*"]
        self._address_shapes = _compiled(rule for rule in shaped if "@" in rule.pattern)
        self._domain_shapes = _compiled(rule for rule in shaped if "@" not in rule.pattern)
        self._default = next((rule for rule in reversed(rules) if rule.pattern == "*"), None)
        self._is_by_address = bool(self._addresses or self._address_shapes)
        self._known: dict[str, RecipientRule | None] = {}

    def fate(self, address: str, random: Random, now: float) -> Fate:
        """Decide one bare address's fate; draws from the random source only where a rule has a fraction."""
        local, _, domain = address.rpartition("@")
        domain = domain.lower()
        if domain == SIMULATOR:
            return _SIMULATED.get(local.partition("+")[0].lower(), _SIMULATED["bounce"])
        rule = self._rule(address, domain)
        if rule is None:
            return Fate("delivered", domain=domain)
        if rule.down_for_seconds and self._down_until(rule, now) is not None:
            return Fate("deferred", domain=domain, delay=rule.delay_seconds, rule=rule)
        return _drawn(rule, domain, random)

    def rule_for(self, address: str) -> RecipientRule | None:
        """Return the script of a bare address, or None if nothing is said of it."""
        return self._rule(address, address.rpartition("@")[2].lower())

    def down_until(self, address: str, now: float) -> float | None:
        """Return until when the provider of an address is down, or None if it is up."""
        rule = self.rule_for(address)
        return self._down_until(rule, now) if rule and rule.down_for_seconds else None

    def _down_until(self, rule: RecipientRule, now: float) -> float | None:
        start = self.since + rule.down_after_seconds
        return start + rule.down_for_seconds if start <= now < start + rule.down_for_seconds else None

    def _rule(self, address: str, domain: str) -> RecipientRule | None:
        if self._is_by_address:
            lowered = address.lower()
            if found := self._addresses.get(lowered) or _first(self._address_shapes, lowered):
                return found
        if domain in self._known:
            return self._known[domain]
        found = self._domains.get(domain) or _first(self._domain_shapes, domain) or self._default
        if len(self._known) < REMEMBERED_MAX:
            self._known[domain] = found
        return found


Shapes = list[tuple[re.Pattern[str], RecipientRule]]


def _compiled(rules: Iterable[RecipientRule]) -> Shapes:
    return [(re.compile(translate(rule.pattern.replace("[", "[[]"))), rule) for rule in rules]


def _first(shapes: Shapes, text: str) -> RecipientRule | None:
    return next((rule for shape, rule in shapes if shape.match(text)), None)


def _drawn(rule: RecipientRule, domain: str, random: Random) -> Fate:
    deferred = rule.defer > 0.0 and random.random() < rule.defer
    if rule.failing:
        draw = random.random()
        for name, (bounce_type, sub_type) in BOUNCES.items():
            draw -= getattr(rule, name)
            if draw < 0.0:
                return Fate("bounced", sub_type, bounce_type, domain, deferred, rule.delay_seconds, rule=rule)
        if draw < rule.silence:
            return Fate("silent", domain=domain, rule=rule)
    return Fate("delivered", "", "Permanent", domain, deferred, rule.delay_seconds, _follows(rule, random), rule)


def _follows(rule: RecipientRule, random: Random) -> tuple[str, ...]:
    """Draw what follows a delivery, in this order."""
    drawn = []
    for name in ("complaint", "out_of_office", "open"):
        share = getattr(rule, name)
        if share and random.random() < share:
            drawn.append(name)
    if rule.click and "open" in drawn and random.random() < rule.click:
        drawn.append("click")
    return tuple(drawn)


def is_simulated(address: str) -> bool:
    """Is this an address of the mailbox simulator (which the daily quota does not count)?"""
    return address.rstrip("> ").lower().endswith(f"@{SIMULATOR}")
