"""Owns the table of SES v2 operations that are answered behind SendEmail's hot path, and who may call each.

Leaves each operation to its module, signatures and decoding of SendEmail to `ses`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.tenant import Key, Scope
from tenantry.edge import errors, ses_account, ses_templates, ses_things
from tenantry.edge.auth import barred_from_sending, lacks
from tenantry.edge.doors import Doors
from tenantry.edge.errors import Answer
from tenantry.edge.ses_call import Caller, No, Operation
from tenantry.edge.ses_message import Call
from tenantry.wire.aws import Members, Service, WireError

OPERATIONS: Mapping[str, Operation] = {
    **ses_templates.OPERATIONS,
    **ses_things.OPERATIONS,
    **ses_account.OPERATIONS,
}


class Order(NamedTuple):
    """An operation that a key may call, with its checked parameters."""

    name: str
    key: Key
    call: Call
    given: Members


class Asked(NamedTuple):
    """A call as it came: its operation, body, labels of the path, and query."""

    name: str
    body: bytes
    labels: Mapping[str, str]
    query: str


class SesDesk:
    """Answers every operation but plain SendEmail."""

    def __init__(self, doors: Doors, service: Service) -> None:
        self._doors, self._service = doors, service

    def order(self, key: Key, call: Call, asked: Asked) -> Order | Answer:
        """Read a call whose signature holds, or refuse it; all of it is work for the CPU."""
        operation = OPERATIONS.get(asked.name)
        if operation is None or denied(key, operation.scope):
            return not_authorized(key, asked.name)
        given = self._service.decode(asked.name, asked.body, asked.labels, asked.query)
        if isinstance(given, WireError):
            return errors.ses_error(given.code, given.status, given.message, refusal_of(given))
        return Order(asked.name, key, call, given)

    async def serve(self, order: Order) -> Answer:
        """Do what was ordered, and answer it; an error of ours is left to the dispatcher."""
        tenant_id = order.key.tenant_id
        assert tenant_id is not None, "an operator's key is denied"
        caller = Caller(self._doors, order.key, tenant_id, order.call)
        result = await OPERATIONS[order.name].run(caller, order.given)
        if isinstance(result, No):
            return self._no(result)
        return Answer(200, self._service.encode(order.name, result))

    def _no(self, no: No) -> Answer:
        if no.kind is None:
            return errors.ses_answer(no.refusal, no.words)
        status = self._service.status_of(no.kind)
        return errors.ses_error(no.kind, status, no.words or no.refusal.message, no.refusal)


def denied(key: Key, scope: Scope) -> Refusal | None:
    """Refuse a key without the scope, and an operator's: it has no virtual account."""
    if key.tenant_id is None:
        return barred_from_sending(key)
    return lacks(key, scope)


def not_authorized(key: Key, operation: str) -> Answer:
    """Refuse an operation in the words that SES has for a caller without permission."""
    return errors.ses_answer(Refusal(RefusalCode.FORBIDDEN, unauthorized_words(key, operation)))


def unauthorized_words(key: Key, operation: str) -> str:
    """Return IAM's sentence."""
    return f"User: {key.id} is not authorized to perform: ses:{operation}"


def refusal_of(error: WireError) -> Refusal:
    """Return an error of the protocol as our own refusal."""
    code = RefusalCode.MALFORMED if error.code == "SerializationException" else RefusalCode.INVALID_FIELD
    return Refusal(code, error.message, error.field or "body")
