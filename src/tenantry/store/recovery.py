"""Owns recovery's reads and writes: the marks that tell a database from an earlier copy of itself, and the mail that is held.

Held mail stays in `waiting`, due at the end of time. A mark beside the SQLite file names the last claim that was made on it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tenantry.core.event import Fact
from tenantry.core.ids import AttemptId, CellId, MessageId, StreamId, TenantId
from tenantry.core.message import MessageState
from tenantry.core.outcome import Hold
from tenantry.core.recovery import HeldMail, Marks
from tenantry.ports import StoreBusy
from tenantry.store.seam import relation
from tenantry.store.sweep import SweepQueries

MARK_BYTES = 64
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
STAMP = "database"
DISCARDED = "cancelled by a person: the database was restored and it may have gone before"
LOST = (
    "message m JOIN lane ON lane.stream_id = m.stream_id JOIN cell here ON here.id = lane.cell_id"
    " WHERE m.state = 'unknown' AND m.accepted_at <= here.recovering_since"
)
SCOPES = {CellId: "lane.cell_id", TenantId: "lane.tenant_id", StreamId: "lane.stream_id"}
IDENTITY = (
    "SELECT (SELECT system_identifier::text FROM pg_control_system())"
    " || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"
    " || '/' || (SELECT oid::text FROM pg_database WHERE datname = current_database())"
    " || '/' || 'stamp'::regclass::oid::text"  # a dump may be restored over the tables of the same database
)


class ClaimMark:
    """A small file beside an SQLite database: the last claim made on it, written after the commit and before any send."""

    def __init__(self, database: Path) -> None:
        """Open it, or make it."""
        self.made = not Path(f"{database}.claims").exists()  # a database that was used before is a copy, then
        self._handle = os.open(f"{database}.claims", os.O_CREAT | os.O_RDWR, 0o600)
        if not os.fstat(self._handle).st_size:
            os.pwrite(self._handle, b" " * MARK_BYTES, 0)  # its place on the disk: later the disk may be full

    def read(self) -> AttemptId | None:
        """Return the claim, None where there was none yet."""
        text = os.pread(self._handle, MARK_BYTES, 0).decode("ascii", "replace").strip()
        return AttemptId(text) if text else None

    def write(self, last: AttemptId) -> None:
        """Remember a claim; a power cut may lose it, and the database's own is newer then. Raises StoreBusy."""
        try:
            os.pwrite(self._handle, last.encode(), 0)
        except OSError as error:
            raise StoreBusy(f"The mark of the last claim cannot be written: {error}") from error

    def close(self) -> None:
        """Give the file back."""
        os.close(self._handle)


