"""Owns the admin API under `/_local/`: what was delivered, every call, the state, and changes at run time, as JSON.

Leaves the record itself to `emulator.ledger`; it is no part of SES and needs no signature.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from tenantry.emulator.account import Account
from tenantry.emulator.accounts import Accounts
from tenantry.emulator.clock import MovableClock
from tenantry.emulator.doors import Doors, Links
from tenantry.emulator.errors import SesError
from tenantry.emulator.ledger import CallRecord, MessageRecord
from tenantry.emulator.mail import bare
from tenantry.emulator.mailbox.pages import Mailbox
from tenantry.emulator.neighbours.admin import NeighbourPages
from tenantry.emulator.options import Options
from tenantry.emulator.orders import Orders, read_json, refused

SHOWN = 100


HOME = "/_local"  # the pages of the account of the options; any other's are under `at`


class Admin:
    """The pages of all accounts: each account's own, and those that are for all."""

    def __init__(self, accounts: Accounts, clock: MovableClock, on_moved: Callable[[], None]) -> None:
        self._accounts = accounts
        self._clock = clock
        self._on_moved = on_moved
        self._elsewhere: dict[tuple[str, str], Starlette] = {}

    def app(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                Route(f"{HOME}/health", self.health),
                Route(f"{HOME}/accounts", self.accounts),
                *Links(self._accounts, self._clock, self._on_moved).routes(),
                *Orders(self._accounts, self._clock, self._on_moved).routes(),
                *NeighbourPages(self._accounts).routes(),
                Mount(f"{HOME}/at/{{account_id}}/{{region}}", app=self._at),
                Mount(HOME, app=self._pages(self._accounts.home)),
                Route("/", front),
            ]
        )

    async def health(self, request: Request) -> JSONResponse:
        """Say that the server lives."""
        return JSONResponse({"status": "ok", "now": self._clock()})

    async def accounts(self, request: Request) -> JSONResponse:
        """List the accounts and Regions that were called, with where their pages are."""
        rows = [
            {
                "account_id": each.options.account_id,
                "region": each.options.region,
                "messages": each.ledger.messages_total,
                "calls": each.ledger.calls_total,
                "pages": self._base(each),
            }
            for each in self._accounts
        ]
        return JSONResponse({"accounts": rows})

    async def _at(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the pages of another account or Region."""
        place = (scope["path_params"]["account_id"], scope["path_params"]["region"])
        found = self._accounts.find(*place)
        if found is None:
            answer = refused(f"Account {place[0]} was never called in {place[1]}.", 404)
            await answer(scope, receive, send)
            return
        if place not in self._elsewhere:
            self._elsewhere[place] = self._pages(found)
        await self._elsewhere[place](scope, receive, send)

    def _pages(self, account: Account) -> Starlette:
        routes = Pages(account, self._clock, self._on_moved).routes()
        doors = Doors(account, self._clock, self._on_moved).routes()
        return Starlette(routes=[*routes, *doors, *Mailbox(account, self._clock, self._mailboxes).routes()])

    def _mailboxes(self) -> list[tuple[str, str]]:
        return [
            (f"{each.options.account_id} {each.options.region}", f"{self._base(each)}/mailbox")
            for each in self._accounts
        ]

    def _base(self, account: Account) -> str:
        if account is self._accounts.home:
            return HOME
        return f"{HOME}/at/{account.options.account_id}/{account.options.region}"


class Pages:
    """The pages of one account."""

    def __init__(self, account: Account, clock: MovableClock, on_moved: Callable[[], None]) -> None:
        self._account = account
        self._clock = clock
        self._on_moved = on_moved

    def routes(self) -> list[Route]:
        """Return the routes, relative to where the account's pages are."""
        return [
            Route("/messages", self.messages),
            Route("/calls", self.calls),
            Route("/state", self.state),
            Route("/identities/{name}", self.identity, methods=["POST"]),
            Route("/account", self.account, methods=["GET", "POST"]),
            Route("/options", self.options, methods=["GET", "POST"]),
        ]

    async def messages(self, request: Request) -> JSONResponse:
        """List accepted messages, oldest first, the latest `limit` of those that match."""
        ask, ledger = request.query_params, self._account.ledger
        to = ask.get("to", "").lower()

        def wanted(record: MessageRecord) -> bool:
            return (
                ask.get("tenant") in (None, record.tenant)
                and ask.get("configuration_set") in (None, record.configuration_set)
                and ask.get("message_id") in (None, record.message_id)
                and (not to or any(bare(each).lower() == to for each, _ in record.outcomes))
            )

        try:
            records = _latest(ledger.messages, wanted, request)
        except ValueError as error:
            return refused(str(error))
        return JSONResponse({"messages": [self._message(each) for each in records], "total": ledger.messages_total})

    async def calls(self, request: Request) -> JSONResponse:
        """List calls of SES, or of another `service`, oldest first, the latest `limit` of those that match."""
        ask, ledger = request.query_params, self._account.ledger
        service = ask.get("service", "ses")

        def wanted(record: CallRecord) -> bool:
            return (
                record.service == service
                and ask.get("operation") in (None, record.operation)
                and ask.get("status") in (None, str(record.status))
                and ask.get("configuration_set") in (None, (record.detail or {}).get("configuration_set"))
            )

        try:
            records = _latest(ledger.calls if service == "ses" else ledger.other_calls, wanted, request)
        except ValueError as error:
            return refused(str(error))
        return JSONResponse({"calls": [_call(each) for each in records], "total": ledger.calls_total})

    async def state(self, request: Request) -> JSONResponse:
        """Summarise what the account has."""
        account, now = self._account, self._clock()
        visible, flying = next(iter(account.queues.values())).depth(now)
        return JSONResponse(
            {
                "account_id": account.options.account_id,
                "region": account.options.region,
                "topic_arn": account.options.topic_arn,
                "sending_enabled": account.sending_enabled,
                "enforcement": account.enforcement,
                "sent_last_24_hours": account.day.total(now),
                "messages": account.ledger.messages_total,
                "calls": account.ledger.calls_total,
                "queue": {"visible": visible, "in_flight": flying, "published": account.neighbours.published},
                "tenants": [
                    {"name": each.name, "arn": each.arn, "status": account.entities[each.arn].aggregate,
                     "resources": list(each.resources)}
                    for each in account.tenants.values()
                ],
                "configuration_sets": [
                    {"name": each.name, "sending_enabled": each.sending_enabled, "options": _plain(each.options),
                     "event_destinations": list(each.destinations)}
                    for each in account.sets.values()
                ],
                "identities": [
                    {"name": each.name, "status": each.status_at(now)} for each in account.identities.values()
                ],
                "pools": [
                    {"name": each.name, "scaling_mode": each.scaling_mode, "ips": each.ips}
                    for each in account.pools.values()
                ],
            }
        )  # fmt: skip

    async def identity(self, request: Request) -> JSONResponse:
        """Decide an identity's verification by hand: `{"status": "SUCCESS" | "PENDING" | "FAILED"}`."""
        given = await read_json(request)
        try:
            self._account.set_verification(request.path_params["name"], str(given.get("status")))
        except SesError as error:
            return refused(error.message, error.status)
        return JSONResponse({"name": request.path_params["name"], "status": given["status"]})

    async def account(self, request: Request) -> JSONResponse:
        """Show whether the account may send, or decide it: `{"sending_enabled": bool, "enforcement": "SHUTDOWN", ...}`."""
        given = await read_json(request) if request.method == "POST" else {}
        enabled = given.pop("sending_enabled", self._account.sending_enabled)
        enforcement = given.pop("enforcement", self._account.enforcement)
        if given or not isinstance(enabled, bool):
            return refused("Give sending_enabled as true or false, or enforcement.")
        try:
            self._account.set_enforcement(str(enforcement), self._clock())
        except SesError as error:
            return refused(error.message, error.status)
        self._account.sending_enabled = enabled
        return JSONResponse({"sending_enabled": enabled, "enforcement": enforcement})

    async def options(self, request: Request) -> JSONResponse:
        """Show the options, or change rates, recipient rules and latency from now on."""
        if request.method == "POST":
            try:
                self._account.configure(self._account.options.changed(await read_json(request)), self._clock())
            except (ValueError, TypeError, AttributeError) as error:
                return refused(str(error))
        return JSONResponse(_options(self._account.options))

    def _message(self, record: MessageRecord) -> dict[str, Any]:
        return {
            "message_id": record.message_id,
            "time": record.at,
            "at": _iso(record.at),
            "from": record.source,
            "recipients": [each for each, _ in record.outcomes],
            "to": record.to,
            "cc": record.cc,
            "bcc": record.bcc,
            "subject": record.subject,
            "configuration_set": record.configuration_set,
            "tenant": record.tenant,
            "tags": dict(record.tags),
            "outcomes": dict(record.outcomes),
            "content": _plain(self._account.ledger.content(record.message_id)),
        }


async def front(request: Request) -> RedirectResponse:
    """Lead a person's browser to the mailbox."""
    return RedirectResponse("/_local/mailbox", 303)


def _latest(records: Sequence[Any], wanted: Callable[[Any], bool], request: Request) -> list[Any]:
    """Return the newest records that match, oldest of them first; raise ValueError for odd `since` or `limit`."""
    since, limit = float(request.query_params.get("since", 0)), int(request.query_params.get("limit", SHOWN))
    newest_first = takewhile(lambda record: record.at >= since, reversed(records))
    return list(islice(filter(wanted, newest_first), limit))[::-1]


def _call(record: CallRecord) -> dict[str, Any]:
    return {
        "operation": record.operation,
        "time": record.at,
        "at": _iso(record.at),
        "status": record.status,
        "error": record.error,
        "key_id": record.key_id,
        "request_id": record.request_id,
        "service": record.service,
        "body_sha256": record.body_sha256.hex(),
        "body_bytes": record.body_bytes,
        "fault": record.fault,
        **(record.detail or {}),
    }


def _options(options: Options) -> dict[str, Any]:
    shown = {name: each for name, each in asdict(options).items() if name != "keys"}
    return {**shown, "files": _text(options.files), "state": _text(options.state)}


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")


def _plain(value: Any) -> Any:
    """Return a value with its bytes as base64 and its times as text, as JSON wants it."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return value.isoformat()
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case _:
            return value
