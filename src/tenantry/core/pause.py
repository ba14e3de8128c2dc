"""Owns the pause: an open fact that stops a scope, with author, cause and numbers; leaves its fence to the flows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tenantry.core.ids import CellId, Id, PauseId, PoolId, StreamId, TenantId, VerdictId

ScopeId = StreamId | TenantId | PoolId | CellId
SCOPES: dict[str, type[StreamId] | type[TenantId] | type[PoolId] | type[CellId]] = {
    "stream": StreamId,
    "tenant": TenantId,
    "pool": PoolId,
    "cell": CellId,
}


class Author(StrEnum):
    """Who stopped it; authors are independent, and sending needs all clear."""

    GUARD = "guard"
    OPERATOR = "operator"


class PauseState(StrEnum):
    """How far a pause holds: no new claim, no open claim, refused by SES itself, or over."""

    OPENING = "opening"  # older claims may still be on their way
    LOCAL = "local"
    FENCED = "fenced"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Pause:
    """A stop that is opened and ended, never toggled."""

    id: PauseId
    scope_kind: str
    scope_id: ScopeId
    author: Author
    reason: str
    opened_at: datetime
    verdict_id: VerdictId | None = None
    local_at: datetime | None = None
    fenced_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: str | None = None

    @property
    def state(self) -> PauseState:
        """How far this pause holds now."""
        if self.ended_at:
            return PauseState.ENDED
        if self.fenced_at:
            return PauseState.FENCED
        return PauseState.LOCAL if self.local_at else PauseState.OPENING


def scope_of(text: str) -> tuple[str, ScopeId]:
    """Read a scope's id and say its kind, or raise ValueError naming the kinds that can be paused."""
    for kind, cls in SCOPES.items():
        if text.startswith(f"{cls.prefix}_"):
            return kind, cls(text)
    raise ValueError(f"{text[:80]!r} names nothing that can be paused: give the id of a stream, tenant, pool or cell")


__all__ = ["SCOPES", "Author", "Id", "Pause", "PauseState", "ScopeId", "scope_of"]
