"""Owns the server side of the AWS JSON protocols (rest-json and json 1.0/1.1), driven by a botocore service model.

Leaves loading of models, sockets, signatures and every decision to others: the local SES and Tenantry's own SES door
use the same codec. A model is the plain dict that `botocore.loaders` reads.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from botocore.model import OperationModel, ServiceModel, Shape
from pydantic_core import PydanticSerializationError, from_json, to_json

from tenantry.wire.aws_shapes import Reader, Readers, ShapeError, Writer, Writers, query_value

Members = Mapping[str, Any]
"""The parameters or the answer of an operation by the model's names, already checked by it."""

# Both wire generations are in the field: botocore changed these two to POST in 1.43.105, other SDKs still GET them.
GENERATIONS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "ListEmailIdentities": (("GET", "/v2/email/identities"), ("POST", "/v2/email/list-identities")),
    "ListConfigurationSets": (
        ("GET", "/v2/email/configuration-sets"),
        ("POST", "/v2/email/list-configuration-sets"),
    ),
}


@dataclass(frozen=True, slots=True)
class WireError:
    """An expected "no" of the protocol: AWS's code and status, a sentence, and the path of the member at fault."""

    code: str
    message: str
    status: int = 400
    field: str | None = None


@dataclass(frozen=True, slots=True)
class _Operation:
    """What is needed to read and write one operation, compiled from its model."""

    name: str
    read: Reader | None
    write: Writer | None
    uri: Mapping[str, str]  # label -> member
    query: Mapping[str, tuple[str, Shape]]  # query key -> member and its shape


class Service:
    """One AWS service as its server sees it: which operation a request is, its checked parameters, its answer."""

    def __init__(self, model: Mapping[str, Any], name: str | None = None, invalid: str | None = None) -> None:
        """Compile a model; `invalid` is the error for parameters that do not fit it, where it is not the usual one."""
        self.model = ServiceModel(dict(model), name)
        self.is_rest = self.model.metadata["protocol"] == "rest-json"
        self.operation_names: tuple[str, ...] = tuple(self.model.operation_names)
        self._statuses = _error_statuses(self.model)
        usual = "BadRequestException" if "BadRequestException" in self._statuses else "InvalidParameterValue"
        self._invalid = invalid or usual
        readers, writers = Readers(), Writers()
        models = {name: self.model.operation_model(name) for name in self.operation_names}
        self._operations = {name: _compiled(model, readers, writers) for name, model in models.items()}
        self._target = f"{self.model.metadata.get('targetPrefix', '')}."
        self._fixed: dict[tuple[str, str], str] = {}
        self._labelled: dict[tuple[str, int], list[tuple[tuple[str, ...], str]]] = {}
        for method, uri, name in self.routes() if self.is_rest else ():
            self._add_route(method, uri, name)

    def routes(self) -> list[tuple[str, str, str]]:
        """Return every (method, uri template, operation), both wire generations included."""
        found = []
        for name in self.operation_names:
            http = self.model.operation_model(name).http
            own = (http["method"], http["requestUri"].partition("?")[0])
            found += [(*route, name) for route in dict.fromkeys((own, *GENERATIONS.get(name, ())))]
        return found

    def _add_route(self, method: str, uri: str, name: str) -> None:
        parts = tuple(uri.split("/"))
        if "{" not in uri:
            self._fixed[method, uri] = name
            return
        table = self._labelled.setdefault((method, len(parts)), [])
        table.append((parts, name))
        table.sort(key=lambda row: [part.startswith("{") for part in row[0]])  # a literal wins over a label

    def route(self, method: str, path: str, query: str = "") -> tuple[str, dict[str, str]] | None:
        """Return the operation of a raw (still percent-encoded) path and its decoded labels, or None if there is none.

        A label is decoded once, after the path is split, so an ARN with its slashes is one label.
        """
        if name := self._fixed.get((method, path)):
            return name, {}
        parts = path.split("/")
        for pattern, name in self._labelled.get((method, len(parts)), ()):
            labels = _match(pattern, parts)
            if labels is not None:
                return name, labels
        return None

    def target(self, header: str) -> str | None:
        """Return the operation that an X-Amz-Target header names, or None."""
        name = header.removeprefix(self._target) if header.startswith(self._target) else ""
        return name if name in self._operations else None

    def decode(
        self, operation: str, body: bytes = b"", uri: Mapping[str, str] | None = None, query: str = ""
    ) -> dict[str, Any] | WireError:
        """Return the operation's parameters, checked by the model, or the error that AWS would answer.

        Blobs come as bytes, timestamps as aware datetimes; unknown members and nulls are dropped.
        """
        compiled = self._operations[operation]
        given = _json_object(body) if body else {}
        if isinstance(given, WireError):
            return given
        for label, text in (uri or {}).items():
            given[compiled.uri[label]] = text
        if query and compiled.query:
            texts = parse_qs(query, keep_blank_values=True)
            for key in texts.keys() & compiled.query.keys():
                member, shape = compiled.query[key]
                given[member] = query_value(shape, texts[key])
        try:
            return compiled.read(given) if compiled.read else {}
        except ShapeError as error:
            return WireError(self._invalid, str(error), field=error.field)

    def encode(self, operation: str, result: Mapping[str, Any] | None) -> bytes:
        """Return the body of a successful answer: epoch-number timestamps, base64 blobs, nothing for None members."""
        write = self._operations[operation].write
        answer = write(result or {}) if write else {}
        try:
            return to_json(answer)
        except PydanticSerializationError:  # half a surrogate pair, which can only stand escaped
            return json.dumps(answer, separators=(",", ":")).encode()

    def status_of(self, code: str) -> int:
        """Return the HTTP status that the model gives an error code (400 for one that is not modelled)."""
        return self._statuses.get(code, 400)


