"""The disk says no to a sync, as it does once it is about to die: nothing is acknowledged on it, and nothing is lost after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.trouble import Fault, Trouble
from tests.e2e.running import until
from tests.faults.power_cut import judge, record
from tests.faults.trace import Sync
from tests.faults.watching import LogTail, doctor, page

MESSAGES = 300
STATES = 24
FAILS = "inject=fsync,fdatasync:error=EIO:when=30..54"  # counted in each thread: one of them writes


class Watches(Trouble):
    """Does nothing but look while syncs fail."""

    def do(self, fault: Fault) -> None:
        """Wait for the first refusal; who sends work here, and who is called at night, is told."""
        log = self.fleet.gateways[0].log.with_name("clients.log")
        refused = until(lambda: LogTail(log, whole=True).notes("error", "503"))
        assert "is not known" in refused[0]["why"], "whether it was done is in doubt, and so it says"
        url = self.fleet.gateways[0].url
        until(lambda: page(f"{url}/readyz")[1]["checks"]["writes"] != "ok")
        assert "no_writes" in doctor(self.fleet)
        since = LogTail(log)
        until(lambda: since.notes("ack") or page(f"{url}/readyz")[0] == 200)
        assert self.fleet.gateways[0].alive
        self.done[fault.kind] += 1


@pytest.mark.timeout(240)
def test_a_sync_that_fails_is_not_believed_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """25 syncs fail under load, then all go well: no restart, no loss, also for a power cut at any later instant.

    After a failed sync the kernel may take the unwritten pages for clean. The disk's model does, so a program that believed
    the next sync would lose what the failed one should have written.
    """
    recording = record(MESSAGES, seed=2, inject=("-e", FAILS), trouble=Watches)
    syncs = [deed for deed in recording.deeds if isinstance(deed, Sync)]
    failed = [at for at, sync in enumerate(syncs) if not sync.works]
    assert 1 <= len(failed) <= 50
    assert any(sync.works for sync in syncs[failed[-1] :]), "it went on"
    assert len(recording.acknowledged) >= MESSAGES * 0.9, "boto3 gives up sooner than the others"
    found = judge(recording, STATES, seed=2)
    assert found.lost == []
    assert found.broken == []
