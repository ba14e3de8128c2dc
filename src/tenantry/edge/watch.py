"""Owns the paths for machines that watch a process: `/metrics`, `/healthz`, `/readyz`; leaves what they say to `app`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from tenantry.edge.asgi import header


@dataclass(frozen=True, slots=True)
class Page:
    """A whole answer."""

    status: int
    content_type: str
    body: bytes


Pages = Mapping[str, Callable[[str | None], Awaitable[Page]]]
"""By path: what makes the page, from the value of the `Authorization` header or None."""

_NOT_FOUND = Page(404, "text/plain; charset=utf-8", b"/metrics, /healthz and /readyz are here, and nothing else\n")
_NOT_ALLOWED = Page(405, "text/plain; charset=utf-8", b"GET or HEAD\n")


class WatchDoor:
    """Answers these paths, and nothing else."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def serves(self, path: str) -> bool:
        """Say whether a path is one of these."""
        return path in self._pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        page = await self._page(scope)
        head = [
            (b"content-type", page.content_type.encode()),
            (b"content-length", str(len(page.body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": page.status, "headers": head})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else page.body})

    async def _page(self, scope: Scope) -> Page:
        make = self._pages.get(scope["path"])
        if make is None:
            return _NOT_FOUND
        if scope["method"] not in ("GET", "HEAD"):
            return _NOT_ALLOWED
        given = header(scope, b"authorization")
        return await make(None if given is None else given.decode("latin-1"))
