"""Owns the patterns by which EventBridge's rules and SNS's filter policies choose: checking one, and matching it.

Leaves where a pattern's object comes from to both services. Follows the EventBridge guide ("comparison operators").
"""

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

DEPTH_MAX = 32
_NUMERIC = {"=", "<", "<=", ">", ">="}
_MISSING = object()


def pattern_fault(pattern: object, depth: int = 0) -> str | None:
    """Return why this is no pattern, or None."""
    if not isinstance(pattern, dict) or not pattern:
        return "the pattern must be an object with at least one field"
    if depth > DEPTH_MAX:
        return "the pattern is nested too deeply"
    for key, rule in pattern.items():
        if key == "$or" and isinstance(rule, list):
            if len(rule) < 2:
                return "$or must be an array of at least two objects"
            faults = [pattern_fault(each, depth + 1) for each in rule]
        elif isinstance(rule, dict):
            faults = [pattern_fault(rule, depth + 1)]
        elif isinstance(rule, list) and rule:
            faults = [_condition_fault(each) for each in rule]
        else:
            return f'"{key}" must be an object or a non-empty array'
        if found := next(filter(None, faults), None):
            return found
    return None


def matches(pattern: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    """Does this object fit a pattern that has no fault?"""
    return all(_field_fits(key, rule, value) for key, rule in pattern.items())


def _field_fits(key: str, rule: Any, value: Mapping[str, Any]) -> bool:
    if key == "$or" and isinstance(rule, list):
        return any(matches(each, value) for each in rule)
    given = value.get(key, _MISSING)
    if isinstance(rule, Mapping):
        inner = given if isinstance(given, list) else [given]
        objects = [each for each in inner if isinstance(each, Mapping)]
        return any(matches(rule, each) for each in objects or [{}])
    if given is _MISSING or isinstance(given, Mapping):
        return {"exists": False} in rule
    values = given if isinstance(given, list) else [given]
    return any(_condition_fits(each, one) for each in rule for one in values)


def _condition_fits(condition: Any, value: Any) -> bool:
    if not isinstance(condition, Mapping):
        return _is_same(condition, value)
    ((name, wanted),) = condition.items()
    match name:
        case "exists":
            return bool(wanted)
        case "anything-but":
            return not _is_one_of(wanted, value)
        case "numeric":
            pairs = zip(wanted[::2], wanted[1::2], strict=True)
            return _is_number(value) and all(_compares(value, sign, number) for sign, number in pairs)
        case "cidr":
            return _is_within(wanted, value)
    return isinstance(value, str) and _text_fits(name, wanted, value)


def _is_one_of(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, Mapping):
        ((name, texts),) = wanted.items()
        texts = texts if isinstance(texts, list) else [texts]
        return isinstance(value, str) and any(_text_fits(name, each, value) for each in texts)
    return any(_is_same(each, value) for each in (wanted if isinstance(wanted, list) else [wanted]))


def _text_fits(name: str, wanted: Any, value: str) -> bool:
    if isinstance(wanted, Mapping):  # {"prefix": {"equals-ignore-case": "x"}}
        wanted, value = wanted["equals-ignore-case"].lower(), value.lower()
    text = str(wanted)
    match name:
        case "prefix":
            return value.startswith(text)
        case "suffix":
            return value.endswith(text)
        case "equals-ignore-case":
            return value.lower() == text.lower()
    return _wildcard_fits(text, value)


def _wildcard_fits(wanted: str, value: str) -> bool:
    """Match `*` in linear time: each piece is taken at its first place after the one before."""
    pieces = _pieces(wanted)
    if len(pieces) == 1:
        return value == pieces[0]
    first, *middle, last = pieces
    if len(value) < len(first) + len(last) or not (value.startswith(first) and value.endswith(last)):
        return False
    at, end = len(first), len(value) - len(last)
    for piece in middle:
        found = value.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


@lru_cache(maxsize=1_024)
def _pieces(wanted: str) -> tuple[str, ...]:
    parts = re.split(r"(\\.|\*)", wanted)
    pieces = [""]
    for part in parts:
        if part == "*":
            pieces.append("")
        else:
            pieces[-1] += part[1:] if part.startswith("\\") and len(part) == 2 else part
    return tuple(pieces)


def _is_same(wanted: Any, value: Any) -> bool:
    if _is_number(wanted) and _is_number(value):
        return bool(wanted == value)
    return type(wanted) is type(value) and wanted == value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _compares(value: float, sign: str, number: float) -> bool:
    match sign:
        case "=":
            return value == number
        case "<":
            return bool(value < number)
        case "<=":
            return value <= number
        case ">":
            return value > number
    return value >= number


def _is_within(block: str, value: Any) -> bool:
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(block, strict=False)
    except ValueError:
        return False


def _condition_fault(condition: Any) -> str | None:
    if not isinstance(condition, dict):
        return "a condition must not be an array" if isinstance(condition, list) else None
    if len(condition) != 1:
        return "a condition must have exactly one operator"
    ((name, wanted),) = condition.items()
    match name:
        case "exists":
            return None if isinstance(wanted, bool) else "exists must be true or false"
        case "anything-but":
            return _anything_but_fault(wanted)
        case "numeric":
            return None if _is_range(wanted) else "numeric must be pairs of a comparison and a number"
        case "cidr":
            return None if _is_block(wanted) else "cidr must be a block of addresses"
        case "prefix" | "suffix" | "equals-ignore-case" | "wildcard":
            return _text_fault(name, wanted)
    return f"{name} is no known operator"


def _anything_but_fault(wanted: Any) -> str | None:
    if isinstance(wanted, dict):
        if len(wanted) != 1 or not wanted.keys() <= {"prefix", "suffix", "equals-ignore-case", "wildcard"}:
            return "anything-but takes values, or one of prefix, suffix, equals-ignore-case and wildcard"
        ((name, texts),) = wanted.items()
        texts = texts if isinstance(texts, list) and texts else [texts]
        return next(filter(None, (_text_fault(name, each) for each in texts)), None)
    values = wanted if isinstance(wanted, list) else [wanted]
    return None if values and all(isinstance(each, str | int | float) for each in values) else "anything-but is empty"


def _text_fault(name: str, wanted: Any) -> str | None:
    if isinstance(wanted, dict) and name in ("prefix", "suffix"):
        wanted = wanted.get("equals-ignore-case") if len(wanted) == 1 else None
    if not isinstance(wanted, str):
        return f"{name} must be a string"
    return "wildcard must not have two * in a row" if name == "wildcard" and "**" in wanted else None


def _is_range(wanted: Any) -> bool:
    return (
        isinstance(wanted, list)
        and len(wanted) in (2, 4)
        and all(each in _NUMERIC for each in wanted[::2] if isinstance(each, str))
        and all(isinstance(each, str) for each in wanted[::2])
        and all(_is_number(each) for each in wanted[1::2])
    )


def _is_block(wanted: Any) -> bool:
    try:
        ipaddress.ip_network(wanted, strict=False)
    except (ValueError, TypeError):
        return False
    return isinstance(wanted, str)
