"""Owns what the flows ask of the world: Store, Ses, Control, Feed, Clock, and the errors that these may raise.

Leaves every how to the adapters; tests/conformance decides whether an adapter is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from tenantry.core.claim import Claim
from tenantry.core.event import NewFact, RecipientRow, Report
from tenantry.core.ids import (
    AttemptId,
    CellId,
    Id,
    KeyId,
    MessageId,
    PauseId,
    PoolId,
    StreamId,
    TenantId,
    VerdictId,
)
from tenantry.core.message import Accepted, Message
from tenantry.core.outcome import Outcome
from tenantry.core.pause import Author, Pause, ScopeId
from tenantry.core.plan import Change, Resource
from tenantry.core.policy import Action, LineKind, Verdict
from tenantry.core.reading import MessageView, ReputationView, StreamWaits, VerdictView
from tenantry.core.reputation import Block
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
    Sender,
    Stream,
    StreamClass,
    Tenant,
)
from tenantry.core.turn import Credit, Lane, Shares, Turn

I = TypeVar("I", bound=Id)
T = TypeVar("T")


class StoreBusy(Exception):
    """The store cannot commit now (locked, unreachable, disk full): nothing happened, try later."""


class StoreRejected(Exception):
    """The store refuses these rows (a value it cannot hold): nothing happened, trying again does not help."""


class StoreConflict(Exception):
    """A name or id is already taken: nothing happened."""


class ControlRefused(Exception):
    """SES's control plane said no to a change; the words are SES's own."""


class ControlBusy(Exception):
    """SES's control plane throttles or cannot be reached: the change is tried again later."""


class FeedUnavailable(Exception):
    """The event queue cannot be read now."""


# ---- what travels through the store's steps


@dataclass(frozen=True, slots=True)
class Remembered:
    """What an idempotency name stood for."""

    body_digest: bytes
    answer: Accepted
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose mail an event is about."""

    message_id: MessageId
    attempt_id: AttemptId | None
    tenant_id: TenantId
    stream_id: StreamId
    stream_class: StreamClass
    handed: bool


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that a tenant (or, when stream_id is given, that stream) must not mail."""

    tenant_id: TenantId
    stream_id: StreamId | None
    address: str
    cause: str


@dataclass(frozen=True, slots=True)
class Tally:
    """A bad outcome to count in its bucket of the stream's sending order."""

    stream_id: StreamId
    cohort: int
    bucket: int
    bounced: int = 0
    complained: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settling step wrote down."""

    handed: int = 0
    retried: int = 0
    refused: int = 0
    unknown: int = 0
    throttled: int = 0


@dataclass(frozen=True, slots=True)
class AccountReading:
    """What GetAccount says."""

    rate_per_second: float
    quota_24h: float  # -1: unlimited
    sent_24h: float
    sending_enabled: bool
    enforcement: str


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message of the event queue: its text and the handle that acknowledges it."""

    body: str
    receipt: str


# ---- the store, a protocol a verb


class Step(Protocol):
    """One transaction; it supplies time and ids, commits when left, rolls back on any error."""

    now: datetime

    def new_id(self, kind: type[I]) -> I:
        """Make an id whose time is the step's."""
        ...


class AcceptStep(Step, Protocol):
    """What accept reads and writes: it inserts, and never updates or deletes mail."""

    async def senders(self, keys: Iterable[KeyId]) -> Mapping[KeyId, Sender]:
        """Return the sender behind each live tenant key; a revoked, unknown or operator's key is missing."""
        ...

    async def remembered(self, names: Iterable[tuple[TenantId, str]]) -> Mapping[tuple[TenantId, str], Remembered]:
        """Return what these idempotency names stand for now; expired ones are missing."""
        ...

    async def suppressed(
        self, wanted: Iterable[tuple[TenantId, StreamId, str]]
    ) -> Mapping[tuple[TenantId, StreamId, str], str]:
        """Return the cause for each (tenant, stream, lower-case address) that must not be mailed."""
        ...

    async def holds(self, streams: Iterable[Stream]) -> Mapping[StreamId, str]:
        """Return why mail of these streams would wait now (paused, unprovisioned); others are missing."""
        ...

    async def insert_accepted(self, accepted: Sequence[tuple[Message, Accepted]]) -> None:
        """Write messages, recipients, content, waiting, wakes and remembered answers."""
        ...


