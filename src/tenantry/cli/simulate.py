"""Owns `tenantry simulate`: the lab's run, told as tables and, where asked for, as a page with charts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from tenantry.cli.document import Json
from tenantry.cli.failure import ExitCode, Failure
from tenantry.cli.policies import policy_text
from tenantry.cli.show import Screen, end, print_json


@click.command()
@click.option("--seed", default=1, show_default=True, help="The same seed and sizes give the same figures.")
@click.option(
    "--tenants", default=1_000, show_default=True, type=click.IntRange(1), help="Healthy tenants, a month of mail each."
)
@click.option("--trials", default=400, show_default=True, type=click.IntRange(20), help="Trials of each bad sender.")
@click.option(
    "--fleets", default=20, show_default=True, type=click.IntRange(1), help="Fleets with adversaries, for each way."
)
@click.option(
    "--policy",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The policy to try; standard when left out.",
)
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with charts to this file."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def simulate(
    seed: int, tenants: int, trials: int, fleets: int, *, file: Path | None, report: Path | None, as_json: bool
) -> None:
    """Try the guard on simulated fleets: who is stopped wrongly, how soon bad senders are, what the account sees.

    It drives the counters and decisions of the real guard, without a database or network.
    """
    from tenantry.core.policy import POLICIES, Policy
    from tenantry.core.policy_text import read_policy
    from tenantry.lab.report import page
    from tenantry.lab.table import COMPARED, Size, compared, goals, run

    try:
        tried = POLICIES["standard"] if file is None else read_policy(policy_text(file))
    except Failure as failure:
        end(failure, as_json)
    if not isinstance(tried, Policy):
        end(Failure(ExitCode.USAGE, "invalid_policy", "\n".join(map(str, tried))), as_json)
    found = run(seed, Size(tenants, trials, fleets), tried, _tell)
    table = goals(found)
    if report is not None:
        report.write_text(page(found), encoding="utf-8")
    if as_json:
        rows: list[Json] = [{**dict(zip(COMPARED, row, strict=True))} for row in compared(found)]
        print_json({"seed": seed, "goals": [asdict(goal) for goal in table], "ways": rows})
        return
    screen = Screen()
    met = {True: "met", False: "not met", None: "told"}
    screen.table(("what", "to reach", "reached", ""), [(g.what, g.to_reach, g.reached, met[g.met]) for g in table])
    screen.line("")
    screen.table(COMPARED, compared(found))
    if report is not None:
        screen.line(f"The page with charts: {report}")


def _tell(done: int, of: int) -> None:
    click.echo(f"\rhealthy tenants: {done:,} of {of:,}", nl=done >= of, err=True)
