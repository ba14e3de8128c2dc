"""Owns the server side of AWS's query protocol: form fields in, XML out, driven by a botocore service model.

Leaves the JSON protocols to `wire.aws` and checking of values to `wire.aws_shapes`. SNS and STS speak nothing else;
older SDKs speak it to SQS and CloudWatch too.
"""

import base64
import re
from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from tenantry.wire.aws import WireError
from tenantry.wire.aws_shapes import Reader, Readers, ShapeError, query_value

FIELDS_MAX = 10_000
DEPTH_MAX = 24
_UNSPEAKABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot carry
Node = dict[str, Any]  # a field's text under "", deeper fields under their names


class QueryService:
    """One AWS service in the query protocol: which operation a form asks for, its checked parameters, its answer."""

    def __init__(self, model: Mapping[str, Any], name: str | None = None, invalid: str = "ValidationError") -> None:
        self.model = ServiceModel(dict(model), name)
        self.operation_names: tuple[str, ...] = tuple(self.model.operation_names)
        self._invalid = invalid
        self._namespace = self.model.metadata.get("xmlNamespace", "")
        readers = Readers()
        self._inputs = {each: _input(self.model.operation_model(each), readers) for each in self.operation_names}
        self._codes, self._statuses = _error_forms(self.model)

    def read(self, form: bytes) -> tuple[str, dict[str, Any]] | WireError:
        """Return the operation that a form names and its parameters, checked by the model, or AWS's error."""
        try:
            fields = dict(parse_qsl(form.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict"))
        except ValueError:  # also what is no UTF-8
            return WireError("MalformedQueryString", "The request is no form of UTF-8 fields.", 400)
        action = fields.get("Action", "")
        if action not in self._inputs:
            return WireError("InvalidAction", f"The action {action[:128]} is not valid for this endpoint.", 400)
        shape, read = self._inputs[action]
        if shape is None or read is None:
            return action, {}
        try:
            return action, read(_structure(shape, _tree(fields)))
        except ShapeError as error:
            return WireError(self._invalid, str(error), field=error.field)

    def encode(self, operation: str, result: Mapping[str, Any] | None, request_id: str) -> bytes:
        """Return the XML body of a successful answer."""
        output = self.model.operation_model(operation).output_shape
        inner = ""
        if output is not None:
            wrapper = output.serialization.get("resultWrapper", f"{operation}Result")
            inner = f"<{wrapper}>{_members(output, result or {})}</{wrapper}>"
        metadata = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        return f'<{operation}Response xmlns="{self._namespace}">{inner}{metadata}</{operation}Response>'.encode()

    def encode_error(self, error: WireError, request_id: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of an error; the name of a modelled exception becomes its query code."""
        code = self._codes.get(error.code, error.code)
        status = self._statuses.get(error.code, error.status)
        fault = "Receiver" if status >= 500 else "Sender"
        body = (
            f'<ErrorResponse xmlns="{self._namespace}"><Error><Type>{fault}</Type><Code>{code}</Code>'
            f"<Message>{_text(error.message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        return status, {"content-type": "text/xml", "x-amzn-requestid": request_id}, body.encode()


# SQS's model says JSON only; these are the names that its fields have in the query protocol (SQS API, 2012-11-05).
_SQS_NAMES = {
    "Attributes": "Attribute", "tags": "Tag", "Tags": "Tag", "AttributeNames": "AttributeName",
    "MessageAttributeNames": "MessageAttributeName", "MessageSystemAttributeNames": "MessageSystemAttributeName",
    "MessageAttributes": "MessageAttribute", "MessageSystemAttributes": "MessageSystemAttribute", "TagKeys": "TagKey",
    "AWSAccountIds": "AWSAccountId", "Actions": "ActionName", "StringListValues": "StringListValue",
    "BinaryListValues": "BinaryListValue", "Messages": "Message", "QueueUrls": "QueueUrl", "queueUrls": "QueueUrl",
}  # fmt: skip
_SQS_CODES = {
    "QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
    **{
        name: f"AWS.SimpleQueueService.{name}"
        for name in (
            "BatchEntryIdsNotDistinct", "BatchRequestTooLong", "EmptyBatchRequest", "InvalidBatchEntryId",
            "MessageNotInflight", "PurgeQueueInProgress", "QueueDeletedRecently", "TooManyEntriesInBatchRequest",
            "UnsupportedOperation",
        )
    },
}  # fmt: skip


def sqs_query_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return SQS's JSON model with the names, codes and namespace that the query protocol adds to it."""
    made: dict[str, Any] = deepcopy(dict(model))
    made["metadata"] = {
        **made["metadata"],
        "protocol": "query",
        "protocols": ["query"],
        "xmlNamespace": "http://queue.amazonaws.com/doc/2012-11-05/",
    }
    for name, operation in made["operations"].items():
        if "output" in operation:
            operation["output"]["resultWrapper"] = f"{name}Result"
    shapes = made["shapes"]
    for shape in shapes.values():
        for name, member in shape.get("members", {}).items():
            inner = shapes[member["shape"]]
            if name in ("Entries", "Successful", "Failed"):
                member["locationName"] = inner["member"]["shape"]
            elif name in _SQS_NAMES:
                member["locationName"] = _SQS_NAMES[name]
        if shape["type"] == "map":
            key, value = ("Key", "Value") if shape["key"]["shape"] == "TagKey" else ("Name", "Value")
            shape["key"]["locationName"], shape["value"]["locationName"] = key, value
    for name, code in _SQS_CODES.items():
        shapes[name]["error"] = {"code": code, "httpStatusCode": 400, "senderFault": True}
    return made


def query_codes(model: ServiceModel) -> dict[str, str]:
    """Return the query protocol's code of each modelled exception, which JSON answers tell in `x-amzn-query-error`."""
    return {**_error_forms(model)[0], **(_SQS_CODES if model.service_name == "sqs" else {})}


def _error_forms(model: ServiceModel) -> tuple[dict[str, str], dict[str, int]]:
    shapes = [shape for shape in map(model.shape_for, model.shape_names) if shape.metadata.get("exception")]
    traits = {shape.name: shape.metadata.get("error", {}) for shape in shapes}
    codes = {name: trait.get("code", name) for name, trait in traits.items()}
    return codes, {name: int(each["httpStatusCode"]) for name, each in traits.items() if "httpStatusCode" in each}


def _input(model: OperationModel, readers: Readers) -> tuple[StructureShape | None, Reader | None]:
    shape = model.input_shape
    return (shape, readers.of(shape)) if isinstance(shape, StructureShape) else (None, None)


def _tree(fields: Mapping[str, str]) -> Node:
    root: Node = {}
    for name, text in fields.items():
        node = root
        parts = name.split(".", DEPTH_MAX + 1)
        if len(parts) > DEPTH_MAX:
            raise ShapeError("Member must not be nested so deeply", field=name[:128])
        for part in parts:
            node = node.setdefault(part, {})
        node[""] = text
    return root


def _wire_name(name: str, member: Shape) -> str:
    own: str = member.serialization.get("name", name)
    if isinstance(member, ListShape) and member.serialization.get("flattened"):
        own = member.member.serialization.get("name", own)
    return own


def _structure(shape: StructureShape, node: Node) -> dict[str, Any]:
    """Return the JSON-like value that the shape's reader expects, under the names that it looks for."""
    found = {}
    for name, member in shape.members.items():
        below = node.get(_wire_name(name, member))
        if below is not None:
            found[member.serialization.get("name", name)] = _value(member, below)
    return found


def _value(shape: Shape, node: Node) -> Any:
    match shape:
        case StructureShape():
            return _structure(shape, node)
        case ListShape():
            is_flat = shape.serialization.get("flattened")
            rows = node if is_flat else node.get(shape.member.serialization.get("name", "member"), {})
            return [_value(shape.member, row) for row in _in_order(rows)]
        case MapShape():
            key, value = (each.serialization.get("name", kind) for each, kind in _sides(shape))
            rows = node if shape.serialization.get("flattened") else node.get("entry", {})
            return {row.get(key, {}).get("", ""): _value(shape.value, row.get(value, {})) for row in _in_order(rows)}
    text = node.get("", "")
    if shape.type_name in ("float", "double"):
        return _float(text)
    return query_value(shape, [text])


def _sides(shape: MapShape) -> tuple[tuple[Shape, str], tuple[Shape, str]]:
    return (shape.key, "key"), (shape.value, "value")


def _in_order(rows: Node) -> list[Node]:
    numbered = [(int(index), row) for index, row in rows.items() if re.fullmatch(r"\d{1,9}", index)]
    return [row for _, row in sorted(numbered, key=lambda pair: pair[0])]


def _float(text: str) -> Any:
    return float(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", text) else text


def _members(shape: StructureShape, value: Mapping[str, Any]) -> str:
    texts = []
    for name, member in shape.members.items():
        given = value.get(name)
        if given is not None:
            texts.append(_element(member.serialization.get("name", name), member, given))
    return "".join(texts)


def _element(name: str, shape: Shape, value: Any) -> str:
    match shape:
        case StructureShape():
            return f"<{name}>{_members(shape, value)}</{name}>"
        case ListShape():
            if shape.serialization.get("flattened"):
                own = shape.member.serialization.get("name", name)
                return "".join(_element(own, shape.member, each) for each in value)
            own = shape.member.serialization.get("name", "member")
            return f"<{name}>{''.join(_element(own, shape.member, each) for each in value)}</{name}>"
        case MapShape():
            key, inner = (each.serialization.get("name", kind) for each, kind in _sides(shape))
            row = name if shape.serialization.get("flattened") else "entry"
            rows = "".join(
                f"<{row}>{_element(key, shape.key, one)}{_element(inner, shape.value, each)}</{row}>"
                for one, each in value.items()
            )
            return rows if row == name else f"<{name}>{rows}</{name}>"
    return f"<{name}>{_scalar(shape, value)}</{name}>"


def _scalar(shape: Shape, value: Any) -> str:
    match shape.type_name:
        case "boolean":
            return "true" if value else "false"
        case "blob":
            return base64.b64encode(value).decode()
        case "timestamp":
            moment = value if isinstance(value, datetime) else datetime.fromtimestamp(value, UTC)
            return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _text(str(value))


def _text(text: str) -> str:
    return escape(_UNSPEAKABLE.sub("\ufffd", text), {"\r": "&#13;"})
