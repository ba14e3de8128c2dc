"""Owns the counts of a tenant's mail as people read them: by day, and held against the recipients that they were made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

from tenantry.core.backtest import History, PastBad, PastBucket
from tenantry.core.counts import (
    EPOCH,
    BucketKey,
    CountCheck,
    Counts,
    DayCounts,
    DayKey,
    Key,
    day_number,
    day_of,
    differences,
)
from tenantry.core.event import Fact
from tenantry.core.ids import MessageId, StreamId, TenantId
from tenantry.core.policy import LineKind
from tenantry.core.provider import SILENT, provider_of, reports_complaints
from tenantry.core.reputation import BUCKET_RECIPIENTS
from tenantry.store.partitions import first_id
from tenantry.store.seam import DriverRow, Queries, Seam

WAITED_MOST = timedelta(days=15)  # no mail is handed over longer after it was accepted
DAY_SQL = {
    "postgresql": "CAST(floor(extract(epoch FROM r.handed_at) / 86400) AS bigint)",
    "sqlite": "r.handed_at / 86400000000",
}
DOMAIN_SQL = {
    "postgresql": "substring(r.address FROM '@([^@]*)$')",
    "sqlite": "replace(r.address, rtrim(r.address, replace(r.address, '@', '')), '')",  # what follows the last @
}
SILENT_SQL = ", ".join(f"'{domain}'" for domain in sorted(SILENT))


class CountQueries(Queries):
    """Reads counts; see Opened."""

    async def mail_days(self, tenant_id: TenantId, since: date) -> list[DayCounts]:
        """Return what each stream sent to each provider by day of sending, since that day."""
        found = await self.run(
            "SELECT d.stream_id, d.cohort, d.day, d.provider, d.handed, d.reporting, d.bounced, d.complained"
            " FROM stream s JOIN mail_day d ON d.stream_id = s.id WHERE s.tenant_id = :tenant AND d.day >= :since"
            " ORDER BY d.stream_id, d.day, d.provider, d.cohort",
            tenant=tenant_id,
            since=(since - EPOCH.date()).days,
        )
        return [
            DayCounts(self.seam.id(StreamId, row[0]), row[1], day_of(row[2]), row[3], Counts(*map(int, row[4:])))
            for row in found
        ]

    async def histories(self, tenant_id: TenantId, since: datetime) -> list[History]:
        """Return what each stream of a tenant sent since then, and what of it came back bad."""
        streams = await self.run(
            "SELECT id, name, policy FROM stream WHERE tenant_id = :tenant ORDER BY id", tenant=tenant_id
        )
        buckets = await self.run(
            "SELECT b.stream_id, b.cohort, b.number, b.first_at, b.handed, b.reporting FROM stream s"
            " JOIN bucket b ON b.stream_id = s.id WHERE s.tenant_id = :tenant AND b.first_at >= :since",
            tenant=tenant_id,
            since=since,
        )
        dialect = self.seam.name
        mail = "r.tenant_id = :tenant AND r.message_id >= :first AND r.ordinal IS NOT NULL"
        bad = await self.run(
            f"SELECT r.stream_id, r.cohort, r.ordinal, '{LineKind.BOUNCE}', r.bounced_at, {DOMAIN_SQL[dialect]}"
            f" FROM recipient r WHERE {mail} AND (r.facts & {int(Fact.BOUNCE_COUNTED)}) <> 0"
            f" UNION ALL SELECT c.stream_id, c.cohort, c.ordinal, '{LineKind.COMPLAINT}', c.at, c.domain FROM"
            f" (SELECT r.stream_id, r.cohort, r.ordinal, {DOMAIN_SQL[dialect]} AS domain, (SELECT MIN(o.complained_at)"
            " FROM recipient o WHERE o.message_id = r.message_id) AS at, ROW_NUMBER() OVER (PARTITION BY r.message_id"
            f" ORDER BY r.number) AS place FROM recipient r WHERE {mail} AND {DOMAIN_SQL[dialect]} NOT IN ({SILENT_SQL})"
            f" AND EXISTS (SELECT 1 FROM recipient o WHERE o.message_id = r.message_id"
            f" AND (o.facts & {int(Fact.COMPLAINT_COUNTED)}) <> 0)) c WHERE c.place = 1",
            tenant=tenant_id,
            first=MessageId.of(first_id(since - WAITED_MOST)),
        )
        at = self.seam.at
        sent = {(row[0], row[1], row[2]) for row in buckets}
        past: dict[object, list[PastBucket]] = defaultdict(list)
        came: dict[object, list[PastBad]] = defaultdict(list)
        for row in buckets:
            past[row[0]].append(PastBucket(row[1], int(row[2]), at(row[3]), row[4], row[5]))
        for row in bad:
            if row[4] is not None and (row[0], row[1], row[2] // BUCKET_RECIPIENTS) in sent:
                came[row[0]].append(PastBad(row[1], int(row[2]), LineKind(row[3]), at(row[4]), row[5]))
        return [
            History(self.seam.id(StreamId, stream), name, policy, tuple(past[stream]), tuple(came[stream]))
            for stream, name, policy in streams
        ]

    async def count_check(self, tenant_id: TenantId, since: datetime) -> CountCheck:
        """Count a tenant's recipients anew and say where buckets and days that began since then are kept otherwise.

        One statement reads both sides, so that mail on its way shows in both or in neither.
        """
        dialect = self.seam.name
        first_day = day_number(since) + 1  # the first that lies in this time as a whole
        day, domain = DAY_SQL[dialect], DOMAIN_SQL[dialect]
        mail = "r.tenant_id = :tenant AND r.message_id >= :first AND r.ordinal IS NOT NULL"
        found = await self.run(
            f"SELECT 'r' AS what, r.stream_id, r.cohort, r.ordinal / :size, {day}, {domain}, COUNT(*), 0,"
            f" SUM(CASE WHEN (r.facts & {int(Fact.BOUNCE_COUNTED)}) <> 0 THEN 1 ELSE 0 END), 0"
            f" FROM recipient r WHERE {mail} GROUP BY 2, 3, 4, 5, 6"
            # a complaint counts once a message, at its first recipient whose provider reports any
            " UNION ALL SELECT 'r', c.stream_id, c.cohort, c.number, c.day, c.domain, 0, 0, 0, 1 FROM"
            f" (SELECT r.stream_id, r.cohort, r.ordinal / :size AS number, {day} AS day, {domain} AS domain,"
            " ROW_NUMBER() OVER (PARTITION BY r.message_id ORDER BY r.number) AS place FROM recipient r"
            f" WHERE {mail} AND {domain} NOT IN ({SILENT_SQL}) AND EXISTS (SELECT 1 FROM recipient o"
            f" WHERE o.message_id = r.message_id AND (o.facts & {int(Fact.COMPLAINT_COUNTED)}) <> 0)) c WHERE c.place = 1"
            " UNION ALL SELECT 'b', b.stream_id, b.cohort, b.number, 0, '', b.handed, b.reporting, b.bounced, b.complained"
            " FROM stream s JOIN bucket b ON b.stream_id = s.id WHERE s.tenant_id = :tenant AND b.first_at >= :since"
            " UNION ALL SELECT 'd', d.stream_id, d.cohort, 0, d.day, d.provider, d.handed, d.reporting, d.bounced, d.complained"
            " FROM stream s JOIN mail_day d ON d.stream_id = s.id WHERE s.tenant_id = :tenant AND d.day >= :first_day",
            tenant=tenant_id,
            size=BUCKET_RECIPIENTS,
            first=MessageId.of(first_id(since - WAITED_MOST)),
            since=since,
            first_day=first_day,
        )
        kept = {_key(self.seam, row): _counts(row) for row in found if row[0] != "r"}
        counted = _counted(self.seam, [row for row in found if row[0] == "r"])
        oldest = _oldest(kept)
        comparable = {key: row for key, row in counted.items() if key in kept or _must_be_kept(key, first_day, oldest)}
        return CountCheck(
            recipients=sum(row.handed for key, row in comparable.items() if isinstance(key, BucketKey)),
            counts=len(kept),
            differences=differences(kept, comparable),
        )


def _oldest(kept: Iterable[Key]) -> Mapping[tuple[StreamId, int], int]:
    """Return the first bucket of each cohort that began in the time looked at."""
    found: dict[tuple[StreamId, int], int] = {}
    for key in kept:
        if isinstance(key, BucketKey):
            cohort = key.stream_id, key.cohort
            found[cohort] = min(key.number, found.get(cohort, key.number))
    return found


def _must_be_kept(key: Key, first_day: int, oldest: Mapping[tuple[StreamId, int], int]) -> bool:
    """A bucket that began before the time looked at is left out whole; later ones, and days in it, must be kept."""
    if isinstance(key, DayKey):
        return key.day >= first_day
    return key.number >= oldest.get((key.stream_id, key.cohort), key.number + 1)


def _counted(seam: Seam, rows: Iterable[DriverRow]) -> Mapping[Key, Counts]:
    found: dict[Key, list[int]] = {}
    for _, stream, cohort, number, day, domain, handed, _, bounced, complained in rows:
        stream_id = seam.id(StreamId, stream)
        address = f"@{domain}"
        row = (int(handed), int(handed) if reports_complaints(address) else 0, int(bounced), int(complained))
        for key in (
            BucketKey(stream_id, cohort, int(number)),
            DayKey(stream_id, cohort, int(day), provider_of(address)),
        ):
            total = found.setdefault(key, [0, 0, 0, 0])
            for place, more in enumerate(row):
                total[place] += more
    return {key: Counts(*total) for key, total in found.items()}


def _key(seam: Seam, row: DriverRow) -> Key:
    stream_id = seam.id(StreamId, row[1])
    if row[0] == "b":
        return BucketKey(stream_id, row[2], int(row[3]))
    return DayKey(stream_id, row[2], int(row[4]), row[5])


def _counts(row: DriverRow) -> Counts:
    return Counts(*map(int, row[6:10]))
