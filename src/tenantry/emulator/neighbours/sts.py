"""Owns STS: who calls, and credentials that lead to another account of this process.

Leaves which accounts there are to `emulator.accounts`. Trust policies are not looked at: any role may be assumed.
"""

import base64
import re
from typing import TYPE_CHECKING

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.neighbours.place import Place, refused

if TYPE_CHECKING:
    from tenantry.emulator.accounts import Accounts

DURATION_MIN, DURATION_MAX, DURATION = 900, 43_200, 3_600
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/([\w+=,.@/-]{1,576})")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class Sts:
    """The token service as one place sees it; `accounts` is None where there is but this one."""

    def __init__(self, place: Place, accounts: "Accounts | None") -> None:
        self.place = place
        self._accounts = accounts

    def get_caller_identity(self, params: Params, call: Call) -> Result:
        account_id = self.place.account_id
        key = self._accounts.keys.get(call.key_id) if self._accounts else None
        if key is not None and key.arn:
            return {"UserId": f"AROA{account_id}:{key.arn.rpartition('/')[2]}", "Account": account_id, "Arn": key.arn}
        return {"UserId": f"AIDA{account_id}", "Account": account_id, "Arn": f"arn:aws:iam::{account_id}:user/local"}

    def assume_role(self, params: Params, call: Call) -> Result:
        from tenantry.emulator.accounts import Key

        role, session = _ROLE.fullmatch(params["RoleArn"]), params["RoleSessionName"]
        if role is None:
            raise refused("ValidationError", f"{params['RoleArn'][:200]} is invalid")
        account_id, name = role[1], role[2].rpartition("/")[2]
        if self._accounts is None or not self._accounts.knows(account_id):
            message = f"User is not authorized to perform: sts:AssumeRole on resource: {params['RoleArn']}"
            raise refused("AccessDenied", message, 403)
        seconds = params.get("DurationSeconds", DURATION)
        if not DURATION_MIN <= seconds <= DURATION_MAX:
            raise refused("ValidationError", f"DurationSeconds must be {DURATION_MIN} to {DURATION_MAX}.")
        random = self.place.random
        key = Key(
            id="ASIA" + "".join(random.choices(_LETTERS, k=16)),
            secret=base64.b64encode(random.randbytes(30)).decode(),
            account_id=account_id,
            token=base64.b64encode(random.randbytes(150)).decode(),
            expires_at=call.now + seconds,
            arn=f"arn:aws:sts::{account_id}:assumed-role/{name}/{session}",
        )
        self._accounts.add_key(key)
        return {
            "Credentials": {
                "AccessKeyId": key.id,
                "SecretAccessKey": key.secret,
                "SessionToken": key.token,
                "Expiration": key.expires_at,
            },
            "AssumedRoleUser": {"AssumedRoleId": f"AROA{account_id}:{session}", "Arn": key.arn},
        }
