"""Owns `tenantry migrate`: bringing the database of the settings up to date, or telling whether it is.

Everything heavy is imported when the command runs, so that `tenantry --help` answers at once.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tenantry.cli.failure import ExitCode, Failure, cannot_start
from tenantry.cli.run import read_settings
from tenantry.cli.show import Screen, end, print_json

if TYPE_CHECKING:
    from tenantry.store.migrate import Migrated


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 where there is something to do.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def migrate(check: bool, as_json: bool) -> None:
    """Bring the database of TENANTRY_DATABASE_URL up to date: schema, and on PostgreSQL roles, rights and partitions.

    Log in as the owner of the schema. Safe to run at any time and several times at once: migrations only add, so that
    older processes go on meanwhile. `up` does the same at its start.
    """
    from tenantry.app.schema import bring_up_to_date, look
    from tenantry.ports import StoreBusy, StoreUnfit

    try:
        settings = read_settings({})
        done = look(settings) if check else bring_up_to_date(settings)
    except Failure as failure:
        end(failure, as_json)
    except (OSError, StoreBusy, StoreUnfit) as error:
        end(cannot_start(str(error)), as_json)
    _tell(done, check=check, as_json=as_json)
    if check and not done.current:
        sys.exit(ExitCode.REFUSED)


def _tell(done: Migrated, *, check: bool, as_json: bool) -> None:
    if as_json:
        print_json({"from": done.before, "to": done.after, "mended": done.mended, "current": done.current})
        return
    if done.current:
        said = f"The database is up to date, at revision {done.after}."
    elif done.before == done.after:
        said = f"Revision {done.after}: {done.mended} rights and walls {'differ' if check else 'put right'}."
    else:
        verb = "needs to go" if check else "went"
        said = f"The database {verb} from {done.before or 'nothing'} to revision {done.after}."
    Screen().line(said, style="bold green" if done.current or not check else "bold yellow")
