"""Owns AWS Organizations as far as it makes accounts: asked for, made a moment later, listed.

Leaves what an account is to `emulator.accounts`. The first account of the process is the one that manages.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.neighbours.place import Place, page_of, refused

if TYPE_CHECKING:
    from tenantry.emulator.accounts import Accounts

ACCOUNTS_MAX = 10  # the documented default of an organization
MAKING_SECONDS = 1.0
PAGE = 20


@dataclass(slots=True)
class Member:
    """An account of the organization, or the request for one."""

    request_id: str
    account_id: str
    name: str
    email: str
    asked_at: float
    failure: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


class Organizations:
    """The organization, seen from the account that manages it."""

    def __init__(self, place: Place, accounts: "Accounts | None") -> None:
        self.place = place
        self._accounts = accounts
        self._id = f"o-{place.new_hex(10)}"
        self._requests: dict[str, Member] = {}

    def create_account(self, params: Params, call: Call) -> Result:
        root = self._root()
        members, email = root.members(call.now, and_coming=True), params["Email"].lower()
        made = Member(
            request_id=f"car-{self.place.new_hex(32)}",
            account_id=self._new_account_id(),
            name=params["AccountName"],
            email=params["Email"],
            asked_at=call.now,
            tags={tag["Key"]: tag["Value"] for tag in params.get("Tags", ())},
        )
        if len(members) + 1 >= ACCOUNTS_MAX:  # the one that manages counts
            made.failure = "ACCOUNT_LIMIT_EXCEEDED"
        elif any(each.email.lower() == email for each in members):
            made.failure = "EMAIL_ALREADY_EXISTS"
        root._requests[made.request_id] = made
        return {"CreateAccountStatus": _status(made, call.now)}

    def describe_create_account_status(self, params: Params, call: Call) -> Result:
        root = self._root()
        root.members(call.now)
        found = root._requests.get(params["CreateAccountRequestId"])
        if found is None:
            raise refused(
                "CreateAccountStatusNotFoundException", "We can't find a create account request with that id."
            )
        return {"CreateAccountStatus": _status(found, call.now)}

    def list_create_account_status(self, params: Params, call: Call) -> Result:
        root, wanted = self._root(), params.get("States")
        root.members(call.now)
        rows = [_status(each, call.now) for each in root._requests.values()]
        rows = [row for row in rows if not wanted or row["State"] in wanted]
        shown, token = _page(rows, params)
        return {"CreateAccountStatuses": shown, "NextToken": token}

    def list_accounts(self, params: Params, call: Call) -> Result:
        root = self._root()
        rows = [root._shown_root(), *(root._shown(each) for each in root.members(call.now))]
        shown, token = _page(rows, params)
        return {"Accounts": shown, "NextToken": token}

    def describe_account(self, params: Params, call: Call) -> Result:
        root, wanted = self._root(), params["AccountId"]
        if wanted == root.place.account_id:
            return {"Account": root._shown_root()}
        found = next((each for each in root.members(call.now) if each.account_id == wanted), None)
        if found is None:
            raise refused("AccountNotFoundException", "You specified an account that doesn't exist.")
        return {"Account": root._shown(found)}

    def describe_organization(self, params: Params, call: Call) -> Result:
        root = self._root()
        account_id = root.place.account_id
        return {
            "Organization": {
                "Id": root._id,
                "Arn": f"arn:aws:organizations::{account_id}:organization/{root._id}",
                "FeatureSet": "ALL",
                "MasterAccountArn": root._arn(account_id),
                "MasterAccountId": account_id,
                "MasterAccountEmail": "root@local.example",
            }
        }

    def members(self, now: float, *, and_coming: bool = False) -> list[Member]:
        """Return the accounts that were made until now (and those that will be); from then on they may be called."""
        found = [each for each in self._requests.values() if each.failure is None]
        made = [each for each in found if each.asked_at + MAKING_SECONDS <= now]
        for each in made:
            if self._accounts is not None and not self._accounts.knows(each.account_id):
                self._accounts.add(each.account_id)
        return found if and_coming else made

    def _root(self) -> "Organizations":
        return self._accounts.home.neighbours.organizations if self._accounts else self

    def _new_account_id(self) -> str:
        return f"{self.place.random.randrange(10**11, 10**12)}"

    def _arn(self, account_id: str) -> str:
        return f"arn:aws:organizations::{self.place.account_id}:account/{self._id}/{account_id}"

    def _shown(self, member: Member) -> dict[str, Any]:
        return {
            "Id": member.account_id,
            "Arn": self._arn(member.account_id),
            "Email": member.email,
            "Name": member.name,
            "Status": "ACTIVE",
            "JoinedMethod": "CREATED",
            "JoinedTimestamp": member.asked_at + MAKING_SECONDS,
        }

    def _shown_root(self) -> dict[str, Any]:
        account_id = self.place.account_id
        return {
            "Id": account_id,
            "Arn": self._arn(account_id),
            "Email": "root@local.example",
            "Name": "local",
            "Status": "ACTIVE",
            "JoinedMethod": "INVITED",
        }


def _status(member: Member, now: float) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Id": member.request_id,
        "AccountName": member.name,
        "RequestedTimestamp": member.asked_at,
    }
    if member.failure:
        return {**shown, "State": "FAILED", "FailureReason": member.failure, "CompletedTimestamp": member.asked_at}
    if now < member.asked_at + MAKING_SECONDS:
        return {**shown, "State": "IN_PROGRESS"}
    done = {
        "State": "SUCCEEDED",
        "AccountId": member.account_id,
        "CompletedTimestamp": member.asked_at + MAKING_SECONDS,
    }
    return {**shown, **done}


def _page(rows: list[dict[str, Any]], params: Params) -> tuple[list[dict[str, Any]], str | None]:
    page = page_of([str(index) for index in range(len(rows))], params.get("NextToken"), params.get("MaxResults", PAGE))
    if page is None:
        raise refused("InvalidInputException", "The NextToken is not valid.")
    return [rows[int(index)] for index in page[0]], page[1]