class DispatchStep(Step, Protocol):
    """What a turn reads and writes under the cell's lock, and what settling writes without it."""

    async def consume_wakes(self, cell: CellId) -> int: ...
    async def credit(self, cell: CellId, room: int) -> tuple[Credit, Shares]:
        """Return what the cell may still send now; room is how many more messages may be in flight."""
        ...

    async def lanes(self, cell: CellId, credit: Credit) -> Sequence[Lane]:
        """Return the ready lanes that could be chosen with this credit, by tag, with their first due messages."""
        ...

    async def claim(self, cell: CellId, lanes: Sequence[Lane], turn: Turn) -> Sequence[Claim]:
        """Write the turn down (claims, tags, shares, credit, parked lanes) and return the claims in turn order.

        Recipients that were suppressed since acceptance are taken out; a message left with none is settled.
        """
        ...

    async def settle(self, outcomes: Sequence[Outcome]) -> Settled:
        """Write down what became of attempts; an attempt that is no longer open is left alone."""
        ...

    async def hand_back(self, attempts: Sequence[AttemptId]) -> int:
        """Undo claims that were not begun: their messages wait again, no attempt burned."""
        ...

    async def abandon(self, cell: CellId) -> int:
        """Make every open claim unknown: whoever held it is gone."""
        ...

    async def wake_stranded(self, cell: CellId) -> int:
        """Make ready every lane that has due mail and no closed gate."""
        ...

    async def set_account(self, cell: CellId, reading: AccountReading) -> None: ...


class IngestStep(Step, Protocol):
    """What ingest reads and writes; takes no cell lock."""

    async def owners(self, reports: Sequence[Report]) -> Mapping[bytes, Owner]:
        """Return whose mail each report (by digest) is about; a report about nobody's is missing."""
        ...

    async def record(self, owned: Sequence[tuple[Owner, Report]]) -> set[bytes]:
        """Keep the events that are new and return their digests."""
        ...

    async def hand(self, handed: Sequence[tuple[Owner, str]]) -> None:
        """Settle as handed, with SES's id, what an event proves was handed though its answer is not written yet."""
        ...

    async def recipients(self, messages: Iterable[MessageId]) -> Mapping[MessageId, Sequence[RecipientRow]]:
        """Return every recipient of these messages; nobody else changes them until this step ends."""
        ...

    async def add_facts(self, facts: Sequence[NewFact]) -> None:
        """Add facts to recipients, at most one entry a recipient."""
        ...

    async def suppress(self, suppressions: Sequence[Suppression]) -> None: ...
    async def count(self, tallies: Sequence[Tally]) -> None: ...
    async def quarantine(self, poison: Sequence[tuple[str, str]]) -> None:
        """Keep (raw text, reason) of what cannot be understood or belongs to nobody."""
        ...

    async def saw_events(self, cell: CellId) -> None:
        """Note that the feed is alive."""
        ...


class GuardStep(Step, Protocol):
    """What the guard reads and writes."""

    async def stream(self, stream_id: StreamId) -> Stream: ...
    async def blocks(self, stream_id: StreamId, cohort: int, bucket: int) -> Mapping[LineKind, Sequence[Block]]:
        """Return the counts, by kind, of the aligned doubling blocks that contain this bucket."""
        ...

    async def insert_verdict(self, stream: Stream, verdict: Verdict) -> None:
        """Keep a crossing, due to be acted on where its policy acts; one that stands already stays as it was."""
        ...

    async def due_verdicts(self, cell: CellId) -> Sequence[VerdictView]:
        """Return crossings that nobody acted on yet, oldest first."""
        ...

    async def acted(self, verdict_id: VerdictId, pause_id: PauseId | None) -> None: ...
    async def scope_owner(self, kind: str, scope_id: ScopeId) -> tuple[CellId, TenantId | None] | None:
        """Return the cell, and the tenant where there is one, of what a pause would stop; None when it does not exist."""
        ...

    async def open_pause(
        self, scope: tuple[str, ScopeId], author: Author, reason: str, verdict_id: VerdictId | None
    ) -> Pause | None:
        """Open a pause, or return the one that this author holds there; call it under the cell's lock.

        None when there is no such scope.
        """
        ...

    async def draining(self, pause_id: PauseId, deadline: datetime) -> int:
        """Return how many claims of its scope, older than this pause and younger than the deadline, are still open."""
        ...

    async def undrained(self, cell: CellId) -> Sequence[PauseId]:
        """Return the open pauses that are not acknowledged yet."""
        ...

    async def mark_local(self, pause_id: PauseId) -> None: ...
    async def pause(self, pause_id: PauseId) -> Pause | None: ...
    async def end_pause(self, pause_id: PauseId, reason: str) -> None:
        """Begin to end a pause: SES first, then the lanes; it has ended once SES shows sending enabled again."""
        ...

    async def begin_cohort(self, stream_id: StreamId, limit: float, stage: int) -> None:
        """Start a new cohort (counts from zero) at this stage of the ramp."""
        ...

    async def set_limit(self, stream_id: StreamId, limit: float | None, stage: int | None) -> None: ...
    async def ramping(self, cell: CellId) -> Sequence[tuple[Stream, datetime, int]]:
        """Return streams on a ramp with the time their stage began and the recipients handed in it."""
        ...

    async def worst_since(self, stream_id: StreamId, cohort: int, since: datetime) -> Action:
        """Return the worst that verdicts since then ask for this cohort."""
        ...


