"""Owns the pages of what others than the sender do: recipients who leave a list, and Amazon's people who decide.

Leaves the rest of the admin API to `emulator.admin` and `emulator.orders`.
"""

from collections.abc import Callable, Iterable

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from tenantry.emulator.account import Account
from tenantry.emulator.errors import SesError
from tenantry.emulator.orders import read_json, refused

LEASED_MAX = 100
_ASK = """<!doctype html><html lang="en"><title>Unsubscribe</title><body><p>Do you want no more of these messages?</p>
<form method="post"><button>Unsubscribe</button></form></body></html>"""
_DONE = '<!doctype html><html lang="en"><title>Unsubscribed</title><body><p>You are unsubscribed.</p></body></html>'
_HEADERS = {"content-security-policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'"}


class Links:
    """The links that were given to others: they name no account, and each is one account's; `on_moved` as below."""

    def __init__(self, accounts: Iterable[Account], clock: Callable[[], float], on_moved: Callable[[], None]) -> None:
        self._accounts = accounts
        self._clock = clock
        self._on_moved = on_moved

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/_local/unsubscribe/{token}", self.unsubscribe, methods=["GET", "POST"]),
            Route("/_local/exports/{job}", self.export),
        ]

    async def unsubscribe(self, request: Request) -> Response:
        """Ask the recipient of a message, or take the answer (RFC 8058: a mailbox provider posts it by itself)."""
        if request.method == "GET":
            return HTMLResponse(_ASK, headers=_HEADERS)
        token, now = request.path_params["token"], self._clock()
        if not any(account.unsubscribe(token, now) for account in self._accounts):
            return refused("There is no such link, or it is too old.", 404)
        self._on_moved()
        return HTMLResponse(_DONE, headers=_HEADERS)

    async def export(self, request: Request) -> Response:
        """Give what an export job has written."""
        bodies = (account.export_body(request.path_params["job"]) for account in self._accounts)
        body = next((each for each in bodies if each is not None), None)
        if body is None:
            return refused("There is no such export.", 404)
        return Response(body, media_type="application/octet-stream", headers={"x-content-type-options": "nosniff"})


class Doors:
    """The pages of one account; `on_moved` is told when events may have been published."""

    def __init__(self, account: Account, clock: Callable[[], float], on_moved: Callable[[], None]) -> None:
        self._account = account
        self._clock = clock
        self._on_moved = on_moved

    def routes(self) -> list[Route]:
        """Return the routes, relative to where the account's pages are."""
        return [
            Route("/dedicated-ips", self.lease, methods=["POST"]),
            Route("/account/review", self.review, methods=["POST"]),
            Route("/tenants/{name}/status", self.enforce, methods=["POST"]),
            Route("/tenants/{name}/findings", self.find, methods=["POST"]),
        ]

    async def lease(self, request: Request) -> Response:
        """Lease dedicated addresses, as a support case does: `{"count": 2, "pool": "gold"}`; they come cold."""
        given = await read_json(request)
        count, pool = given.get("count", 1), given.get("pool")
        if type(count) is not int or not 1 <= count <= LEASED_MAX or not isinstance(pool, str | None):
            return refused(f"Give count (1 to {LEASED_MAX}) and, if wanted, pool.")
        try:
            if pool is not None:
                self._account.pool(pool)
            ips = self._account.lease_ips(count, pool, cold_at=self._clock())
        except SesError as error:
            return refused(error.message, error.status)
        return JSONResponse({"ips": ips})

    async def review(self, request: Request) -> Response:
        """Decide a request for production access: `{"status": "GRANTED"}` or DENIED."""
        given = await read_json(request)
        try:
            self._account.decide_review(str(given.get("status")))
        except SesError as error:
            return refused(error.message, error.status)
        return JSONResponse({"status": given["status"], "sandbox": self._account.is_sandbox})

    async def enforce(self, request: Request) -> JSONResponse:
        """Stop a tenant or let it go, as Amazon's people do: `{"status": "DISABLED", "cause": "Spam traps."}`."""
        given = await read_json(request)
        cause = given.get("cause")
        if not isinstance(cause, str | None):
            return refused("cause is a text.")
        return self._decided(
            request, lambda name: self._account.enforce(name, str(given.get("status")), cause, self._clock())
        )

    async def find(self, request: Request) -> JSONResponse:
        """Open a finding of a tenant by hand, or end it: `{"type": "IP_LISTING", "impact": "HIGH"}`, or null."""
        given = await read_json(request)
        kind, impact = str(given.get("type")), given.get("impact")
        return self._decided(request, lambda name: self._account.find(name, kind, impact, self._clock()))

    def _decided(self, request: Request, decide: Callable[[str], None]) -> JSONResponse:
        """Decide something of a tenant, and answer with what is now said of it."""
        name = request.path_params["name"]
        try:
            decide(name)
        except SesError as error:
            return refused(error.message, error.status)
        self._on_moved()
        found = self._account.entities[self._account.tenant(name).arn]
        return JSONResponse({"name": name, "status": found.aggregate, "impact": found.impact})
