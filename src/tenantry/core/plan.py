"""Owns what SES should look like and the steps towards it: resource, change, plan; leaves calls to the control adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ResourceKind(StrEnum):
    """The kinds of objects that we own in SES."""

    POOL = "pool"
    CONFIGURATION_SET = "configuration_set"
    EVENT_DESTINATION = "event_destination"
    IDENTITY = "identity"
    TENANT = "tenant"
    ASSOCIATION = "association"


@dataclass(frozen=True, slots=True)
class Resource:
    """One object in SES: its kind, its name there, and the attributes that we look after (flat, text).

    An event destination is named `set/destination`, an association `tenant/resource ARN suffix` (`identity/acme.example`).
    observed holds what SES alone decides (verification status, DKIM tokens, ARN); it never makes a difference.
    """

    kind: ResourceKind
    name: str
    attributes: Mapping[str, str]
    observed: Mapping[str, str]


class Urgency(StrEnum):
    """The order in which changes use the cell's one control call a second."""

    PAUSE = "pause"
    UNPAUSE = "unpause"
    ONBOARD = "onboard"
    DRIFT = "drift"


@dataclass(frozen=True, slots=True)
class Change:
    """One idempotent step: make this resource so, or (delete) make it gone."""

    resource: Resource
    urgency: Urgency
    differs: tuple[str, ...]  # the attributes that differ; empty: it is missing, or to be deleted
    delete: bool = False
