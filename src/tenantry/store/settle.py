"""Owns writing down what became of claims, and the one way in which a message becomes handed; leaves turns to dispatch.py."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from tenantry.core.counts import day_number
from tenantry.core.event import Fact
from tenantry.core.ids import AttemptId, CellId, MessageId, StreamId
from tenantry.core.message import MessageState
from tenantry.core.outcome import Handed, Hold, Outcome, Refused, Retry, Unknown
from tenantry.core.plan import names_of
from tenantry.core.provider import is_simulator, provider_of, reports_complaints
from tenantry.core.reputation import BUCKET_RECIPIENTS
from tenantry.ports import Settled
from tenantry.store.breaker import BreakerQueries
from tenantry.store.seam import Found, relation

BACKOFF_SECONDS = 2.0  # the first wait after a failure proven not accepted; doubles
BACKOFF_MOST_SECONDS = 900.0
THROTTLED_SECONDS = 1.0
HOLD_SECONDS = {Hold.UNVERIFIED: 60.0, Hold.UNPROVISIONED: 5.0, Hold.PAUSED: 15.0}
AIMD_CUT = 0.7
AIMD_LEAST = 0.05
SUPPRESSED = int(Fact.SUPPRESSED)
LOCKED = {"postgresql": " FOR UPDATE OF r", "sqlite": ""}  # SQLite's writer is alone anyway
EXPIRED = "it waited longer than mail of its class is kept"
GONE = "the worker that held this claim is gone"


class Closed(NamedTuple):
    """An attempt that has been finished: its message, number, cell and recipients, and the cell's failures before it."""

    message_id: MessageId
    number: int
    cell: CellId
    cost: int
    failures: int


