"""Owns where AWS credentials come from: botocore's own chain, or a fixed pair for a local SES."""

from __future__ import annotations

import asyncio

import boto3
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError

from tenantry.ports import Clock

CREDENTIALS_SECONDS = 60.0  # botocore refreshes well ahead of expiry; asked this often


def new_session(keys: tuple[str, str] | None = None) -> boto3.Session:
    """Open a session with these keys, or with what the environment, profile or role gives."""
    if keys is None:
        return boto3.Session()
    return boto3.Session(aws_access_key_id=keys[0], aws_secret_access_key=keys[1])


class NoCredentialsError(Exception):
    """No credentials are to be had now, so no call can have been made; the words say what to do."""


class Credentials:
    """The credentials of a session, looked up outside the loop's thread."""

    def __init__(self, session: boto3.Session, clock: Clock) -> None:
        """Take the session to ask."""
        self._session = session
        self._clock = clock
        self._kept: ReadOnlyCredentials | None = None
        self._until = float("-inf")

    async def get(self) -> ReadOnlyCredentials:
        """Return fresh credentials, or raise NoCredentialsError."""
        now = self._clock.monotonic()
        if self._kept is None or now >= self._until:
            found = await asyncio.to_thread(self._find)
            self._kept = self._kept if self._kept == found else found
            self._until = now + CREDENTIALS_SECONDS
        assert self._kept is not None
        return self._kept

    def _find(self) -> ReadOnlyCredentials:
        try:
            found = self._session.get_credentials()
            if found is not None:
                return found.get_frozen_credentials()
        except BotoCoreError as error:
            raise NoCredentialsError(f"AWS credentials cannot be had: {error}") from error
        raise NoCredentialsError(
            "AWS credentials are missing: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give a role."
        )
