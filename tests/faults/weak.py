"""`tenantry` on an SQLite that does not sync each commit (`python -m tests.faults.weak NORMAL up ...`): the test of tests.

The pool is told to weaken each connection when it is taken, after the program has set it up.
"""

from __future__ import annotations

import sys
from typing import Any

from sqlalchemy import event
from sqlalchemy.pool import Pool

from tenantry.cli import main

LEVEL = sys.argv.pop(1)
assert LEVEL in {"NORMAL", "OFF"}


@event.listens_for(Pool, "checkout")
def weaken(connection: Any, _record: object, _proxy: object) -> None:
    """Take the promise back that a commit is on the disk."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA synchronous = {LEVEL}")
    cursor.close()


main()
