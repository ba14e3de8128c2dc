"""Owns the doors of `POST /v1/messages/batch` and `POST /v1/messages/mime`: many messages in one call, and one as raw mail.

Leaves what a message's fields mean to `rest_message`, what raw mail means to `raw_message`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from hashlib import sha256

from pydantic import ValidationError
from pydantic_core import from_json
from starlette.types import Receive, Scope, Send

from tenantry.core.message import Accepted, Refusal, RefusalCode, Submission
from tenantry.core.tenant import Key
from tenantry.edge import errors
from tenantry.edge.asgi import answer, header, read_body
from tenantry.edge.auth import Keyring, barred_from_sending
from tenantry.edge.doors import OFF_LOOP_BYTES, Doors
from tenantry.edge.errors import Answer, rest_answer
from tenantry.edge.raw_message import Envelope, Raw, read_raw
from tenantry.edge.rest_message import MESSAGE, REMEMBER_SECONDS, MessageIn, name_refusal, shape_refusal, submission_of
from tenantry.edge.send import NO_QUERY, PATH, REPLAYED, REQUEST_ID, accepted_body
from tenantry.flow.accept import busy
from tenantry.ports import StoreBusy, StoreRejected

BATCH, MIME = f"{PATH}/batch", f"{PATH}/mime"
PATHS = frozenset({BATCH, MIME})
MESSAGES_MOST = 500
NAME_CHARS_MAX = 240  # each message's own name has its place added

Entry = Submission | Refusal


class SendManyDoor:
    """Answers both paths."""

    def __init__(self, doors: Doors, keyring: Keyring) -> None:
        self._doors, self._keyring = doors, keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an error of ours is left to the dispatcher."""
        request_id: str = scope["tenantry.request_id"]
        outcome = await self._outcome(scope, receive)
        if isinstance(outcome, Refusal):
            self._doors.refused(outcome.code)
            outcome = rest_answer(outcome, request_id, self._doors.docs_url_prefix)
        await answer(send, outcome, REQUEST_ID, request_id)

    async def _outcome(self, scope: Scope, receive: Receive) -> Answer | Refusal:
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
        name = header(scope, b"idempotency-key")
        if name is not None and (refused := name_refusal(name, NAME_CHARS_MAX)):
            return refused
        read = _batch if scope["path"] == BATCH else _mime
        entries = await _worked(len(body), read, key, body, name)
        if isinstance(entries, Refusal):
            return entries
        outcomes = await asyncio.gather(*(self._accepted(key, entry) for entry in entries))
        if read is _batch:
            return self._results(outcomes)
        (only,) = outcomes
        if isinstance(only, Refusal):
            return only
        return Answer(202, accepted_body(only), REPLAYED if only.repeated else ())

    async def _accepted(self, key: Key, entry: Entry | Raw) -> Accepted | Refusal:
        """Return what became of one message, alone: nobody else in the call pays for it."""
        if isinstance(entry, Refusal):
            return entry
        try:
            if isinstance(entry, Raw):
                if refused := await self._foreign(key, entry):
                    return refused
                entry = entry.submission
            return await self._doors.accept(entry)
        except StoreBusy as error:
            return busy(error)
        except StoreRejected:
            return errors.UNKEEPABLE

    async def _foreign(self, key: Key, raw: Raw) -> Refusal | None:
        if raw.tenant_name is None or key.tenant_id is None:
            return None
        tenant = await self._doors.store.of(key.tenant_id).tenant()
        if tenant is not None and raw.tenant_name in (tenant.name, tenant.id):
            return None
        return Refusal(RefusalCode.NOT_FOUND, f"Tenant {raw.tenant_name[:64]} does not exist.", "X-SES-TENANT")

    def _results(self, outcomes: Sequence[Accepted | Refusal]) -> Answer:
        parts = []
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome, Accepted):
                parts.append(accepted_body(outcome))
            else:
                self._doors.refused(outcome.code)
                parts.append(_refused_body(outcome, number))
        return Answer(200, b'{"results":[' + b",".join(parts) + b"]}")


async def _worked(size: int, read: object, key: Key, body: bytes, name: bytes | None) -> list[Entry | Raw] | Refusal:
    assert callable(read)
    if size <= OFF_LOOP_BYTES:
        return read(key, body, name)  # type: ignore[no-any-return]
    return await asyncio.to_thread(read, key, body, name)


def _mime(key: Key, body: bytes, name: bytes | None) -> list[Entry | Raw] | Refusal:
    """Read raw mail; who gets it stands in its headers."""
    raw = read_raw(Envelope(key.id), body)
    if isinstance(raw, Refusal) or name is None:
        return [raw]
    named = raw.submission._replace(idempotency_key=f"rest:{name.decode()}", remember_seconds=REMEMBER_SECONDS)
    return [raw._replace(submission=named)]


def _batch(key: Key, body: bytes, name: bytes | None) -> list[Entry | Raw] | Refusal:
    """Read each message for itself; only what is no batch at all refuses the whole."""
    try:
        given = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        return Refusal(RefusalCode.MALFORMED, f"Send a JSON object in UTF-8: {error}.", "body")
    if not isinstance(given, dict) or set(given) != {"messages"} or not isinstance(given["messages"], list):
        return Refusal(RefusalCode.INVALID_FIELD, "Give an object with the one field messages, a list.", "messages")
    rows = given["messages"]
    if not 1 <= len(rows) <= MESSAGES_MOST:
        return Refusal(RefusalCode.INVALID_FIELD, f"Give 1 to {MESSAGES_MOST} messages.", "messages")
    return [_entry(key, row, f"{name.decode()}#{number}" if name else None) for number, row in enumerate(rows)]


def _entry(key: Key, row: object, name: str | None) -> Entry:
    text = json.dumps(row, sort_keys=True).encode()
    try:
        mail: MessageIn = MESSAGE.validate_python(row)
    except ValidationError as error:
        return shape_refusal(error)
    return submission_of(key.id, mail, sha256(text).digest(), name)


def _refused_body(refusal: Refusal, number: int) -> bytes:
    field = f"messages[{number}]" + (f".{refusal.field}" if refusal.field else "")
    error = {"code": refusal.code, "message": refusal.message, "field": field}
    return json.dumps({"state": "refused", "error": error}).encode()
