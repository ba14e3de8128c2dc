"""Owns the values of suppression: which addresses a tenant must not mail, since when and why; leaves keeping them to store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tenantry.core.ids import StreamId


class Cause(StrEnum):
    """Why an address must not be mailed."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"  # its owner asked for it
    MANUAL = "manual"  # somebody of the tenant's put it there


@dataclass(frozen=True, slots=True)
class NewSuppression:
    """An address to suppress, lower case; for the whole tenant, or (stream_id) for one stream."""

    address: str
    cause: Cause = Cause.MANUAL
    stream_id: StreamId | None = None


@dataclass(frozen=True, slots=True)
class Suppressed:
    """One entry of a tenant's list; an address may be suppressed for the tenant and for streams besides."""

    address: str
    cause: Cause
    stream_id: StreamId | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SuppressionFilter:
    """Which entries to list; without any part, all of them.

    causes: none means each. stream_id: what keeps mail of that stream back, tenant-wide entries among it.
    since, until: when it was written, both ends included. once: one entry an address, the tenant-wide one if there is one.
    """

    address: str | None = None
    causes: frozenset[Cause] = frozenset()
    stream_id: StreamId | None = None
    since: datetime | None = None
    until: datetime | None = None
    once: bool = False
