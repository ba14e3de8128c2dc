"""Owns the scoped stores that people read and change through, and the store itself; leaves flows' steps to steps.py."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tenantry.core.backtest import History
from tenantry.core.counts import CountCheck, DayCounts
from tenantry.core.figures import Balance, Figures
from tenantry.core.ids import (
    AttemptId,
    CellId,
    Id,
    IdentityId,
    KeyId,
    MessageId,
    PauseId,
    StreamId,
    TenantId,
    VerdictId,
)
from tenantry.core.pause import Pause
from tenantry.core.plan import Change
from tenantry.core.reading import CellOutlook, MessageView, ReputationView, StreamWaits, VerdictView
from tenantry.core.recovery import HeldMail
from tenantry.core.tenant import (
    Cell,
    Identity,
    Key,
    NewIdentity,
    NewStream,
    NewTenant,
    Pool,
    PoolKind,
    Scope,
    Stream,
    Tenant,
)
from tenantry.ports.letters import Page, SuppressionStore, TemplateStore
from tenantry.ports.steps import AcceptStep, StoreStep


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages to list."""

    stream_id: StreamId | None = None
    state: str | None = None
    recipient: str | None = None


class TenantStore(SuppressionStore, TemplateStore, Protocol):
    """Everything of one tenant and nothing else: a foreign id answers exactly like a random one (None)."""

    async def tenant(self) -> Tenant | None: ...
    async def streams(self) -> Sequence[Stream]: ...
    async def stream(self, name_or_id: str) -> Stream | None: ...
    async def identities(self) -> Sequence[Identity]: ...
    async def identity(self, name_or_id: str) -> Identity | None: ...
    async def keys(self) -> Sequence[Key]: ...
    async def message(self, message_id: MessageId) -> MessageView | None: ...
    async def messages(self, wanted: MessageFilter, cursor: str | None, limit: int) -> Page[MessageView]: ...
    async def pauses(self, *, open_only: bool) -> Sequence[Pause]: ...
    async def pause(self, pause_id: PauseId) -> Pause | None: ...
    async def reputation(self, stream_id: StreamId) -> ReputationView | None: ...
    async def mail_days(self, days: int) -> Sequence[DayCounts]:
        """Return what each stream sent to each provider on the last days, today being one."""
        ...

    async def histories(self, days: int) -> Sequence[History]:
        """Return what each stream sent in the last days, and what of it came back bad."""
        ...

    async def count_check(self, days: int) -> CountCheck:
        """Count the recipients of the last days anew, and say where the kept counts differ."""
        ...

    async def verdict(self, verdict_id: VerdictId) -> VerdictView | None: ...
    async def waits(self) -> Sequence[StreamWaits]: ...
    async def outlook(self) -> CellOutlook:
        """Return whether the tenant's cell sends at all."""
        ...

    async def add_stream(self, wanted: NewStream) -> Stream:
        """Make a stream with its lane, or raise StoreConflict when the name is taken."""
        ...

    async def add_identity(self, wanted: NewIdentity) -> Identity:
        """Make an identity (with a DKIM key pair of our own for BYODKIM), or raise StoreConflict when anyone holds it."""
        ...

    async def set_identity_stream(self, identity_id: IdentityId, stream_id: StreamId | None) -> None:
        """Let mail from this identity that names no stream go by this one; None: by the tenant's default."""
        ...

    async def sent_since(self, since: datetime) -> int:
        """Return how many recipients were accepted since then."""
        ...

    async def add_key(self, scopes: frozenset[Scope]) -> tuple[Key, str]:
        """Make a key and return it with its secret, which is never shown again."""
        ...

    async def revoke_key(self, key_id: KeyId, after_seconds: float = 0.0) -> bool:
        """Let a key end after so long, never later than it would anyway, and say whether it was live."""
        ...


class FleetStore(Protocol):
    """What the operator reads and changes over all tenants."""

    async def tenants(self, cursor: str | None, limit: int) -> Page[Tenant]: ...
    async def tenant(self, name_or_id: str) -> Tenant | None: ...
    async def add_tenant(self, wanted: NewTenant) -> Tenant:
        """Make a tenant in the only cell there is so far, or raise StoreConflict when the name is taken."""
        ...

    async def owner(self, thing: Id) -> TenantId | None:
        """Return the tenant that a stream, identity, key, message, verdict or pause belongs to."""
        ...

    async def held(self) -> Sequence[HeldMail]:
        """Return the mail that recovery holds, by stream."""
        ...

    async def pools(self) -> Sequence[Pool]: ...
    async def add_pool(self, name: str, kind: PoolKind) -> Pool: ...
    async def cells(self) -> Sequence[Cell]: ...
    async def pauses(self, *, open_only: bool) -> Sequence[Pause]: ...
    async def pause(self, pause_id: PauseId) -> Pause | None: ...
    async def keys(self) -> Sequence[Key]:
        """Return the operator's own keys."""
        ...

    async def add_key(self, scopes: frozenset[Scope]) -> tuple[Key, str]: ...
    async def revoke_key(self, key_id: KeyId, after_seconds: float = 0.0) -> bool: ...
    async def changes(self) -> Sequence[Change]:
        """Return what provision would do now."""
        ...

    async def figures(self) -> Figures:
        """Return what doctor and metrics watch: queues, open claims and pauses, cells, workers, the database itself."""
        ...

    async def balance(self, before: MessageId | None) -> Balance:
        """Check a portion of the last day's messages, newest first, for recipients that are lost or doubled.

        before: where the last portion said that it ended; None begins with the newest.
        """
        ...

    async def time(self) -> datetime:
        """Return the database's time."""
        ...


class Store(Protocol):
    """Where everything is kept."""

    def step(self, lock: CellId | None = None) -> AbstractAsyncContextManager[StoreStep]:
        """Open one writing transaction; with lock, no other step with that lock runs meanwhile."""
        ...

    def accepting(self) -> AbstractAsyncContextManager[AcceptStep]:
        """Open the transaction of accept, which may read what admit needs and insert, and nothing else."""
        ...

    def reading(self) -> AbstractAsyncContextManager[StoreStep]:
        """Open one reading transaction: a consistent view that delays nobody."""
        ...

    def note_claim(self, last: AttemptId) -> None:
        """Leave a mark beside the database, by which an older copy of it is noticed; call it before the first send."""
        ...

    def of(self, tenant_id: TenantId) -> TenantStore: ...
    def fleet(self, operator: KeyId) -> FleetStore: ...
    async def key(self, key_id: KeyId) -> tuple[Key, str] | None:
        """Return a key and its secret for authentication."""
        ...
