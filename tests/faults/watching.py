"""Owns what is seen from outside while a fault lasts: the clients' log as it grows, the pages, doctor; judges nothing."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic, time
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

import boto3
from botocore.exceptions import ClientError

from tests.chaos.ground import Fleet
from tests.chaos.plan import Part
from tests.e2e.running import run


class LogTail:
    """What the clients of a run wrote down since this was made, or from the beginning."""

    def __init__(self, log: Path, *, whole: bool = False) -> None:
        self._log, self._from = log, 0 if whole else log.stat().st_size

    def notes(self, do: str, words: str = "") -> list[dict]:
        """Return the notes of one kind whose reason holds these words."""
        with self._log.open(encoding="utf-8") as lines:
            lines.seek(self._from)
            text = lines.read()
        whole = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [one for one in whole if one["do"] == do and words in one.get("why", "")]


def page(url: str | Request) -> tuple[int, dict]:
    """Return a page's status and document."""
    try:
        with urlopen(url, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


def doctor(fleet: Fleet, gateway: int = 0) -> dict[str, str]:
    """Return what `tenantry doctor` finds to be an error at one gateway, by check; it must say so by its exit code, too."""
    said = run("doctor", "--json", url=fleet.gateways[gateway].url, key=fleet.key)
    errors = {one["check"]: one["what"] for one in said.json if one["level"] == "error"}
    assert said.code == bool(errors), said
    return errors


class Caller:
    """An application of one tenant that tries each door once, as it is; it writes into the log of the other clients."""

    def __init__(self, fleet: Fleet, tenant: Part, log: Path) -> None:
        made = fleet.call("POST", "/v1/keys", {"tenant": tenant.name, "scopes": ["send"]})
        self._fleet, self._tenant, self._key, self._log = fleet, tenant, (made["id"], made["secret"]), log

    def _note(self, token: str, do: str, **more: object) -> None:
        note = {"at": time(), "token": token, "tenant": self._tenant.name, "way": "caller", "do": do}
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(note | more) + "\n")

    def _token(self) -> str:
        token = f"caller-{uuid4().hex}"
        self._note(token, "try")
        return token

    def rest(self, gateway: int = 0) -> tuple[int, dict, float]:
        """Send over REST; return the status, the document, and the seconds that it took."""
        token = self._token()
        to = f"{token}@{self._tenant.people}"
        mail = {"from": f"hello@{self._tenant.domain}", "to": to, "subject": "s", "text": "t"}
        headers = {"authorization": f"Bearer {'.'.join(self._key)}", "content-type": "application/json"}
        url, began = f"{self._fleet.gateways[gateway].url}/v1/messages", monotonic()
        status, document = page(Request(url, json.dumps(mail).encode(), headers))
        if status == 202:
            self._note(token, "ack", id=document["id"])
        return status, document, monotonic() - began

    def boto3(self, gateway: int = 0) -> tuple[int, str, int]:
        """Send with boto3 as it comes; return the status, the error's code (empty: none), and how often it tried again."""
        client = boto3.client(
            "sesv2",
            region_name="us-east-1",
            endpoint_url=self._fleet.gateways[gateway].url,
            aws_access_key_id=self._key[0],
            aws_secret_access_key=self._key[1],
        )
        content = {"Simple": {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}}}}
        token = self._token()
        to = {"ToAddresses": [f"{token}@{self._tenant.people}"]}
        try:
            said = client.send_email(FromEmailAddress=f"hello@{self._tenant.domain}", Destination=to, Content=content)
            self._note(token, "ack", id=said["MessageId"])
        except ClientError as error:
            said = error.response
        meta = said["ResponseMetadata"]
        return meta["HTTPStatusCode"], said.get("Error", {}).get("Code", ""), meta["RetryAttempts"]
