"""Owns the store's steps, a protocol a verb; leaves what people read to people.py."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from tenantry.core.claim import Claim
from tenantry.core.event import NewFact, RecipientRow, Report
from tenantry.core.ids import (
    AttemptId,
    CellId,
    Id,
    KeyId,
    MessageId,
    PauseId,
    StreamId,
    TenantId,
    VerdictId,
)
from tenantry.core.message import Accepted, Message
from tenantry.core.outcome import Outcome
from tenantry.core.overdue import Ahead, UnknownMail
from tenantry.core.pause import Author, Pause, ScopeId
from tenantry.core.plan import Resource, ResourceKind
from tenantry.core.policy import Action, LineKind, Verdict
from tenantry.core.reading import VerdictView
from tenantry.core.recovery import HeldMail, Marks
from tenantry.core.reputation import Block
from tenantry.core.tenant import (
    Sender,
    Stream,
)
from tenantry.core.turn import Credit, Lane, Shares, Turn
from tenantry.ports.values import AccountReading, Asked, Owner, Places, Settled, Suppression, Survey, Tally, Told

K = TypeVar("K", bound=Id)


class Step(Protocol):
    """One transaction; it supplies time and ids, commits when left, rolls back on any error."""

    now: datetime

    def new_id(self, kind: type[K]) -> K:
        """Make an id whose time is the step's."""
        ...


class AcceptStep(Step, Protocol):
    """What accept reads and writes: it inserts, and never updates or deletes mail."""

    def expected(self, keys: Iterable[KeyId]) -> Mapping[KeyId, Sender]:
        """Return the senders behind keys as they were last known, so that one statement can ask for the rest."""
        ...

    async def look_up(self, asked: Asked) -> Told:
        """Return what admission must know, as of now, by one statement; expired names are missing. It tells the time, too."""
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

    async def claim(self, cell: CellId, lanes: Sequence[Lane], turn: Turn, worker: int) -> Sequence[Claim]:
        """Write the turn down (this worker's claims, tags, shares, credit, parked lanes); return the claims in turn order.

        Recipients that were suppressed since acceptance are taken out; a message left with none is settled.
        """
        ...

    async def settle(self, outcomes: Sequence[Outcome]) -> Settled:
        """Write down what became of attempts; an attempt that is no longer open is left alone."""
        ...

    async def hand_back(self, attempts: Sequence[AttemptId]) -> int:
        """Undo claims that were not begun: their messages wait again, no attempt burned, also where they were given up."""
        ...

    async def abandon(self, cell: CellId) -> int:
        """Make every open claim unknown: whoever held it is gone."""
        ...

    async def is_stranded(self, cell: CellId) -> bool:
        """Tell whether a lane has due mail and no closed gate, and is not ready."""
        ...

    async def wake_stranded(self, cell: CellId) -> int:
        """Make ready every such lane; return how many."""
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

    async def survey(self, cell: CellId, places: Places, most: int, *, walk: bool) -> Survey:
        """Compare a portion, most of each list: tenants with a pause on its way, with something left to do, and in a walk
        the next ones of all, changed or not."""
        ...

    async def next_seen(self, cell: CellId, after: tuple[ResourceKind, str] | None) -> Resource | None:
        """Return the object of SES, as last seen, that follows in the order of kinds and names."""
        ...

    async def tenants_of(self, cell: CellId, resources: Iterable[Resource]) -> set[TenantId]:
        """Return the tenants whose objects these are; of a pool, and of what nobody has any more, there is none."""
        ...

    async def set_mirror(self, cell: CellId, present: Sequence[Resource], gone: Sequence[Resource]) -> None: ...
    async def note_progress(self, cell: CellId, tenants: Collection[TenantId], pauses: Sequence[PauseId] = ()) -> None:
        """Write down what SES's state, as last seen, makes true for these tenants: streams provisioned or no longer, pauses
        fenced or over, identities verified or not, and whether something is left to do. pauses: of many tenants."""
        ...


class SweepStep(Step, Protocol):
    """What sweep reads and writes; most: of each kind, in one step."""

    async def expired(self, cell: CellId, most: int, ahead: Ahead) -> Sequence[MessageId]:
        """Return what has waited longer than its class allows; ahead: what of that time did not pass."""
        ...

    async def expire(self, messages: Sequence[MessageId]) -> int:
        """Settle as expired those that still wait; return how many messages."""
        ...

    async def unknown_mail(self, cell: CellId, before: datetime, most: int) -> Sequence[UnknownMail]:
        """Return messages whose outcome is unknown since this time, oldest first."""
        ...

    async def resend(self, messages: Sequence[MessageId]) -> None:
        """Queue unknown messages again, marked as possible duplicates; one that was settled meanwhile is left alone."""
        ...

    async def stuck(self, cell: CellId, before: datetime) -> Sequence[AttemptId]:
        """Return the claims that are open since this time."""
        ...

    async def give_up(self, attempts: Sequence[AttemptId]) -> None:
        """Make claims unknown that are still open."""
        ...

    async def suspects(self) -> Sequence[int]:
        """Return workers that look dead, without keeping anybody else from looking."""
        ...

    async def dead_workers(self) -> Sequence[int]:
        """Return workers that are dead and that nobody else buries meanwhile."""
        ...

    async def bury(self, workers: Sequence[int]) -> int:
        """Note that workers are gone and make their open claims unknown; return how many claims."""
        ...


class RecoveryStep(Step, Protocol):
    """What recovery reads and writes, for a cell under its lock."""

    def looked(self, cell: CellId) -> bool:
        """Tell whether somebody looked at this connection's database before: whatever answers there stays what it is."""
        ...

    def note_looked(self, cell: CellId) -> None: ...
    async def marks(self, cell: CellId) -> Marks:
        """Return what tells this database from an earlier copy of itself."""
        ...

    async def stamp(self, cell: CellId) -> None:
        """Write the database's present identity into it."""
        ...

    async def begin_recovery(self, cell: CellId) -> int:
        """Hold all mail that waits in this cell; return how many messages were not held yet."""
        ...

    async def recovering(self, cell: CellId) -> bool: ...
    async def held(self) -> Sequence[HeldMail]:
        """Return the held mail, by stream."""
        ...

    async def decide_held(self, scope: CellId | TenantId | StreamId, *, send: bool) -> int:
        """Let held and unknown mail of before the restore go, marked, or cancel it; return how many messages."""
        ...

    async def end_recovery(self) -> None:
        """End the recovery of each cell that has nothing left to decide."""
        ...


class StoreStep(AcceptStep, DispatchStep, IngestStep, GuardStep, ProvisionStep, SweepStep, RecoveryStep, Protocol):
    """A step with every verb's reads and writes."""
