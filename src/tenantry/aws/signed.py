"""Owns signed JSON calls to AWS on the hot paths: one pooled HTTP client, our signer, botocore's credentials.

Leaves what an answer means to the callers, control calls to boto3 (control.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore.credentials import ReadOnlyCredentials

from tenantry.aws.http import Answer, HttpClient, Limits
from tenantry.aws.session import Credentials
from tenantry.ports import Clock
from tenantry.wire.sigv4 import Signer

__all__ = ["Answer", "Limits", "SignedClient", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """One service's endpoint in one Region."""

    endpoint: str
    region: str
    service: str


class SignedClient:
    """Makes single signed POSTs; no retries, idle connections dropped before the other side drops them."""

    def __init__(self, target: Target, credentials: Credentials, clock: Clock, limits: Limits) -> None:
        """Bind to one service; connections are made when needed."""
        self._target = target
        self._credentials = credentials
        self._clock = clock
        self._host = urlsplit(target.endpoint).netloc
        self._http = HttpClient(target.endpoint, clock, limits)
        self._signer: tuple[ReadOnlyCredentials, Signer] | None = None

    async def post(self, path: str, body: bytes, content_type: str, extra: dict[str, str] | None = None) -> Answer:
        """Make exactly one call; raises NotSentError, CutError or NoCredentialsError."""
        signer = await self._signer_now()
        headers = signer.headers("POST", path, "", self._host, body, now=self._clock.wall(), content_type=content_type)
        if extra:
            headers |= extra
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"POST {path} HTTP/1.1\r\nhost: {self._host}\r\n{lines}content-length: {len(body)}\r\n\r\n"
        return await self._http.call(head.encode("latin-1"), body)

    async def _signer_now(self) -> Signer:
        found = await self._credentials.get()
        if self._signer is None or self._signer[0] is not found:
            signer = Signer(
                found.access_key or "", found.secret_key or "", self._target.region, self._target.service, found.token
            )
            self._signer = (found, signer)
        return self._signer[1]

    async def close(self) -> None:
        """Drop the connections."""
        self._http.close()
