"""How `tenantry up` is watched: what a scraper, a probe and an operator see of mail that went its way."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.request import Request, urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.running import run, until, up

Samples = dict[tuple[str, ...], float]


def fetch(url: str) -> str:
    with urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def figures(url: str) -> Samples:
    """Return each sample by its name and its labels' values, in the order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(fetch(f"{url}/metrics"))
        for sample in family.samples
    }


def test_mail_that_went_its_way_is_in_the_figures(tmp_path: Path) -> None:
    """Three messages are accepted, handed over and heard of; every loop runs; nothing is lost; doctor finds nothing."""
    data = tmp_path / "data"
    with up(data) as running:
        url = running.ready["url"]
        assert run("tenant", "add", "acme", "--data", str(data)).code == 0
        assert run("identity", "add", "acme", "acme.example", "--data", str(data)).code == 0
        key = run("key", "create", "acme", "--json", "--data", str(data)).json
        until(lambda: _verified(data))
        for number in range(3):
            mail = {"from": "a@acme.example", "to": f"p{number}@there.example", "subject": "Hi", "text": "Hello"}
            headers = {"authorization": f"Bearer {key['id']}.{key['secret']}", "content-type": "application/json"}
            with urlopen(Request(f"{url}/v1/messages", json.dumps(mail).encode(), headers)) as answer:
                assert answer.status == 202
        seen = until(lambda: _heard_of(figures(url), 3))
        assert seen["tenantry_accepted_messages_total",] == seen["tenantry_accept_seconds_count",] == 3
        assert seen["tenantry_attempts_total", "main", "handed"] == seen["tenantry_send_seconds_count", "main"] == 3
        assert seen["tenantry_unbalanced_tenants",] == seen["tenantry_sends_in_flight", "main"] == 0
        assert json.loads(fetch(f"{url}/healthz"))["failing"] == []
        assert json.loads(fetch(f"{url}/readyz"))["status"] == "ready"
        doctor = run("doctor", "--json", "--data", str(data))
        assert (doctor.code, [finding["check"] for finding in doctor.json]) == (0, ["all_well", "database"])


def _verified(data: Path) -> bool:
    return all(
        one["status"] == "verified" for one in run("identity", "list", "acme", "--json", "--data", str(data)).json
    )


def _heard_of(seen: Samples, mails: int) -> Samples | None:
    return seen if seen.get(("tenantry_events_total", "main", "Delivery"), 0) >= mails else None
