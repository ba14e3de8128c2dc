"""The power fails at any instant of a run under load: the disk that is left holds all that anybody was told of."""

from __future__ import annotations

from random import Random

import pytest

from tests.faults.disk import PAGE, SECTOR, Disk, Kept
from tests.faults.power_cut import WEAK, judge, record
from tests.faults.trace import Said

MESSAGES = 240
STATES = 40


@pytest.mark.timeout(240)
def test_a_power_cut_loses_nothing_that_anybody_was_told_of() -> None:
    """`tenantry up` under load: each id in an answer or in a call to SES is on the disk that any cut leaves, which is sound."""
    recording = record(MESSAGES, seed=1)
    told = frozenset().union(*(deed.ids for deed in recording.deeds if isinstance(deed, Said)))
    assert len(recording.acknowledged) >= MESSAGES
    assert recording.acknowledged <= told, "the record has every answer that the clients had"
    assert any(one.startswith("att_") for one in told), "and the calls to SES"
    found = judge(recording, STATES, seed=1)
    assert found.lost == []
    assert found.broken == []
    assert set(found.states) == set(Kept)
    assert found.told > STATES * MESSAGES / 2


@pytest.mark.timeout(240)
def test_without_a_sync_at_each_commit_a_power_cut_loses_mail() -> None:
    """The same test finds the losses of `synchronous = NORMAL`, so it would find ours."""
    recording = record(MESSAGES // 3, seed=1, program=(*WEAK, "NORMAL"))
    assert judge(recording, 10, seed=1).lost


def test_the_disk_keeps_what_was_synced_and_any_part_of_the_rest() -> None:
    """The model: synced pages stay; others are old, new, or torn at a sector; a failed sync forgets them for good."""
    disk, random = Disk.holding({"f": b"a" * PAGE}), Random(1)
    file = disk.file("f")
    file.write(0, b"b" * PAGE)
    assert disk.after_cut(Kept.NOTHING, random) == {"f": b"a" * PAGE}
    assert disk.after_cut(Kept.ALL, random) == {"f": b"b" * PAGE}
    left = {disk.after_cut(Kept.SECTORS, random)["f"] for _ in range(200)}
    assert left == {b"a" * at + b"b" * (PAGE - at) for at in range(0, PAGE + 1, SECTOR)} | {
        b"b" * at + b"a" * (PAGE - at) for at in range(0, PAGE + 1, SECTOR)
    }
    file.sync(works=False)
    file.sync(works=True)
    assert disk.after_cut(Kept.ALL, random) == {"f": b"a" * PAGE}
    file.write(0, b"c")  # dirty again, the whole page with what the cache holds
    file.sync(works=True)
    assert disk.after_cut(Kept.NOTHING, random) == {"f": b"c" + b"b" * (PAGE - 1)}
    disk.file("new").write(0, b"n")
    disk.file("new").sync(works=True)
    assert "new" not in disk.after_cut(Kept.NOTHING, random), "its name is not synced yet"
    disk.name_all()
    assert disk.after_cut(Kept.NOTHING, random)["new"] == b"n"
