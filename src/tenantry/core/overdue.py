"""Owns what becomes of mail whose outcome stays unknown, and what a clock that jumps makes of any waiting.

Leaves finding such mail, and the proof that the feed is healthy, to the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from tenantry.core.ids import MessageId

SILENCE = timedelta(minutes=15)  # SES reports a hand-over within seconds; SQS delivers late, but not this late
JUMP = timedelta(
    seconds=5
)  # between two looks; a step of the store begins after its lock, which may take seconds to get
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


@dataclass(frozen=True, slots=True)
class Ahead:
    """By how much a clock has gone ahead of the time that passed, since it last jumped forwards."""

    since: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    by: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Course:
    """How the store's clock has gone, held against a clock of our own that nobody sets, in seconds.

    Only jumps between two looks are seen, none from before the first.
    """

    looked: tuple[datetime, float] | None = None
    jumped_at: float | None = None
    ahead: Ahead = field(default_factory=Ahead)

    def after(self, there: datetime, ours: float) -> Course:
        """Return the course after one more look at both clocks."""
        if self.looked is None:
            return Course((there, ours))
        jump = there - self.looked[0] - timedelta(seconds=ours - self.looked[1])
        if abs(jump) <= JUMP:
            return replace(self, looked=(there, ours))
        by = max(timedelta(), self.ahead.by + jump)
        return Course((there, ours), ours, Ahead(there if jump > timedelta() else self.ahead.since, by))

    def calm_for(self, needed: timedelta) -> bool:
        """Tell whether no jump was seen for so long: what seems to have waited for that time has, then."""
        if self.looked is None or self.jumped_at is None:
            return True
        return self.looked[1] - self.jumped_at >= needed.total_seconds()
