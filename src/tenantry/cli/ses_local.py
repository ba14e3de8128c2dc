"""Owns `tenantry ses-local`: running the local SES, and leaves ordering one that runs about to `cli.ses_orders`.

Everything heavy is imported when the program runs, so that `tenantry --help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tenantry.cli.failure import cannot_start, wrong_use
from tenantry.cli.run import RULE
from tenantry.cli.ses_orders import calls, clock, fault, feed
from tenantry.cli.show import Screen, end, print_json

if TYPE_CHECKING:
    from tenantry.emulator import Options, RecipientRule
    from tenantry.emulator.keys import Key


class Told(click.Group):
    """A group whose commands are listed in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return list(self.commands)


@click.group("ses-local", cls=Told, invoke_without_command=True)
@click.pass_context
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
@click.option(
    "--state", type=click.Path(dir_okay=False, path_type=Path), help="File that keeps what it remembers over restarts."
)
@click.option(
    "--keep",
    type=click.IntRange(0),
    default=2_000,
    show_default=True,
    help="Messages whose content and events are kept.",
)
@click.option("--deliver-anywhere", is_flag=True, help="Let SNS post to addresses beyond this machine.")
@click.option("--attached", is_flag=True, help="End when standard input closes: for a program whose child it is.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document once ready.")
def ses_local(context: click.Context, /, **given: object) -> None:
    """Run a local Amazon SES v2 with the services around it; any AWS SDK can use it by its endpoint URL.

    The commands below are for one that runs: they order faults of it, move its time, and tell what it was asked.
    """
    if context.invoked_subcommand is None:
        _run(**given)


def _run(*, host: object, port: object, as_json: object, attached: object, **given: object) -> None:
    from tenantry.emulator import StateError, serve

    if attached:
        threading.Thread(target=_end_with_input, daemon=True).start()
    shows_json = bool(as_json)
    try:
        options = _options(given)
        serve(options, int(str(port)), host=str(host), on_ready=lambda url: _ready(url, shows_json))
    except StateError as error:
        end(cannot_start(f"the state: {error}"), shows_json)
    except ValueError as error:
        end(wrong_use(str(error)), shows_json)
    except OSError as error:  # a file that cannot be read, a port that is taken
        end(cannot_start(str(error)), shows_json)


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
        state=given["state"] if isinstance(given["state"], Path) else None,
        ledger_contents_max=int(str(given["keep"])),
        deliver_anywhere=bool(given["deliver_anywhere"]),
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


def _ready(url: str, as_json: bool) -> None:
    if as_json:
        print_json({"url": url})
        sys.stdout.flush()
        return
    screen = Screen()
    screen.line(f"A local SES is at {url}", style="bold green")
    screen.line(f"Mailbox: {url}/_local/mailbox   as JSON: {url}/_local/messages   every call: {url}/_local/calls")


for command in (fault, feed, clock, calls):
    ses_local.add_command(command)
