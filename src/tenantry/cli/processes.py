"""Owns the commands of a deployment on PostgreSQL: `gateway`, `worker`, and the keys that both need; leaves what runs to app.

Everything heavy is imported when its command runs, so that `tenantry --help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click

from tenantry.cli.document import Json
from tenantry.cli.failure import Failure, cannot_start
from tenantry.cli.run import read_settings
from tenantry.cli.show import Screen, end, print_json


@contextmanager
def _starting(*, as_json: bool) -> Iterator[None]:
    """End with what to do where a process cannot start."""
    from tenantry.ports import ControlBusy, ControlRefused, StoreBusy, StoreUnfit
    from tenantry.store.vault import VaultError

    try:
        yield
    except Failure as failure:
        end(failure, as_json)
    except VaultError as error:
        end(cannot_start(f"the secret key does not fit the keys in the database: {error}"), as_json)
    except (OSError, StoreBusy, StoreUnfit, ControlBusy, ControlRefused, ValueError) as error:
        end(cannot_start(str(error)), as_json)


def _say(document: dict[str, Json], lines: str, *, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        Screen().line(lines, style="bold green")
    sys.stdout.flush()


@click.command()
@click.option("--host", help="Address to listen on; TENANTRY_HOST, 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the doors (0: any free one); TENANTRY_PORT, 8025.")
@click.option(
    "--smtp-port", type=click.IntRange(0, 65535), help="Port of SMTP with STARTTLS; TENANTRY_SMTP_PORT, closed."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document once ready.")
def gateway(host: str | None, port: int | None, smtp_port: int | None, as_json: bool) -> None:
    """Run the doors alone: any number of gateways share one PostgreSQL with any number of workers.

    Needs TENANTRY_DATABASE_URL and TENANTRY_SECRET_KEY, and a database that `tenantry migrate` brought up to date.
    """
    with _starting(as_json=as_json):
        from tenantry.app.gateway import run_gateway

        def ready(url: str, smtp: Mapping[str, str]) -> None:
            places = ", ".join([url, *(f"{name}://{place}" for name, place in smtp.items())])
            _say({"url": url, **smtp}, f"A gateway takes mail at {places}", as_json=as_json)

        run_gateway(read_settings({"host": host, "port": port, "smtp_port": smtp_port}), ready)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document once ready.")
def worker(as_json: bool) -> None:
    """Run the loops of a cell without doors: dispatch, ingest, guard, provision, sweep.

    Any number of workers share a cell; what must run once runs in one of them, and moves when it dies. Needs what
    `gateway` needs, and TENANTRY_CLOUD=aws or the endpoint of a local SES.
    """
    with _starting(as_json=as_json):
        from tenantry.app.work import run_worker

        settings = read_settings({})
        cell = settings.cell_name
        lines = "A worker serves cell {cell}; it is watched at {url}"
        run_worker(
            settings, lambda url: _say({"cell": cell, "url": url}, lines.format(cell=cell, url=url), as_json=as_json)
        )


@click.command("secret-key")
def secret_key() -> None:
    """Make a key for TENANTRY_SECRET_KEY: it seals what the database keeps secret. Lose it, and every key is lost."""
    from tenantry.store.vault import Vault

    click.echo(Vault.new_key())


@click.command("operator-key")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def operator_key(as_json: bool) -> None:
    """Make an operator's key in the shared database, for TENANTRY_KEY; its secret is shown now and never again.

    Speaks to the database itself, since the first key cannot be asked of the API.
    """
    with _starting(as_json=as_json):
        from tenantry.app.shared import make_operator_key

        key_id, secret = make_operator_key(read_settings({}))
        if as_json:
            print_json({"id": key_id, "secret": secret})
        else:
            click.echo(f"{key_id}.{secret}")
