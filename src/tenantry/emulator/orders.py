"""Owns what a test orders of the local SES while it runs, under `/_local/`: faults, and the time.

Leaves what a fault is to `emulator.faults`, and time itself to `emulator.clock`.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tenantry.emulator.accounts import Accounts
from tenantry.emulator.clock import MovableClock

_CLOCK_WORDS = ("advance", "skew", "stopped")


class Orders:
    """The routes of faults and of the clock; both are for all accounts, in every Region."""

    def __init__(self, accounts: Accounts, clock: MovableClock, on_moved: Callable[[], None]) -> None:
        self._accounts = accounts
        self._clock = clock
        self._on_moved = on_moved

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/_local/faults", self.faults, methods=["GET", "POST", "DELETE"]),
            Route("/_local/feed", self.feed, methods=["POST"]),
            Route("/_local/clock", self.clock, methods=["GET", "POST"]),
        ]

    async def faults(self, request: Request) -> JSONResponse:
        """Show the faults in force, order one more, or end them all."""
        faults = self._accounts.faults
        if request.method == "DELETE":
            faults.clear()
            self._let_flow()
        elif request.method == "POST":
            try:
                faults.order(await read_json(request))
            except (ValueError, TypeError) as error:
                return refused(str(error))
        return JSONResponse(faults.shown())

    async def feed(self, request: Request) -> JSONResponse:
        """Stop the events, `{"stopped": true}`, or let them flow again; what was held back comes then, in its order."""
        given = await read_json(request)
        if not isinstance(given.get("stopped"), bool):
            return refused('Give {"stopped": true} or {"stopped": false}.')
        self._accounts.faults.is_feed_stopped = given["stopped"]
        if not given["stopped"]:
            self._let_flow()
        return JSONResponse(self._accounts.faults.shown())

    async def clock(self, request: Request) -> JSONResponse:
        """Show the time, or move it: `{"advance": seconds}`, `{"skew": seconds}`, `{"stopped": true}`; several in this order."""
        if request.method == "POST":
            given = await read_json(request)
            try:
                self._set(given)
            except (ValueError, TypeError, OverflowError) as error:
                return refused(str(error))
            self._on_moved()
        now = self._clock()
        return JSONResponse(
            {"now": now, "at": datetime.fromtimestamp(now, UTC).isoformat(), "stopped": self._clock.is_virtual}
        )

    def _set(self, given: dict[str, Any]) -> None:
        if not given or given.keys() - set(_CLOCK_WORDS):
            raise ValueError(f"give one or more of {', '.join(_CLOCK_WORDS)}")
        if not isinstance(given.get("stopped", False), bool):
            raise ValueError("stopped is true or false")
        for name in ("advance", "skew"):
            datetime.fromtimestamp(self._clock() + given.get(name, 0.0), UTC)  # a time that has a date
        if "skew" in given:
            self._clock.skew(given["skew"])
        if given.get("stopped") is True:
            self._clock.stop()
        if "advance" in given:
            self._clock.advance(given["advance"])
        if given.get("stopped") is False:
            self._clock.run()

    def _let_flow(self) -> None:
        for each in self._accounts:
            each.resume_feed()
        self._on_moved()


def refused(message: str, status: int = 400) -> JSONResponse:
    """Return the admin API's "no"."""
    return JSONResponse({"error": message}, status)


async def read_json(request: Request) -> dict[str, Any]:
    """Return the body of a request if it is a JSON object, else an empty one."""
    try:
        value = await request.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
