"""Owns what flows ask of the cloud and of time; leaves the store to its own files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from tenantry.core.claim import Claim
from tenantry.core.outcome import Outcome
from tenantry.core.plan import Change, Resource
from tenantry.ports.values import AccountReading, Parcel


class Ses(Protocol):
    """The sending side of one cell."""

    async def send(self, claim: Claim) -> Outcome:
        """Make exactly one SendEmail call and say what it amounts to; never raises."""
        ...


class Control(Protocol):
    """The control plane of one cell; the caller keeps to its call rate."""

    async def account(self) -> AccountReading: ...
    async def apply(self, change: Change) -> Resource | None:
        """Make one idempotent change and return what SES now has (None: gone), in one call where SES lets it."""
        ...

    async def look(self, resource: Resource) -> Resource | None:
        """Read one object as SES has it."""
        ...


class Feed(Protocol):
    """The event queue of one cell."""

    async def receive(self) -> Sequence[Parcel]:
        """Wait up to some seconds for events; may return none."""
        ...

    async def acknowledge(self, parcels: Sequence[Parcel]) -> None:
        """Remove parcels whose effect is committed."""
        ...


class Clock(Protocol):
    """Time for doors, signers and timeouts; decisions and SQL take the step's instead."""

    def wall(self) -> datetime: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...
