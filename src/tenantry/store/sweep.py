"""Owns the sweep's reads and writes: expired mail, unknown outcomes, and the claims of workers that are gone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tenantry.core.admission import KEPT
from tenantry.core.ids import AttemptId, CellId, MessageId
from tenantry.core.outcome import Unknown
from tenantry.core.overdue import Ahead, OnUnknown, UnknownMail
from tenantry.store.dispatch import BUSY_LANES
from tenantry.store.seam import relation
from tenantry.store.settle import GONE, SettleQueries
from tenantry.store.tables_run import DIED

WORKER_LOCKS = 8_320_258  # the class of the advisory locks that workers hold while they live
STUCK = "its outcome was never written down"
OF_CLASS = (
    "CASE lane.stream_class "
    + " ".join(f"WHEN '{name}' THEN CAST(:before_{name} AS {{instant}})" for name in KEPT)
    + " END"
)
PROBED = 200  # messages of the same stream, accepted next, that are looked at for an event: they had time to report


class SweepQueries(SettleQueries):
    """Implements ports.SweepStep."""

    async def expired(self, cell: CellId, most: int, ahead: Ahead) -> Sequence[MessageId]:
        """See ports.SweepStep."""
        found = await self.run(
            f"{BUSY_LANES} SELECT x.message_id FROM busy CROSS JOIN lane"  # in this order: SQLite took every lane first
            " CROSS JOIN waiting x CROSS JOIN message m WHERE lane.stream_id = busy.stream_id"
            f" AND lane.cell_id = :cell AND x.stream_id = lane.stream_id AND x.due_at <= {OF_CLASS}"
            " AND m.id = x.message_id AND m.expires_at <= CASE WHEN m.accepted_at < CAST(:since AS {instant})"
            " THEN CAST(:passed AS {instant}) ELSE CAST(:now AS {instant}) END LIMIT :most",
            cell=cell,
            now=self.now,
            since=ahead.since,
            passed=self.now - ahead.by,
            most=most,
            # of what never left the lane; what was tried expires when it is tried again
            **{f"before_{name}": self.now - kept for name, kept in KEPT.items()},
        )
        return [self.seam.id(MessageId, row[0]) for row in found]

    async def expire(self, messages: Sequence[MessageId]) -> int:
        """See ports.SweepStep."""
        if not messages:
            return 0
        taken = await self.run(
            "DELETE FROM waiting WHERE message_id IN (SELECT w.id FROM {w}) RETURNING message_id",
            relation("w(id uuid)", sorted((message,) for message in messages)),
        )
        await self.expire_messages([self.seam.id(MessageId, row[0]) for row in taken])
        return len(taken)

    async def unknown_mail(self, cell: CellId, before: datetime, most: int) -> Sequence[UnknownMail]:
        """See ports.SweepStep."""
        found = await self.run(
            "SELECT m.id, MAX(a.finished_at), MAX(s.on_unknown), m.tenant_id, m.stream_id, MAX(a.claimed_at) FROM message m"
            " JOIN attempt a ON a.message_id = m.id JOIN stream s ON s.id = m.stream_id"
            " WHERE m.state = 'unknown' AND s.cell_id = :cell GROUP BY m.id, m.tenant_id, m.stream_id"
            " HAVING MAX(a.finished_at) <= :before ORDER BY m.id LIMIT :most",
            cell=cell,
            before=before,
            most=most,
        )
        heard: dict[str, datetime | None] = {}
        mails: list[UnknownMail] = []
        for message, since, on_unknown, tenant, stream, claimed in found:
            if stream not in heard:  # of the oldest: once it is gone, the next one is asked about
                heard[stream] = await self._heard(tenant, stream, message)
            latest = heard[stream]
            proven = latest is not None and latest > self.seam.at(claimed)
            mails.append(
                UnknownMail(self.seam.id(MessageId, message), self.seam.at(since), OnUnknown(on_unknown), proven)
            )
        return mails

    async def _heard(self, tenant: str, stream: str, message: str) -> datetime | None:
        """Return when the latest attempt was claimed of which an event came, among the messages accepted after this one."""
        found = await self.run(
            "SELECT MAX(a.claimed_at) FROM (SELECT m.id FROM message m WHERE m.tenant_id = :tenant AND m.id > :message"
            " AND m.stream_id = :stream AND m.state = 'handed' ORDER BY m.id LIMIT :probed) later"
            " JOIN attempt a ON a.message_id = later.id"
            " WHERE EXISTS (SELECT 1 FROM event e WHERE e.message_id = later.id)",
            tenant=tenant,
            message=message,
            stream=stream,
            probed=PROBED,
        )
        return self.seam.at(found[0][0]) if found[0][0] is not None else None

    async def resend(self, messages: Sequence[MessageId]) -> None:
        """See ports.SweepStep."""
        if not messages:
            return
        found = await self.run(
            "UPDATE message SET state = 'waiting', possible_duplicate = true, reason = NULL FROM {w}"
            " WHERE message.id = w.id AND message.state = 'unknown' RETURNING message.id",
            relation("w(id uuid)", [(message,) for message in sorted(messages)]),
        )
        queued = relation("w(id uuid)", [(row[0],) for row in found])
        await self.run(
            "INSERT INTO waiting (message_id, stream_id, due_at, cost, attempts)"
            " SELECT m.id, m.stream_id, CAST(:now AS {instant}), MAX(a.cost), MAX(a.number) FROM {w}"
            " JOIN message m ON m.id = w.id JOIN attempt a ON a.message_id = m.id GROUP BY m.id, m.stream_id",
            queued,
            now=self.now,
        )
        await self.wake_lanes_of([self.seam.id(MessageId, row[0]) for row in found])

    async def stuck(self, cell: CellId, before: datetime) -> Sequence[AttemptId]:
        """See ports.SweepStep."""
        found = await self.run(
            "SELECT id FROM attempt WHERE cell_id = :cell AND finished_at IS NULL AND claimed_at < :before",
            cell=cell,
            before=before,
        )
        return [self.seam.id(AttemptId, row[0]) for row in found]

    async def give_up(self, attempts: Sequence[AttemptId]) -> None:
        """See ports.SweepStep."""
        await self.settle([Unknown(attempt, STUCK, ours=True) for attempt in attempts])

    async def suspects(self) -> Sequence[int]:
        """See ports.SweepStep."""
        return [row[0] for row in await self.run(f"SELECT id FROM worker WHERE {self._gone(held=False)}")]

    async def dead_workers(self) -> Sequence[int]:
        """See ports.SweepStep."""
        return [row[0] for row in await self.run(f"SELECT id FROM worker WHERE {self._gone(held=True)}")]

    def _gone(self, *, held: bool) -> str:
        """Match workers that did not say that they end, and whose lock nobody holds any more."""
        if self.seam.name == "sqlite":  # one process: it buries the earlier ones when it starts
            return "false"
        if held:  # nobody else buries it meanwhile
            return f"ended_at IS NULL AND pg_try_advisory_xact_lock({WORKER_LOCKS}, id::int)"
        return (
            "ended_at IS NULL AND NOT EXISTS (SELECT 1 FROM pg_locks l WHERE l.locktype = 'advisory'"
            f" AND l.classid = {WORKER_LOCKS} AND l.objid = worker.id::oid AND l.objsubid = 2 AND l.granted"
            " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
        )

    async def bury(self, workers: Sequence[int]) -> int:
        """See ports.SweepStep."""
        if not workers:
            return 0
        dead = relation("w(id bigint)", [(worker,) for worker in workers])
        found = await self.run(
            "SELECT attempt.id FROM {w} JOIN attempt ON attempt.worker_id = w.id AND attempt.finished_at IS NULL", dead
        )
        lost = await self._lose(found, GONE)
        await self.run(
            "UPDATE worker SET ended_at = :now, trouble = :died WHERE id IN (SELECT w.id FROM {w})",
            dead,
            now=self.now,
            died=DIED,
        )
        return lost

    async def _lose(self, found: Sequence[Sequence[object]], why: str) -> int:
        await self.settle([Unknown(self.seam.id(AttemptId, row[0]), why, ours=True) for row in found])
        return len(found)
