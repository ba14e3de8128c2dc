"""Processes that are killed while a long queue waits are ready, and hand mail over, within ten seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos.crowd import Again, ready_again
from tests.chaos.ground import folder_for_all, local_ses, several, single

RATE = 200.0  # so that the queue stays long
WAITING = 20_000  # the long form has 100,000
PROMISED_SECONDS = 10.0


def in_time(found: Sequence[Again]) -> None:
    for again in found:
        assert again.waiting > 0.9 * WAITING
        assert again.ready < PROMISED_SECONDS, again
        assert again.handed < PROMISED_SECONDS, again


@pytest.mark.timeout(300)
def test_one_process_is_ready_again_with_a_long_queue() -> None:
    """`tenantry up` on SQLite: what waits is neither read nor checked before the first mail goes."""
    with (
        folder_for_all() as folder,
        local_ses(Path(folder), 7, RATE) as ses_url,
        single(Path(folder), ses_url) as fleet,
    ):
        in_time(ready_again(fleet, ses_url, WAITING))


@pytest.mark.timeout(300)
def test_a_gateway_and_a_worker_are_ready_again_with_a_long_queue() -> None:
    """The same on PostgreSQL, with a worker's dead claims to find."""
    with (
        folder_for_all() as folder,
        local_ses(Path(folder), 7, RATE) as ses_url,
        several(Path(folder), ses_url, 1, 1) as fleet,
    ):
        in_time(ready_again(fleet, ses_url, WAITING))
