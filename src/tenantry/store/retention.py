"""Owns forgetting: what is past its time goes, in bounded pieces, and whole weeks of mail at once on PostgreSQL.

Never what is not settled, nor the mail behind a verdict that still stands: one that nobody acted on, whose pause is open,
or that is younger than the retention. Looking is done in reading transactions and deleting in short writing ones, so that
no turn waits for it; where a lock is not free the piece is left for the next round. Leaves how often to the loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from tenantry.core.ids import MessageId
from tenantry.ports import StoreBusy
from tenantry.store.keeping import KEPT_MOST, STANDS, behind_verdicts, kept_of_week
from tenantry.store.partitions import TABLES, WEEK, be_brief, begin_of, drop_partition, first_id, weekly_partitions
from tenantry.store.seam import Found, Raw, relation
from tenantry.store.store import Step, Store

GRACE = (
    2 * WEEK
)  # on PostgreSQL the longest kept mail goes by the week; what a week leaves behind goes row by row after it
TENANTS = 100  # looked at in one piece
REST = timedelta(hours=1)  # between two walks through the same things
NOT_NEWEST = "id < (SELECT x.id FROM attempt x ORDER BY x.id DESC LIMIT 1)"  # by which a restored file is noticed
AGAIN = timedelta(minutes=1)  # until a piece that found no lock free is tried again


@dataclass(frozen=True, slots=True)
class Terms:
    """How many days things are kept: settled mail, its content after settling, the raw text of events and poison."""

    days: int = 90
    content_days: int = 3
    raw_days: int = 7


@dataclass(slots=True)
class Forgotten:
    """What a round did, by name; more: go on at once; left: pieces that found no lock free, and are tried again."""

    gone: dict[str, int] = field(default_factory=dict)
    more: bool = False
    left: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Tell whether anything went."""
        return any(self.gone.values())


@dataclass(frozen=True, slots=True)
class Round:
    """What all pieces of a round share: the time, and how long the mail of whoever keeps it longest is kept."""

    now: datetime
    longest: timedelta


Piece = tuple[int, bool]  # how many went, and whether there is more