class ProvisionStep(Step, Protocol):
    """What provision reads and writes."""

    async def desired(self, cell: CellId) -> Sequence[Resource]: ...
    async def mirror(self, cell: CellId) -> Sequence[Resource]: ...
    async def set_mirror(self, cell: CellId, present: Sequence[Resource], gone: Sequence[Resource]) -> None: ...
    async def note_progress(self, cell: CellId) -> None:
        """From mirror and desired state: mark streams provisioned, pauses fenced, identities verified or not."""
        ...


class StoreStep(AcceptStep, DispatchStep, IngestStep, GuardStep, ProvisionStep, Protocol):
    """A step with every verb's reads and writes."""


# ---- what people read and change


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list and the cursor of the next one."""

    items: Sequence[T]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages to list."""

    stream_id: StreamId | None = None
    state: str | None = None
    recipient: str | None = None


class TenantStore(Protocol):
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
    async def verdict(self, verdict_id: VerdictId) -> VerdictView | None: ...
    async def waits(self) -> Sequence[StreamWaits]: ...
    async def add_stream(self, wanted: NewStream) -> Stream:
        """Make a stream with its lane, or raise StoreConflict when the name is taken."""
        ...

    async def add_identity(self, wanted: NewIdentity) -> Identity:
        """Make an identity (with a DKIM key pair of our own for BYODKIM), or raise StoreConflict when anyone holds it."""
        ...

    async def add_key(self, scopes: frozenset[Scope]) -> tuple[Key, str]:
        """Make a key and return it with its secret, which is never shown again."""
        ...

    async def revoke_key(self, key_id: KeyId) -> bool: ...


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

    async def pools(self) -> Sequence[Pool]: ...
    async def add_pool(self, name: str, kind: PoolKind) -> Pool: ...
    async def cells(self) -> Sequence[Cell]: ...
    async def pauses(self, *, open_only: bool) -> Sequence[Pause]: ...
    async def pause(self, pause_id: PauseId) -> Pause | None: ...
    async def keys(self) -> Sequence[Key]:
        """Return the operator's own keys."""
        ...

    async def add_key(self, scopes: frozenset[Scope]) -> tuple[Key, str]: ...
    async def revoke_key(self, key_id: KeyId) -> bool: ...
    async def changes(self) -> Sequence[Change]:
        """Return what provision would do now."""
        ...

    async def counts(self) -> Mapping[str, int]:
        """Return figures for doctor: unknowns, stranded lanes, open claims, quarantined events, pending identities, ..."""
        ...


class Store(Protocol):
    """Where everything is kept."""

    def step(self, lock: CellId | None = None) -> AbstractAsyncContextManager[StoreStep]:
        """Open one writing transaction; with lock, no other step with that lock runs meanwhile."""
        ...

    def of(self, tenant_id: TenantId) -> TenantStore: ...
    def fleet(self, operator: KeyId) -> FleetStore: ...
    async def key(self, key_id: KeyId) -> tuple[Key, str] | None:
        """Return a key and its secret for authentication."""
        ...


# ---- the cloud


class Ses(Protocol):
    """The sending side of one cell."""

    async def send(self, claim: Claim) -> Outcome:
        """Make exactly one SendEmail call and say what it amounts to; never raises."""
        ...


class Control(Protocol):
    """The control plane of one cell; the caller keeps to its call rate."""

    async def account(self) -> AccountReading: ...
    async def apply(self, change: Change) -> Resource | None:
        """Make one idempotent change and return what SES now has (None: gone); one call to SES, or two where SES has no upsert."""
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

