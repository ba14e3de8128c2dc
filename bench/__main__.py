"""Owns the command: which figures on which stores, the table, and the JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable

import uvloop

from bench import accept, flowing, stopping
from bench.figures import Figure, documents, show

FIGURES: dict[str, Callable[[str, bool], Awaitable[list[Figure]]]] = {
    "accept": accept.figures,
    "flowing": flowing.figures,
    "pause": stopping.pause_figures,
    "flood": stopping.flood_figures,
}


def main() -> None:
    """Take the figures and print them."""
    parser = argparse.ArgumentParser(prog="bench", description="Performance figures, each a ratio taken in one run.")
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    parser.add_argument("--only", choices=FIGURES, action="append", help="this figure only; repeatable")
    parser.add_argument("--store", choices=("sqlite", "postgres"), action="append", help="this store only; repeatable")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    taken: list[Figure] = []
    for store in given.store or ("sqlite", "postgres"):
        for name in given.only or FIGURES:
            print(f"{name} on {store} ...", file=sys.stderr, flush=True)
            taken += uvloop.run(FIGURES[name](store, given.quick))
    if given.json:
        print(json.dumps(documents(taken), indent=2))
    else:
        show(taken)


if __name__ == "__main__":
    main()
