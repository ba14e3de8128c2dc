"""The breaker: a storm costs one message a second, an answer ends it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.breaker import BETWEEN_PROBES, FAILURES_TO_OPEN, Breaker, after, answered, may_start
from tenantry.core.ids import AttemptId
from tenantry.core.outcome import Handed, Hold, Outcome, Refused, Retry, Unknown

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ATTEMPT = AttemptId.of(UUID(int=1))
UNKNOWN = Unknown(ATTEMPT, "SES answered 500")
LOST = Unknown(ATTEMPT, "its worker is gone", ours=True)
UNREACHED = Retry(ATTEMPT, "no connection", burned=False)
HANDED = Handed(ATTEMPT, "ses")
ANSWERS: list[Outcome] = [
    HANDED,
    Refused(ATTEMPT, "no"),
    Retry(ATTEMPT, "slower", burned=False, throttled=True),
    *(Retry(ATTEMPT, "wait", hold=hold, burned=False) for hold in (Hold.PAUSED, Hold.UNVERIFIED, Hold.UNPROVISIONED)),
]
OPEN = Breaker(FAILURES_TO_OPEN, NOW)
failures = st.sampled_from([UNKNOWN, UNREACHED])
outcomes = st.lists(st.one_of(failures, st.sampled_from(ANSWERS)), max_size=30)
breakers = outcomes.map(lambda found: after(Breaker(), found, NOW))


def seconds(count: float) -> datetime:
    return NOW + timedelta(seconds=count)


def test_only_what_ses_says_is_an_answer() -> None:
    """Yes, no and wait are answers; a silence, a failed connection and credentials that are not taken are none."""
    assert all(answered(one) for one in ANSWERS)
    assert answered(UNKNOWN) is False
    assert answered(UNREACHED) is False


@given(st.lists(st.sampled_from([LOST, UNKNOWN, HANDED]), max_size=30))
def test_what_we_lost_ourselves_says_nothing_of_ses(found: list[Outcome]) -> None:
    """The claims of a dead worker neither open nor close it, wherever they come."""
    assert after(Breaker(), found, NOW) == after(Breaker(), [one for one in found if one != LOST], NOW)


def test_five_in_a_row_open_it() -> None:
    """Four failures change nothing for the others, the fifth stops them."""
    four = after(Breaker(), [UNKNOWN] * 4, NOW)
    assert may_start(four, NOW) is None
    five = after(four, [UNREACHED], NOW)
    assert five == OPEN
    assert may_start(five, NOW) == 0


@given(breakers, outcomes)
def test_an_answer_closes_it(breaker: Breaker, found: list[Outcome]) -> None:
    """After any answer, as long as fewer than five failures follow, nothing is held up."""
    for answer in ANSWERS:
        closed = after(breaker, [*found, answer, *[UNKNOWN] * (FAILURES_TO_OPEN - 1)], NOW)
        assert may_start(closed, NOW) is None


@given(breakers, outcomes, outcomes)
def test_batches_do_not_matter(breaker: Breaker, first: list[Outcome], second: list[Outcome]) -> None:
    """Outcomes that are settled in two batches at one time leave the same state as in one."""
    assert after(after(breaker, first, NOW), second, NOW) == after(breaker, first + second, NOW)


@given(st.lists(failures, min_size=1, max_size=30), st.integers(0, 1000))
def test_a_storm_is_written_once(found: list[Outcome], later: int) -> None:
    """Further failures leave an open breaker as it is: when it opened stays true, and nothing needs to be written."""
    assert after(OPEN, found, seconds(later)) == OPEN


@given(st.lists(st.floats(0, 0.9), min_size=1, max_size=200))
def test_at_most_one_probe_a_second(gaps: list[float]) -> None:
    """Whoever asks, and how often: between two probes lies a second, and one comes when it has passed."""
    breaker, now, probes = OPEN, NOW, [NOW]
    for gap in gaps:
        now += timedelta(seconds=gap)
        allowed = may_start(breaker, now)
        assert allowed == (1 if now - probes[-1] >= BETWEEN_PROBES else 0)
        if allowed:
            probes.append(now)
            breaker = Breaker(breaker.failures, breaker.opened_at, now)
    assert all(later - earlier >= BETWEEN_PROBES for earlier, later in pairwise(probes))


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    """A probe that seems to lie ahead does not stop the next one, which is a second's again."""
    ahead = Breaker(FAILURES_TO_OPEN, seconds(3600), seconds(3600))
    assert may_start(ahead, NOW) == 1
    assert may_start(Breaker(FAILURES_TO_OPEN, seconds(3600), NOW), NOW) == 0
