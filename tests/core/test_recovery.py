"""When a database counts as an earlier copy of itself: only where a mark says so."""

from __future__ import annotations

from uuid import UUID

from tenantry.core.ids import AttemptId
from tenantry.core.recovery import Marks, went_back

FIRST, SECOND = AttemptId.of(UUID(int=1)), AttemptId.of(UUID(int=2))


def test_a_new_database_has_no_past() -> None:
    """Without a mark there is nothing to go back from."""
    assert went_back(Marks()) is None
    assert went_back(Marks("", "7/00000001/5")) is None
    assert went_back(Marks(last_claim=None, newest=SECOND)) is None


def test_another_system_timeline_or_database_is_a_copy() -> None:
    """A dump in another cluster, a promoted standby, a database or its tables made again: each reads differently."""
    for found in ("8/00000001/5/1", "7/00000002/5/1", "7/00000001/6/1", "7/00000001/5/2"):
        assert found in (went_back(Marks("7/00000001/5/1", found)) or "")
    assert went_back(Marks("7/00000001/5/1", "7/00000001/5/1")) is None


def test_a_used_file_without_its_mark_is_a_copy() -> None:
    """Nobody can say what was claimed on it since, and a mark that is removed says that it went back."""
    assert "copied" in (went_back(Marks(newest=FIRST, unmarked=True)) or "")
    assert "copied" in (went_back(Marks(unmarked=True)) or "")


def test_a_file_that_does_not_know_its_last_claim_is_older() -> None:
    """A mark that lags behind (a power cut took it) says nothing; one that is ahead says that the file went back."""
    assert went_back(Marks(last_claim=FIRST, newest=SECOND)) is None
    assert went_back(Marks(last_claim=SECOND, newest=SECOND)) is None
    assert "older copy" in (went_back(Marks(last_claim=SECOND, newest=FIRST)) or "")
    assert "older copy" in (went_back(Marks(last_claim=SECOND, newest=None)) or "")


def test_one_restore_is_noticed_once() -> None:
    """A start after it finds the same mark ahead; a mark further on is another restore."""
    assert went_back(Marks(last_claim=FIRST, newest=None, noticed=FIRST)) is None
    assert "older copy" in (went_back(Marks(last_claim=SECOND, newest=None, noticed=FIRST)) or "")
