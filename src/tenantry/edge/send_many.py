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
from starlette.types import Scope

from tenantry.core.message import Accepted, Refusal, RefusalCode, Submission
from tenantry.core.tenant import Key
from tenantry.edge.asgi import header
from tenantry.edge.doors import OFF_LOOP_BYTES
from tenantry.edge.errors import Answer
from tenantry.edge.raw_message import Envelope, Raw, read_raw
from tenantry.edge.rest_message import MESSAGE, REMEMBER_SECONDS, MessageIn, name_refusal, shape_refusal, submission_of
from tenantry.edge.send import PATH, SendDoor, accepted_answer, accepted_body
from tenantry.edge.submit import submit, submit_raw

BATCH, MIME = f"{PATH}/batch", f"{PATH}/mime"
PATHS = frozenset({BATCH, MIME})
MESSAGES_MOST = 500
NAME_CHARS_MAX = 240  # each message's own name has its place added

Entry = Submission | Raw | Refusal


class SendManyDoor(SendDoor):
    """Answers both paths."""

    async def _served(self, scope: Scope, key: Key, body: bytes) -> Answer | Refusal:
        name = header(scope, b"idempotency-key")
        if name is not None and (refused := name_refusal(name, NAME_CHARS_MAX)):
            return refused
        read = _batch if scope["path"] == BATCH else _mime
        if len(body) <= OFF_LOOP_BYTES:
            entries = read(key, body, name)
        else:
            entries = await asyncio.to_thread(read, key, body, name)
        if isinstance(entries, Refusal):
            return entries
        outcomes = await asyncio.gather(*(self._accepted(key, entry) for entry in entries))
        return self._results(outcomes) if read is _batch else accepted_answer(outcomes[0])

    async def _accepted(self, key: Key, entry: Entry) -> Accepted | Refusal:
        """Return what became of one message, alone: nobody else in the call pays for it."""
        if isinstance(entry, Refusal):
            return entry
        if isinstance(entry, Raw):
            return await submit_raw(self._doors, key, entry)
        return await submit(self._doors, entry)

    def _results(self, outcomes: Sequence[Accepted | Refusal]) -> Answer:
        parts = []
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome, Accepted):
                parts.append(accepted_body(outcome))
            else:
                self._doors.refused(outcome.code)
                parts.append(_refused_body(outcome, number))
        return Answer(200, b'{"results":[' + b",".join(parts) + b"]}")


def _mime(key: Key, body: bytes, name: bytes | None) -> list[Entry] | Refusal:
    """Read raw mail; who gets it stands in its headers."""
    raw = read_raw(Envelope(key.id), body)
    if isinstance(raw, Refusal) or name is None:
        return [raw]
    named = raw.submission._replace(idempotency_key=f"rest:{name.decode()}", remember_seconds=REMEMBER_SECONDS)
    return [raw._replace(submission=named)]


def _batch(key: Key, body: bytes, name: bytes | None) -> list[Entry] | Refusal:
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
