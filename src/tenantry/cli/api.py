"""Owns calls to the HTTP API: one kept connection, pages, errors as failures; leaves what is asked to the commands.

Built on http.client, since a command that makes two calls should not load an async client first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode, urlsplit

from tenantry.cli.document import Document, Json
from tenantry.cli.failure import ExitCode, Failure, refused, unreachable, wrong_use
from tenantry.cli.profile import Profile

TIMEOUT_SECONDS = 30.0
PAGE_SIZE = 200


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came."""

    status: int
    body: bytes
    at: datetime | None  # the server's time
    kind: str = ""  # the error's name on the SES wire


class Api:
    """The API as one key sees it. Not for two threads at a time: it keeps one connection."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.now = datetime.fromtimestamp(0, UTC)
        """The server's time as of its last answer: ages are told by it, so a wrong clock here does no harm."""
        parts = urlsplit(profile.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise wrong_use(f"TENANTRY_URL must look like http://127.0.0.1:8025, not {profile.url!r}")
        self._base = parts.path.rstrip("/")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        self.host = parts.netloc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    def get(self, path: str, **query: str | None) -> Document:
        """Read one thing; query values of None are left out."""
        return self._asked("GET", path, query, None)

    def post(self, path: str, body: Mapping[str, Json], headers: Mapping[str, str] | None = None) -> Document:
        """Change something; body values of None are left out."""
        return self._asked(
            "POST", path, {}, {name: value for name, value in body.items() if value is not None}, headers
        )

    def delete(self, path: str) -> None:
        """Take something away."""
        self._asked("DELETE", path, {}, None)

    def every(self, path: str, **query: str | None) -> list[Document]:
        """Read a list to its end."""
        return list(self._pages(path, query))

    def some(self, path: str, limit: int, **query: str | None) -> list[Document]:
        """Read the first of a list."""
        return self.get(path, limit=str(min(limit, PAGE_SIZE)), **query).many("items")[:limit]

    def call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        """Make one call as given; a connection that the server had closed meanwhile is opened again."""
        for last in (self._connection.sock is None, True):
            try:
                self._connection.request(method, self._base + path, body, dict(headers))
                answer = self._connection.getresponse()
                return self._noted(
                    Reply(
                        answer.status,
                        answer.read(),
                        _date(answer.getheader("date")),
                        answer.getheader("x-amzn-errortype", ""),
                    )
                )
            except (ConnectionError, HTTPException, OSError) as error:
                self._connection.close()
                if last or method != "GET":
                    raise unreachable(self.profile.url, str(error) or type(error).__name__) from error
        raise AssertionError("the last try returns or raises")

    def _pages(self, path: str, query: Mapping[str, str | None]) -> Iterator[Document]:
        cursor: str | None = None
        while True:
            page = self.get(path, **query, limit=str(PAGE_SIZE), cursor=cursor)
            yield from page.many("items")
            cursor = page.text("next_cursor") or None
            if cursor is None:
                return

    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | None],
        body: Mapping[str, Json] | None,
        headers: Mapping[str, str] | None = None,
    ) -> Document:
        given = urlencode({name: value for name, value in query.items() if value is not None})
        sent = {"authorization": f"Bearer {self.profile.key}", "accept": "application/json", **(headers or {})}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            sent["content-type"] = "application/json"
        reply = self.call(method, f"{path}?{given}" if given else path, content, sent)
        try:
            document = Document.parsed(reply.body)
        except ValueError:
            document = Document({})
        if reply.status >= 400:
            raise refused(reply.status, document)
        if reply.status >= 300:
            raise Failure(
                ExitCode.UNREACHABLE, "redirect", f"{self.profile.url} answers with a redirect: give its goal."
            )
        return document

    def _noted(self, reply: Reply) -> Reply:
        if reply.at is not None:
            self.now = reply.at
        return reply


def part(text: str) -> str:
    """Write a name or id as one segment of a path."""
    return quote(text, safe="")


def _date(header: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(header) if header else None
    except ValueError:
        return None
