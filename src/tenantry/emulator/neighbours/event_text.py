"""Owns an EventBridge event and what each target gets of it: all, a part, a constant, or a text made of parts.

Leaves which rules see it to `neighbours.events`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d{1,6})\]|\['([^']+)'\]")
_SLOT = re.compile(r"<([A-Za-z0-9_.-]{1,256})>")
_NOTHING = object()
INPUTS = ("Input", "InputPath", "InputTransformer")


@dataclass(frozen=True)
class Event:
    """An event as it crosses the bus; `detail` is the text of a JSON object, `at` epoch seconds."""

    id: str
    kind: str
    source: str
    account: str
    at: float
    region: str
    resources: list[str]
    detail: str

    @cached_property
    def text(self) -> str:
        """The event as targets get it (EventBridge guide: events)."""
        head = {
            "version": "0",
            "id": self.id,
            "detail-type": self.kind,
            "source": self.source,
            "account": self.account,
            "time": datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": self.region,
            "resources": self.resources,
        }
        return f'{json.dumps(head, separators=(",", ":"))[:-1]},"detail":{self.detail}}}'

    @cached_property
    def value(self) -> dict[str, Any]:
        """The event read as a value, which patterns and paths look into."""
        found: dict[str, Any] = json.loads(self.text)
        return found


def target_fault(target: Mapping[str, Any]) -> str | None:
    """Return what is wrong with what a target is to get, or None."""
    if sum(name in target for name in INPUTS) > 1:
        return "Only one of Input, InputPath, or InputTransformer must be provided."
    if "Input" in target and not _is_json(target["Input"]):
        return "JSON syntax error in input"
    if "InputPath" in target and _steps(target["InputPath"]) is None:
        return "Invalid InputPath."
    if transformer := target.get("InputTransformer"):
        paths = transformer.get("InputPathsMap", {})
        if bad := [path for path in paths.values() if _steps(path) is None]:
            return f"Invalid path in InputPathsMap: {bad[0]}"
        if unknown := set(_SLOT.findall(transformer["InputTemplate"])) - paths.keys() - _RESERVED.keys():
            return f"InputTemplate for target {target['Id']} contains placeholder {unknown.pop()} that is not defined."
    return None


def target_text(target: Mapping[str, Any], event: Event, rule_arn: str) -> str:
    """Return the text that a target gets of an event."""
    if "Input" in target:
        return str(target["Input"])
    if "InputPath" in target:
        return _json(_at(event.value, target["InputPath"]))
    if "InputTransformer" in target:
        return _transformed(target["InputTransformer"], event, rule_arn)
    return event.text


_RESERVED = {
    "aws.events.rule-arn": lambda event, arn: arn,
    "aws.events.rule-name": lambda event, arn: arn.rpartition("/")[2],
    "aws.events.event.ingestion-time": lambda event, arn: event.value["time"],
    "aws.events.event": lambda event, arn: event.value,
    "aws.events.event.json": lambda event, arn: event.value,
}


def _transformed(transformer: Mapping[str, Any], event: Event, rule_arn: str) -> str:
    template: str = transformer["InputTemplate"]
    values = {name: _at(event.value, path) for name, path in transformer.get("InputPathsMap", {}).items()}

    def filled(slot: re.Match[str]) -> str:
        reserved = _RESERVED.get(slot[1])
        value = reserved(event, rule_arn) if reserved else values[slot[1]]
        if not _is_in_string(template, slot.start()):
            return _json(value)
        text = "" if value is _NOTHING else value if isinstance(value, str) else _json(value)
        return json.dumps(text)[1:-1]

    made = _SLOT.sub(filled, template)
    return made if _is_json(made) else _json(made)  # a template of plain text becomes a JSON string


def _is_in_string(template: str, position: int) -> bool:
    return len(re.findall(r'(?<!\\)"', template[:position])) % 2 == 1


def _steps(path: str) -> list[str | int] | None:
    if not path.startswith("$"):
        return None
    found: list[str | int] = []
    at = 1
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return None
        found.append(int(step[2]) if step[2] else step[1] or step[3])
        at = step.end()
    return found


def _at(value: Any, path: str) -> Any:
    for step in _steps(path) or ():
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else _NOTHING
        else:
            value = value.get(step, _NOTHING) if isinstance(value, dict) else _NOTHING
    return value


def _json(value: Any) -> str:
    return "null" if value is _NOTHING else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
