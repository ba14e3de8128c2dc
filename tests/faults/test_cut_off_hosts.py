"""Hosts are cut off from one another, silently: doors say 503 in time, all heals by itself, nothing is lost or doubled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from time import monotonic

import pytest

from tests.chaos.books import Ledger
from tests.chaos.ground import folder_for_all
from tests.chaos.plan import PARTS
from tests.chaos.play import Play, play
from tests.chaos.trouble import Fault, Trouble
from tests.e2e.running import until
from tests.faults.hosts import HOSTS, Net, net, spread
from tests.faults.watching import Caller, page

RATE = 2_000.0
PROMISE = "hosts that are cut off from one another heal within 10 s and lose nothing"
CUT_SECONDS = 4.0
HEALED_SECONDS = 10.0
ANSWERED_SECONDS = 5.0 + 1.0  # as promised, and slack for a machine with other work
PAIRS = {f"{one} and {other}": 1 for one, other in combinations(HOSTS, 2)}
QUIET = ("gateway and worker", "gateway and ses", "database and ses")  # these speak with one another never


class Cuts(Trouble):
    """Cuts a pair for some seconds, looks at what its ends do meanwhile, and measures how long they take to heal."""

    net: Net
    log: Path
    ses_url: str

    def do(self, fault: Fault) -> None:
        """Cut, look, heal, wait until mail flows from the door to SES."""
        one, other = fault.kind.split(" and ")
        caller, began = Caller(self.fleet, PARTS[0], self.log), monotonic()
        self.net.cut(one, other)
        try:
            while monotonic() - began < (0.0 if fault.kind in QUIET else CUT_SECONDS):
                if fault.kind == "gateway and database":
                    self.exhausted += _at_once(8, lambda: caller.rest()[::2])
                    until(lambda: page(f"{self.fleet.gateways[0].url}/readyz")[0] == 503)
                threading.Event().wait(0.2)
        finally:
            self.net.heal(one, other)
        healed, ledger = monotonic(), Ledger(self.ses_url)
        taken = ledger.taken()
        until(lambda: caller.rest()[0] == 202)
        until(lambda: ledger.taken() > taken)
        self.ready.append(monotonic() - healed)
        self.done[fault.kind] += 1


def _at_once(times: int, ask: Callable[[], tuple]) -> list[tuple]:
    """Ask so often at the same time, so that no connection of a pool is left over."""
    answers: list[tuple] = []
    threads = [threading.Thread(target=lambda: answers.append(ask())) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == times
    return answers


@pytest.mark.timeout(300)
def test_each_pair_of_hosts_is_cut_and_heals() -> None:
    """Gateway, worker, PostgreSQL and SES on four hosts: each pair is cut under load without a reset, and heals in 10 s."""
    with net(PROMISE) as made, folder_for_all() as name, spread(Path(name), made, RATE, 6) as (fleet, ses_url):
        Cuts.net, Cuts.log, Cuts.ses_url = made, Path(name) / "clients.log", ses_url
        wanted = Play(6, 800, PAIRS, per_second=60.0, patience=90.0, trouble=Cuts)
        outcome = play(fleet, ses_url, Path(name), wanted)
    assert outcome.objections == {}
    assert dict(outcome.trouble.done) == PAIRS
    assert all(status == 503 and seconds < ANSWERED_SECONDS for status, seconds in outcome.trouble.exhausted), (
        outcome.trouble.exhausted
    )
    assert outcome.trouble.exhausted, "it was asked while its database was out of reach"
    assert max(outcome.trouble.ready) < HEALED_SECONDS
    assert outcome.judgement.delivered > 600
