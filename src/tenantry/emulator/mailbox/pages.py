"""Owns the mailbox pages of one account, relative to where they are mounted: search, list, message; no script, no foreign asset.

Leaves how a message reads to `emulator.mailbox.letter` and the record to `emulator.ledger`. What it shows was written by
others: everything is escaped, HTML is shown in a frame that may run nothing and fetch nothing.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tenantry.emulator.account import Account
from tenantry.emulator.ledger import MessageRecord
from tenantry.emulator.mailbox.letter import Letter, letter_of

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE_SIZE = 50
_NO_SNIFF = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    **_NO_SNIFF,
}
# The frame is a page of its own without origin: mail may style itself and carry its pictures, and nothing else.
FRAME_HEADERS = {
    "content-security-policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    ),
    **_NO_SNIFF,
}


class Mailbox:
    """The pages of one account."""

    def __init__(
        self, account: Account, clock: Callable[[], float], places: Callable[[], list[tuple[str, str]]]
    ) -> None:
        """Make the pages of an account; `places` gives the label and address of every account and Region's mailbox."""
        self._account = account
        self._clock = clock
        self._places = places

    def routes(self) -> list[Route]:
        """Return the routes of the mailbox."""
        return [
            Route("/mailbox.css", self.style),
            Route("/mailbox", self.list),
            Route("/mailbox/{id}", self.message),
            Route("/mailbox/{id}/html", self.html),
            Route("/mailbox/{id}/source", self.source),
            Route("/mailbox/{id}/attachments/{number:int}", self.attachment),
        ]

    async def style(self, request: Request) -> Response:
        """Give the style sheet."""
        return Response(_style(), media_type="text/css", headers={"cache-control": "max-age=300", **_NO_SNIFF})

    async def list(self, request: Request) -> Response:
        """Show the newest messages that match `q`, a page of them before the message `before`."""
        q, before = request.query_params.get("q", "").strip(), request.query_params.get("before")
        newest = _after(reversed(self._account.ledger.messages), before)
        found = [*islice((each for each in newest if matches(each, q)), PAGE_SIZE + 1)]
        shown = found[:PAGE_SIZE]
        older = urlencode({"q": q, "before": shown[-1].message_id}) if len(found) > PAGE_SIZE else None
        endpoint = f"{request.url.scheme}://{request.url.netloc}"
        total = self._account.ledger.messages_total
        return self._page(request, "list.html", q=q, messages=shown, older=older, total=total, endpoint=endpoint)

    async def message(self, request: Request) -> Response:
        """Show one message with its recipients, events, texts, attachments and headers."""
        record = self._record(request)
        if record is None:
            return self._gone(request)
        return self._page(
            request, "message.html", q="", record=record, letter=self._letter(record), events=self._events(record)
        )

    async def html(self, request: Request) -> Response:
        """Give a message's HTML for the frame."""
        letter = self._letter(self._record(request))
        if letter is None or letter.html is None:
            return self._gone(request)
        return HTMLResponse(letter.page().encode("utf-8", "replace"), headers=FRAME_HEADERS)

    async def source(self, request: Request) -> Response:
        """Give a message as MIME, as text that a browser shows and never runs."""
        letter = self._letter(self._record(request))
        if letter is None:
            return self._gone(request)
        return Response(letter.source, media_type="text/plain; charset=utf-8", headers=FRAME_HEADERS)

    async def attachment(self, request: Request) -> Response:
        """Give one attachment to save."""
        letter, number = self._letter(self._record(request)), request.path_params["number"]
        if letter is None or not 1 <= number <= len(letter.attachments):
            return self._gone(request)
        found = letter.attachments[number - 1]
        name = quote(found.name.encode("utf-8", "replace"))
        headers = {"content-disposition": f"attachment; filename*=UTF-8''{name}", **FRAME_HEADERS}
        return Response(found.data, media_type="application/octet-stream", headers=headers)

    def _record(self, request: Request) -> MessageRecord | None:
        wanted = request.path_params["id"]
        return next((each for each in reversed(self._account.ledger.messages) if each.message_id == wanted), None)

    def _letter(self, record: MessageRecord | None) -> Letter | None:
        return letter_of(record, self._account.ledger.content(record.message_id)) if record else None

    def _events(self, record: MessageRecord) -> Sequence[dict[str, Any]]:
        return [
            {"kind": each.kind, "at": each.at, "text": _indented(each.render())}
            for each in self._account.ledger.events(record.message_id, self._clock())
        ]

    def _page(self, request: Request, name: str, status: int = 200, **shown: Any) -> Response:
        base, account = request.scope["root_path"], self._account.options
        text = _templates().get_template(name).render(account=account, base=base, places=self._places(), **shown)
        return HTMLResponse(text.encode("utf-8", "replace"), status, headers=PAGE_HEADERS)

    def _gone(self, request: Request) -> Response:
        return self._page(request, "gone.html", 404, q="")


def matches(record: MessageRecord, q: str) -> bool:
    """Does each word of the search occur in an address, the subject, the tenant, the set, a tag or the id?"""
    if not q:
        return True
    parts = [
        record.source,
        record.subject or "",
        record.tenant or "",
        record.configuration_set or "",
        record.message_id,
    ]
    parts += [each for each, _ in record.outcomes] + [f"{name}={value}" for name, value in record.tags.items()]
    text = "\n".join(parts).lower()
    return all(word in text for word in q.lower().split())


def _after(records: Iterable[MessageRecord], before: str | None) -> Iterable[MessageRecord]:
    """Give the records that follow the one named, or all of them."""
    rest = iter(records)
    if before:
        for each in rest:
            if each.message_id == before:
                break
    return rest


@cache
def _templates() -> "Environment":
    from jinja2 import (
        Environment,
        PackageLoader,
        StrictUndefined,
    )  # when somebody first looks: it is a tenth of the start

    loader = PackageLoader("tenantry.emulator.mailbox")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(moment=_moment, tally=_tally)
    return environment


@cache
def _style() -> str:
    return (resources.files("tenantry.emulator.mailbox") / "mailbox.css").read_text(encoding="utf-8")


def _indented(text: str) -> str:
    return json.dumps(json.loads(text), indent=2, ensure_ascii=False)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _tally(outcomes: Iterable[tuple[str, str]]) -> list[tuple[str, int]]:
    return Counter(kind for _, kind in outcomes).most_common()
