"""What a clock that jumps makes of waiting: the course of one clock, held against another that nobody sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.overdue import JUMP, Course

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def course(*looks: tuple[float, float]) -> Course:
    """Look at both clocks: seconds since noon there, and ours."""
    seen = Course()
    for there, ours in looks:
        seen = seen.after(NOON + timedelta(seconds=there), ours)
    return seen


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-5, 5)), max_size=20))
def test_a_clock_that_drifts_is_calm(steps: list[tuple[float, float]]) -> None:
    """A clock that goes a little faster, or is read a little late, has not jumped."""
    there = ours = 0.0
    looks = []
    for passed, off in steps:
        there, ours = there + passed + off * 0.99, ours + passed
        looks.append((there, ours))
    assert course(*looks).calm_for(MINUTE)
    assert course(*looks).ahead.by == timedelta()


@given(st.floats(6, 1e6), st.floats(0, 59))
def test_after_a_jump_it_is_calm_once_so_much_has_passed_here(jump: float, passed: float) -> None:
    """In either direction, and by our own clock."""
    for by in (jump, -jump):
        jumped = (0.0, 0.0), (1.0 + by, 1.0)
        assert not course(*jumped, (1.0 + by + passed, 1.0 + passed)).calm_for(MINUTE)
        assert course(*jumped, (61.0 + by, 61.0)).calm_for(MINUTE)


def test_ahead_is_what_jumps_forwards_left() -> None:
    """Jumps add up; one backwards takes away, and never makes it less than nothing."""
    assert course((0, 0), (3_601, 1)).ahead.by == timedelta(hours=1)
    assert course((0, 0), (3_601, 1)).ahead.since == NOON + timedelta(seconds=3_601)
    assert course((0, 0), (3_601, 1), (7_202, 2)).ahead.by == timedelta(hours=2)
    assert course((0, 0), (3_601, 1), (2, 2)).ahead.by == timedelta()
    assert course((0, 0), (-3_600, 1)).ahead.by == timedelta()
    assert timedelta(seconds=5) == JUMP
