"""Prints what calls cost one local SES account with few and with many identities: `python -m bench.emulator_crowd 10 1000000`."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from functools import partial

from tenantry.emulator import Options
from tenantry.emulator.account import Account, Request
from tenantry.emulator.calls import Call
from tenantry.emulator.records import Entity, Identity, StatusRecord, Tenant
from tenantry.emulator.server import ses_codec

NOW = 1_800_000_000.0
FREE = dict.fromkeys(("max_send_rate", "max_24_hour_send", "control_rate_per_second", "identities_max", "tenants_max"))
CALLS, ROUNDS = 300, 7


def filled(number: int) -> Account:
    """Return an account with so many identities and as many tenants."""
    account = Account(Options(**FREE), NOW)  # type: ignore[arg-type]
    for each in range(number):
        name, tenant = f"d{each:07}.example", f"t{each:07}"
        arn = account.options.arn("tenant", f"{tenant}/tn-{each:030x}")
        account.identities[name] = Identity(
            name, account.options.arn("identity", name), {}, "SUCCESS", None, NOW, _DKIM
        )
        account.tenants[tenant] = Tenant(tenant, f"tn-{each:030x}", arn, NOW, {})
        account.entities[arn] = Entity(arn, "none", StatusRecord("ENABLED", NOW), StatusRecord("ENABLED", NOW))
    return account


_DKIM: dict[str, object] = {
    "SigningEnabled": True,
    "Status": "SUCCESS",
    "Tokens": ["a", "b", "c"],
    "SigningAttributesOrigin": "AWS_SES",
}


def measured(account: Account) -> dict[str, float]:
    """Return the microseconds of CPU of each call, the best of several rounds."""
    ses, call = ses_codec(), Call(NOW)
    mail = {
        "FromEmailAddress": "a@d0000005.example",
        "Destination": {"ToAddresses": ["p@there.example"]},
        "Content": {"Simple": {"Subject": {"Data": "Hi"}, "Body": {"Text": {"Data": "Hi"}}}},
    }
    numbers = iter(range(10**9))
    asked: dict[str, Callable[[], Request]] = {
        "SendEmail": lambda: Request(ses, "SendEmail", json.dumps(mail).encode()),
        "CreateEmailIdentity": lambda: Request(
            ses, "CreateEmailIdentity", b'{"EmailIdentity":"new%d.example"}' % next(numbers)
        ),
        "CreateTenant": lambda: Request(ses, "CreateTenant", b'{"TenantName":"new%d"}' % next(numbers)),
        "ListTenants": lambda: Request(ses, "ListTenants", b'{"PageSize":10}'),
    }
    return {name: _best(partial(account.call, call=call), make) for name, make in asked.items()}


def _best(call: Callable[[Request], object], make: Callable[[], Request]) -> float:
    taken = []
    for _ in range(ROUNDS):
        requests = [make() for _ in range(CALLS)]
        began = time.process_time()
        for each in requests:
            call(each)
        taken.append((time.process_time() - began) / CALLS * 1e6)
    return min(taken)


if __name__ == "__main__":
    gc.disable()  # as the server does, in effect: it walks long-lived objects seldom
    few, many = (measured(filled(int(number))) for number in sys.argv[1:3])
    print(json.dumps({name: (few[name], many[name]) for name in few}))
