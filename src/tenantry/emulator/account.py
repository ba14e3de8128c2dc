"""Owns one local SES account as a function: state + request + now -> state + answer + events.

Leaves sockets, the clock and waiting to `emulator.server`. An operation is one method of a family, found by its name.
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore import xform_name

from tenantry.emulator.calls import Answer as Answer
from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import SesError, unsupported
from tenantry.emulator.ledger import CallRecord
from tenantry.emulator.neighbours.queue import Queue
from tenantry.emulator.neighbours.services import Neighbours
from tenantry.emulator.operations.endpoints import EndpointOperations
from tenantry.emulator.operations.jobs import JobOperations
from tenantry.emulator.operations_account import AccountOperations
from tenantry.emulator.operations_policies import PolicyOperations
from tenantry.emulator.operations_reputation import ReputationOperations
from tenantry.emulator.operations_sending import SendingOperations
from tenantry.emulator.operations_sets import ConfigurationSetOperations
from tenantry.emulator.operations_tenants import TenantOperations
from tenantry.emulator.options import Options
from tenantry.emulator.state import State
from tenantry.wire.aws import Service, WireError, encode_error

if TYPE_CHECKING:
    from tenantry.emulator.accounts import Accounts

Operation = Callable[[Params, Call], Result]
SENDS = frozenset({"SendEmail", "SendBulkEmail"})


class Request(NamedTuple):
    """One call of one operation, as the router read it."""

    service: Service
    operation: str
    body: bytes = b""
    uri: dict[str, str] | None = None
    query: str = ""


class Account(
    TenantOperations,
    ConfigurationSetOperations,
    PolicyOperations,
    ReputationOperations,
    AccountOperations,
    EndpointOperations,
    JobOperations,
    SendingOperations,
):
    """An SES account in one Region, with the services around it; not safe for threads, one caller at a time."""

    def __init__(self, options: Options, now: float, accounts: "Accounts | None" = None) -> None:
        self.neighbours = Neighbours(options, Random(options.seed), now, accounts)
        self._accounts = accounts
        super().__init__(
            options,
            self.neighbours,
            self._elsewhere,
            now,
            accounts.faults if accounts else None,
        )
        self._operations: dict[str, Operation | None] = {}

    def _elsewhere(self, account_id: str, region: str) -> State | None:
        if (account_id, region) == (self.options.account_id, self.options.region):
            return self
        return self._accounts.find(account_id, region) if self._accounts else None

    def does(self, operation: str) -> bool:
        """Is this operation one that the local SES answers?"""
        return self._operation(operation) is not None

    def call(self, request: Request, call: Call) -> Answer:
        """Answer one request and write it into the ledger of calls."""
        request_id = self.new_uuid()
        params = request.service.decode(request.operation, request.body, request.uri, request.query)
        try:
            if isinstance(params, WireError):
                raise SesError(params.code, params.message, params.status)
            self._check_control_rate(request, call)
            result = self.perform(request.operation, params, call)
            answer = _success(request, result, request_id)
            error = None
        except SesError as refusal:
            answer = Answer(*encode_error(refusal.code, refusal.message, refusal.status, request_id))
            result, error = None, refusal.code
        detail = _detail(params, result) if request.operation in SENDS and isinstance(params, dict) else None
        record = CallRecord(call.now, request.operation, answer.status, call.key_id, request_id, error, detail)
        self.ledger.add(record.with_body(request.body))
        return answer

    def next_due(self) -> float | None:
        """Return when something is due by itself, here or at the neighbours, or None."""
        due = super().next_due()
        for other in (self.neighbours.next_due(), self.next_judgement()):  # after each call: no lists, no generators
            if other is not None and (due is None or other < due):
                due = other
        return due

    def publish_due(self, now: float) -> int:
        """Do what has fallen due; return how much."""
        number = super().publish_due(now) + self.neighbours.do_due(now)
        self.judge_again(now)
        return number

    @property
    def queues(self) -> dict[str, Queue]:
        """The queues beside this account."""
        return self.neighbours.queues

    def watches(self, set_name: str) -> bool:
        """Does SES publish the reputation of this configuration set?"""
        found = self.sets.get(set_name)
        return bool(found and found.options.get("ReputationOptions", {}).get("ReputationMetricsEnabled"))

    def tenant_id(self, name: str) -> str | None:
        """Return the id of a tenant, or None if it is gone."""
        found = self.tenants.get(name)
        return found.id if found else None

    def perform(self, operation: str, params: Params, call: Call) -> Result:
        """Do one operation with decoded parameters, or raise SesError; a refused call changes nothing."""
        method = self._operation(operation)
        if method is None:
            raise unsupported(operation)
        return method(params, call)

    def _operation(self, name: str) -> Operation | None:
        if name not in self._operations:
            self._operations[name] = getattr(self, xform_name(name), None)
        return self._operations[name]

    def _check_control_rate(self, request: Request, call: Call) -> None:
        if request.operation not in SENDS and not self.control_rate.take(1, call.now):
            raise SesError("TooManyRequestsException", "Rate exceeded", 429)


def _success(request: Request, result: Result, request_id: str) -> Answer:
    headers = {"content-type": "application/json", "x-amzn-requestid": request_id}
    return Answer(200, headers, request.service.encode(request.operation, result))


def _detail(params: dict[str, Any], result: Result) -> dict[str, Any]:
    return {
        "configuration_set": params.get("ConfigurationSetName"),
        "tenant": params.get("TenantName"),
        "tags": {tag["Name"]: tag["Value"] for tag in params.get("EmailTags", params.get("DefaultEmailTags", ()))},
        "message_id": result.get("MessageId") if result else None,
    }
