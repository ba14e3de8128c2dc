"""Amazon stops the account: within seconds nothing is tried any more, everybody is told why, and nothing is lost."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import boto3
from botocore.config import Config

from tests.e2e.running import run, until, up

STOPS_WITHIN = 5.0  # seconds, promised
QUIET = 2.0  # seconds that are listened for a call after it
STOPS = (  # by Amazon, and by the account's owner
    ({"enforcement": "SHUTDOWN"}, {"enforcement": "HEALTHY"}),
    ({"sending_enabled": False}, {"sending_enabled": True}),
)


def ask(ses_url: str, path: str, body: dict | None = None) -> dict:
    """Ask the local SES's admin API, or tell it something."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(f"{ses_url}/_local/{path}", data), timeout=10) as answer:
        return json.load(answer)


@contextmanager
def sending(url: str, key: dict) -> Iterator[list[str]]:
    """Send twenty mails a second through the SES door until the block ends; what was accepted is in the list."""
    client = boto3.client(
        "sesv2",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key["id"],
        aws_secret_access_key=key["secret"],
        config=Config(retries={"total_max_attempts": 1}),
    )
    accepted: list[str] = []
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.05):
            answer = client.send_email(
                FromEmailAddress="hello@acme.example",
                Destination={"ToAddresses": [f"p{len(accepted)}@there.example"]},
                Content={"Simple": {"Subject": {"Data": "Hello"}, "Body": {"Text": {"Data": "Hello"}}}},
            )
            accepted.append(answer["MessageId"])

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield accepted
    finally:
        over.set()
        thread.join()


def calls_since(ses_url: str, at: float) -> list[dict]:
    return ask(ses_url, f"calls?operation=SendEmail&limit=100000&since={at!r}")["calls"]


def test_a_stopped_account_is_left_alone_and_explained(tmp_path: Path) -> None:
    """Calls end within 5 s though mail comes in; doctor and explain say so; once it may send, all goes out, each once."""
    data = tmp_path / "data"
    with up(data, control_calls_per_second="20") as running:
        ses_url = running.ready["ses_url"]
        assert run("tenant", "add", "acme", "--domain", "acme.example", data=str(data)).code == 0
        key = run("key", "create", "acme", "--json", data=str(data)).json
        until(lambda: run("identity", "show", "acme.example", "--json", data=str(data)).json["status"] == "verified")
        with sending(running.ready["url"], key) as accepted:
            for stop, go in STOPS:
                before = len(accepted)
                until(lambda before=before: ask(ses_url, "state")["messages"] > max(before, len(accepted) - 20))
                ask(ses_url, "account", stop)
                stopped_at = ask(ses_url, "health")["now"]
                threading.Event().wait(STOPS_WITHIN + QUIET)
                assert calls_since(ses_url, stopped_at + STOPS_WITHIN) == []
                assert 0 < len(calls_since(ses_url, stopped_at)) < 100
                assert "SES has stopped cell" in run("doctor", "--json", data=str(data)).out
                assert "SES does not let the account send" in run("explain", accepted[-1], data=str(data)).out
                ask(ses_url, "account", go)
        until(lambda: ask(ses_url, "state")["messages"] == len(accepted))
        delivered = ask(ses_url, "messages?limit=100000")["messages"]
        assert running.end() == 0
    assert len({each["tags"]["tenantry-message"] for each in delivered}) == len(delivered) == len(accepted)
    with sqlite3.connect(data / "tenantry.db") as store:
        assert store.execute("SELECT max(number) FROM attempt").fetchone() == (1,), "no attempt was burned"
