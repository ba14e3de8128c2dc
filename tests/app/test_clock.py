"""The time that SQLite is told: the wall clock's, but never back."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tenantry.app.clock import SteadyTime
from tests import worlds

SECONDS = st.floats(-90_000, 90_000, allow_nan=False)


@given(st.lists(st.tuples(SECONDS, st.floats(0, 100)), max_size=30))
def test_time_never_goes_back_and_never_stands(moves: list[tuple[float, float]]) -> None:
    """However the wall clock is set, time goes on by at least what the monotonic clock does, and follows the wall ahead."""
    clock = worlds.FixedClock()
    steady = SteadyTime(clock)
    last = steady.now()
    assert last == worlds.NOON
    for set_by, passed in moves:
        clock.at += timedelta(seconds=set_by)
        clock.advance(passed)
        now = steady.now()
        assert now >= last + timedelta(seconds=passed) - timedelta(microseconds=2)
        assert now >= clock.wall()
        assert now == clock.wall() or now - last <= timedelta(seconds=passed) + timedelta(microseconds=2)
        last = now
