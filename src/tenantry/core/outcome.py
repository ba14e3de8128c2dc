"""Owns what one attempt can amount to; leaves the mapping from SES's answers to the send adapter."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tenantry.core.ids import AttemptId


class Hold(StrEnum):
    """Why a message waits."""

    PAUSED = "paused"
    THROTTLED = "throttled"
    SCHEDULED = "scheduled"
    UNVERIFIED = "unverified"
    UNPROVISIONED = "unprovisioned"
    BACKOFF = "backoff"
    UNKNOWN = "unknown"
    RECOVERY = "recovery"  # a restored database may have sent it before


@dataclass(frozen=True, slots=True)
class Handed:
    """SES answered with a MessageId."""

    attempt_id: AttemptId
    ses_id: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Proven not accepted: the message waits again; a throttle burns no attempt."""

    attempt_id: AttemptId
    reason: str
    hold: Hold = Hold.BACKOFF
    burned: bool = True
    throttled: bool = False  # SES said that the account's rate or quota is used up
    doubts_account: bool = False  # SES said that sending is paused, in words that may mean the whole account


@dataclass(frozen=True, slots=True)
class Refused:
    """SES said no and will not change its mind; reason is SES's own words."""

    attempt_id: AttemptId
    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The call may have reached SES: its Send event settles it, nothing is resent blindly."""

    attempt_id: AttemptId
    reason: str
    ours: bool = False  # it was we who lost track (a worker died): this says nothing of SES


Outcome = Handed | Retry | Refused | Unknown
