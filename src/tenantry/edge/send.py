"""Owns the door of `POST /v1/messages`: reading the call, and answering after the commit.

Leaves what the body means to `rest_message`. Bare ASGI: most of the work of a framework would be for nothing here.
"""

from __future__ import annotations

import asyncio
import json

from starlette.types import Receive, Scope, Send

from tenantry.core.message import Accepted, Refusal, RefusalCode
from tenantry.core.tenant import Key
from tenantry.edge import errors
from tenantry.edge.asgi import answer, header, read_body
from tenantry.edge.auth import Keyring, barred_from_sending
from tenantry.edge.doors import OFF_LOOP_BYTES, Doors
from tenantry.edge.errors import Answer, rest_answer
from tenantry.edge.rest_message import decode
from tenantry.flow.accept import busy
from tenantry.ports import StoreBusy, StoreRejected

PATH = "/v1/messages"
REQUEST_ID = b"x-request-id"
NO_QUERY = Refusal(RefusalCode.INVALID_FIELD, "Remove the query: all of a message stands in the body.", "query")
REPLAYED = ((b"idempotent-replayed", b"true"),)


class SendDoor:
    """Answers `POST /v1/messages`."""

    def __init__(self, doors: Doors, keyring: Keyring) -> None:
        self._doors, self._keyring = doors, keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an error of ours is left to the dispatcher."""
        request_id: str = scope["tenantry.request_id"]
        outcome = await self._outcome(scope, receive)
        if isinstance(outcome, Refusal):
            self._doors.refused(outcome.code)
            reply = rest_answer(outcome, request_id, self._doors.docs_url_prefix)
        else:
            reply = Answer(202, accepted_body(outcome), REPLAYED if outcome.repeated else ())
        await answer(send, reply, REQUEST_ID, request_id)

    async def _outcome(self, scope: Scope, receive: Receive) -> Accepted | Refusal:
        key = await self._keyring.bearer(header(scope, b"authorization"))
        if isinstance(key, Refusal):
            return key
        if refused := barred_from_sending(key):
            return refused
        if scope["query_string"]:
            return NO_QUERY
        body = await read_body(scope, receive, self._doors.max_body_bytes)
        if body is None:
            return errors.too_large(self._doors.max_body_bytes)
        return await self._accept(key, body, header(scope, b"idempotency-key"))

    async def _accept(self, key: Key, body: bytes, idempotency_key: bytes | None) -> Accepted | Refusal:
        if len(body) <= OFF_LOOP_BYTES:
            decoded = decode(key.id, body, idempotency_key)
        else:
            decoded = await asyncio.to_thread(decode, key.id, body, idempotency_key)
        if isinstance(decoded, Refusal):
            return decoded
        try:
            return await self._doors.accept(decoded)
        except StoreBusy as error:
            return busy(error)
        except StoreRejected:
            return errors.UNKEEPABLE


def accepted_body(accepted: Accepted) -> bytes:
    """Return the answer to an accepted message, the same for a repeated call."""
    # Written out, since a JSON encoder made for each answer costs more; ids, names and times need no escapes.
    at = accepted.accepted_at.isoformat().replace("+00:00", "Z")
    suppressed = json.dumps(accepted.suppressed) if accepted.suppressed else "[]"
    hold = f'"{accepted.hold}"' if accepted.hold else "null"
    return (
        f'{{"id":"{accepted.id}","stream":"{accepted.stream}","state":"accepted","accepted_at":"{at}",'
        f'"suppressed":{suppressed},"hold":{hold}}}'
    ).encode()
