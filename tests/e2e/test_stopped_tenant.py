"""SES itself stops a tenant while Tenantry hears of no event: its mail waits, its neighbour's flows, and nothing is lost."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
from botocore.config import Config

from tests.e2e.running import run, until, up

RULES = "bad-*@*:bounce=1"
STRICT = "arn:aws:ses:us-east-1:aws:reputation-policy/strict"


def ask(ses_url: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask the local SES's admin API, or tell it something."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(f"{ses_url}/_local/{path}", data), timeout=10) as answer:
        return json.load(answer)


def client(url: str, key_id: str, secret: str) -> Any:
    """Return an unmodified SDK."""
    once = Config(retries={"total_max_attempts": 1})
    return boto3.client(
        "sesv2", endpoint_url=url, region_name="us-east-1", aws_access_key_id=key_id, aws_secret_access_key=secret,
        config=once,
    )  # fmt: skip


def send(door: Any, domain: str, *to: str) -> str:
    """Send one mail through the SES door; return its id."""
    return door.send_email(
        FromEmailAddress=f"hello@{domain}",
        Destination={"ToAddresses": list(to)},
        Content={"Simple": {"Subject": {"Data": "Hello"}, "Body": {"Text": {"Data": "Hello"}}}},
    )["MessageId"]


def test_ses_pauses_a_rotten_tenant_by_itself(tmp_path: Path) -> None:
    """Under `strict` SES stops a tenant at 20 % bounces that nobody was told of; no mail of it is lost or tried to death."""
    data = tmp_path / "data"
    with up(data, local_ses_recipients=RULES, control_calls_per_second="20") as running:
        url, ses_url = running.ready["url"], running.ready["ses_url"]
        doors = {}
        for name in ("acme", "beta"):
            assert run("tenant", "add", name, "--domain", f"{name}.example", data=str(data)).code == 0
            key = run("key", "create", name, "--json", data=str(data)).json
            doors[name] = client(url, key["id"], key["secret"])
        for name in doors:
            shown = ("identity", "show", f"{name}.example", "--json")
            until(lambda shown=shown: run(*shown, data=str(data)).json["status"] == "verified")
        ask(ses_url, "feed", {"stopped": True})
        ses = client(ses_url, "AKIDEXAMPLE", "secret")
        send(doors["acme"], "acme.example", *(f"ok-{n}@there.example" for n in range(40)))
        until(lambda: ask(ses_url, "state")["messages"] == 1)
        tenant = ask(ses_url, "messages")["messages"][0]["tenant"]
        arn = ses.get_tenant(TenantName=tenant)["Tenant"]["TenantArn"]
        entity = {"ReputationEntityType": "RESOURCE", "ReputationEntityReference": arn}
        ses.update_reputation_entity_policy(**entity, ReputationEntityPolicy=STRICT)
        for bad in ("bad-a", "bad-b"):
            to = [f"ok-{n}@there.example" for n in range(40)] + [f"{bad}-{n}@there.example" for n in range(10)]
            send(doors["acme"], "acme.example", *to)
        until(lambda: ask(ses_url, "state")["messages"] == 3)
        ask(ses_url, "clock", {"advance": 300})

        found = ses.get_reputation_entity(**entity)["ReputationEntity"]
        assert (found["SendingStatusAggregate"], found["ReputationImpact"]) == ("DISABLED", "LOW")
        waiting = send(doors["acme"], "acme.example", "late@there.example")
        until(lambda: ask(ses_url, "calls?operation=SendEmail&status=400")["calls"])
        told = run("explain", waiting, data=str(data)).out
        assert "is stopped" in told
        assert f"Sending disabled for {arn}" in told, "SES's own words name its tenant"
        send(doors["beta"], "beta.example", "good@there.example")
        until(lambda: ask(ses_url, "messages?to=good@there.example")["messages"])
        assert ask(ses_url, "messages?to=late@there.example")["messages"] == []

        ses.update_reputation_entity_customer_managed_status(**entity, SendingStatus="REINSTATED")
        until(lambda: ask(ses_url, "messages?to=late@there.example")["messages"])
        ask(ses_url, "feed", {"stopped": False})
        assert running.end() == 0
    for each in (ses, *doors.values()):
        each.close()
    with sqlite3.connect(data / "tenantry.db") as store:
        burned = store.execute("SELECT max(number) FROM attempt").fetchone()
    assert burned == (1,), "being told to wait burns no attempt"
