"""Owns the commands for a local SES that runs: its faults, its feed, its clock, its ledger of calls.

Leaves what an order means to the local SES: they are its admin API in words (docs/local-ses.md).
"""

from __future__ import annotations

import functools
import http.client
import json
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

import click

from tenantry.cli.document import Document, Json
from tenantry.cli.failure import ExitCode, Failure, wrong_use
from tenantry.cli.show import Answer, Screen, end, print_json

URL = "http://127.0.0.1:8026"
TIMEOUT_SECONDS = 30.0
_HASH_SHOWN = 12


class Running:
    """A local SES at an address."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, method: str, path: str, body: dict[str, Json] | None = None) -> Document:
        """Return what its admin API answers; a no, or nobody there, is a Failure."""
        parts = urlsplit(self._url)
        try:
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
            connection.request(method, f"/_local/{path}", None if body is None else json.dumps(body))
            answer = connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._nobody(error) from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise Failure(ExitCode.REFUSED, "refused", str(told.get("error", answer.status)))
        return Document(told)

    def _nobody(self, error: Exception) -> Failure:
        message = (
            f"no local SES answers at {self._url} ({error}). Start one with `tenantry ses-local`, or give its --url."
        )
        return Failure(ExitCode.UNREACHABLE, "unreachable", message)


def _orders(command: Callable[..., Answer]) -> Callable[..., None]:
    """Make a command of a function that asks a running local SES."""

    @click.option("--url", default=URL, show_default=True, envvar="AWS_ENDPOINT_URL", help="Where it runs.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @functools.wraps(command)
    def run(*args: object, url: str, as_json: bool, **given: object) -> None:
        try:
            answer = command(Running(url), *args, **given)
        except Failure as failure:
            end(failure, as_json)
        if as_json:
            print_json(answer.document)
        else:
            answer.show(Screen())

    return run


@click.group()
def fault() -> None:
    """Faults that a local SES was ordered to do, to calls or to events."""


@fault.command("list")
@_orders
def list_faults(running: Running) -> Answer:
    """List the faults in force."""
    return _faults(running.ask("GET", "faults"))


@fault.command("add")
@click.argument("kind")
@click.option("--call", metavar="PATTERN", help="Calls that it befalls: SendEmail, Send*, ReceiveMessage, * for all.")
@click.option("--event", metavar="PATTERN", help="Events that it befalls: BOUNCE, DELIVERY, * for all.")
@click.option("--times", type=click.IntRange(0), help="How often at most; without it, until it is cleared.")
@click.option("--share", type=click.FloatRange(0, 1), help="Fraction of those that fit.")
@click.option("--seconds", type=click.FloatRange(0), help="How long a delay or a hang lasts.")
@click.option("--at-byte", type=click.IntRange(0), help="After how many bytes of the answer cut-after cuts.")
@click.option("--status", type=click.IntRange(400, 599), help="HTTP status of refuse and refuse-after.")
@click.option("--code", help="Error code of refuse and refuse-after.")
@_orders
def add_fault(running: Running, **given: Json) -> Answer:
    """Order one more fault.

    KIND of calls: delay, refuse, hang, cut, refuse-after, hang-after, cut-after, wrong-json-after.
    KIND of events: lose, duplicate, delay.
    """
    if (given["call"] is None) == (given["event"] is None):
        raise wrong_use("give either --call or --event")
    return _faults(running.ask("POST", "faults", {name: each for name, each in given.items() if each is not None}))


@fault.command("clear")
@_orders
def clear_faults(running: Running) -> Answer:
    """End all faults, and let events flow."""
    return _faults(running.ask("DELETE", "faults"))


@click.command()
@click.argument("what", type=click.Choice(["stop", "start"]))
@_orders
def feed(running: Running, what: str) -> Answer:
    """Hold all events back, or let them flow: those held back come first."""
    return _faults(running.ask("POST", "feed", {"stopped": what == "stop"}))


@click.command()
@click.option("--advance", type=click.FloatRange(0), metavar="SECONDS", help="Let so much time pass at once.")
@click.option("--skew", type=float, metavar="SECONDS", help="Be so far ahead of the machine's time (behind: -60).")
@click.option("--stop/--run", "stopped", default=None, help="Let time pass only by --advance, or by itself again.")
@_orders
def clock(running: Running, **given: Json) -> Answer:
    """Show the time of a local SES, or move it."""
    wanted: dict[str, Json] = {name: each for name, each in given.items() if each is not None}
    told = running.ask("POST", "clock", wanted) if wanted else running.ask("GET", "clock")

    def show(screen: Screen) -> None:
        screen.line(f"{told.text('at')}{'  (stands still)' if told.raw.get('stopped') else ''}")

    return Answer(dict(told.raw), show)


@click.command()
@click.option("--service", default="ses", show_default=True, help="Whose calls: ses, sqs, sns, events, cloudwatch, …")
@click.option("--operation", help="Of this operation only.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="The latest so many.")
@_orders
def calls(running: Running, **given: object) -> Answer:
    """List the calls that were made, oldest first, with the hash of each body and what befell it."""
    asked = urlencode({name: each for name, each in given.items() if each is not None})
    told = running.ask("GET", f"calls?{asked}")

    def show(screen: Screen) -> None:
        rows = [
            (each.text("at")[:23], each.text("operation"), _outcome(each), each.text("body_sha256")[:_HASH_SHOWN])
            for each in told.many("calls")
        ]
        screen.table(("at", "operation", "answered", "body"), rows, "no calls yet")

    return Answer(dict(told.raw), show)


def _outcome(call: Document) -> str:
    parts = (str(call.raw.get("status") or "nothing"), call.text("error"), call.text("fault"))
    return "  ".join(part for part in parts if part)


def _faults(told: Document) -> Answer:
    def show(screen: Screen) -> None:
        rows = [("calls", each.text("call"), each) for each in told.many("calls")]
        rows += [("events", each.text("event"), each) for each in told.many("events")]
        shown = [(of, pattern, each.text("kind"), _times(each), _share(each)) for of, pattern, each in rows]
        screen.table(("of", "pattern", "kind", "times left", "share"), shown, "no faults are ordered")
        if told.raw.get("feed_stopped"):
            screen.line("Events are held back: `tenantry ses-local feed start` lets them flow.")

    return Answer(dict(told.raw), show)


def _times(each: Document) -> str:
    times = each.raw.get("times")
    return "no end" if times is None else str(times)


def _share(each: Document) -> str:
    share = each.raw.get("share")
    return f"{float(str(share)):.0%}"
