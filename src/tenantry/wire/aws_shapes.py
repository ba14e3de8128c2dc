"""Owns reading and writing of values by botocore shapes, compiled once into plain functions.

Leaves routes, bodies and errors of a whole call to `wire.aws`. A reader turns a JSON value (or the text of a
query) into Python values and checks it by the model; a writer does the reverse for answers.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape

Reader = Callable[[Any], Any]
Writer = Callable[[Any], Any]

QUOTED_VALUE_MAX = 128  # a refusal quotes what it refuses, but never a whole message body


class ShapeError(ValueError):
    """A value does not fit its shape; `field` is the path of the value in the model's own names."""

    def __init__(self, constraint: str, value: object = None, field: str = "") -> None:
        super().__init__(constraint)
        self.field = field
        self.constraint = constraint
        self._value = value

    def within(self, name: str) -> "ShapeError":
        """Return it as an error of the value around: the path is made only once something is wrong."""
        self.field = f"{name}.{self.field}" if self.field else name
        return self

    def __str__(self) -> str:
        value = self._value
        parts = [part if part.isdigit() else part[:1].lower() + part[1:] for part in self.field.split(".")]
        where = re.sub(r"\.(\d+)", lambda found: f".{int(found[1]) + 1}.member", ".".join(parts))
        shown = (
            f"Value '{value}' at" if isinstance(value, str | int | float) and not self._is_long(value) else "Value at"
        )
        return f"1 validation error detected: {shown} '{where}' failed to satisfy constraint: {self.constraint}"

    @staticmethod
    def _is_long(value: object) -> bool:
        return len(str(value)) > QUOTED_VALUE_MAX


