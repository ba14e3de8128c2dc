"""Owns the breaker of a cell: while calls to SES end without an answer, one message a second is tried and the rest waits.

Leaves to the store where its state is kept, so that all workers of a cell share one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tenantry.core.outcome import Handed, Hold, Outcome, Refused, Retry, Unknown

FAILURES_TO_OPEN = 5  # in a row
BETWEEN_PROBES = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state of one cell: attempts without an answer in a row (no more than open it), and since when it is open."""

    failures: int = 0
    opened_at: datetime | None = None
    probed_at: datetime | None = None  # when the last probe was claimed; None: none since it opened


CALM = Breaker()


def answered(outcome: Outcome) -> bool | None:
    """Whether SES has said anything of a message: a yes, a no, or wait; None where the outcome tells nothing of SES.

    A backoff is no answer: no connection was to be had, or our own credentials are not taken.
    """
    match outcome:
        case Handed() | Refused():
            return True
        case Retry():
            return outcome.throttled or outcome.hold is not Hold.BACKOFF
        case Unknown():
            return None if outcome.ours else False


def after(breaker: Breaker, outcomes: Iterable[Outcome], now: datetime) -> Breaker:
    """Return the state after outcomes in the order in which they came: five failures in a row open it, an answer closes it.

    Outcomes that change nothing return an equal state, so that a storm is written down once.
    """
    for outcome in outcomes:
        heard = answered(outcome)
        if heard:
            breaker = CALM
        elif heard is False:
            failures = min(breaker.failures + 1, FAILURES_TO_OPEN)
            opened_at = breaker.opened_at or (now if failures == FAILURES_TO_OPEN else None)
            breaker = Breaker(failures, opened_at, breaker.probed_at)
    return breaker


def may_start(breaker: Breaker, now: datetime) -> int | None:
    """Return how many messages may start now: None for as many as else, 1 for a probe, or 0.

    The first probe comes a second after the opening. A time in the future, which a clock that was set back leaves
    behind, holds nothing up.
    """
    if breaker.opened_at is None:
        return None
    since = now - (breaker.probed_at or breaker.opened_at)
    return 0 if timedelta(0) <= since < BETWEEN_PROBES else 1
