"""The disk runs full under load: what was acknowledged is kept, the rest is refused, and room is all that it needs."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.ground import Fleet, folder_for_all, local_ses, single
from tests.chaos.plan import PARTS
from tests.chaos.play import Play, play
from tests.chaos.trouble import Fault, Trouble
from tests.e2e.running import until
from tests.faults.machine import Disk, small_disk
from tests.faults.watching import Caller, doctor, page

RATE = 2_000.0
SHAPE = {"code", "message", "field", "request_id", "docs"}
PROMISE = "nothing acknowledged is lost on a full disk, and room is all that it needs"


class Full(Trouble):
    """Fills a disk under load, looks at everything, and makes room again."""

    disk: Disk
    log: Path

    def do(self, fault: Fault) -> None:
        """Fill; look; make room, perhaps after a kill and a start without room."""
        caller = Caller(self.fleet, PARTS[0], self.log)
        self.disk.fill()
        until(lambda: caller.rest()[0] == 503)
        if fault.kind == "full disk and kill":
            self._start_without_room()
        else:
            self._refused(caller)
            self._told(self.fleet)
        self.disk.make_room()
        until(lambda: caller.rest()[0] == 202)
        until(lambda: page(f"{self.fleet.gateways[0].url}/readyz")[0] == 200)
        assert page(f"{self.fleet.gateways[0].url}/healthz")[0] == 200
        self.done[fault.kind] += 1

    def _refused(self, caller: Caller) -> None:
        """Each door says no in its own shape and as what passes, so that an SDK tries again."""
        status, document, seconds = until(lambda: (said := caller.rest())[0] == 503 and said)
        assert (status, document["error"]["code"], set(document["error"])) == (503, "busy", SHAPE)
        assert seconds < 5
        status, code, again = until(lambda: (said := caller.boto3())[1] and said)
        assert (status, code) == (503, "ServiceUnavailable")
        assert again >= 2, "boto3 takes it for what passes"

    def _told(self, fleet: Fleet) -> None:
        """Who sends work here, and who is called at night, is told."""
        until(lambda: page(f"{fleet.gateways[0].url}/readyz")[0] == 503)
        assert page(f"{fleet.gateways[0].url}/readyz")[1]["checks"]["writes"] != "ok"
        assert "no_writes" in doctor(fleet)
        assert all(one.alive for one in fleet.processes)

    def _start_without_room(self) -> None:
        """A start without room comes up, or says why not; it takes nothing with it either way."""
        one = self.fleet.gateways[0]
        one.end(signal.SIGKILL)
        one.begin()
        with suppress(AssertionError):
            one.until_ready()
        one.end(signal.SIGKILL)
        self.disk.make_room()
        self.ready.append(one.start())


@pytest.mark.timeout(240)
def test_a_full_disk_refuses_and_goes_on_once_there_is_room(tmp_path: Path) -> None:
    """`tenantry up` on a small disk: both doors refuse in their own shape, readyz and doctor tell, nothing needs repair."""
    with folder_for_all() as folder, small_disk(Path(folder) / "data", 64, PROMISE) as disk:
        place = Path(folder)
        with local_ses(place, 5, RATE) as ses_url, single(place, ses_url) as fleet:
            Full.disk, Full.log = disk, place / "clients.log"
            faults = {"full disk": 1, "full disk and kill": 1}
            outcome = play(fleet, ses_url, place, Play(5, 1_200, faults, patience=90.0, trouble=Full))
    assert outcome.objections == {}
    assert sum(outcome.trouble.done.values()) == 2
    assert outcome.judgement.delivered > 800
