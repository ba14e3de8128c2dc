"""Owns the door of `POST /v1/messages`: reading the call, and answering after the commit.

Leaves what the body means to `rest_message`. Bare ASGI: most of the work of a framework would be for nothing here.
"""

from __future__ import annotations

import asyncio
import json

from starlette.types import Receive, Scope, Send

from tenantry.core.message import Accepted, Refusal
from tenantry.core.tenant import Key
from tenantry.edge.asgi import answer, header
from tenantry.edge.auth import Keyring
from tenantry.edge.doors import OFF_LOOP_BYTES, Doors
from tenantry.edge.errors import Answer, rest_answer
from tenantry.edge.rest_message import decode
from tenantry.edge.submit import read_call, submit

PATH = "/v1/messages"
REQUEST_ID = b"x-request-id"
REPLAYED = ((b"idempotent-replayed", b"true"),)


class SendDoor:
    """Answers `POST /v1/messages`."""

    def __init__(self, doors: Doors, keyring: Keyring) -> None:
        self._doors, self._keyring = doors, keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an error of ours is left to the dispatcher."""
        request_id: str = scope["tenantry.request_id"]
        call = await read_call(self._doors, self._keyring, scope, receive)
        outcome = call if isinstance(call, Refusal) else await self._served(scope, *call)
        if isinstance(outcome, Refusal):
            self._doors.refused(outcome.code)
            outcome = rest_answer(outcome, request_id, self._doors.docs_url_prefix)
        await answer(send, outcome, REQUEST_ID, request_id)

    async def _served(self, scope: Scope, key: Key, body: bytes) -> Answer | Refusal:
        name = header(scope, b"idempotency-key")
        if len(body) <= OFF_LOOP_BYTES:
            decoded = decode(key.id, body, name)
        else:
            decoded = await asyncio.to_thread(decode, key.id, body, name)
        return accepted_answer(decoded if isinstance(decoded, Refusal) else await submit(self._doors, decoded))


def accepted_answer(outcome: Accepted | Refusal) -> Answer | Refusal:
    """Return the answer to one message; a refusal stays one."""
    if isinstance(outcome, Refusal):
        return outcome
    return Answer(202, accepted_body(outcome), REPLAYED if outcome.repeated else ())


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
