"""Owns the command: which figures on which stores, the table, and the JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Coroutine

import uvloop

from bench import accept, emulator, flowing, processes, scale, stopping
from bench.figures import Figure, Size, documents, show

FIGURES: dict[str, Callable[[str, bool], Coroutine[None, None, list[Figure]]]] = {
    "accept": accept.figures,
    "flowing": flowing.figures,
    "pause": stopping.pause_figures,
}
ALONE: dict[str, Callable[[bool], Coroutine[None, None, list[Figure]]]] = {"emulator": emulator.figures}  # no store
SCALE: dict[str, Callable[[str, Size], Coroutine[None, None, list[Figure]]]] = {
    "flood": stopping.flooded,
    "scale-waiting": scale.waiting_figures,
    "scale-tenants": scale.tenant_figures,
    "scale-processes": processes.process_figures,
}


def main() -> None:
    """Take the figures and print them."""
    parser = argparse.ArgumentParser(prog="bench", description="Performance figures, each a ratio taken in one run.")
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    parser.add_argument(
        "--long", action="store_true", help="flood and scale at the sizes of the goals: some 40 minutes"
    )
    parser.add_argument(
        "--only", choices=(*FIGURES, *ALONE, *SCALE), action="append", help="this figure only; repeatable"
    )
    parser.add_argument("--store", choices=("sqlite", "postgres"), action="append", help="this store only; repeatable")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    size = Size.QUICK if given.quick else Size.LONG if given.long else Size.USUAL
    taken: list[Figure] = []
    for name in [each for each in ALONE if not given.only or each in given.only]:
        print(f"{name} ...", file=sys.stderr, flush=True)
        taken += uvloop.run(ALONE[name](given.quick))
    for store in given.store or ("sqlite", "postgres"):
        for name in [each for each in (*FIGURES, *SCALE) if not given.only or each in given.only]:
            print(f"{name} on {store} ...", file=sys.stderr, flush=True)
            taken += uvloop.run(FIGURES[name](store, given.quick) if name in FIGURES else SCALE[name](store, size))
    if given.json:
        print(json.dumps(documents(taken), indent=2))
    else:
        show(taken)


if __name__ == "__main__":
    main()