def encode_error(code: str, message: str, status: int, request_id: str = "") -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of an error that every SDK reads: by header (JavaScript, Go) and by body."""
    headers = {
        "content-type": "application/json",
        "x-amzn-errortype": code,
        "x-amzn-requestid": request_id,
    }
    return status, headers, json.dumps({"__type": code, "message": message}).encode()


def _error_statuses(model: ServiceModel) -> dict[str, int]:
    shapes = (model.shape_for(name) for name in model.shape_names)
    return {
        shape.name: int(shape.metadata.get("error", {}).get("httpStatusCode", 400))
        for shape in shapes
        if shape.metadata.get("exception")
    }


def _compiled(model: OperationModel, readers: Readers, writers: Writers) -> _Operation:
    shape = model.input_shape
    members = dict(shape.members) if shape is not None else {}
    places = {name: member.serialization for name, member in members.items()}
    uri = {place.get("name", name): name for name, place in places.items() if place.get("location") == "uri"}
    query = {
        place.get("name", name): (name, members[name])
        for name, place in places.items()
        if place.get("location") == "querystring" or model.name in GENERATIONS
    }
    return _Operation(
        name=model.name,
        read=_by_member(readers, shape, members) if shape is not None else None,
        write=writers.of(model.output_shape) if model.output_shape is not None else None,
        uri=uri,
        query=query,
    )


def _by_member(readers: Readers, shape: Any, members: Mapping[str, Shape]) -> Reader:
    """Return the reader of a whole input, keyed by member name: a label or query key is not a name in the body."""
    by_name = {name: readers.of(member) for name, member in members.items()}
    required = tuple(shape.required_members)

    def read(given: Any) -> dict[str, Any]:
        out = {}
        for name, value in given.items():
            if value is not None and (reader := by_name.get(name)):
                try:
                    out[name] = reader(value)
                except ShapeError as error:
                    raise error.within(name) from None
        for name in required:
            if name not in out:
                raise ShapeError("Member must not be null", field=name)
        return out

    return read


def _match(pattern: tuple[str, ...], parts: list[str]) -> dict[str, str] | None:
    labels = {}
    for expected, given in zip(pattern, parts, strict=True):
        if expected.startswith("{"):
            if not given:
                return None
            try:
                labels[expected.strip("{}")] = unquote(given, errors="strict")
            except UnicodeDecodeError:
                return None
        elif expected != given:
            return None
    return labels


def _json_object(body: bytes) -> dict[str, Any] | WireError:
    try:  # also half a surrogate pair, which could never leave as mail, and nesting beyond 200
        value = from_json(body, allow_inf_nan=False)
    except ValueError:
        return WireError("SerializationException", "The request body is not valid JSON in UTF-8.")
    if type(value) is not dict:
        return WireError("SerializationException", "The request body must be a JSON object.")
    return value
