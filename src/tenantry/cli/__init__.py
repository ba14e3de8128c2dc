"""Owns the `tenantry` command: its tree, and what each command says on the terminal.

Leaves every decision to the API: all are clients of it but the programs (`up`, `demo`, `ses-local`, `gateway`, `worker`) and
`simulate`.
"""

from __future__ import annotations

import click

from tenantry.cli.counts import counts
from tenantry.cli.fleet import cell, doctor, plan, pool
from tenantry.cli.identities import identity
from tenantry.cli.keys import key
from tenantry.cli.mail import message, send
from tenantry.cli.migrate import migrate
from tenantry.cli.policies import policy
from tenantry.cli.processes import gateway, operator_key, secret_key, worker
from tenantry.cli.recovery import recover
from tenantry.cli.run import demo, up
from tenantry.cli.ses_local import Told, ses_local
from tenantry.cli.simulate import simulate
from tenantry.cli.stops import explain, pause, pauses, reinstate, reputation
from tenantry.cli.tenants import stream, tenant


@click.group(cls=Told, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tenantry", prog_name="tenantry")
def main() -> None:
    """Walls between the tenants that share one Amazon SES account.

    Start with `tenantry demo` to see it work, or `tenantry up` to run it on this machine.
    """


for command in (
    *(up, demo, ses_local, tenant, stream, identity, key, send, message),
    *(pause, pauses, reinstate, explain, reputation, counts, policy, pool, cell, plan, doctor, recover),
    *(gateway, worker, migrate, secret_key, operator_key, simulate),
):
    main.add_command(command)
