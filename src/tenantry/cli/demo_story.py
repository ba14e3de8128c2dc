"""Owns the demo's beginning and end: a stage, a play, the report, the exit code; leaves the acts to `demo_play`."""

from __future__ import annotations

import threading

import click

from tenantry.cli.demo_cast import PLAYERS, ROTTEN
from tenantry.cli.demo_checks import Check, checks, worst_rates
from tenantry.cli.demo_evidence import Evidence, quantile
from tenantry.cli.demo_play import Play
from tenantry.cli.demo_screen import TALLY_COLUMNS, View
from tenantry.cli.demo_stage import Stage, Traffic
from tenantry.cli.document import Json
from tenantry.cli.failure import ExitCode, Failure
from tenantry.cli.show import clean, print_json, seconds


def run_demo(*, seed: int, stays: bool, as_json: bool) -> int:
    """Play, print what was true, and return the exit code: 0 only when every claim is."""
    try:
        view = View(silent=as_json)
        view.say("Starting Tenantry and a local SES on a fresh folder ...", "dim")
        with Stage(seed) as stage:
            found = _play(stage, view, as_json)
            if stays:
                _stay(stage, view)
    except Failure as failure:
        if as_json:
            print_json(failure.document())
        else:
            click.secho(f"{clean(failure.word)}: {clean(failure.message)}", err=True, fg="red")
        return failure.code
    except KeyboardInterrupt:
        return ExitCode.REFUSED
    return ExitCode.OK if all(check.holds for check in found) else ExitCode.REFUSED


def _play(stage: Stage, view: View, as_json: bool) -> list[Check]:
    with view, Traffic() as traffic:
        evidence = Play(stage, view, traffic).run()
    found = checks(evidence)
    view.say("\nWhat became of it, tenant by tenant (recipients; waits from acceptance to SES):", "bold")
    view.tally(tally(evidence))
    last, fenced = evidence.fence_seconds()
    stopped = f"the last mail entered SES {seconds(last)} after it" if last else "no mail entered SES after it"
    view.say(f"The pause, from the bounce that decided it: {stopped}; SES itself refused {seconds(fenced)} after it.\n")
    view.checks(found)
    if as_json:
        print_json(report(evidence, found))
    return found


def _stay(stage: Stage, view: View) -> None:
    """Leave all running for a curious person, until Ctrl-C."""
    folder = stage.folder
    view.say("\nStill up, for exploring. In another terminal:", "bold")
    view.copy(f"export TENANTRY_DATA={folder}")
    view.copy("tenantry reputation")
    view.copy("tenantry pauses --all")
    view.copy(f"tenantry explain {ROTTEN}/marketing")
    view.copy(f"tenantry message list {ROTTEN} --stream marketing")
    view.say("and in a browser:", "bold")
    view.copy(f"{stage.url}/docs  the API (key: {stage.key})")
    view.copy(f"{stage.started.text('ses_url')}/_local/messages  what SES was given")
    view.say("Ctrl-C ends it and removes the folder.", "bold")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        view.say("Stopping ...", "dim")


def tally(evidence: Evidence) -> list[tuple[str, ...]]:
    """Return a row for each tenant, in the order of TALLY_COLUMNS."""
    table = []
    for player in PLAYERS:
        rows = [row for row in evidence.end.rows if row.tenant == player.name]
        counts = [
            str(sum(row.states.get(name, 0) for row in rows))
            for name in ("delivered", "bounced", "complained", "suppressed", "waiting")
        ]
        waits = evidence.wait_of([row.id for row in rows], 0.0, evidence.end.at)
        marketing = next(row.state for row in rows if row.stream == "marketing")
        sums = (str(sum(row.accepted for row in rows)), str(sum(row.handed for row in rows)))
        table.append(
            (player.name, *sums, *counts, seconds(quantile(waits, 0.5)), seconds(quantile(waits, 0.99)), marketing)
        )
    return table


def report(evidence: Evidence, found: list[Check]) -> Json:
    """Return the report as one document."""
    last, fenced = evidence.fence_seconds()
    bounces, complaints = worst_rates(evidence)
    tenants: list[Json] = [dict(zip(TALLY_COLUMNS, row, strict=True)) for row in tally(evidence)]
    return {
        "ok": all(check.holds for check in found),
        "checks": [check.document() for check in found],
        "tenants": tenants,
        "pause": {
            "seconds_to_last_call": round(last, 4),
            "seconds_to_fenced": round(fenced, 4),
            "verdict": dict(evidence.verdict.raw),
            "pause": dict(evidence.pause.raw),
        },
        "account": {
            "sent": evidence.end.sent,
            "bounced": evidence.end.bounced,
            "complained": evidence.end.complained,
            "bounce_rate_max": bounces,
            "complaint_rate_max": complaints,
        },
    }
