"""Owns the commands `up` and `demo`, programs of their own; leaves what runs to others, and `ses-local` to its module.

Everything heavy is imported when its command runs, so that `tenantry --help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tenantry.cli import profile
from tenantry.cli.document import Json
from tenantry.cli.failure import Failure, cannot_start, wrong_use
from tenantry.cli.show import Screen, end, print_json

if TYPE_CHECKING:
    from tenantry.app.up import Started
    from tenantry.settings import Settings

RULE = "PATTERN:bounce=0.3,complaint=0.01,soft_bounce=0,defer=0,delay=0.2"


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Folder for everything; TENANTRY_DATA.")
@click.option("--host", help="Address to listen on; TENANTRY_HOST, 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the doors (0: any free one); TENANTRY_PORT, 8025.")
@click.option(
    "--smtp-port", type=click.IntRange(0, 65535), help="Port of SMTP with STARTTLS; TENANTRY_SMTP_PORT, closed."
)
@click.option(
    "--recipients", multiple=True, metavar=RULE, help="Script a recipient domain of the local SES; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document once ready.")
def up(*, recipients: tuple[str, ...], as_json: bool, **given: object) -> None:
    """Run everything on this machine until interrupted: doors, worker, SQLite, and a local SES unless AWS is set.

    Other settings are environment variables: docs/settings.md.
    """
    from tenantry.app.up import run_up
    from tenantry.ports import ControlBusy, ControlRefused, StoreBusy, StoreUnfit
    from tenantry.store.vault import VaultError

    try:
        settings = read_settings({**given, "local_ses_recipients": recipients or None})
        run_up(settings, lambda started: _ready(started, as_json))
    except Failure as failure:
        end(failure, as_json)
    except OSError as error:  # the port is taken, the folder cannot be written
        end(cannot_start(str(error)), as_json)
    except VaultError as error:
        end(cannot_start(f"the secret key does not fit the keys in the database: {error}"), as_json)
    except (
        StoreBusy,
        StoreUnfit,
        ControlBusy,
        ControlRefused,
        ValueError,
    ) as error:  # of the database, of SES, of a URL
        end(cannot_start(str(error)), as_json)


def read_settings(given: dict[str, object]) -> Settings:
    """Read the settings from the environment, with what the flags say in their place; a wrong one is a Failure."""
    from pydantic import ValidationError

    from tenantry.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "_".join(str(part) for part in first["loc"][:1])
        raise wrong_use(f"setting TENANTRY_{name.upper()}: {first['msg']}") from error


def _ready(started: Started, as_json: bool) -> None:
    """Leave the profile for the CLI and say where things are."""
    key = f"{started.key_id}.{started.key_secret}"
    path = profile.write(started.data, profile.Profile(started.url, key))
    document: dict[str, Json] = {
        "url": started.url,
        "ses_url": started.ses_url,
        "data": str(started.data),
        "profile": str(path),
        **started.smtp,
        "key": {"id": started.key_id, "secret": started.key_secret},
        "created": started.created,
    }
    if as_json:
        print_json(document)
        sys.stdout.flush()
        return
    where = "" if started.data == profile.folder(None) else f" --data {started.data}"
    screen = Screen()
    screen.line(f"Tenantry is up at {started.url}", style="bold green")
    screen.facts(
        [
            ("REST, SES wire", started.url),
            *((name.upper(), place) for name, place in started.smtp.items()),
            ("API page", f"{started.url}/docs"),
            ("local SES", started.ses_url or "none: real AWS"),
            ("data", str(started.data)),
            ("operator key", f"{key}  (made now)" if started.created else started.key_id),
        ]
    )
    screen.line("\nIn another terminal:", style="bold")
    screen.line(f"  tenantry tenant add acme --domain acme.example{where}")
    screen.line(f"  tenantry key create acme{where}")
    screen.line(f"  tenantry doctor{where}\n\nCtrl-C stops it.")


@click.command()
@click.option("--exit", "leave", is_flag=True, help="Leave at the end instead of staying up for exploring.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document, and leave.")
@click.option("--seed", type=int, default=7, show_default=True, help="Seed of the recipients' chance.")
def demo(leave: bool, as_json: bool, seed: int) -> None:
    """See the main job live: eight tenants send, one has a rotten list and is stopped, nobody else notices.

    Takes under a minute. Exit code 0 only when every claim that it prints is true in the data.
    """
    from tenantry.cli.demo_story import run_demo

    stays = sys.stdout.isatty() and not (leave or as_json)
    sys.exit(run_demo(seed=seed, stays=stays, as_json=as_json))