class Retention:
    """Forgets round by round; where it stands is in memory only, so that a new process begins at the beginning."""

    def __init__(self, store: Store, terms: Terms, most: int = 100) -> None:
        """most: how many messages, events or names one piece looks at or deletes."""
        self._store, self._terms, self._most = store, terms, most
        self._nil = store.seam.raw(MessageId.of(UUID(int=0)))  # before every id, of any kind
        self._content = self._attempt = self._tenant = self._message = self._nil
        self._name: tuple[Raw, str] = (self._nil, "")
        self._due: deque[tuple[Raw, datetime]] = deque()
        self._all_seen = False
        self._rests: dict[str, datetime] = {}  # what is done for now, and until when

    async def round(self) -> Forgotten:
        """Do one piece of each kind that does not rest; what is left, the next round does.

        Call it again at once while there is more, else each minute. Raises StoreBusy when nothing can be read.
        """
        done = Forgotten()
        async with self._store.reading() as step:
            ((longest,),) = await step.run("SELECT COALESCE(MAX(retention_days), 0) FROM tenant")
            this = Round(step.now, timedelta(days=max(longest, self._terms.days)))
        pieces: dict[str, Callable[[Round], Awaitable[Piece]]] = {
            "weeks": self._forget_weeks,
            "content": self._forget_content,
            "raw": self._forget_raw,
            "quarantine": self._forget_quarantine,
            "names": self._forget_names,
            "messages": self._forget_messages,
            "attempts": self._forget_attempts,
            "verdicts": self._forget_verdicts,
            "pauses": self._forget_pauses,
            "buckets": self._forget_buckets,
        }
        for name, piece in pieces.items():
            if self._rests.get(name, this.now) > this.now:
                continue
            try:
                done.gone[name], more = await piece(this)
            except StoreBusy:
                done.left.append(name)
                self._rests[name] = this.now + AGAIN
                continue
            done.more |= more
            if not more:
                self._rests[name] = this.now + REST
        return done

    @asynccontextmanager
    async def _brief(self) -> AsyncIterator[Step]:
        """Open a writing step that waits for nobody's lock."""
        async with self._store.step() as step:
            if step.dialect == "postgresql":
                await be_brief(step.conn)
            yield step

    def _full(self, page: Found) -> bool:
        return len(page) == self._most

    # ---- early

    async def _forget_content(self, this: Round) -> Piece:
        """Content is of no use once its message is settled; a few days are for looking into a complaint."""
        before = this.now - timedelta(days=self._terms.content_days)
        async with self._store.reading() as step:
            page = await step.run(
                "SELECT c.message_id, m.id, m.settled_at FROM (SELECT message_id FROM content WHERE message_id > :after"
                " AND message_id < :newest ORDER BY message_id LIMIT :most) c"
                " LEFT JOIN message m ON m.id = c.message_id AND m.id > :after AND m.id < :newest ORDER BY c.message_id",
                after=self._content,
                newest=MessageId.of(first_id(before)),
                most=self._most,
            )
            due = [row[0] for row in page if row[1] is None or (row[2] and step.seam.at(row[2]) < before)]
        if due:
            async with self._brief() as step:
                await _delete_of(step, "content", due)
        self._content = page[-1][0] if self._full(page) else self._nil
        return len(due), self._full(page)

    async def _forget_raw(self, this: Round) -> Piece:
        """The event stays, for timelines and so that a repetition is known; its raw text goes."""
        async with self._store.reading() as step:
            found = await step.run(
                "SELECT message_id, digest FROM event WHERE raw <> '' AND seen_at < :before ORDER BY seen_at LIMIT :most",
                before=this.now - timedelta(days=self._terms.raw_days),
                most=self._most,
            )
        if found:
            async with self._brief() as step:
                await step.run(
                    "UPDATE event SET raw = '' WHERE (message_id, digest) IN (SELECT w.message_id, w.digest FROM {w})"
                    " AND message_id >= :low AND message_id <= :high",
                    relation("w(message_id uuid, digest text)", sorted(tuple(row) for row in found)),
                    low=min(row[0] for row in found),
                    high=max(row[0] for row in found),
                )
        return len(found), self._full(found)

    async def _forget_quarantine(self, this: Round) -> Piece:
        before = this.now - timedelta(days=self._terms.raw_days)
        async with self._store.reading() as step:
            page = await step.run("SELECT id, seen_at FROM quarantine ORDER BY id LIMIT :most", most=self._most)
            due = [(row[0],) for row in page if step.seam.at(row[1]) < before]
        if due:
            async with self._brief() as step:
                await step.run(
                    "DELETE FROM quarantine WHERE id IN (SELECT w.id FROM {w})", relation("w(id bigint)", due)
                )
        return len(due), len(due) == self._most

    async def _forget_names(self, this: Round) -> Piece:
        """Idempotency names stand for an answer until they expire."""
        tenant, name = self._name
        async with self._store.reading() as step:
            page = await step.run(
                "SELECT tenant_id, name, expires_at FROM remembered WHERE (tenant_id, name) > (:tenant, :name)"
                " ORDER BY tenant_id, name LIMIT :most",
                tenant=tenant,
                name=name,
                most=self._most,
            )
            due = [(row[0], row[1]) for row in page if step.seam.at(row[2]) <= this.now]
        if due:
            async with self._brief() as step:
                await step.run(
                    "DELETE FROM remembered WHERE (tenant_id, name) IN (SELECT w.tenant_id, w.name FROM {w})"
                    " AND expires_at <= :now",
                    relation("w(tenant_id uuid, name text)", due),
                    now=this.now,
                )
        self._name = (page[-1][0], page[-1][1]) if self._full(page) else (self._nil, "")
        return len(due), self._full(page)

    # ---- mail, tenant by tenant

    async def _forget_messages(self, this: Round) -> Piece:
        """Delete settled messages past their tenant's retention with all that belongs to them."""
        if not self._due and not self._all_seen:
            await self._next_tenants(this)
        if not self._due:
            more, self._all_seen = not self._all_seen, False
            return 0, more
        tenant, before = self._due[0]
        async with self._store.reading() as step:
            page = await step.run(
                "SELECT id, settled_at FROM message WHERE tenant_id = :tenant AND id > :after AND id < :newest"
                " ORDER BY id LIMIT :most",
                tenant=tenant,
                after=self._message,
                newest=MessageId.of(first_id(before)),
                most=self._most,
            )
            settled = [row[0] for row in page if row[1] is not None]
            kept = set(await behind_verdicts(step, settled, before)) if settled else set()
        due = [message for message in settled if message not in kept]
        if due:
            async with self._brief() as step:
                await _delete_messages(step, due)
        if self._full(page):
            self._message = page[-1][0]
        else:
            self._message = self._nil
            self._due.popleft()
        return len(due), True

    async def _next_tenants(self, this: Round) -> None:
        """Find the tenants, of the next so many, that have mail past their retention."""
        by_week = self._store.seam.name == "postgresql"
        async with self._store.reading() as step:
            page = await step.run(
                "SELECT id, COALESCE(retention_days, :days) FROM tenant WHERE id > :after ORDER BY id LIMIT :most",
                days=self._terms.days,
                after=self._tenant,
                most=TENANTS,
            )
            ends = {}
            for tenant, days in page:
                kept = timedelta(days=days)
                ends[tenant] = this.now - (kept + GRACE if by_week and kept == this.longest else kept)
            found = await step.run(
                "SELECT w.tenant_id FROM {w} WHERE EXISTS"
                " (SELECT 1 FROM message m WHERE m.tenant_id = w.tenant_id AND m.id < w.newest)",
                relation(
                    "w(tenant_id uuid, newest uuid)",
                    [(tenant, MessageId.of(first_id(end))) for tenant, end in ends.items()],
                ),
            )
        self._due.extend((row[0], ends[row[0]]) for row in found)
        self._all_seen = len(page) < TENANTS
        self._tenant = self._nil if self._all_seen else page[-1][0]

    # ---- what mail leaves behind

    async def _forget_attempts(self, this: Round) -> Piece:
        """Attempts go with their message; those of a dropped week are found here."""
        async with self._store.reading() as step:
            page = await step.run(
                "SELECT a.id, a.finished_at, m.id FROM (SELECT id, message_id, finished_at FROM attempt WHERE id > :after"
                " AND id < :newest ORDER BY id LIMIT :most) a LEFT JOIN message m ON m.id = a.message_id ORDER BY a.id",
                after=self._attempt,
                newest=MessageId.of(first_id(this.now - this.longest)),  # ids of any kind are made in the order of time
                most=self._most,
            )
        due = [(row[0],) for row in page if row[1] is not None and row[2] is None]
        if due:
            async with self._brief() as step:
                await step.run(
                    f"DELETE FROM attempt WHERE id IN (SELECT w.id FROM {{w}}) AND {NOT_NEWEST}",
                    relation("w(id uuid)", due),
                )
        self._attempt = page[-1][0] if self._full(page) else self._nil
        return len(due), self._full(page)

    async def _forget_verdicts(self, this: Round) -> Piece:
        """A crossing stands once in its cohort, so a verdict stays as long as its cohort is counted."""
        return await self._forget_rows(
            "verdict",
            "SELECT v.id FROM verdict v JOIN stream s ON s.id = v.stream_id AND s.cohort > v.cohort"
            f" WHERE NOT {STANDS} LIMIT :most",
            this,
        )

    async def _forget_pauses(self, this: Round) -> Piece:
        return await self._forget_rows(
            "pause",
            "SELECT p.id FROM pause p WHERE p.ended_at < :before"
            " AND NOT EXISTS (SELECT 1 FROM verdict v WHERE v.id = p.verdict_id) LIMIT :most",
            this,
        )

    async def _forget_rows(self, table: str, due: str, this: Round) -> Piece:
        async with self._store.reading() as step:
            found = await step.run(due, before=this.now - this.longest, most=self._most)
        if found:
            async with self._brief() as step:
                await step.run(
                    f"DELETE FROM {table} WHERE id IN (SELECT w.id FROM {{w}})",
                    relation("w(id uuid)", sorted((row[0],) for row in found)),
                )
        return len(found), self._full(found)

    async def _forget_buckets(self, this: Round) -> Piece:
        """The counts of a cohort that is over go once no verdict speaks of it."""
        async with self._store.reading() as step:
            found = await step.run(
                "SELECT b.stream_id, b.cohort, b.number FROM stream s JOIN bucket b ON b.stream_id = s.id"
                " AND b.cohort < s.cohort WHERE s.cohort > 0 AND b.first_at < :before AND NOT EXISTS"
                " (SELECT 1 FROM verdict v WHERE v.stream_id = b.stream_id AND v.cohort = b.cohort) LIMIT :most",
                before=this.now - this.longest,
                most=self._most,
            )
        if found:
            async with self._brief() as step:
                await step.run(
                    "DELETE FROM bucket WHERE (stream_id, cohort, number) IN (SELECT w.stream_id, w.cohort, w.number FROM {w})",
                    relation("w(stream_id uuid, cohort bigint, number bigint)", sorted(tuple(row) for row in found)),
                )
        return len(found), self._full(found)

    # ---- whole weeks

    async def _forget_weeks(self, this: Round) -> Piece:
        """Drop the oldest week that is past every retention; what must stay moves to the default partition."""
        if self._store.seam.name != "postgresql":
            return 0, False
        before = this.now - this.longest
        async with self._store.reading() as step:
            parts = await weekly_partitions(step.conn)
        past = [week for _, week in parts if begin_of(week) + WEEK <= before]
        if not past:
            return 0, False
        keep = await kept_of_week(self._store, past[0], before)
        if len(keep) > KEPT_MOST:
            return 0, False  # its rows go one by one, until few must stay
        dropped = 0
        for table in sorted(
            TABLES, key=lambda table: table == "message"
        ):  # as long as the message is there, so is the way
            if (table, past[0]) in parts:
                async with self._store.step() as step:
                    dropped += await drop_partition(step.conn, (table, past[0]), keep)
        self._rests.pop("attempts", None)  # theirs are without a message now
        return dropped, past[-1] != past[0]


async def _delete_messages(step: Step, messages: Sequence[Raw]) -> None:
    """Delete settled messages, ascending, with what belongs to them."""
    for table in ("content", "event", "recipient"):
        await _delete_of(step, table, messages)
    await _delete_of(step, "attempt", messages, but=f" AND {NOT_NEWEST}")
    await step.run(
        "DELETE FROM message WHERE id IN (SELECT w.id FROM {w}) AND id >= :low AND id <= :high AND settled_at IS NOT NULL",
        relation("w(id uuid)", [(message,) for message in messages]),
        low=messages[0],
        high=messages[-1],
    )


async def _delete_of(step: Step, table: str, messages: Sequence[Raw], but: str = "") -> None:
    """Delete what a table holds of these messages, ascending; the bounds let PostgreSQL look at their weeks alone."""
    await step.run(
        f"DELETE FROM {table} WHERE message_id IN (SELECT w.id FROM {{w}}) AND message_id >= :low"
        f" AND message_id <= :high{but}",
        relation("w(id uuid)", [(message,) for message in messages]),
        low=messages[0],
        high=messages[-1],
    )
