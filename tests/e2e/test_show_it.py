"""The first five minutes of a stranger, by real processes: set up, send, see; stop, start again, lose nothing."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

import boto3
import pytest
from botocore.config import Config

from tests.e2e.running import Said, environment, program, run, until, up
from tests.house.source import ROOT

KEY_CREATE = ("key", "create", "acme", "--json")
WAITING = 40


def _client(url: str, key: dict) -> object:
    return boto3.client(
        "sesv2",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key["id"],
        aws_secret_access_key=key["secret"],
        config=Config(retries={"total_max_attempts": 1}),
    )


def _send(client: object, to: str, **more: object) -> str:
    return client.send_email(
        FromEmailAddress="Acme <hello@acme.example>",
        Destination={"ToAddresses": [to]},
        Content={"Simple": {"Subject": {"Data": "Hello"}, "Body": {"Text": {"Data": "It works."}}}},
        **more,
    )["MessageId"]


def _standings(id: str, data: Path) -> list[str]:
    shown = run("message", "show", id, "--json", data=str(data))
    assert shown.code == 0, shown
    return [recipient["standing"] for recipient in shown.json["recipients"]]


def _ends_as(id: str, standing: str, data: Path) -> None:
    until(lambda: _standings(id, data) == [standing])


def _tenant(data: Path) -> dict:
    """Type the two commands of the README; return the key, once the tenant may send."""
    added = run("tenant", "add", "acme", "--domain", "acme.example", data=str(data))
    assert added.code == 0, added
    key = run(*KEY_CREATE, data=str(data))
    assert key.code == 0, key
    assert {"id", "secret"} <= key.json.keys()
    until(lambda: run("identity", "show", "acme.example", "--json", data=str(data)).json["status"] == "verified")
    return key.json


def _readme_python() -> str:
    """Return the lines of Python that the README gives."""
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return code


def test_the_readme_from_nothing_to_a_bounce(tmp_path: Path) -> None:
    """`up`, a tenant, a key, and the README's own boto3 lines: one mail is seen delivered, the simulator's bounced."""
    with up(tmp_path) as running:
        key = _tenant(tmp_path)
        code = _readme_python()
        for placeholder, real in (
            ("http://127.0.0.1:8025", running.ready["url"]),
            ("key_...", key["id"]),
            ('"..."', f'"{key["secret"]}"'),
        ):
            assert code.count(placeholder) == 1
            code = code.replace(placeholder, real)
        sent = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False, timeout=60
        )
        assert sent.returncode == 0, sent.stderr
        good, bad = sent.stdout.split()
        _ends_as(good, "delivered", tmp_path)
        _ends_as(bad, "bounced", tmp_path)
        shown = run("message", "show", bad, data=str(tmp_path))
        assert "bounce@simulator.amazonses.com" in shown.out
        assert "bounced" in shown.out


def test_a_restart_keeps_tenants_keys_and_mail(tmp_path: Path) -> None:
    """The local SES starts empty, so all is provisioned anew; the tenant's key opens the doors and mail goes out."""
    with up(tmp_path) as running:
        key = _tenant(tmp_path)
        first = _send(_client(running.ready["url"], key), "ann@example.com")
        _ends_as(first, "delivered", tmp_path)
        operator = running.ready["key"]
        assert running.ready["created"]
        assert running.end() == 0
    with up(tmp_path) as running:
        assert running.ready["key"] == operator
        assert not running.ready["created"]
        assert _standings(first, tmp_path) == ["delivered"]
        second = _send(_client(running.ready["url"], key), "ben@example.com", ConfigurationSetName="marketing")
        _ends_as(second, "delivered", tmp_path)
        until(lambda: run("plan", "--json", data=str(tmp_path)).json == [])
        assert running.end(signal.SIGINT) == 0
        assert "Traceback" not in running.log.read_text()


def test_a_second_up_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    """SQLite means one process: the second says so in a sentence, ends with code 2, and the first goes on."""
    with up(tmp_path):
        second = run("up", "--data", str(tmp_path), "--port", "0", "--json")
        assert second.code == 2, second
        assert "Traceback" not in second.errors
        assert re.match(r"Another process has .*: stop it first", second.json["error"]["message"]), second.out
        assert run("tenant", "list", "--json", data=str(tmp_path)).json == []


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """Whoever asks for a port that is taken is told which one, not shown a traceback."""
    with up(tmp_path / "one") as running:
        port = running.ready["url"].rpartition(":")[2]
        second = run("up", "--data", str(tmp_path / "two"), "--port", port)
        assert second.code == 2, second
        assert port in second.errors
        assert "Traceback" not in second.errors


def test_another_secret_key_is_told_apart_from_a_bug(tmp_path: Path) -> None:
    """With a secret key that did not seal the database's keys, `up` says so and ends with code 2; the right one starts."""
    with up(tmp_path):
        pass
    wrong = run("up", "--data", str(tmp_path), "--port", "0", secret_key="A" * 43 + "=")
    assert wrong.code == 2, wrong
    assert "secret key" in wrong.errors
    assert "Traceback" not in wrong.errors
    with up(tmp_path) as running:
        assert not running.ready["created"]


@pytest.fixture
def slow_ses(tmp_path: Path):
    """A local SES that takes a while for each call, and outlives the `up` that sends to it."""
    words = ("ses-local", "--port", "0", "--latency", "0.4", "--rate", "0", "--control-rate", "0")
    with program(*words, log=tmp_path / "ses.log") as running:
        yield running.ready["url"]


def test_mail_outlives_a_kill(tmp_path: Path, slow_ses: str) -> None:
    """After kill -9 nothing is lost or sent twice: what waited goes out, an open claim is unknown until its event comes."""
    settings = {"aws_endpoint_url": slow_ses, "in_flight": "4", "feed_wait_seconds": "1"}
    unheard = f"{slow_ses}/123456789012/nobody"  # with events, a hand-off is settled before SES has even answered
    with up(tmp_path / "data", event_queue_url=unheard, **settings) as running:
        key = _tenant(tmp_path / "data")
        until(lambda: run("plan", "--json", data=str(tmp_path / "data")).json == [])
        client = _client(running.ready["url"], key)
        ids = [_send(client, f"p{number}@example.com") for number in range(WAITING)]
        until(lambda: _handed_to(slow_ses))
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
    before = _handed_to(slow_ses)
    assert sum(before.values()) < WAITING, "it was killed too late to prove anything"
    with up(tmp_path / "data", **settings) as running:
        until(lambda: "what a dead worker left open is unknown now" in running.log.read_text())
        seen = until(lambda: _settled(ids, tmp_path / "data"))
        assert seen == {"delivered": WAITING}
    assert _handed_to(slow_ses) == Counter(ids)


def _settled(ids: list[str], data: Path) -> Counter[str] | None:
    """Count how all mails stand, once each has its report."""
    listed: Said = run("message", "list", "acme", "--limit", "200", "--json", data=str(data))
    assert {each["id"] for each in listed.json} == set(ids)
    seen = Counter(each["recipients"][0]["standing"] for each in listed.json)
    return seen if seen["delivered"] == len(ids) else None


def _handed_to(ses_url: str) -> Counter[str]:
    """Count how often SES got each of our messages."""
    with urlopen(f"{ses_url}/_local/messages?limit=1000") as answer:
        return Counter(m["tags"]["tenantry-message"] for m in json.load(answer)["messages"])
