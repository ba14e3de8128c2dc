"""Owns the scripts of recipients: which addresses a rule is for, how often what happens there and when; its text and file forms.

Leaves drawing a recipient's fate to `emulator.recipients`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

# What a server can do with mail, as the settings name it -> bounceType and bounceSubType of SES's events.
BOUNCES = {
    "bounce": ("Permanent", "General"),
    "no_email": ("Permanent", "NoEmail"),
    "suppressed": ("Permanent", "Suppressed"),
    "soft_bounce": ("Transient", "General"),
    "mailbox_full": ("Transient", "MailboxFull"),
    "message_too_large": ("Transient", "MessageTooLarge"),
    "content_rejected": ("Transient", "ContentRejected"),
    "attachment_rejected": ("Transient", "AttachmentRejected"),
    "undetermined": ("Undetermined", "Undetermined"),
}
FATES = (*BOUNCES, "silence")  # of which a recipient has one, or is delivered to
_SHARES = (*FATES, "defer", "complaint", "out_of_office", "open", "click")
_TIMES = ("delay", "complaint_delay", "out_of_office_delay", "open_delay", "click_delay", "down_after", "down_for")
_LONG = {name: f"{name}_seconds" for name in _TIMES}  # the short names of flags and files, and the fields


@dataclass(frozen=True, slots=True)
class RecipientRule:
    """What happens to mail for the addresses of a pattern: a domain, an address, or either with `*` for any text.

    The bounces and `silence` (nothing is ever heard) are fractions of recipients; `complaint`, `out_of_office` and `open`
    of those who were delivered to, `click` of those who opened; `defer` is how many are reported delayed first. All are
    drawn by the account's seed. `delay_seconds` precedes each report, unless what follows a delivery has a delay of its own.
    The provider is down for `down_for_seconds`, from `down_after_seconds` after the rule was given. `feedback_loop` says
    whether it tells senders of complaints; None: as SES's guide has it, all but Gmail.
    """

    pattern: str
    bounce: float = 0.0
    complaint: float = 0.0
    soft_bounce: float = 0.0
    defer: float = 0.0
    delay_seconds: float = 0.0
    no_email: float = 0.0
    suppressed: float = 0.0
    mailbox_full: float = 0.0
    message_too_large: float = 0.0
    content_rejected: float = 0.0
    attachment_rejected: float = 0.0
    undetermined: float = 0.0
    silence: float = 0.0
    out_of_office: float = 0.0
    open: float = 0.0
    click: float = 0.0
    complaint_delay_seconds: float | None = None
    out_of_office_delay_seconds: float | None = None
    open_delay_seconds: float | None = None
    click_delay_seconds: float | None = None
    down_after_seconds: float = 0.0
    down_for_seconds: float = 0.0
    feedback_loop: bool | None = None

    def __post_init__(self) -> None:
        for name in _SHARES:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{self.pattern}: {name} must lie between 0 and 1")
        if self.failing > 1.0 + 1e-9:
            raise ValueError(f"{self.pattern}: {', '.join(FATES[:-1])} and silence together must not exceed 1")
        for name in _LONG.values():
            seconds = getattr(self, name)
            if seconds is not None and not 0.0 <= seconds < math.inf:
                raise ValueError(f"{self.pattern}: {name} is seconds, 0 or more")

    @property
    def failing(self) -> float:
        """The fraction of recipients who are not delivered to."""
        return float(sum(getattr(self, name) for name in FATES))

    def after(self, what: str) -> float:
        """Return how many seconds after the delivery that happens: complaint, out_of_office, open, click."""
        own: float | None = getattr(self, f"{what}_delay_seconds")
        return self.delay_seconds if own is None else own

    @classmethod
    def from_text(cls, text: str) -> "RecipientRule":
        """Read a flag such as `rotten.example:bounce=0.3,complaint=0.01,delay=0.2`; ValueError says what is wrong."""
        pattern, _, settings = text.partition(":")
        given: dict[str, Any] = {}
        for setting in filter(None, settings.split(",")):
            name, equals, value = setting.partition("=")
            if not equals:
                raise ValueError(f"{setting!r} in {text!r} must look like name=number")
            given[name.strip()] = _number(value, text)
        return cls.from_mapping({"pattern": pattern, **given})

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> "RecipientRule":
        """Read a rule of a JSON file or the admin API: `pattern` and any of the settings, `_seconds` may be left out."""
        values = {_LONG.get(name, name): each for name, each in given.items()}
        pattern = str(values.pop("pattern", "")).strip().lower()
        if not pattern:
            raise ValueError("a recipient rule needs a pattern: a domain, an address, or * for all")
        known = {field.name for field in fields(cls)} - {"pattern"}
        if unknown := values.keys() - known:
            raise ValueError(
                f"{pattern}: unknown setting {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}"
            )
        loop = values.pop("feedback_loop", None)
        if loop not in (None, 0, 1):
            raise ValueError(f"{pattern}: feedback_loop is 0 or 1")
        numbers = {name: _number(each, pattern) for name, each in values.items() if each is not None}
        return cls(pattern=pattern, feedback_loop=None if loop is None else bool(loop), **numbers)


def rules_from_file(path: Path) -> tuple[RecipientRule, ...]:
    """Read a JSON list of rules, `[{"pattern": "rotten.example", "bounce": 0.3}, …]`."""
    raw = json.loads(path.read_text())
    if not isinstance(raw, list) or not all(isinstance(each, dict) for each in raw):
        raise ValueError(f"{path} must hold a JSON list of recipient rules")
    return tuple(RecipientRule.from_mapping(each) for each in raw)


def rule_of(given: str | Mapping[str, Any]) -> RecipientRule:
    """Read a rule in either form."""
    return RecipientRule.from_text(given) if isinstance(given, str) else RecipientRule.from_mapping(given)


def _number(value: Any, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} in {where!r} is not a number") from None
