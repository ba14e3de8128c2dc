"""The bench runs and tells what it measured; how fast anything is stays out of the tests."""

from __future__ import annotations

import json

import pytest

from bench import accept
from bench.figures import Figure, documents, quantile


@pytest.mark.parametrize(("value", "higher", "reached"), [(2.0, True, True), (2.0, False, False), (1.0, False, True)])
def test_a_figure_knows_on_which_side_of_its_goal_it_lies(value: float, higher: bool, reached: bool) -> None:
    """Where more is better the goal is a floor, else a ceiling; the goal itself counts as reached."""
    assert Figure("x", "sqlite", "a / b", value, 1.0, higher, "").reached is reached


def test_a_quantile_is_a_value_that_was_measured() -> None:
    """p99 of few values is the worst of them, never something between."""
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0


async def test_the_bench_tells_what_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each figure becomes a document with its ratio, goal and what was compared, whatever the ratio is."""
    monkeypatch.setitem(accept.SIZES, True, (1, 64))
    found = json.loads(json.dumps(documents(await accept.figures("sqlite", True))))
    assert [one["name"] for one in found] == ["accept", "accept sdk", "accept bare", "accept of bare"]
    assert all(one["value"] > 0 and one["goal"] and one["compared"] and one["detail"] for one in found)
