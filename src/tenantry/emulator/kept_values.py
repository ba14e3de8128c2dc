"""Owns how remembered things are written as JSON and read again: records, ordered names, sets, bytes, and who is whom.

Leaves what is kept to `emulator.kept`. Only the classes that are named here are ever made of a file; no code is.
"""

import base64
import json
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from tenantry.emulator import justice, records
from tenantry.emulator.ledger import MessageRecord
from tenantry.emulator.meters import RollingDay
from tenantry.emulator.neighbours import alarms, events, insights, queue, sns_delivery, sns_topics, sqs_queues
from tenantry.emulator.registry import Registry
from tenantry.emulator.vdm import Vdm

_MODULES = (records, justice, alarms, events, insights, queue, sns_delivery, sns_topics, sqs_queues)
CLASSES: dict[str, type] = {
    name: each
    for module in _MODULES
    for name, each in vars(module).items()
    if isinstance(each, type) and each.__module__ == module.__name__ and is_dataclass(each)
}
CLASSES["MessageRecord"] = MessageRecord
# Plain objects: all that they hold is kept, but for queues, whose messages go with the process.
PLAIN: dict[str, type] = {each.__name__: each for each in (RollingDay, Vdm, justice.Window, queue.Queue)}
_DICTS: dict[type, str] = {dict: "$dict", Registry: "$registry", Counter: "$counter"}
_QUEUE_KEEPS = ("name", "created_at", "settings")


class KeptError(ValueError):
    """A text that is none of these values."""


def to_text(value: Any) -> str:
    """Return a value as JSON; TypeError for one of a class that is not known here."""
    return json.dumps(_Writing().value(value), separators=(",", ":"))


def from_text(text: str) -> Any:
    """Return the value of a JSON text; KeptError says what does not fit."""
    try:
        return _Reading().value(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise KeptError(f"{type(error).__name__}: {error}") from error


class _Writing:
    """One text: an object that comes again is written as a reference, so that it is one object afterwards too."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def value(self, value: Any) -> Any:
        match value:
            case None | bool() | int() | float() | str():
                return value
            case dict():
                return self._dict(value)
            case list():
                return [self.value(each) for each in value]
            case tuple() if not hasattr(value, "_fields"):
                return {"$tuple": [self.value(each) for each in value]}
            case set() | frozenset():
                return {"$set": sorted(map(self.value, value), key=repr)}
            case deque():
                return {"$deque": [value.maxlen, [self.value(each) for each in value]]}
            case bytes():
                return {"$bytes": base64.b64encode(value).decode()}
            case datetime():
                return {"$time": value.isoformat()}
        return self._object(value)

    def _dict(self, value: dict[Any, Any]) -> dict[str, Any]:
        if type(value) is dict and all(type(key) is str and not key.startswith("$") for key in value):
            return {key: self.value(each) for key, each in value.items()}
        return {_DICTS[type(value)]: self._pairs(value)}

    def _pairs(self, value: dict[Any, Any]) -> list[list[Any]]:
        return [[self.value(key), self.value(each)] for key, each in value.items()]

    def _object(self, value: Any) -> Any:
        name = type(value).__name__
        if (number := self._numbers.get(id(value))) is not None:
            return {"$again": number}
        self._numbers[id(value)] = len(self._numbers)
        if CLASSES.get(name) is type(value):
            held = {field.name: getattr(value, field.name) for field in fields(CLASSES[name]) if field.init}
        elif PLAIN.get(name) is type(value):
            held = vars(value) if name != "Queue" else {key: getattr(value, key) for key in _QUEUE_KEEPS}
        else:
            raise TypeError(f"{name} is not kept")
        return {"$": name, **{key: self.value(each) for key, each in held.items()}}


class _Reading:
    def __init__(self) -> None:
        self._objects: list[Any] = []
        self._forms: dict[str, Callable[[Any], Any]] = {
            "$registry": self._registry,
            "$counter": lambda pairs: Counter(dict(self._pairs(pairs))),
            "$dict": lambda pairs: dict(self._pairs(pairs)),
            "$tuple": lambda rows: tuple(self.value(each) for each in rows),
            "$set": lambda rows: {self.value(each) for each in rows},
            "$deque": lambda given: deque((self.value(each) for each in given[1]), maxlen=given[0]),
            "$bytes": base64.b64decode,
            "$time": datetime.fromisoformat,
            "$again": lambda number: self._objects[number],
        }

    def value(self, given: Any) -> Any:
        if isinstance(given, list):
            return [self.value(each) for each in given]
        if not isinstance(given, dict):
            return given
        if "$" in given:
            return self._object(given)
        if len(given) == 1 and (form := self._forms.get(next(iter(given)))):
            return form(*given.values())
        return {key: self.value(each) for key, each in given.items()}

    def _pairs(self, pairs: Any) -> list[tuple[Any, Any]]:
        return [(self.value(key), self.value(each)) for key, each in pairs]

    def _registry(self, pairs: Any) -> Registry[Any]:
        made: Registry[Any] = Registry()
        for key, each in self._pairs(pairs):
            made[key] = each
        return made

    def _object(self, given: dict[str, Any]) -> Any:
        name, at = given["$"], len(self._objects)
        self._objects.append(None)
        if name == "Queue":  # two queues may be each other's dead letters
            made = self._objects[at] = queue.Queue(given["name"], given["created_at"])
            made.settings = self.value(given["settings"])
            return made
        held = {key: self.value(each) for key, each in given.items() if key != "$"}
        if name in PLAIN:
            made = object.__new__(PLAIN[name])
            for key, each in held.items():
                setattr(made, key, each)
        elif name in CLASSES:
            made = CLASSES[name](**held)
        else:
            raise KeptError(f"there is no {name}")
        self._objects[at] = made
        return made
