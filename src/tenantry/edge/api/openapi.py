"""Owns the OpenAPI document: what FastAPI writes by itself, with summaries, errors and examples that people can use.

Leaves the routes to their modules and how the document looks to `page`.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from datetime import datetime
from http import HTTPStatus
from typing import Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from tenantry.core.message import RefusalCode
from tenantry.edge.api.examples import EXAMPLES
from tenantry.edge.errors import STATUS
from tenantry.edge.rest_message import MESSAGE, MessageIn

Json = dict[str, object]

ERROR_REF = "#/components/schemas/ErrorOut"
_DESCRIPTION = (
    "Give each call the header `Authorization: Bearer <key id>.<secret>`. An id that is not yours to see answers like one"
    " that does not exist. Times are ISO 8601 in UTC. Unknown fields and parameters are refused."
)


class ErrorIn(BaseModel):
    """What every error says."""

    code: RefusalCode
    message: str
    field: str | None
    request_id: str
    docs: str


class ErrorOut(BaseModel):
    """The one shape of an error."""

    error: ErrorIn


class AcceptedOut(BaseModel):
    """What was accepted: committed, with any hold visible."""

    id: str
    stream: str
    state: Literal["accepted"]
    accepted_at: datetime
    suppressed: list[str]
    hold: str | None


class BatchIn(BaseModel):
    """Messages that are handed in together, each accepted or refused for itself."""

    model_config = ConfigDict(extra="forbid")

    messages: list[MessageIn] = Field(min_length=1, max_length=500)


class RefusedIn(BaseModel):
    """Why one message of a batch was refused; the field begins with its place."""

    code: RefusalCode
    message: str
    field: str


class RefusedOut(BaseModel):
    """A message of a batch that was not accepted."""

    state: Literal["refused"]
    error: RefusedIn


class BatchOut(BaseModel):
    """What became of each message of a batch, in the order in which they were given."""

    results: list[AcceptedOut | RefusedOut]


def describe(app: FastAPI) -> None:
    """Make the app's document whole: the route that is not FastAPI's own, authentication, summaries and examples."""
    made_by_fastapi = app.openapi
    made: list[Json] = []

    def openapi() -> Json:
        if not made:
            made.append(_whole(made_by_fastapi()))
        return made[0]

    app.openapi = openapi  # type: ignore[method-assign]


def _whole(document: Json) -> Json:
    _within(document, "info")["description"] = _DESCRIPTION
    components = _within(document, "components")
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]
    schemas = _within(components, "schemas")
    for name, model in (
        ("MessageIn", MESSAGE),
        ("AcceptedOut", TypeAdapter(AcceptedOut)),
        ("BatchIn", TypeAdapter(BatchIn)),
        ("BatchOut", TypeAdapter(BatchOut)),
        ("ErrorOut", TypeAdapter(ErrorOut)),
    ):
        schema = model.json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {}) | {name: schema}
    # FastAPI lists its own shape of a validation error; what is answered is ours.
    components["schemas"] = {name: each for name, each in schemas.items() if name not in _NOT_OURS}
    paths = _within(document, "paths")
    paths["/v1/messages"] = {**_within(paths, "/v1/messages"), "post": deepcopy(_SENDING)}
    paths["/v1/messages/batch"] = {"post": deepcopy(_BATCH)}
    paths["/v1/messages/mime"] = {"post": deepcopy(_MIME)}
    for operation in _operations(paths):
        _polish(operation)
    return document


def _within(document: Json, name: str) -> Json:
    found = document.setdefault(name, {})
    assert isinstance(found, dict)
    return found


def _operations(paths: Json) -> Iterator[Json]:
    for item in paths.values():
        assert isinstance(item, dict)
        yield from item.values()


def _polish(operation: Json) -> None:
    """Say in the summary what the call does, show each answer's example, and name every way in which it is refused."""
    if operation["operationId"] not in _OWN_WORDS:
        sentence = str(operation.pop("description")).partition("\n")[0]
        summary, _, more = sentence.partition("; ")
        operation["summary"] = summary.rstrip(".")
        if more:
            operation["description"] = f"{more[:1].upper()}{more[1:]}"
    responses = _within(operation, "responses")
    for status, answer in responses.items():
        if status.startswith("2"):
            _show(answer)
    open_to_all = operation.get("security") == []
    refused = _REFUSED + (_REFUSED_BODY if "requestBody" in operation else ())
    for code in () if open_to_all else refused:
        responses[str(code)] = _refused(code)
    operation["responses"] = dict(sorted(responses.items()))


def _show(answer: object) -> None:
    assert isinstance(answer, dict)
    content = answer.get("content", {}).get("application/json")
    if content and (name := content["schema"].get("$ref", "").rpartition("/")[2]):
        listed = name.removeprefix("Listing_").removesuffix("_")
        content["example"] = EXAMPLES[name] if listed == name else {"items": [EXAMPLES[listed]], "next_cursor": None}


def _refused(status: int) -> Json:
    codes = [code for code in RefusalCode if STATUS[code] == status]
    error = {
        "code": codes[0],
        "message": "What to do about it.",
        "field": None,
        "request_id": "0193…",
        "docs": f"docs/errors.md#{codes[0]}",
    }
    content = {"application/json": {"schema": {"$ref": ERROR_REF}, "example": {"error": error}}}
    return {"description": f"{HTTPStatus(status).phrase}: {', '.join(codes)}", "content": content}


_NOT_OURS = ("HTTPValidationError", "ValidationError")
_REFUSED = (401, 403, 404, 409, 422, 500, 503)
_REFUSED_BODY = (400, 413)

_OWN_WORDS = frozenset({"send_message", "send_messages", "send_mime"})
_ACCEPTED = {
    "description": "Accepted",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/AcceptedOut"}}},
}


def _name(chars_max: int) -> list[Json]:
    schema = {"type": "string", "minLength": 1, "maxLength": chars_max}
    return [{"name": "Idempotency-Key", "in": "header", "required": False, "schema": schema}]


_SENDING: Json = {
    "summary": "Hand in a message",
    "description": "Answers after the commit, with any hold visible. A repeat with the same `Idempotency-Key` and body within"
    " 24 hours gives the first answer.",
    "operationId": "send_message",
    "parameters": _name(255),
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/MessageIn"}}},
    },
    "responses": {"202": _ACCEPTED},
}
_BATCH: Json = {
    "summary": "Hand in up to 500 messages",
    "description": "Each is accepted or refused for itself, and the answer says which, in their order. With an"
    " `Idempotency-Key` a repeat gives those that were accepted their first answer and tries the others again.",
    "operationId": "send_messages",
    "parameters": _name(240),
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/BatchIn"}}},
    },
    "responses": {
        "200": {
            "description": "A result for each",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/BatchOut"}}},
        },
    },
}
_MIME: Json = {
    "summary": "Hand in a message as raw mail",
    "description": "To, Cc and Bcc say who gets it; Bcc is removed. `X-SES-CONFIGURATION-SET` names the stream,"
    " `X-SES-MESSAGE-TAGS` the tags.",
    "operationId": "send_mime",
    "parameters": _name(240),
    "requestBody": {"required": True, "content": {"message/rfc822": {"schema": {"type": "string"}}}},
    "responses": {"202": _ACCEPTED},
}