class SettleQueries(BreakerQueries):
    """Implements the settling half of ports.DispatchStep."""

    async def settle(self, outcomes: Sequence[Outcome]) -> Settled:
        """See ports.DispatchStep."""
        handed = [one for one in outcomes if isinstance(one, Handed)]
        retries = [one for one in outcomes if isinstance(one, Retry)]
        refused = [one for one in outcomes if isinstance(one, Refused)]
        unknown = [one for one in outcomes if isinstance(one, Unknown)]
        closed = await self._close(
            [(one.attempt_id, "handed", None, one.ses_id) for one in handed]
            + [(one.attempt_id, "retry", one.reason, None) for one in retries]
            + [(one.attempt_id, "refused", one.reason, None) for one in refused]
            + [(one.attempt_id, "unknown", one.reason, None) for one in unknown]
        )
        calm = not retries and not unknown and not any(one.failures for one in closed.values())
        moved = [] if calm else await self._weigh(outcomes, closed)
        await self._cut(closed, throttled=[one.attempt_id for one in retries if one.throttled])
        await self.hand_messages(
            [(closed[one.attempt_id][0], one.ses_id) for one in handed if one.attempt_id in closed]
        )
        await self._wait_again([one for one in retries if one.attempt_id in closed], closed)
        await self._refuse([(closed[one.attempt_id][0], one.reason) for one in refused if one.attempt_id in closed])
        await self._unknown([(closed[one.attempt_id][0], one.reason) for one in unknown if one.attempt_id in closed])
        return Settled(
            handed=len(handed),
            retried=len(retries),
            refused=len(refused),
            unknown=len(unknown),
            throttled=sum(one.throttled for one in retries),
            doubts=sum(one.doubts_account for one in retries),
            opened=moved.count(1),
            closed=moved.count(-1),
        )

    async def _close(
        self, finished: Sequence[tuple[AttemptId, str, str | None, str | None]]
    ) -> dict[AttemptId, Closed]:
        """Finish attempts that are open, or that were given up by somebody who knew less; return what they were.

        An answer counts for the breaker, too, where the event of the same mail was quicker.
        """
        found = await self.run(
            "UPDATE attempt SET finished_at = :now, outcome = w.outcome, reason = w.reason, ses_id = w.ses_id"
            f" FROM {self.in_order('attempt', 'id')}"
            " WHERE attempt.id = w.id AND (attempt.finished_at IS NULL OR (attempt.outcome = 'unknown'"
            " AND w.outcome IN ('handed', 'returned')) OR (attempt.outcome = 'handed' AND w.outcome = 'handed'))"
            " RETURNING attempt.id, attempt.message_id, attempt.number, attempt.cell_id, attempt.cost,"
            " (SELECT cell.breaker_failures FROM cell WHERE cell.id = attempt.cell_id)",
            relation("w(id uuid, outcome text, reason text, ses_id text)", sorted(finished)),
            now=self.now,
        )
        return {
            self.seam.id(AttemptId, row[0]): Closed(
                self.seam.id(MessageId, row[1]), row[2], self.seam.id(CellId, row[3]), row[4], row[5]
            )
            for row in found
        }

    async def _weigh(self, outcomes: Sequence[Outcome], closed: dict[AttemptId, Closed]) -> list[int]:
        """Let breakers know, before anything else is locked: who holds a cell's lock may wait for rows written below."""
        by_cell: dict[CellId, list[Outcome]] = defaultdict(list)
        failed: dict[CellId, int] = {}
        for one in outcomes:
            if found := closed.get(one.attempt_id):
                by_cell[found.cell].append(one)
                failed[found.cell] = found.failures
        return [await self.weigh(cell, found, healthy=not failed[cell]) for cell, found in sorted(by_cell.items())]

    async def hand_messages(self, handed: Sequence[tuple[MessageId, str]]) -> None:
        """Settle messages as handed: give their recipients the next places in sending order and count them.

        Called by settle with SES's answer and by ingest with an event that proves the same; the first one does it.
        """
        if not handed:
            return
        now_handed = await self.run(
            "UPDATE message SET state = 'handed', ses_id = w.ses_id, settled_at = :now, reason = NULL"
            f" FROM {self.in_order('message', 'id')}"
            " WHERE message.id = w.id AND message.state IN ('waiting', 'unknown') RETURNING message.id",
            relation("w(id uuid, ses_id text)", sorted(handed)),
            now=self.now,
        )
        messages = [(row[0],) for row in now_handed]
        if not messages:
            return
        found = await self.run(
            "SELECT r.message_id, r.number, r.stream_id, r.address, r.facts FROM {w}"
            " JOIN recipient r ON r.message_id = w.id ORDER BY r.message_id, r.number" + LOCKED[self.seam.name],
            relation("w(id uuid)", messages),
        )
        mailed = [row for row in found if not row[4] & SUPPRESSED]
        await self._place(mailed)

    async def _place(self, mailed: Found) -> None:
        """Write the hand-over of recipients: facts, ordinal, and their buckets."""
        by_stream: dict[str, list[tuple[str, int, str]]] = defaultdict(list)
        silent: list[tuple[str, int, int | None, int]] = []
        for message, number, stream, address, _ in mailed:
            if is_simulator(address):
                silent.append((message, number, None, 0))  # the simulator never counts
            else:
                by_stream[stream].append((message, number, address))
        places = list(silent)
        buckets: dict[tuple[str, int, int], list[int]] = defaultdict(lambda: [0, 0])
        days: dict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0])
        for stream, (first, cohort) in (
            await self._take_places({s: len(rows) for s, rows in by_stream.items()})
        ).items():
            for ordinal, (message, number, address) in enumerate(by_stream[stream], start=first):
                places.append((message, number, ordinal, cohort))
                bucket = buckets[stream, cohort, ordinal // BUCKET_RECIPIENTS]
                bucket[0] += 1
                bucket[1] += (reporting := reports_complaints(address))
                of_day = days[stream, provider_of(address), cohort]
                of_day[0] += 1
                of_day[1] += reporting
        await self.run(
            "UPDATE recipient SET facts = facts | :fact, ordinal = w.ordinal, cohort = w.cohort, handed_at = :now FROM {w}"
            " WHERE recipient.message_id = w.message_id AND recipient.number = w.number",
            relation("w(message_id uuid, number bigint, ordinal bigint, cohort bigint)", places),
            fact=int(Fact.HANDED),
            now=self.now,
        )
        if buckets:
            await self.run(
                "INSERT INTO bucket (stream_id, cohort, number, handed, reporting, bounced, complained, first_at)"
                " SELECT w.stream_id, w.cohort, w.number, w.handed, w.reporting, 0, 0, CAST(:now AS {instant}) FROM {w}"
                " WHERE true ON CONFLICT (stream_id, cohort, number) DO UPDATE SET handed = bucket.handed + excluded.handed,"
                " reporting = bucket.reporting + excluded.reporting",
                relation(
                    "w(stream_id uuid, cohort bigint, number bigint, handed bigint, reporting bigint)",
                    [(*key, *counts) for key, counts in sorted(buckets.items())],
                ),
                now=self.now,
            )
            await self._count_days(days)

    async def _count_days(self, days: Mapping[tuple[str, str, int], Sequence[int]]) -> None:
        today = day_number(self.now)
        await self.run(
            "INSERT INTO mail_day (stream_id, day, provider, cohort, handed, reporting, bounced, complained)"
            " SELECT w.stream_id, w.day, w.provider, w.cohort, w.handed, w.reporting, 0, 0 FROM {w} WHERE true"
            " ON CONFLICT (stream_id, day, provider, cohort) DO UPDATE SET handed = mail_day.handed + excluded.handed,"
            " reporting = mail_day.reporting + excluded.reporting",
            relation(
                "w(stream_id uuid, day bigint, provider text, cohort bigint, handed bigint, reporting bigint)",
                [
                    (stream, today, provider, cohort, *counts)
                    for (stream, provider, cohort), counts in sorted(days.items())
                ],
            ),
        )

    async def _take_places(self, wanted: dict[str, int]) -> dict[str, tuple[int, int]]:
        """Take this many places of each stream's sending order; return the first one and the cohort."""
        if not wanted:
            return {}
        found = await self.run(
            "UPDATE stream SET handed = stream.handed + w.places"
            f" FROM {self.in_order('stream', 'id')} WHERE stream.id = w.id"
            " RETURNING stream.id, stream.handed, stream.cohort",
            relation("w(id uuid, places bigint)", sorted(wanted.items())),
        )
        return {row[0]: (row[1] - wanted[row[0]], row[2]) for row in found}

    async def _wait_again(self, retries: Sequence[Retry], closed: dict[AttemptId, Closed]) -> None:
        rows = []
        for one in retries:
            message_id, number, _, cost, _ = closed[one.attempt_id]
            due = self.now + timedelta(seconds=_wait_seconds(one, number) * self.jitter())
            rows.append((message_id, due, cost, number if one.burned else number - 1, one.hold))
        await self._queue(rows)
        await self._doubt({closed[one.attempt_id][0] for one in retries if one.hold is Hold.UNPROVISIONED})

    async def _doubt(self, messages: set[MessageId]) -> None:
        """Forget what SES was last seen to have for these messages' streams: it says otherwise, so it is made again."""
        if not messages:
            return
        found = await self.run(
            "SELECT DISTINCT s.cell_id, s.id, s.tenant_id, i.name FROM {w} JOIN message m ON m.id = w.id"
            " JOIN stream s ON s.id = m.stream_id LEFT JOIN identity i ON i.tenant_id = s.tenant_id",
            relation("w(id uuid)", sorted((message,) for message in messages)),
        )
        keys = {
            (cell, kind.value, object_name)
            for cell, stream, _, identity in found
            for kind, object_name in names_of(self.seam.id(StreamId, stream), identity)
        }
        await self.run(
            "DELETE FROM mirror WHERE (cell_id, kind, name) IN (SELECT w.cell_id, w.kind, w.name FROM {w})",
            relation("w(cell_id uuid, kind text, name text)", sorted(keys)),
        )
        await self.run(
            "UPDATE tenant SET revision = revision + 1 WHERE id IN (SELECT w.id FROM {w})",
            relation("w(id uuid)", sorted({(tenant,) for _, _, tenant, _ in found})),
        )

    async def _queue(self, rows: Sequence[tuple[MessageId, datetime, int, int, str | None]]) -> None:
        """Let messages wait until they are due, but for those that will have expired by then."""
        if not rows:
            return
        wanted = relation(
            "w(message_id uuid, due_at timestamptz, cost bigint, attempts bigint, hold text)", sorted(rows)
        )
        await self.run(
            "INSERT INTO waiting (message_id, stream_id, due_at, cost, attempts, hold)"
            " SELECT w.message_id, m.stream_id, w.due_at, w.cost, w.attempts, w.hold FROM {w}"
            " JOIN message m ON m.id = w.message_id WHERE m.state = 'waiting' AND m.expires_at > w.due_at"
            " ON CONFLICT (message_id) DO NOTHING",  # a person may have released it meanwhile
            wanted,
        )
        late = await self.run(
            "SELECT m.id FROM {w} JOIN message m ON m.id = w.message_id"
            " WHERE m.state = 'waiting' AND m.expires_at <= w.due_at",
            wanted,
        )
        await self.expire_messages([self.seam.id(MessageId, row[0]) for row in late])

    async def expire_messages(self, messages: Sequence[MessageId]) -> None:
        """Settle messages that wait nowhere any more as expired, with their recipients."""
        await self.end_messages(MessageState.EXPIRED, Fact.EXPIRED, [(message, EXPIRED) for message in messages])

    async def _refuse(self, refused: Sequence[tuple[MessageId, str]]) -> None:
        await self.end_messages(MessageState.REFUSED, Fact.REFUSED, refused)

    async def end_messages(self, state: MessageState, fact: Fact, ended: Sequence[tuple[MessageId, str]]) -> None:
        """Settle messages that will not be handed over, and say so of each recipient that is not suppressed."""
        await self._set_state(state, ended, settled=True)
        if ended:
            await self.run(
                f"UPDATE recipient SET facts = facts | :fact FROM {{w}} WHERE recipient.message_id = w.id"
                f" AND (recipient.facts & {SUPPRESSED}) = 0",
                relation("w(id uuid)", sorted((message,) for message, _ in ended)),
                fact=int(fact),
            )

    async def _unknown(self, unknown: Sequence[tuple[MessageId, str]]) -> None:
        await self._set_state(MessageState.UNKNOWN, unknown, settled=False)

    async def _set_state(
        self, state: MessageState, messages: Sequence[tuple[MessageId, str]], *, settled: bool
    ) -> None:
        if messages:
            await self.run(
                "UPDATE message SET state = :state, reason = w.reason, settled_at = :at FROM {w}"
                " WHERE message.id = w.id AND message.state = 'waiting'",
                relation("w(id uuid, reason text)", sorted(messages)),
                state=state,
                at=self.now if settled else None,
            )

    async def _cut(self, closed: dict[AttemptId, Closed], *, throttled: Sequence[AttemptId]) -> None:
        """Slow the cells that SES throttled, once a step (AIMD)."""
        cells = {closed[attempt][2] for attempt in throttled if attempt in closed}
        for cell in sorted(cells):
            await self.run(
                f"UPDATE cell SET backoff = CASE WHEN backoff * {AIMD_CUT} < {AIMD_LEAST} THEN {AIMD_LEAST}"
                f" ELSE backoff * {AIMD_CUT} END WHERE id = :cell",
                cell=cell,
            )

    async def hand_back(self, attempts: Sequence[AttemptId]) -> int:
        """See ports.DispatchStep."""
        closed = await self._close([(attempt, "returned", "not begun in time", None) for attempt in attempts])
        back = await self._wait_as_before({one.message_id: one.number for one in closed.values()})
        await self._queue(
            [
                (message, self.now, cost, number - 1, None)
                for message, number, _, cost, _ in closed.values()
                if message in back
            ]
        )
        await self.wake_lanes_of(one.message_id for one in closed.values())
        return len(closed)

    async def _wait_as_before(self, numbers: Mapping[MessageId, int]) -> set[MessageId]:
        """Let messages wait whose attempt (by number) was not begun, though it was thought lost; return those.

        One that went on since, by a resend, is not among them.
        """
        found = await self.run(
            f"UPDATE message SET state = 'waiting', reason = NULL FROM {self.in_order('message', 'id')}"
            " WHERE message.id = w.id AND message.state IN ('waiting', 'unknown')"
            " AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.message_id = w.id AND a.number > w.number)"
            " RETURNING message.id",
            relation("w(id uuid, number bigint)", sorted(numbers.items())),
        )
        return {self.seam.id(MessageId, row[0]) for row in found}

    async def wake_lanes_of(self, messages: Iterable[MessageId]) -> None:
        await self.run(
            "INSERT INTO wake (cell_id, stream_id) SELECT DISTINCT lane.cell_id, lane.stream_id FROM {w}"
            " JOIN message m ON m.id = w.id JOIN lane ON lane.stream_id = m.stream_id WHERE NOT lane.ready",
            relation("w(id uuid)", sorted((message,) for message in messages)),
        )

    async def abandon(self, cell: CellId) -> int:
        """See ports.DispatchStep."""
        found = await self.run("SELECT id FROM attempt WHERE cell_id = :cell AND finished_at IS NULL", cell=cell)
        gone = [Unknown(self.seam.id(AttemptId, row[0]), GONE, ours=True) for row in found]
        await self.settle(gone)
        return len(gone)


def _wait_seconds(retry: Retry, number: int) -> float:
    if retry.throttled:
        return THROTTLED_SECONDS
    if retry.hold in HOLD_SECONDS:
        return HOLD_SECONDS[retry.hold]
    return min(BACKOFF_MOST_SECONDS, BACKOFF_SECONDS * 2.0 ** (number - 1))
