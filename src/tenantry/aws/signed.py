"""Owns signed JSON calls to AWS on the hot paths: one pooled HTTP client, our signer, botocore's credentials.

Leaves what an answer means to the callers, control calls to boto3 (control.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
from botocore.credentials import ReadOnlyCredentials
from yarl import URL

from tenantry.aws.session import Credentials
from tenantry.ports import Clock
from tenantry.wire.sigv4 import Signer


@dataclass(frozen=True, slots=True)
class Target:
    """One service's endpoint in one Region."""

    endpoint: str
    region: str
    service: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    error_type: str | None


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections at most, how long an unused one is kept, and how long a call may take."""

    connections: int = 100
    idle_seconds: float = 5.0
    deadline_seconds: float = 10.0


class SignedClient:
    """Makes single signed POSTs; no retries, idle connections dropped before the other side drops them."""

    def __init__(self, target: Target, credentials: Credentials, clock: Clock, limits: Limits) -> None:
        """Bind to one service; connections are made when needed."""
        self._target = target
        self._credentials = credentials
        self._clock = clock
        self._limits = limits
        self._host = urlsplit(target.endpoint).netloc
        self._session: aiohttp.ClientSession | None = None
        self._signer: tuple[ReadOnlyCredentials, Signer] | None = None

    async def post(self, path: str, body: bytes, content_type: str, extra: dict[str, str] | None = None) -> Answer:
        """Make exactly one call; raises aiohttp's errors, TimeoutError past the deadline."""
        signer = await self._signer_now()
        headers = signer.headers("POST", path, "", self._host, body, now=self._clock.wall(), content_type=content_type)
        if extra:
            headers |= extra
        url = URL(self._target.endpoint + path, encoded=True)
        async with self._open().post(url, data=body, headers=headers, allow_redirects=False) as response:
            return Answer(response.status, await response.read(), response.headers.get("x-amzn-errortype"))

    async def _signer_now(self) -> Signer:
        found = await self._credentials.get()
        if self._signer is None or self._signer[0] is not found:
            signer = Signer(
                found.access_key or "", found.secret_key or "", self._target.region, self._target.service, found.token
            )
            self._signer = (found, signer)
        return self._signer[1]

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self._limits.connections, keepalive_timeout=self._limits.idle_seconds
            )
            deadline = self._limits.deadline_seconds
            # half of it for the connection, so that an error of its own tells that nothing was written yet
            timeout = aiohttp.ClientTimeout(total=deadline, connect=deadline / 2)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=timeout,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            )
        return self._session

    async def close(self) -> None:
        """Drop the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
