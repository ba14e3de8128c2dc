"""Processes are killed under load over both doors, events and guard on; SES's ledger and the clients' logs are the judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.ground import folder_for_all, local_ses, several, single
from tests.chaos.play import Play, play

RATE = 2_000.0
IN_FLIGHT = 64  # sends of one worker at a time, as shipped


@pytest.mark.timeout(400)
def test_twenty_kills_over_ten_thousand_messages_lose_and_double_nothing() -> None:
    """One process on SQLite: what was acknowledged is at SES once or held for a reason, and every unknown is settled."""
    with (
        folder_for_all() as folder,
        local_ses(Path(folder), 3, RATE) as ses_url,
        single(Path(folder), ses_url) as fleet,
    ):
        outcome = play(fleet, ses_url, Path(folder), Play(3, 10_000, {"kill": 20}, patience=120.0))
    assert outcome.objections == {}
    assert sum(outcome.trouble.done.values()) == 20
    assert outcome.trouble.done["kill while no event comes"], "no event hid what would be sent again blindly"
    assert outcome.unknowns <= 20 * IN_FLIGHT, "no more than what was on its way"
    assert outcome.judgement.delivered > 5_000
    assert max(outcome.trouble.ready) < 10, "ready again within ten seconds"


@pytest.mark.timeout(400)
def test_two_gateways_and_two_workers_survive_kills_cuts_and_a_restart_of_their_database() -> None:
    """Several processes on PostgreSQL: each loses its process or connection in turn, the others go on, nothing is doubled."""
    faults = {"kill": 6, "cut": 2, "restart of PostgreSQL": 1, "no connection left": 1}
    with (
        folder_for_all() as folder,
        local_ses(Path(folder), 4, RATE) as ses_url,
        several(Path(folder), ses_url, 2, 2) as fleet,
    ):
        outcome = play(fleet, ses_url, Path(folder), Play(4, 3_000, faults, patience=120.0))
    assert outcome.objections == {}
    assert sum(outcome.trouble.done.values()) == 10
    assert all(status == 503 and seconds < 6 for status, seconds in outcome.trouble.exhausted), (
        outcome.trouble.exhausted
    )
    assert outcome.trouble.exhausted, "it was asked while no connection was left"
    assert max(outcome.trouble.ready) < 10, "ready again within ten seconds"
    assert outcome.judgement.delivered > 2_000


@pytest.mark.timeout(200)
def test_what_a_worker_holds_that_stands_still_is_not_sent_into_a_pause() -> None:
    """A worker stops between claim and call for longer than a pause waits: its claims are never sent while the pause stands."""
    with (
        folder_for_all() as folder,
        local_ses(Path(folder), 4, RATE) as ses_url,
        several(Path(folder), ses_url, 2, 2) as fleet,
    ):
        faults = {"freeze and pause": 1}  # alone: mail must flow while it is stopped again and again
        outcome = play(fleet, ses_url, Path(folder), Play(4, 1_500, faults, freeze_seconds=18.0, patience=120.0))
    assert outcome.objections == {}
    (caught,) = outcome.trouble.caught
    assert caught.messages
