"""Pauses at random instants at full rate, held to SES's own clock: nothing is claimed or sent while one stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.ground import Fleet, folder_for_all, local_ses, several, single
from tests.chaos.judge import Delivery
from tests.chaos.pauses import CALL_SECONDS, DRAIN_SECONDS, PAUSE, Paused, Pauses, against
from tests.chaos.play import Outcome, Play, play

RATE = 2_000.0
ANSWER_SECONDS = DRAIN_SECONDS + 1.0


def paused_often(fleet: Fleet, ses_url: str, place: Path, pauses: int, messages: int) -> Outcome:
    wanted = Play(6, messages, {PAUSE: pauses}, patience=120.0, trouble=Pauses)
    outcome = play(fleet, ses_url, place, wanted)
    assert outcome.objections == {}
    assert len(outcome.trouble.acknowledged) == len(outcome.trouble.fenced) == pauses
    assert max(outcome.trouble.acknowledged) < ANSWER_SECONDS
    assert outcome.judgement.delivered > messages / 2
    return outcome


@pytest.mark.timeout(300)
def test_pauses_at_random_instants_hold_on_sqlite() -> None:
    """No claim for what is paused, and no call to SES from a pause's answer until its end is asked for."""
    with (
        folder_for_all() as folder,
        local_ses(Path(folder), 6, RATE, CALL_SECONDS) as ses_url,
        single(Path(folder), ses_url) as fleet,
    ):
        paused_often(fleet, ses_url, Path(folder), pauses=40, messages=2_500)


@pytest.mark.timeout(300)
def test_pauses_at_random_instants_hold_with_two_gateways_and_two_workers() -> None:
    """The same through either gateway while either worker claims."""
    with (
        folder_for_all() as folder,
        local_ses(Path(folder), 6, RATE, CALL_SECONDS) as ses_url,
        several(Path(folder), ses_url, 2, 2) as fleet,
    ):
        paused_often(fleet, ses_url, Path(folder), pauses=60, messages=4_000)


@pytest.mark.parametrize(
    ("at", "took", "late"),
    [
        pytest.param(1.5, 1.0, 0, id="before its answer"),
        pytest.param(2.5, 1.0, 1, id="after its answer"),
        pytest.param(9.5, 1.0, 0, id="after its end"),
        pytest.param(2.5, 10.5, 0, id="not fenced yet, and answered at the deadline"),
        pytest.param(5.5, 10.5, 1, id="fenced"),
    ],
)
def test_the_judge_of_pauses_objects(at: float, took: float, late: int) -> None:
    """A call that SES took while a pause stood is found, by SES's time."""
    pause = Paused("pau_1", ["s1"], asked=2.0 - took, answered=2.0, fenced=5.0, end_asked=9.0)
    assert len(against([pause], [Delivery("a", "msg_1", at, "tenantry-s1", "delivered")])) == late
