"""The arithmetic behind the demo's claims."""

from __future__ import annotations

import pytest

from tenantry.cli.demo_cast import SES_RATE, STAGE_SECONDS, STAGES
from tenantry.cli.demo_checks import ramp_allows
from tenantry.cli.demo_evidence import quantile

FIRST = SES_RATE * STAGES[0]


@pytest.mark.parametrize(
    ("ended", "at", "allowed"),
    [
        (0.0, 0.0, FIRST),  # a second's worth at once
        (0.0, STAGE_SECONDS - 0.001, FIRST * (1 + STAGE_SECONDS - 0.001)),
        (1.0, STAGE_SECONDS - 0.5, FIRST * (1 + STAGE_SECONDS - 1.5)),  # SES was let go late: less time has passed
    ],
)
def test_the_first_stage_allows_its_share_of_the_rate(ended: float, at: float, allowed: float) -> None:
    """Held mail that leaves faster than the first fraction of the rate, and a second's worth, is a flood."""
    assert ramp_allows(0.0, ended, at) == pytest.approx(allowed)


def test_the_ramp_allows_more_with_every_stage() -> None:
    """What may have left by a time grows with it, and never by more than the whole rate and one bucket."""
    steps = [ramp_allows(0.0, 0.5, 0.5 + tenth / 10) for tenth in range(100)]
    assert steps == sorted(steps)
    assert steps[-1] < SES_RATE * 10.5


@pytest.mark.parametrize(("fraction", "value"), [(0.0, 1.0), (0.5, 2.0), (0.75, 3.0), (0.99, 4.0), (1.0, 4.0)])
def test_a_quantile_is_a_value_that_was_seen(fraction: float, value: float) -> None:
    """The smallest wait that at least the fraction did not exceed; of nothing there is none."""
    assert quantile([1.0, 2.0, 3.0, 4.0], fraction) == value
    assert quantile([], fraction) is None
