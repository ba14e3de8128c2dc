"""Owns the admin pages of the neighbours: what was asked of Amazon's people, decisions on it, and HTTP deliveries.

Leaves the pages of SES itself to `emulator.admin`.
"""

from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tenantry.emulator.neighbours.quotas import DAILY, QuotaRequest

if TYPE_CHECKING:
    from tenantry.emulator.account import Account

DECISIONS = ("APPROVED", "DENIED", "CASE_CLOSED")
SHOWN = 100


class NeighbourPages:
    """The pages under `/_local/requests` and `/_local/deliveries`, over all accounts and Regions."""

    def __init__(self, accounts: Iterable["Account"]) -> None:
        self._accounts = accounts

    def routes(self) -> list[Route]:
        """Return the routes, for the admin's application."""
        return [
            Route("/_local/requests", self.requests),
            Route("/_local/requests/{request_id}", self.decide, methods=["POST"]),
            Route("/_local/deliveries", self.deliveries),
        ]

    async def requests(self, request: Request) -> JSONResponse:
        """List requests for quotas and support cases, oldest first."""
        quotas, cases = [], []
        for account in self._accounts:
            quotas += [{**_place(account), **asdict(each)} for each in account.neighbours.quotas.requests.values()]
            cases += [{**_place(account), **asdict(each)} for each in account.neighbours.support.cases.values()]
        return JSONResponse({"quota_increases": quotas, "support_cases": cases})

    async def decide(self, request: Request) -> JSONResponse:
        """Decide a quota request as Amazon would: `{"status": "APPROVED" | "DENIED" | "CASE_CLOSED"}`; approval holds at once."""
        try:
            status = (await request.json()).get("status")
        except (ValueError, AttributeError):
            status = None
        if status not in DECISIONS:
            return JSONResponse({"error": f"Give status as one of {', '.join(DECISIONS)}."}, 400)
        for account in self._accounts:
            if found := account.neighbours.quotas.requests.get(request.path_params["request_id"]):
                _decide(account, found, status)
                return JSONResponse({**_place(account), **asdict(found)})
        return JSONResponse({"error": "There is no such request."}, 404)

    async def deliveries(self, request: Request) -> JSONResponse:
        """List the latest attempts of SNS over HTTP, oldest first."""
        limit = request.query_params.get("limit", str(SHOWN))
        if not limit.isdigit():
            return JSONResponse({"error": "limit must be a number."}, 400)
        rows: list[dict[str, Any]] = []
        for account in self._accounts:
            rows += [{**_place(account), **asdict(each)} for each in account.neighbours.sns.outbox.attempts]
        rows.sort(key=lambda row: row["at"])
        return JSONResponse({"deliveries": rows[-int(limit) :] if int(limit) else []})


def _decide(account: "Account", found: QuotaRequest, status: str) -> None:
    found.status = status
    if status == "APPROVED":
        now = account.options
        is_daily = found.code == DAILY
        granted = replace(now, max_24_hour_send=found.wanted) if is_daily else replace(now, max_send_rate=found.wanted)
        account.configure(granted)


def _place(account: "Account") -> dict[str, str]:
    return {"account_id": account.options.account_id, "region": account.options.region}
