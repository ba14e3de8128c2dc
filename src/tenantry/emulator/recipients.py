"""Owns what becomes of a recipient: the mailbox simulator's addresses and the scripts of domains.

Leaves the events that tell of it to `emulator.events`.
"""

from dataclasses import dataclass
from random import Random
from typing import Literal

from tenantry.emulator.options import RecipientRule

FateKind = Literal["delivered", "bounced", "complained"]
SIMULATOR = "simulator.amazonses.com"


@dataclass(frozen=True, slots=True)
class Fate:
    """How one recipient's mail ends; equal fates of one message are told in one event, as SES merges them."""

    kind: FateKind
    sub_type: str = ""
    is_permanent: bool = True
    is_deferred: bool = False
    delay_seconds: float = 0.0
    domain: str = ""


_SIMULATED: dict[str, tuple[FateKind, str]] = {
    "success": ("delivered", ""),
    "ooto": ("delivered", ""),  # answered to the Return-Path, which is no bounce
    "bounce": ("bounced", "General"),
    "complaint": ("complained", "abuse"),
    "suppressionlist": ("bounced", "Suppressed"),
}


class Recipients:
    """The scripted world of mailboxes."""

    def __init__(self, rules: tuple[RecipientRule, ...]) -> None:
        self._rules = {rule.domain: rule for rule in rules}
        self._default = self._rules.get("*")

    def fate(self, address: str, random: Random) -> Fate:
        """Decide one recipient's fate; draws from the random source only where a rule has a fraction."""
        local, _, domain = address.rpartition("@")
        domain = domain.rstrip("> ").lower()
        if domain == SIMULATOR:
            name = local.rpartition("<")[2].partition("+")[0].lower()
            kind, sub_type = _SIMULATED.get(name, ("bounced", "General"))
            return Fate(kind, sub_type, domain=domain)
        rule = self._rules.get(domain, self._default)
        return _drawn(rule, domain, random) if rule else Fate("delivered", domain=domain)

    def rule_for(self, address: str) -> RecipientRule | None:
        """Return the script of an address's domain, or None if nothing is said of it."""
        return self._rules.get(address.rpartition("@")[2].rstrip("> ").lower(), self._default)


def _drawn(rule: RecipientRule, domain: str, random: Random) -> Fate:
    deferred = rule.defer > 0.0 and random.random() < rule.defer
    if rule.bounce or rule.soft_bounce:
        draw = random.random()
        if draw < rule.bounce:
            return Fate("bounced", "General", True, deferred, rule.delay_seconds, domain)
        if draw < rule.bounce + rule.soft_bounce:
            return Fate("bounced", "General", False, deferred, rule.delay_seconds, domain)
    if rule.complaint and random.random() < rule.complaint:
        return Fate("complained", "abuse", True, deferred, rule.delay_seconds, domain)
    return Fate("delivered", "", True, deferred, rule.delay_seconds, domain)


def is_simulated(address: str) -> bool:
    """Is this an address of the mailbox simulator (which the daily quota does not count)?"""
    return address.rstrip("> ").lower().endswith(f"@{SIMULATOR}")
