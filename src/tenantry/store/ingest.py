"""Owns ingest's reads and writes: whose event, what is new, facts, suppressions, counts; leaves what they mean to the flow."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from tenantry.core.event import NewFact, RecipientRow, Report
from tenantry.core.ids import CellId, MessageId, StreamId, TenantId
from tenantry.core.message import MessageState
from tenantry.core.tenant import StreamClass
from tenantry.ports import Owner, Suppression, Tally
from tenantry.store import tables
from tenantry.store.seam import Value, relation
from tenantry.store.settle import LOCKED, SettleQueries

EventKey = tuple[MessageId, str]
EVENT_COLUMNS = "message_id, digest, tenant_id, kind, at, seen_at, recipients, detail, raw"
EVENTS_AT_EVERY = timedelta(seconds=1)


class IngestQueries(SettleQueries):
    """Implements ports.IngestStep."""

    async def owners(self, reports: Sequence[Report]) -> Mapping[bytes, Owner]:
        """See ports.IngestStep."""
        by_tag = {one.message_id: None for one in reports if one.message_id is not None}
        by_ses_id = {one.ses_id: None for one in reports if one.message_id is None}
        ses_ids = await self._messages_of(by_ses_id)
        known = await self._messages(sorted({*by_tag, *ses_ids.values()}))
        owners: dict[bytes, Owner] = {}
        for report in reports:
            message_id = report.message_id or ses_ids.get(report.ses_id)
            if message_id is not None and (found := known.get(message_id)) is not None:
                tenant_id, stream_id, stream_class, handed_as = found
                owners[report.digest] = Owner(
                    message_id, report.attempt_id, tenant_id, stream_id, stream_class, handed_as == report.ses_id
                )
        return owners

    async def _messages_of(self, ses_ids: Iterable[str]) -> Mapping[str, MessageId]:
        wanted = sorted(ses_ids)
        if not wanted:
            return {}
        found = await self.run(
            "SELECT a.ses_id, a.message_id FROM {w} JOIN attempt a ON a.ses_id = w.ses_id",
            relation("w(ses_id text)", [(one,) for one in wanted]),
        )
        return {ses_id: self.seam.id(MessageId, message) for ses_id, message in found}

    async def _messages(
        self, messages: Sequence[MessageId]
    ) -> Mapping[MessageId, tuple[TenantId, StreamId, StreamClass, str | None]]:
        """Return whose each message is, and the SES id by which it is written down as handed over."""
        found = await self.run(
            "SELECT m.id, m.tenant_id, m.stream_id, s.stream_class, m.state, m.ses_id FROM {w}"
            " JOIN message m ON m.id = w.id JOIN stream s ON s.id = m.stream_id",
            relation("w(id uuid)", [(one,) for one in messages]),
        )
        return {
            self.seam.id(MessageId, message): (
                self.seam.id(TenantId, tenant),
                self.seam.id(StreamId, stream),
                StreamClass(stream_class),
                ses_id if state == MessageState.HANDED else None,
            )
            for message, tenant, stream, stream_class, state, ses_id in found
        }

    async def record(self, owned: Sequence[tuple[Owner, Report]]) -> set[bytes]:
        """See ports.IngestStep."""
        now = self.now
        rows = {
            (owner.message_id, report.digest.hex()): (
                owner.tenant_id,
                report.kind,
                report.at,
                now,
                json.dumps(report.recipients),
                json.dumps(dict(report.detail)) if report.detail else "{}",
                report.raw,
            )
            for owner, report in owned
        }
        keys = sorted(rows)
        if self.seam.name == "sqlite":
            return await self._record_alone(keys, rows)
        found = await self.run(
            f"INSERT INTO event ({EVENT_COLUMNS}) SELECT * FROM {{w}} ON CONFLICT DO NOTHING RETURNING digest",
            relation(
                "w(message_id uuid, digest text, tenant_id uuid, kind text, at timestamptz, seen_at timestamptz,"
                " recipients text, detail text, raw text)",
                [(*key, *rows[key]) for key in keys],
            ),
        )
        return {bytes.fromhex(digest) for (digest,) in found}

    async def _record_alone(self, keys: Sequence[EventKey], rows: Mapping[EventKey, tuple[Value, ...]]) -> set[bytes]:
        """Ask what is known, then insert the rest: whoever writes alone need not hand whole events over as JSON."""
        found = await self.run(
            "SELECT event.digest FROM {w} JOIN event ON event.message_id = w.message_id AND event.digest = w.digest",
            relation("w(message_id uuid, digest text)", keys),
        )
        known = {digest for (digest,) in found}
        fresh = [key for key in keys if key[1] not in known]
        await self.insert(tables.event, EVENT_COLUMNS, [(*key, *rows[key]) for key in fresh])
        return {bytes.fromhex(digest) for _, digest in fresh}

    async def hand(self, handed: Sequence[tuple[Owner, str]]) -> None:
        """See ports.IngestStep."""
        if not handed:
            return
        attempts = sorted(
            (owner.attempt_id, owner.message_id, ses_id) for owner, ses_id in handed if owner.attempt_id is not None
        )
        await self.run(
            "UPDATE attempt SET finished_at = COALESCE(attempt.finished_at, :now), outcome = 'handed', ses_id = w.ses_id"
            f" FROM {self.in_order('attempt', 'id')}"
            " WHERE attempt.id = w.id AND attempt.message_id = w.message_id"
            " AND (attempt.outcome IS NULL OR attempt.outcome = 'unknown')",
            relation("w(id uuid, message_id uuid, ses_id text)", attempts),
            now=self.now,
        )
        await self.hand_messages([(owner.message_id, ses_id) for owner, ses_id in handed])
        await self.run(  # where it was queued again, or held after a restore
            "DELETE FROM waiting WHERE message_id IN (SELECT w.id FROM {w})",
            relation("w(id uuid)", sorted({(owner.message_id,) for owner, _ in handed})),
        )

    async def recipients(self, messages: Iterable[MessageId]) -> Mapping[MessageId, Sequence[RecipientRow]]:
        """See ports.IngestStep."""
        found = await self.run(
            "SELECT r.message_id, r.number, r.address, r.facts, r.cohort, r.ordinal, r.handed_at FROM recipient r"
            " WHERE r.message_id IN (SELECT w.id FROM {w}) ORDER BY r.message_id, r.number" + LOCKED[self.seam.name],
            relation("w(id uuid)", [(one,) for one in sorted(messages)]),
        )
        rows: dict[MessageId, list[RecipientRow]] = defaultdict(list)
        for message, number, address, facts, cohort, ordinal, handed in found:
            message_id = self.seam.id(MessageId, message)
            rows[message_id].append(
                RecipientRow(message_id, number, address, facts, cohort, ordinal, handed and self.seam.at(handed))
            )
        return rows

    async def add_facts(self, facts: Sequence[NewFact]) -> None:
        """See ports.IngestStep."""
        await self.run(
            "UPDATE recipient SET facts = recipient.facts | w.facts, bounced_at = COALESCE(recipient.bounced_at, w.bounced_at),"
            " complained_at = COALESCE(recipient.complained_at, w.complained_at) FROM {w}"
            " WHERE recipient.message_id = w.message_id AND recipient.number = w.number",
            relation(
                "w(message_id uuid, number bigint, facts bigint, bounced_at timestamptz, complained_at timestamptz)",
                [(one.message_id, one.number, one.facts, one.bounced_at, one.complained_at) for one in facts],
            ),
        )

    async def suppress(self, suppressions: Sequence[Suppression]) -> None:
        """See ports.IngestStep."""
        rows = {
            (one.tenant_id, one.address, one.stream_id.rpartition("_")[2] if one.stream_id else ""): one.cause
            for one in suppressions
        }
        await self.run(
            "INSERT INTO suppression (tenant_id, address, scope, cause, created_at)"
            " SELECT w.tenant_id, w.address, w.scope, w.cause, CAST(:now AS {instant}) FROM {w}"
            " WHERE true ON CONFLICT DO NOTHING",
            relation(
                "w(tenant_id uuid, address text, scope text, cause text)",
                [(*key, cause) for key, cause in sorted(rows.items())],
            ),
            now=self.now,
        )

    async def count(self, tallies: Sequence[Tally]) -> None:
        """See ports.IngestStep."""
        sums: dict[tuple[StreamId, int, int], list[int]] = defaultdict(lambda: [0, 0])
        for one in tallies:
            total = sums[one.stream_id, one.cohort, one.bucket]
            total[0] += one.bounced
            total[1] += one.complained
        await self.run(
            "UPDATE bucket SET bounced = bucket.bounced + w.bounced, complained = bucket.complained + w.complained"
            f" FROM {self.in_order('bucket', 'stream_id', 'cohort', 'number')}"
            " WHERE bucket.stream_id = w.stream_id AND bucket.cohort = w.cohort AND bucket.number = w.number",
            relation(
                "w(stream_id uuid, cohort bigint, number bigint, bounced bigint, complained bigint)",
                [(*key, *total) for key, total in sorted(sums.items())],
            ),
        )
        await self._count_bad_days(tallies)

    async def _count_bad_days(self, tallies: Sequence[Tally]) -> None:
        days: dict[tuple[StreamId, int, str, int], list[int]] = defaultdict(lambda: [0, 0])
        for one in tallies:
            total = days[one.stream_id, one.day, one.provider, one.cohort]
            total[0] += one.bounced
            total[1] += one.complained
        await self.run(
            "UPDATE mail_day SET bounced = mail_day.bounced + w.bounced, complained = mail_day.complained + w.complained"
            f" FROM {self.in_order('mail_day', 'stream_id', 'day', 'provider', 'cohort')}"
            " WHERE mail_day.stream_id = w.stream_id AND mail_day.day = w.day AND mail_day.provider = w.provider"
            " AND mail_day.cohort = w.cohort",
            relation(
                "w(stream_id uuid, day bigint, provider text, cohort bigint, bounced bigint, complained bigint)",
                [(*key, *total) for key, total in sorted(days.items())],
            ),
        )

    async def quarantine(self, poison: Sequence[tuple[str, str]]) -> None:
        """See ports.IngestStep."""
        await self.insert(
            tables.quarantine,
            "seen_at, reason, raw",
            [(self.now, reason, raw.replace("\0", "\\0")) for raw, reason in poison],
        )

    async def saw_events(self, cell: CellId) -> None:
        """See ports.IngestStep."""
        await self.run(
            "UPDATE cell SET events_at = :now WHERE id = :cell AND (events_at IS NULL OR events_at < :before)",
            now=self.now,
            cell=cell,
            before=self.now - EVENTS_AT_EVERY,  # turns lock this row: it is not written at every batch
        )
