"""How processes end: nothing of ours is left behind, however they do."""

from __future__ import annotations

import signal
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.e2e.running import until, up


def test_a_killed_up_leaves_no_local_ses_behind(tmp_path: Path) -> None:
    """The child notices the end of its parent by its standard input, since nobody is left to tell it."""
    with up(tmp_path / "data") as running:
        ses_url = running.ready["ses_url"]
        with urlopen(f"{ses_url}/_local/state", timeout=5) as answer:
            assert answer.status == 200
        running.end(signal.SIGKILL)
        assert until(lambda: _refuses(ses_url))


def _refuses(url: str) -> bool:
    try:
        urlopen(f"{url}/_local/state", timeout=1).close()
    except URLError:
        return True
    return False