class Readers:
    """Compiles shapes to readers; a shape that is reached twice (or by itself) is compiled once."""

    def __init__(self) -> None:
        self._done: dict[str, Reader] = {}

    def of(self, shape: Shape) -> Reader:
        """Return the reader of this shape: `reader(value)` returns the value or raises ShapeError."""
        if shape.name not in self._done:
            self._done[shape.name] = lambda value: self._done[shape.name](value)
            self._done[shape.name] = self._compile(shape)
        return self._done[shape.name]

    def _compile(self, shape: Shape) -> Reader:
        match shape:
            case StructureShape():
                return self._structure(shape)
            case ListShape():
                return self._list(shape)
            case MapShape():
                return self._map(shape)
            case StringShape():
                return _string(shape)
        match shape.type_name:
            case "integer" | "long":
                return _number(shape, int)
            case "float" | "double":
                return _number(shape, float)
            case "boolean":
                return _boolean
            case "timestamp":
                return _timestamp
            case "blob":
                return _blob
        raise ValueError(f"no reader for shape type {shape.type_name}")

    def _structure(self, shape: StructureShape) -> Reader:
        readers = {
            member.serialization.get("name", name): (name, self.of(member)) for name, member in shape.members.items()
        }
        required = tuple(shape.required_members)
        is_union = bool(shape.is_tagged_union)

        def read(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                raise ShapeError("Member must be a structure")
            out = {}
            for key, given in value.items():
                # Unknown members are dropped, as AWS does; null means absent in its JSON protocols.
                if given is not None and (known := readers.get(key)):
                    name, reader = known
                    try:
                        out[name] = reader(given)
                    except ShapeError as error:
                        raise error.within(name) from None
            for name in required:
                if name not in out:
                    raise ShapeError("Member must not be null", field=name)
            if is_union and len(out) != 1:
                raise ShapeError(f"Exactly one of the members must be set: {', '.join(sorted(shape.members))}")
            return out

        return read

    def _list(self, shape: ListShape) -> Reader:
        member = self.of(shape.member)
        check = _length(shape)

        def read(value: Any) -> list[Any]:
            if type(value) is not list:
                raise ShapeError("Member must be a list")
            if check:
                check(len(value), None)
            out: list[Any] = []
            try:
                out.extend(map(member, value))
            except ShapeError as error:
                raise error.within(str(len(out))) from None
            return out

        return read

    def _map(self, shape: MapShape) -> Reader:
        key_of, value_of = self.of(shape.key), self.of(shape.value)

        def read(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                raise ShapeError("Member must be a map")
            out = {}
            for key, each in value.items():
                name = key_of(key)
                try:
                    out[name] = value_of(each)
                except ShapeError as error:
                    raise error.within(key) from None
            return out

        return read


def _length(shape: Shape) -> Callable[[int, object], None] | None:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is None and high is None:
        return None

    def check(length: int, value: object) -> None:
        if low is not None and length < low:
            raise ShapeError(f"Member must have length greater than or equal to {low}", value)
        if high is not None and length > high:
            raise ShapeError(f"Member must have length less than or equal to {high}", value)

    return check


def _string(shape: StringShape) -> Reader:
    check, allowed = _length(shape), tuple(shape.enum)
    pattern = shape.metadata.get("pattern")
    found = re.compile(_UNICODE_CLASS.sub(_as_python_has_it, pattern)).fullmatch if pattern else None

    if not (check or allowed or found):
        return _any_string

    def read(value: Any) -> str:
        if type(value) is not str:
            raise ShapeError("Member must be a string")
        if check:
            check(len(value), value)
        if allowed and value not in allowed:
            raise ShapeError(f"Member must satisfy enum value set: [{', '.join(allowed)}]", value)
        if found and not found(value):
            raise ShapeError(f"Member must satisfy regular expression pattern: {pattern}", value)
        return value

    return read


def _any_string(value: Any) -> str:
    if type(value) is not str:
        raise ShapeError("Member must be a string")
    return value


_UNICODE_CLASS = re.compile(r"\\p\{(\w+)\}")
_CLASSES = {
    "Z": r"\s",
    "Zs": r"\s",
    "P": r"!-/:-@\[-`{-~\u00a1-\u00bf\u2010-\u205e\u3001-\u303f",
    "S": r"$+<=>^`|~\u20a0-\u2bff",
}


def _as_python_has_it(found: re.Match[str]) -> str:
    """Return a Unicode class, which only stands inside brackets in the models, in terms that Python's `re` knows."""
    return _CLASSES.get(found[1], r"\w")


def _number(shape: Shape, kind: type[int] | type[float]) -> Reader:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")

    def read(value: Any) -> int | float:
        if type(value) is not int and (kind is int or type(value) is not float):
            raise ShapeError(f"Member must be {'an integer' if kind is int else 'a number'}", value)
        if low is not None and value < low:
            raise ShapeError(f"Member must have value greater than or equal to {low}", value)
        if high is not None and value > high:
            raise ShapeError(f"Member must have value less than or equal to {high}", value)
        number: int | float = kind(value)
        return number

    return read


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ShapeError("Member must be a boolean")
    return value


def _timestamp(value: Any) -> datetime:
    """Read epoch seconds (JSON bodies) or ISO 8601 (queries) as an aware time in UTC."""
    try:
        if type(value) in (int, float):
            return datetime.fromtimestamp(value, UTC)
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError, OverflowError, OSError):
        raise ShapeError("Member must be a timestamp", value) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _blob(value: Any) -> bytes:
    if type(value) is not str:
        raise ShapeError("Member must be base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ShapeError("Member must be base64 text") from None


def query_value(shape: Shape, texts: list[str]) -> Any:
    """Return query texts as the JSON value that the shape's reader expects; it is the reader that refuses odd text."""
    if isinstance(shape, ListShape):
        return [query_value(shape.member, [text]) for text in texts]
    text = texts[-1]
    match shape.type_name:
        case "integer" | "long":
            return int(text) if re.fullmatch(r"-?\d{1,18}", text) else text
        case "boolean":
            return {"true": True, "false": False}.get(text, text)
    return text


class Writers:
    """Compiles shapes to writers, which make plain JSON values of results."""

    def __init__(self) -> None:
        self._done: dict[str, Writer] = {}

    def of(self, shape: Shape) -> Writer:
        """Return the writer of this shape; it raises KeyError for a member that the model does not have."""
        if shape.name not in self._done:
            self._done[shape.name] = lambda value: self._done[shape.name](value)
            self._done[shape.name] = self._compile(shape)
        return self._done[shape.name]

    def _compile(self, shape: Shape) -> Writer:
        match shape:
            case StructureShape():
                return self._structure(shape)
            case ListShape():
                member = self.of(shape.member)
                return lambda value: [member(each) for each in value]
            case MapShape():
                inner = self.of(shape.value)
                return lambda value: {key: inner(each) for key, each in value.items()}
        match shape.type_name:
            case "timestamp":
                return _epoch
            case "blob":
                return lambda value: base64.b64encode(value).decode()
        return lambda value: value

    def _structure(self, shape: StructureShape) -> Writer:
        writers = {
            name: (member.serialization.get("name", name), self.of(member)) for name, member in shape.members.items()
        }

        def write(value: Mapping[str, Any]) -> dict[str, Any]:
            out = {}
            for name, given in value.items():
                wire_name, writer = writers[name]
                if given is not None:
                    out[wire_name] = writer(given)
            return out

        return write


def _epoch(value: datetime | float) -> float:
    # The JavaScript SDK reads only numbers; milliseconds are what SES shows.
    return round(value.timestamp() if isinstance(value, datetime) else value, 3)
