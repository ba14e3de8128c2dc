"""Owns what becomes of mail whose outcome stays unknown: waiting for an event, one marked resend, or nobody's touch.

Leaves finding it, and the proof that the feed is healthy, to the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tenantry.core.ids import MessageId

SILENCE = timedelta(minutes=15)  # SES reports a hand-over within seconds; SQS delivers late, but not this late
EVERY = 500  # at most so much of each kind in a round, so that no turn waits long


class OnUnknown(StrEnum):
    """What a stream wants for mail whose outcome stays unknown: a second copy at worst, or none at worst."""

    RESEND = "resend"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class UnknownMail:
    """A message whose last attempt may have reached SES.

    since: when that attempt ended. feed_proven: an event of a later attempt, for the same configuration set, has come:
    had SES taken this one, its own event would be here too.
    """

    message_id: MessageId
    since: datetime
    on_unknown: OnUnknown
    feed_proven: bool


def resends(mail: UnknownMail, now: datetime, silence: timedelta) -> bool:
    """Tell whether the silence about this message has lasted long enough for a marked resend."""
    return mail.on_unknown is OnUnknown.RESEND and mail.feed_proven and now - mail.since >= silence
