"""Owns the commands that are programs of their own: `up`, `demo`, `ses-local`; leaves what runs to others.

Everything heavy is imported when its command runs, so that `tenantry --help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tenantry.cli import profile
from tenantry.cli.document import Json
from tenantry.cli.failure import Failure, cannot_start, wrong_use
from tenantry.cli.show import Screen, end, print_json

if TYPE_CHECKING:
    from tenantry.app.up import Started
    from tenantry.emulator import Options, RecipientRule
    from tenantry.emulator.keys import Key
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


@click.command("ses-local")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8026, show_default=True, help="Port; 0: any free one.")
@click.option(
    "--recipients",
    multiple=True,
    metavar=RULE,
    help="What happens to mail for a domain, an address, or a pattern of them; repeatable.",
)
@click.option(
    "--recipients-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A JSON list of such rules."
)
@click.option(
    "--rate", type=float, default=14.0, show_default=True, help="Recipients a second that it grants; 0: no limit."
)
@click.option("--quota", type=float, default=50_000.0, show_default=True, help="Recipients in 24 hours; 0: no limit.")
@click.option("--control-rate", type=float, default=1.0, show_default=True, help="Control calls a second; 0: no limit.")
@click.option(
    "--judge-every", type=float, default=300.0, show_default=True, help="Seconds between looks at reputation; 0: none."
)
@click.option("--latency", type=float, default=0.0, show_default=True, help="Seconds that each SendEmail takes longer.")
@click.option("--no-auto-verify", is_flag=True, help="Identities stay pending until told otherwise.")
@click.option("--sandbox", is_flag=True, help="Only to verified addresses and the simulator, as a new account.")
@click.option("--region", default="us-east-1", show_default=True, help="Region that it stands for.")
@click.option("--account-id", default="123456789012", show_default=True, help="Account that it stands for.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of its chance.")
@click.option("--verify", is_flag=True, help="Check signatures; without it any key will do.")
@click.option("--key", "keys", multiple=True, metavar="ID:SECRET[:ACCOUNT]", help="A key that is known; repeatable.")
@click.option(
    "--keys-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A JSON list of such keys."
)
@click.option("--files", type=click.Path(file_okay=False, path_type=Path), help="Folder that stands for S3 in jobs.")
@click.option("--attached", is_flag=True, help="End when standard input closes: for a program whose child it is.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document once ready.")
def ses_local(host: str, port: int, as_json: bool, attached: bool, **given: object) -> None:
    """Run a local Amazon SES v2 with its event queue; any AWS SDK can use it by its endpoint URL."""
    from tenantry.emulator import serve

    if attached:
        threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        options = _options(given)
    except (ValueError, OSError) as error:
        end(wrong_use(str(error)), as_json)
    serve(options, port, host=host, on_ready=lambda url: _local_ready(url, as_json))


def _end_with_input() -> None:
    """Wait for the end of standard input, which comes however the parent ends, and end in good order."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _options(given: dict[str, object]) -> Options:
    from tenantry.emulator import Options

    limits = {name: float(str(given[name])) or None for name in ("rate", "quota", "control_rate")}
    return Options(
        account_id=str(given["account_id"]),
        region=str(given["region"]),
        max_send_rate=limits["rate"],
        max_24_hour_send=limits["quota"],
        control_rate_per_second=limits["control_rate"],
        sandbox=bool(given["sandbox"]),
        verify_identities=not given["no_auto_verify"],
        latency_seconds=float(str(given["latency"])),
        recipients=_rules(given["recipients"], given["recipients_file"]),
        judge_seconds=float(str(given["judge_every"])),
        seed=int(str(given["seed"])),
        verify=bool(given["verify"]),
        keys=_keys(given),
        files=given["files"] if isinstance(given["files"], Path) else None,
    )


def _keys(given: dict[str, object]) -> tuple[Key, ...]:
    """Return the keys of the file, then those of the flags."""
    from tenantry.emulator.keys import Key, keys_from_file

    account_id, file = str(given["account_id"]), given["keys_file"]
    from_file = keys_from_file(file, account_id) if isinstance(file, Path) else ()
    flags = given["keys"] if isinstance(given["keys"], tuple) else ()
    return (*from_file, *(Key.from_text(str(text), account_id) for text in flags))


def _rules(texts: object, file: object) -> tuple[RecipientRule, ...]:
    """Return the rules of the file, then those of the flags: a later one for the same domain wins."""
    from tenantry.emulator import RecipientRule
    from tenantry.emulator.scripts import rules_from_file

    from_file = rules_from_file(file) if isinstance(file, Path) else ()
    flags = texts if isinstance(texts, tuple) else ()
    return (*from_file, *(RecipientRule.from_text(str(text)) for text in flags))


def _local_ready(url: str, as_json: bool) -> None:
    if as_json:
        print_json({"url": url})
        sys.stdout.flush()
        return
    screen = Screen()
    screen.line(f"A local SES is at {url}", style="bold green")
    screen.line(f"Mailbox: {url}/_local/mailbox   as JSON: {url}/_local/messages   every call: {url}/_local/calls")


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
