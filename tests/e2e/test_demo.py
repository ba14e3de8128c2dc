"""The demo as a stranger runs it: everything that it claims is true, and it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.e2e.running import TENANTRY, environment, run, until


def _demo_folders(temp: Path) -> list[Path]:
    return list(temp.glob("tenantry-demo-*"))


def test_the_demo_holds_what_it_claims(tmp_path: Path) -> None:
    """`demo --exit --json` ends with code 0 and one report: each claim with its numbers, each tenant, the pause."""
    played = run("demo", "--exit", "--json", "--seed", "4", env={"TMPDIR": str(tmp_path)})
    assert played.code == 0, played.out + played.errors
    report = played.json
    assert report["ok"] is True
    assert len(report["checks"]) >= 12
    assert all(check["holds"] and check["name"] and check["detail"] for check in report["checks"])
    assert len(report["tenants"]) == 8
    assert 0 <= report["pause"]["seconds_to_last_call"] <= 1
    assert report["pause"]["pause"]["author"] == "guard"
    assert report["account"]["bounce_rate_max"] < 0.05
    assert not _demo_folders(tmp_path)


def test_the_demo_can_be_left_at_any_time(tmp_path: Path) -> None:
    """Ctrl-C in the middle ends the demo and its children without a traceback, and takes its folder along."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job has it ignored, and hands that down
    process = subprocess.Popen(
        [*TENANTRY, "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment() | {"TMPDIR": str(tmp_path)},
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as out:
        said = next(line for line in out if "everybody sends" in line)
        children = until(lambda: _descendants(process.pid))
        process.send_signal(signal.SIGINT)
        said += out.read()
    assert process.wait(30) == 1
    assert "Traceback" not in said
    assert not _demo_folders(tmp_path)
    until(lambda: not any(map(_is_running, children)))


def _descendants(pid: int) -> list[int]:
    """Return the processes below this one: `up`, its local SES, the applications."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in map(str.split, listed.splitlines())}
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
