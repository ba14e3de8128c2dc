"""The commands for a local SES that runs: what a person orders in a terminal happens to an SDK."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError
from click.testing import CliRunner, Result

from tenantry.cli import main
from tenantry.cli.failure import ExitCode
from tests.emulator.worlds import World, world


@pytest.fixture(scope="module")
def ses() -> Iterator[World]:
    with world() as made:
        made.sender()
        yield made


def run(ses: World, *words: str) -> Result:
    return CliRunner().invoke(main, ["ses-local", *words, "--url", ses.local.url])


def told(ses: World, *words: str) -> Any:
    done = run(ses, *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_a_fault_is_ordered_listed_and_cleared(ses: World) -> None:
    """An order holds until it is used up or cleared, and the list says which are in force."""
    assert "cut-after" in run(ses, "fault", "add", "cut-after", "--call", "SendEmail", "--times", "1").output
    run(ses, "fault", "add", "lose", "--event", "BOUNCE", "--share", "0.5")
    with pytest.raises(ConnectionClosedError):
        ses.send()
    orders = told(ses, "fault", "list")
    assert [(each["kind"], each["times"]) for each in orders["calls"]] == [("cut-after", 0)]
    assert [(each["event"], each["share"]) for each in orders["events"]] == [("BOUNCE", 0.5)]
    cleared = told(ses, "fault", "clear")
    assert (cleared["calls"], cleared["events"]) == ([], [])


def test_the_ledger_shows_bodies_by_their_hash_and_what_befell_a_call(ses: World) -> None:
    """A call that was cut after SES took it is told from one that never came so far; equal bodies have equal hashes."""
    for kind in ("cut-after", "cut"):
        told(ses, "fault", "add", kind, "--call", "SendEmail", "--times", "1")
        with pytest.raises(ConnectionClosedError):
            ses.send("same@inbox.example")
    ses.send("same@inbox.example")
    done, never, last = told(ses, "calls", "--operation", "SendEmail", "--limit", "3")["calls"]
    assert [(each["status"], each["fault"]) for each in (done, never, last)] == [
        (200, "cut-after"), (0, "cut"), (200, None),
    ]  # fmt: skip
    assert len({each["body_sha256"] for each in (done, never, last)}) == 1
    assert "cut-after" in run(ses, "calls").output


def test_calls_of_the_other_services_are_in_the_ledger(ses: World) -> None:
    """They do not stand among those of SES, which polls would drown."""
    ses.events()
    operations = [each["operation"] for each in told(ses, "calls", "--service", "sqs")["calls"]]
    assert "ReceiveMessage" in operations
    assert all(each["service"] == "ses" for each in told(ses, "calls", "--limit", "1000")["calls"])


def test_the_feed_and_the_clock_are_moved_by_hand(ses: World) -> None:
    """Events that are held back come once the feed flows; time goes by at once."""
    ses.events()
    assert told(ses, "feed", "stop")["feed_stopped"]
    ses.send()
    assert ses.kinds() == []
    told(ses, "feed", "start")
    assert ses.kinds() == ["Send", "Delivery"]
    before = told(ses, "clock")["now"]
    assert told(ses, "clock", "--stop", "--advance", "3600")["stopped"]
    assert told(ses, "clock")["now"] >= before + 3600
    assert not told(ses, "clock", "--run", "--skew", "0")["stopped"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("fault", "add", "nonsense", "--call", "SendEmail"), ExitCode.REFUSED),
        (("fault", "add", "cut"), ExitCode.USAGE),
        (("fault", "add", "lose", "--call", "x", "--event", "y"), ExitCode.USAGE),
    ],
)
def test_a_wrong_order_is_refused_and_changes_nothing(ses: World, words: tuple[str, ...], code: ExitCode) -> None:
    """The command ends with a code, a sentence, and no new fault."""
    before = told(ses, "fault", "list")
    done = run(ses, *words)
    assert done.exit_code == code
    assert told(ses, "fault", "list") == before


def test_nobody_at_the_address_is_said(tmp_path: Path) -> None:
    """The exit code is the one of all commands that reach nobody."""
    done = CliRunner().invoke(main, ["ses-local", "fault", "list", "--url", "http://127.0.0.1:9"])
    assert done.exit_code == ExitCode.UNREACHABLE
    assert "tenantry ses-local" in done.output


def test_a_state_that_cannot_be_used_keeps_it_from_starting(tmp_path: Path) -> None:
    """A damaged file ends the start with a sentence that names it; nothing is overwritten."""
    path = tmp_path / "ses.state"
    path.write_bytes(b"no state at all" * 100)
    done = CliRunner().invoke(main, ["ses-local", "--port", "0", "--state", str(path)])
    assert done.exit_code == ExitCode.USAGE
    assert str(path) in done.output
    assert path.read_bytes() == b"no state at all" * 100