class RecoveryQueries(SweepQueries):
    """Implements ports.RecoveryStep."""

    claim_mark: ClaimMark | None

    def looked(self, cell: CellId) -> bool:
        """See ports.RecoveryStep."""
        return self.seam.name == "sqlite" or cell in self.driver.looked  # a file is looked at when it is opened

    def note_looked(self, cell: CellId) -> None:
        """See ports.RecoveryStep."""
        self.driver.looked.add(cell)

    def _stamp_of(self, cell: CellId) -> str:
        return STAMP if self.seam.name == "sqlite" else f"{STAMP}/{cell}"

    async def marks(self, cell: CellId) -> Marks:
        """See ports.RecoveryStep."""
        known = await self.run(  # versions before 0004 stamped the database for all cells
            "SELECT value FROM stamp WHERE name IN (:name, :former) ORDER BY name DESC LIMIT 1",
            name=self._stamp_of(cell),
            former=STAMP,
        )
        stamped = known[0][0] if known else ""
        if self.seam.name == "postgresql":
            return Marks(stamped, (await self.run(IDENTITY))[0][0])
        newest = (await self.run("SELECT MAX(id) FROM attempt"))[0][0]
        last = self.claim_mark.read() if self.claim_mark else None
        return Marks(
            last_claim=last,
            newest=self.seam.id(AttemptId, newest) if newest else None,
            noticed=stamped,
            unmarked=bool(known and self.claim_mark and (self.claim_mark.made or (stamped and not last))),
        )

    async def stamp(self, cell: CellId) -> None:
        """See ports.RecoveryStep."""
        if self.seam.name == "postgresql":
            found = (await self.run(IDENTITY))[0][0]
        else:
            found = str((self.claim_mark and self.claim_mark.read()) or "")  # as text: an id would lose its prefix
            if self.claim_mark:
                self.claim_mark.made = False
        await self.run(
            "INSERT INTO stamp (name, value, at) VALUES (:name, :value, :now) ON CONFLICT (name)"
            " DO UPDATE SET value = excluded.value, at = excluded.at WHERE stamp.value <> excluded.value",
            name=self._stamp_of(cell),
            value=found,
            now=self.now,
        )

    async def begin_recovery(self, cell: CellId) -> int:
        """See ports.RecoveryStep."""
        cells = (
            await self.run("SELECT id FROM cell") if self.seam.name == "sqlite" else [(cell,)]
        )  # the mark is a file's
        held = 0
        for (one,) in cells:
            await self.run("UPDATE cell SET recovering_since = :now WHERE id = :cell", now=self.now, cell=one)
            found = await self.run(
                "UPDATE waiting SET due_at = :never, hold = :hold"
                " WHERE due_at < :never AND stream_id IN (SELECT lane.stream_id FROM lane WHERE lane.cell_id = :cell)"
                " RETURNING message_id",
                never=NEVER,
                hold=Hold.RECOVERY,
                cell=one,
            )
            held += len(found)
        return held

    async def recovering(self, cell: CellId) -> bool:
        """See ports.RecoveryStep."""
        found = await self.run("SELECT 1 FROM cell WHERE id = :cell AND recovering_since IS NOT NULL", cell=cell)
        return bool(found)

    async def held(self) -> Sequence[HeldMail]:
        """See ports.RecoveryStep."""
        found = await self.run(
            "SELECT tenant_id, stream_id, COUNT(*), SUM(recipients), MIN(accepted_at) FROM"
            " (SELECT m.tenant_id, m.stream_id, m.recipients, m.accepted_at FROM lane"
            " JOIN waiting x ON x.stream_id = lane.stream_id AND x.due_at >= :never JOIN message m ON m.id = x.message_id"
            f" UNION ALL SELECT m.tenant_id, m.stream_id, m.recipients, m.accepted_at FROM {LOST}) mail"
            " GROUP BY tenant_id, stream_id ORDER BY tenant_id, stream_id",
            never=NEVER,
        )
        return [
            HeldMail(
                self.seam.id(TenantId, tenant),
                self.seam.id(StreamId, stream),
                int(messages),
                int(recipients),
                self.seam.at(oldest),
            )
            for tenant, stream, messages, recipients, oldest in found
        ]

    async def decide_held(self, scope: CellId | TenantId | StreamId, *, send: bool) -> int:
        """See ports.RecoveryStep."""
        found = await self.run(
            "SELECT x.message_id FROM lane JOIN waiting x ON x.stream_id = lane.stream_id AND x.due_at >= :never"
            f" WHERE {SCOPES[type(scope)]} = :scope",
            never=NEVER,
            scope=scope,
        )
        unknown = await self.run(
            f"SELECT m.id FROM {LOST} AND {SCOPES[type(scope)]} = :scope",
            scope=scope,
        )
        held, lost = ([self.seam.id(MessageId, row[0]) for row in rows] for rows in (found, unknown))
        if send:
            await self._release(held)
            await self.resend(lost)
        else:
            await self._discard(held, lost)
        return len(held) + len(lost)

    async def _release(self, held: Sequence[MessageId]) -> None:
        if held:
            wanted = relation("w(id uuid)", sorted((one,) for one in held))
            await self.run(
                "UPDATE waiting SET due_at = :now, hold = NULL WHERE message_id IN (SELECT w.id FROM {w})",
                wanted,
                now=self.now,
            )
            await self.run("UPDATE message SET possible_duplicate = true WHERE id IN (SELECT w.id FROM {w})", wanted)
            await self.wake_lanes_of(held)

    async def _discard(self, held: Sequence[MessageId], lost: Sequence[MessageId]) -> None:
        if held:
            wanted = relation("w(id uuid)", sorted((one,) for one in held))
            await self.run("DELETE FROM waiting WHERE message_id IN (SELECT w.id FROM {w})", wanted)
        if lost:
            wanted = relation("w(id uuid)", sorted((one,) for one in lost))
            await self.run(
                "UPDATE message SET state = 'waiting' WHERE state = 'unknown' AND id IN (SELECT w.id FROM {w})", wanted
            )
        await self.end_messages(MessageState.CANCELLED, Fact.CANCELLED, [(one, DISCARDED) for one in (*held, *lost)])

    async def end_recovery(self) -> None:
        """See ports.RecoveryStep."""
        await self.run(
            "UPDATE cell SET recovering_since = NULL WHERE recovering_since IS NOT NULL AND NOT EXISTS (SELECT 1 FROM lane"
            " JOIN waiting x ON x.stream_id = lane.stream_id AND x.due_at >= :never WHERE lane.cell_id = cell.id)"
            f" AND cell.id NOT IN (SELECT here.id FROM {LOST})",
            never=NEVER,
        )
