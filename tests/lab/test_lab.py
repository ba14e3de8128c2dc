"""The lab: repeatable from its seed, and its small run keeps the promises that the full one prints."""

from __future__ import annotations

from dataclasses import replace

from tenantry.core.policy import POLICIES
from tenantry.lab.fleets import CHUNK, PLOTS, Fleet, Way
from tenantry.lab.goals import Caught, healthy
from tenantry.lab.report import page
from tenantry.lab.table import Size, goals, run

SMALL = Size(tenants=30, trials=40, fleets=2)


def test_a_seed_is_a_run() -> None:
    """The same seed and sizes give the same figures, another seed others."""
    first = healthy(3, range(10), POLICIES["standard"])
    assert healthy(3, range(10), POLICIES["standard"]) == first
    assert healthy(4, range(10), POLICIES["standard"]).mails != first.mails


def test_a_small_run_meets_what_does_not_need_many_fleets() -> None:
    """Healthy tenants are not stopped, bad ones are caught in time, and no good neighbour is paused."""
    found = run(5, SMALL)
    assert found.healthy.paused == 0
    for aim, result in found.aims:  # few trials: a little room beside what the full run is held to
        assert (result.quantile(0.95) or 10**9) <= 1.4 * aim.within, aim.words
    assert not any(one.good_paused for one in found.ways[Way.TRIED])
    text = page(found)
    assert text.count("<svg") == text.count("</svg>") == 2
    assert "<script" not in text


def test_a_neighbour_under_attack_keeps_sending() -> None:
    """One burst of bad mail stops the account where nobody stops the sender, and harms nobody where the guard does."""
    burst = next(plot for plot in PLOTS if plot.name == "burst")
    nobody = Fleet(8, Way.SHARED, plots=[burst]).play()
    guarded = Fleet(8, Way.TRIED, plots=[burst]).play()
    assert nobody.account_stopped
    assert not guarded.account_stopped
    assert guarded.good_sent == guarded.good_wanted
    assert guarded.leaked == CHUNK < nobody.leaked  # what had left before the first bounce was told


def test_the_table_says_what_was_not_reached() -> None:
    """A goal that is missed is printed as missed."""
    found = run(5, Size(tenants=1, trials=20, fleets=1))
    never = replace(found, aims=tuple((aim, Caught((), 5)) for aim, _ in found.aims))
    assert [goal.met for goal in goals(never)][1:6] == [False] * 5
