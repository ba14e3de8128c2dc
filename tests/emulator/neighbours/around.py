"""Owns the worlds of the neighbours' tests: clients of every service on one local SES, and a clock that a test moves."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tenantry.emulator import Local, Options

NOON = 1_780_315_200.0  # a full minute
ACCOUNT, REGION = "123456789012", "us-east-1"
FREE = {"control_rate_per_second": None, "max_send_rate": None, "max_24_hour_send": None}


class Hands:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@dataclass
class Around:
    """A local SES, and unmodified boto3 clients of any service on it."""

    local: Local
    hands: Hands
    _clients: list[Any]

    def client(self, service: str, region: str = REGION, **more: Any) -> Any:
        """Return a client of a service."""
        keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret", **more}
        config = Config(retries={"total_max_attempts": 1}, read_timeout=30)
        made = boto3.client(service, endpoint_url=self.local.url, region_name=region, config=config, **keys)
        self._clients.append(made)
        return made

    def queue(self, name: str = "inbox", **attributes: str) -> tuple[str, str]:
        """Make a queue; return its URL and ARN."""
        url = self.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"

    def admin(self, path: str, body: Any = None) -> Any:
        """Ask the admin API."""
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.local.url}/_local/{path}", data), timeout=10) as answer:
            return json.load(answer)

    def bodies(self, url: str, wait_seconds: int = 0) -> list[str]:
        """Take and delete what is in a queue."""
        sqs, found = self.client("sqs"), []
        while messages := sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0 if found else wait_seconds
        ).get("Messages"):
            for each in messages:
                found.append(each["Body"])
                sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        return found


@contextmanager
def around(*, still: bool = False, **options: Any) -> Iterator[Around]:
    """Run a local SES without limits; `still`: by a clock that only the test moves."""
    hands, clients = Hands(), list[Any]()
    more = {"clock": hands} if still else {}
    with Local(Options(**{**FREE, **options}), **more) as local:
        try:
            yield Around(local, hands, clients)
        finally:
            for client in clients:
                client.close()


def refused(call: Any, **params: Any) -> str:
    """Return the code with which a call is refused."""
    with pytest.raises(ClientError) as error:
        call(**params)
    return str(error.value.response["Error"]["Code"])
