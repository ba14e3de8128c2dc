"""Owns the settings of a local SES, and which of them may change while it runs.

Leaves flags and help to the command line, and what a rule says of recipients to `emulator.scripts`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tenantry.emulator.keys import Key
from tenantry.emulator.scripts import RecipientRule as RecipientRule
from tenantry.emulator.scripts import rule_of


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
    state: Path | None = None  # the file that keeps what is remembered over restarts
    deliver_anywhere: bool = False  # SNS posts to any address, not to loopback alone
    recipients: tuple[RecipientRule, ...] = ()
    # How often SES publishes reputation and judges by it; 0: published every 300 s, and nobody is judged.
    judge_seconds: float = 300.0
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
        if self.judge_seconds != 0 and not 1 <= self.judge_seconds <= 3_600:
            raise ValueError("judge_seconds must be 0, or lie between 1 and 3600")
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
            values["recipients"] = tuple(rule_of(each) for each in values["recipients"])
        for name in values.keys() & {"sandbox", "verify_identities"}:
            if not isinstance(values[name], bool):
                raise ValueError(f"{name} must be true or false")
        for name in values.keys() - {"recipients", "sandbox", "verify_identities"}:
            values[name] = None if values[name] is None and name in UNLIMITED else _number(values[name], name)
        return replace(self, **values)


FEED_NAME = "tenantry-events"
UNLIMITED = frozenset({"max_send_rate", "max_24_hour_send", "control_rate_per_second", "identities_max", "tenants_max"})
CHANGEABLE = UNLIMITED | {"sandbox", "verify_identities", "verify_after_seconds", "latency_seconds", "recipients"}


def _number(value: Any, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} in {where!r} is not a number") from None
