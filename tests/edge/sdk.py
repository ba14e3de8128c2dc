"""Owns an unmodified boto3 client at a door, as a tenant's application has it; leaves what must hold to the tests."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.edge.doorstep import Doorstep


def client(doors: Doorstep, token: str, service: str = "sesv2", *, checks: bool = True) -> object:
    """Return a client with this key, which checks parameters itself or leaves that to the door."""
    key, _, secret = token.partition(".")
    return boto3.client(
        service,
        endpoint_url=doors.url,
        region_name="eu-central-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=checks),
    )


class Account(NamedTuple):
    """A tenant's client, and what stands behind it."""

    doors: Doorstep
    client: object

    async def call(self, operation: str, **given: object) -> dict:
        """Call by boto3, in a thread."""
        return await asyncio.to_thread(getattr(self.client, operation), **given)

    async def refused(self, operation: str, **given: object) -> tuple[str, str]:
        """Return code and words of a call that must fail."""
        with pytest.raises(ClientError) as error:
            await self.call(operation, **given)
        found = error.value.response["Error"]
        return found["Code"], found["Message"]

    async def shown(self, answer: dict) -> dict:
        """Return the message of an answer as REST shows it."""
        return (await self.doors.call("GET", f"/v1/messages/{answer['MessageId']}")).json
