"""Owns the settings of a local SES and the scripts of its recipient domains, with their text and file forms.

Leaves flags and help to the command line, and what a rule does to a recipient to `emulator.recipients`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from tenantry.emulator.keys import Key


@dataclass(frozen=True, slots=True)
class RecipientRule:
    """What happens to mail for one recipient domain (`*`: every domain without a rule of its own).

    Fractions are of recipients and drawn by the account's seed; `bounce` is hard, `soft_bounce` transient,
    `complaint` is of what was delivered, `defer` reports a DeliveryDelay first, `delay_seconds` precedes each report.
    """

    domain: str
    bounce: float = 0.0
    complaint: float = 0.0
    soft_bounce: float = 0.0
    defer: float = 0.0
    delay_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name in ("bounce", "complaint", "soft_bounce", "defer"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{self.domain}: {name} must lie between 0 and 1")
        if self.bounce + self.soft_bounce > 1.0:
            raise ValueError(f"{self.domain}: bounce and soft_bounce together must not exceed 1")
        if self.delay_seconds < 0.0:
            raise ValueError(f"{self.domain}: delay must not be negative")

    @classmethod
    def from_text(cls, text: str) -> "RecipientRule":
        """Read a flag such as `rotten.example:bounce=0.3,complaint=0.01,delay=0.2`; ValueError says what is wrong."""
        domain, _, settings = text.partition(":")
        given: dict[str, float] = {}
        for setting in filter(None, settings.split(",")):
            name, equals, value = setting.partition("=")
            if not equals:
                raise ValueError(f"{setting!r} in {text!r} must look like name=number")
            given[name.strip()] = _number(value, text)
        return cls.from_mapping({"domain": domain, **given})

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> "RecipientRule":
        """Read a rule of a JSON file or the admin API; `delay` is short for `delay_seconds`."""
        values = {"delay_seconds" if name == "delay" else name: value for name, value in given.items()}
        domain = str(values.pop("domain", "")).strip().lower()
        if not domain:
            raise ValueError("a recipient rule needs a domain, or * for all")
        known = {field.name for field in fields(cls)} - {"domain"}
        if unknown := values.keys() - known:
            raise ValueError(
                f"{domain}: unknown setting {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}"
            )
        return cls(domain=domain, **{name: _number(value, domain) for name, value in values.items()})


def rules_from_file(path: Path) -> tuple[RecipientRule, ...]:
    """Read a JSON list of rules, `[{"domain": "rotten.example", "bounce": 0.3}, …]`."""
    raw = json.loads(path.read_text())
    if not isinstance(raw, list):
        raise ValueError(f"{path} must hold a JSON list of recipient rules")
    return tuple(RecipientRule.from_mapping(each) for each in raw)


@dataclass(frozen=True, slots=True)
class Options:
    """How one local SES account behaves; the rates of None are unlimited."""

    account_id: str = "123456789012"
    region: str = "us-east-1"
    max_send_rate: float | None = 14.0
    max_24_hour_send: float | None = 50_000.0
    control_rate_per_second: float | None = 1.0
    sandbox: bool = False
    verify_identities: bool = True
    verify_after_seconds: float = 0.0
    latency_seconds: float = 0.0
    identities_max: float | None = 10_000.0
    tenants_max: float | None = 10_000.0
    verify: bool = False  # check signatures, by these keys and those of sessions
    keys: tuple[Key, ...] = ()
    files: Path | None = None  # the folder that stands for S3
    recipients: tuple[RecipientRule, ...] = ()
    seed: int = 0
    ledger_max: int = 100_000
    ledger_contents_max: int = 2_000

    def __post_init__(self) -> None:
        if not (len(self.account_id) == 12 and self.account_id.isdigit()):
            raise ValueError("account_id must be 12 digits")
        for name in ("max_send_rate", "control_rate_per_second"):
            rate = getattr(self, name)
            if rate is not None and rate <= 0:
                raise ValueError(f"{name} must be above 0, or None for no limit")
        if self.latency_seconds < 0 or self.verify_after_seconds < 0:
            raise ValueError("latency_seconds and verify_after_seconds must not be negative")

    @property
    def topic_arn(self) -> str:
        """The topic that exists from the start."""
        return f"arn:aws:sns:{self.region}:{self.account_id}:{FEED_NAME}"

    def arn(self, kind: str, name: str) -> str:
        """Return the SES ARN of a resource of this account."""
        return f"arn:aws:ses:{self.region}:{self.account_id}:{kind}/{name}"

    def changed(self, given: Mapping[str, Any]) -> "Options":
        """Return these options with what the admin API gives; ValueError says which name or value does not fit."""
        values = dict(given)
        if unknown := values.keys() - CHANGEABLE:
            raise ValueError(
                f"cannot change {', '.join(sorted(unknown))}; changeable are {', '.join(sorted(CHANGEABLE))}"
            )
        if "recipients" in values:
            values["recipients"] = tuple(_rule(each) for each in values["recipients"])
        for name in values.keys() & {"sandbox", "verify_identities"}:
            if not isinstance(values[name], bool):
                raise ValueError(f"{name} must be true or false")
        for name in values.keys() - {"recipients", "sandbox", "verify_identities"}:
            values[name] = None if values[name] is None and name in UNLIMITED else _number(values[name], name)
        return replace(self, **values)


FEED_NAME = "tenantry-events"
UNLIMITED = frozenset({"max_send_rate", "max_24_hour_send", "control_rate_per_second", "identities_max", "tenants_max"})
CHANGEABLE = UNLIMITED | {"sandbox", "verify_identities", "verify_after_seconds", "latency_seconds", "recipients"}


def _rule(given: str | Mapping[str, Any]) -> RecipientRule:
    return RecipientRule.from_text(given) if isinstance(given, str) else RecipientRule.from_mapping(given)


def _number(value: Any, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} in {where!r} is not a number") from None
