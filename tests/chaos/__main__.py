"""The long form of the kill tests, as `make chaos`: prints a table, writes nothing into the tree."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.chaos.crowd import ready_again
from tests.chaos.ground import folder_for_all, local_ses, several, single
from tests.chaos.pauses import CALL_SECONDS, PAUSE, Pauses
from tests.chaos.play import Outcome, Play, play

RATE, SLOW = 2_000.0, 200.0  # what SES takes a second
READY_SECONDS = 10.0
COUNTED = ("acknowledged", "delivered", "held", "recovered", "marked", "unknown", "errors", "slowest")
BESIDE = {"cut": 5, "restart of PostgreSQL": 2, "no connection left": 1, "freeze and pause": 1}


def main() -> int:
    """Run both forms with the same seed; exit code 1 when the judge objects."""
    asked = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    asked.add_argument("--kills", type=int, default=300)
    asked.add_argument("--pauses", type=int, default=0, help="pauses at random instants; best with --kills 0")
    asked.add_argument("--waiting", type=int, default=0, help="only measure starts with so many messages waiting")
    asked.add_argument("--messages", type=int, default=150_000)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--only", choices=("sqlite", "postgres"))
    given = asked.parse_args()
    share = 1 if given.only else 2
    bad = 0
    for kind in (given.only,) if given.only else ("sqlite", "postgres"):
        if given.waiting:
            bad += _start_with(kind, given.waiting)
            continue
        faults = {"kill": given.kills // share, PAUSE: given.pauses}
        if kind == "postgres" and given.kills >= 20:
            faults |= BESIDE
        with folder_for_all() as folder, local_ses(Path(folder), given.seed, RATE, CALL_SECONDS) as ses_url:
            place = Path(folder)
            ground = single(place, ses_url) if kind == "sqlite" else several(place, ses_url, 2, 2)
            wanted = Play(
                given.seed, given.messages // share, faults, freeze_seconds=60.0, patience=180.0, trouble=Pauses
            )
            with ground as fleet:
                outcome = play(fleet, ses_url, place, wanted)
        bad += bool(outcome.objections)
        _show(kind, wanted, outcome)
    return 1 if bad else 0


def _start_with(kind: str, waiting: int) -> int:
    """Kill what has a long queue, and say how soon it is there again; 1 where that takes too long."""
    with folder_for_all() as folder, local_ses(Path(folder), 1, SLOW) as ses_url:
        place = Path(folder)
        with single(place, ses_url) if kind == "sqlite" else several(place, ses_url, 1, 1) as fleet:
            found = ready_again(fleet, ses_url, waiting)
    for one in found:
        print(
            f"{kind}: {one.name} killed with {one.waiting} waiting: ready {one.ready:.1f} s after its start,"
            f" mail flows after {one.handed:.1f} s",
            flush=True,
        )
    return int(any(max(one.ready, one.handed) > READY_SECONDS for one in found))


def _spread(seconds: list[float]) -> str:
    """Say the median, the 99th percentile and the most."""
    if not seconds:
        return "none "
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    return f"median {ordered[len(ordered) // 2]:.3f} s, p99 {p99:.3f} s, most {ordered[-1]:.3f} s "


def _show(kind: str, given: Play, outcome: Outcome) -> None:
    rows = {
        "store": kind,
        "seed": given.seed,
        "messages": given.messages,
        "faults": dict(outcome.trouble.done),
        "seconds": round(outcome.seconds, 1),
        "seconds until all was settled": round(outcome.settling_seconds, 1),
        "slowest start, seconds": round(max(outcome.trouble.ready, default=0.0), 1),
        "pauses: answered, fenced": _spread(outcome.trouble.acknowledged) + _spread(outcome.trouble.fenced),
        "claims of dead workers": outcome.unknowns,
        "sent again, marked": outcome.resent,
        **{name: getattr(outcome.judgement, name) for name in COUNTED},
        "objections": {name: found[:3] for name, found in outcome.objections.items() if found} or "none",
    }
    for name, value in rows.items():
        print(f"{name:32} {value}")
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
