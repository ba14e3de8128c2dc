"""Owns the turn under the cell's lock: wakes, credit, lanes, claims; leaves what became of claims to settle.py."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import ceil, inf

from tenantry.core.breaker import Breaker, may_start
from tenantry.core.claim import Claim
from tenantry.core.event import Fact
from tenantry.core.ids import AttemptId, CellId, MessageId, PauseId, PoolId, StreamId, TenantId
from tenantry.core.message import MessageState
from tenantry.core.tenant import StreamClass, account_sends
from tenantry.core.turn import ClassShare, Credit, Lane, Parked, Pick, Shares, Turn, Waiting
from tenantry.ports import AccountReading
from tenantry.store import tables
from tenantry.store.breaker import BREAKER, read_breaker
from tenantry.store.floors import Floors
from tenantry.store.seam import DriverRow, Queries, Relation, relation

BUCKET_SECONDS = 0.25  # how much of a second's rate may gather while nothing is sent
LIMIT_BUCKET_SECONDS = 1.0  # the same for a throttled stream's own limit
BACKOFF_GAIN_PER_SECOND = 0.05  # AIMD: what a throttled rate wins back
SUPPRESSED = int(Fact.SUPPRESSED)
RESERVE = 0.1  # of the day's quota, kept for transactional mail
NO_PAUSE = (
    "NOT EXISTS (SELECT 1 FROM pause p WHERE p.ended_at IS NULL"
    " AND p.scope_id IN (lane.stream_id, lane.tenant_id, lane.pool_id, lane.cell_id))"
)
PROVISIONED = "EXISTS (SELECT 1 FROM stream s WHERE s.id = lane.stream_id AND s.provisioned_at IS NOT NULL)"
DUE = "EXISTS (SELECT 1 FROM waiting x WHERE x.stream_id = lane.stream_id AND x.due_at <= :now)"
CREDIT = (
    "SELECT rate_per_second, backoff, tokens, tokens_at, sending_enabled, enforcement, quota_24h, sent_24h, shares,"
    f" {BREAKER} FROM cell WHERE id = :cell"
)
LANES = " UNION ALL ".join(
    "SELECT * FROM (SELECT lane.stream_id, lane.tenant_id, lane.stream_class, lane.tag, lane.weight, lane.tokens,"
    " lane.tokens_at, s.send_limit, (SELECT p.id FROM pause p WHERE p.ended_at IS NULL"
    " AND p.scope_id IN (lane.stream_id, lane.tenant_id, lane.pool_id, lane.cell_id) LIMIT 1) AS pause_id, lane.pool_id"
    " FROM lane JOIN stream s ON s.id = lane.stream_id WHERE lane.cell_id = :cell"
    f" AND lane.stream_class = '{name}' AND lane.ready AND lane.tag >= :since_{name}"  # see floors.py
    f" ORDER BY lane.tag LIMIT :most) AS {name}"
    for name in StreamClass
)
BUSY_LANES = (  # skips from one stream to the next, however much mail each has
    "WITH RECURSIVE busy(stream_id) AS (SELECT (SELECT stream_id FROM waiting ORDER BY stream_id LIMIT 1)"
    " UNION ALL SELECT (SELECT x.stream_id FROM waiting x WHERE x.stream_id > busy.stream_id"
    " ORDER BY x.stream_id LIMIT 1) FROM busy WHERE busy.stream_id IS NOT NULL)"
)
STRANDED = (
    f"NOT lane.ready AND lane.stream_id IN (SELECT stream_id FROM busy) AND {DUE} AND {PROVISIONED} AND {NO_PAUSE}"
)
FLOORED = "x.stream_id = w.stream_id AND x.due_at >= w.floor AND x.due_at <= :now"  # see floors.py
HEADS = {
    "postgresql": "SELECT w.stream_id, h.message_id, h.cost, h.due_at FROM {w} CROSS JOIN LATERAL (SELECT x.message_id,"
    f" x.cost, x.due_at FROM waiting x WHERE {FLOORED} ORDER BY x.due_at, x.message_id LIMIT :depth) h",
    "sqlite": "SELECT w.stream_id, h.message_id, h.cost, h.due_at FROM {w} CROSS JOIN waiting h ON h.message_id IN"
    f" (SELECT x.message_id FROM waiting x WHERE {FLOORED} ORDER BY x.due_at, x.message_id LIMIT :depth)"
    " ORDER BY w.stream_id, h.due_at, h.message_id",
}
IDLE = (  # looks at no lane that has mail
    "WITH idle AS MATERIALIZED (SELECT w.stream_id FROM {w}"
    f" WHERE NOT EXISTS (SELECT 1 FROM waiting x WHERE {FLOORED}))"
    " UPDATE lane SET ready = false FROM idle WHERE lane.stream_id = idle.stream_id"
)
VIRTUAL = " ".join(f"WHEN '{name}' THEN CAST(:virtual_{name} AS double precision)" for name in StreamClass)
WAKE = {  # into the present of its class, and no earlier than its tenant's other lanes
    dialect: f"UPDATE lane SET ready = true, tag = {greatest}(CASE lane.stream_class {VIRTUAL} END,"
    " (SELECT MAX(o.tag) FROM lane o WHERE o.tenant_id = lane.tenant_id AND o.stream_class = lane.stream_class))"
    for dialect, greatest in (("postgresql", "GREATEST"), ("sqlite", "MAX"))
}
MOVE = (  # each lane of the tenant that has this tag; those that are idle take it up when they wake
    "UPDATE lane SET tag = w.tag FROM {w} WHERE lane.tenant_id = w.tenant_id AND lane.stream_class = w.stream_class"
    " AND lane.tag >= w.former"
)


def won_back(backoff: float, seconds: float) -> float:
    """Return the fraction of the granted rate in use, so long after it was written down."""
    return min(1.0, backoff + BACKOFF_GAIN_PER_SECOND * seconds)


class DispatchQueries(Queries):
    """Implements the turn's half of ports.DispatchStep."""

    floors: Floors

    async def consume_wakes(self, cell: CellId) -> int:
        """See ports.DispatchStep."""
        woken = {
            stream
            for (stream,) in await self.run("DELETE FROM wake WHERE cell_id = :cell RETURNING stream_id", cell=cell)
        }
        if woken:
            await self.run(
                f"{WAKE[self.seam.name]} WHERE NOT lane.ready AND lane.stream_id IN (SELECT w.stream_id FROM {{w}})"
                f" AND {PROVISIONED} AND {NO_PAUSE}",
                relation("w(stream_id uuid)", [(stream,) for stream in sorted(woken)]),
                **await self._virtual_times(cell),
            )
        return len(woken)

    async def _virtual_times(self, cell: CellId) -> Mapping[str, float]:
        if self._shares is None:
            self._shares = _read_shares((await self.run("SELECT shares FROM cell WHERE id = :cell", cell=cell))[0][0])
        return {f"virtual_{name}": self._shares.classes[name].virtual for name in StreamClass}

    async def credit(self, cell: CellId, room: int) -> tuple[Credit, Shares]:
        """See ports.DispatchStep."""
        row = (await self.run(CREDIT, cell=cell))[0]
        granted, backoff, tokens, tokens_at, enabled, enforcement, quota, sent, shares, *breaker = row
        elapsed = (self.now - self.seam.at(tokens_at)).total_seconds()
        self._backoff = won_back(backoff, max(0.0, elapsed))
        self._rate = granted * self._backoff
        full = max(1.0, self._rate * BUCKET_SECONDS)
        refilled = tokens + elapsed * self._rate if elapsed >= 0 else full  # or a clock that was set back stops all
        self._tokens = min(full, refilled)
        open_ = account_sends(bool(enabled), enforcement)
        self._breaker = read_breaker(self.seam, breaker)
        most = may_start(self._breaker, self.now)
        left = inf if quota < 0 else max(0.0, quota - sent)
        reserve = 0.0 if quota < 0 else quota * RESERVE
        credit = Credit(
            recipients=self._tokens if open_ else 0.0,
            messages=(room if most is None else min(room, most)) if open_ else 0,
            bucket_full=open_ and self._tokens >= full,
            marketing_recipients=left - reserve,
            day_recipients=left,
        )
        self._shares = _read_shares(shares)
        return credit, self._shares

    async def lanes(self, cell: CellId, credit: Credit) -> Sequence[Lane]:
        """See ports.DispatchStep."""
        most = min(credit.messages, max(1, ceil(credit.recipients)))
        if most <= 0 or (credit.recipients < 1 and not credit.bucket_full):
            return ()
        tags, virtual = self.floors.tags, await self._virtual_times(cell)
        since = {name: tags.of(name, self.now) for name in StreamClass}
        rows = await self._ready_lanes(cell, most, since)
        if not rows and max(since.values()) > -inf:  # a database that went back has smaller tags
            since = dict.fromkeys(since, -inf)
            rows = await self._ready_lanes(cell, most, since)
        for name, tag in since.items():
            found = [row[3] for row in rows if row[2] == name]
            tags.note(name, tag, min([virtual[f"virtual_{name}"], *found]), self.now)
        if not rows:
            return ()
        self._pools = {self.seam.id(StreamId, row[0]): self.seam.id(PoolId, row[-1]) for row in rows}
        tenants = len({(row[1], row[2]) for row in rows})
        heads = await self._heads([row[0] for row in rows], min(most, max(4, ceil(4 * most / tenants))))
        return [self._lane(row, heads) for row in rows]

    async def _ready_lanes(self, cell: CellId, most: int, since: Mapping[StreamClass, float]) -> Sequence[DriverRow]:
        return await self.run(LANES, cell=cell, most=2 * most, **{f"since_{name}": tag for name, tag in since.items()})

    async def _heads(self, streams: Sequence[str], depth: int) -> Mapping[str, tuple[Waiting, ...]]:
        """Return by stream the first due messages: a tenant with one lane may need its whole share of the turn of it."""
        heads: dict[str, list[Waiting]] = defaultdict(list)
        first: dict[str, object] = {}
        since = {stream: self.floors.of(stream, self.now) for stream in streams}
        found = await self.run(
            HEADS[self.seam.name],
            relation("w(stream_id uuid, floor timestamptz)", list(since.items())),
            now=self.now,
            depth=depth,
        )
        for stream, message, cost, due_at in found:
            heads[stream].append(Waiting(self.seam.id(MessageId, message), cost))
            first.setdefault(stream, due_at)
        for stream, floor in since.items():
            due = self.seam.at(first[stream]) if stream in first else None
            self.floors.note(stream, floor, due, self.now)
        return {stream: tuple(found) for stream, found in heads.items()}

    def _lane(self, row: DriverRow, heads: Mapping[str, tuple[Waiting, ...]]) -> Lane:
        stream, tenant, stream_class, tag, weight, tokens, tokens_at, limit, pause, _ = row
        allowance = None
        if limit is not None:
            elapsed = (self.now - self.seam.at(tokens_at)).total_seconds()
            rate = limit * self._rate
            most = max(1.0, rate * LIMIT_BUCKET_SECONDS)
            allowance = min(most, tokens + rate * elapsed) if elapsed >= 0 else most
        return Lane(
            stream_id=self.seam.id(StreamId, stream),
            tenant_id=self.seam.id(TenantId, tenant),
            stream_class=StreamClass(stream_class),
            tag=tag,
            weight=weight,
            heads=heads.get(stream, ()),
            blocked=self.seam.id(PauseId, pause) if pause is not None else None,
            allowance=allowance,
        )

    async def claim(self, cell: CellId, lanes: Sequence[Lane], turn: Turn, worker: int) -> Sequence[Claim]:
        """See ports.DispatchStep."""
        claims = await self._take(cell, turn.picks, worker) if turn.picks else []
        await self._move_lanes(lanes, turn)
        await self.run(
            "UPDATE cell SET tokens = :tokens, tokens_at = :now, backoff = :backoff, shares = :shares,"
            " sent_24h = sent_24h + :cost, breaker_probed_at = :probed WHERE id = :cell",
            tokens=self._tokens - turn.cost,
            backoff=self._backoff,
            shares=_write_shares(turn.shares),
            cost=float(turn.cost),
            probed=self.now if turn.picks and self._breaker.opened_at else self._breaker.probed_at,
            now=self.now,
            cell=cell,
        )
        return claims

    async def _take(self, cell: CellId, picks: Sequence[Pick], worker: int) -> list[Claim]:
        wanted = relation("w(message_id uuid)", sorted((pick.message_id,) for pick in picks))
        take = "DELETE FROM waiting WHERE message_id IN (SELECT w.message_id FROM {w}) RETURNING message_id, attempts"
        taken = {self.seam.id(MessageId, message): attempts for message, attempts in await self.run(take, wanted)}
        mailboxes = await self._mailboxes(wanted)
        found = await self.run(
            "SELECT m.id, m.tenant_id, m.stream_id, m.sender, m.reply_to, m.tags, c.body FROM {w}"
            " JOIN message m ON m.id = w.message_id AND m.state = 'waiting' JOIN content c ON c.message_id = m.id",
            wanted,
        )
        claims: dict[MessageId, Claim] = {}
        for row in found:
            message_id = self.seam.id(MessageId, row[0])
            if message_id in taken:
                claims[message_id] = self._claim(row, mailboxes.get(message_id, {}), taken[message_id] + 1)
        await self._settle_suppressed([claim for claim in claims.values() if not claim.to + claim.cc + claim.bcc])
        ordered = [
            claim for pick in picks if (claim := claims.get(pick.message_id)) and claim.to + claim.cc + claim.bcc
        ]
        await self.insert(
            tables.attempt,
            "id, message_id, cell_id, stream_id, tenant_id, pool_id, worker_id, number, cost, claimed_at",
            [
                (
                    claim.attempt_id,
                    claim.message_id,
                    cell,
                    claim.stream_id,
                    claim.tenant_id,
                    self._pools[claim.stream_id],
                    worker,
                    claim.number,
                    len(claim.to + claim.cc + claim.bcc),
                    self.now,
                )
                for claim in ordered
            ],
        )
        return ordered

    async def _mailboxes(self, wanted: Relation) -> Mapping[MessageId, Mapping[str, Sequence[str]]]:
        """Return by message and kind the mailboxes to hand over; what was suppressed since acceptance is taken out."""
        found = await self.run(
            "SELECT r.message_id, r.number, r.kind, r.mailbox, r.facts, (SELECT s.cause FROM suppression s"
            " WHERE s.tenant_id = r.tenant_id AND s.address = r.address AND s.scope IN ('', "
            + ("r.stream_id" if self.seam.name == "sqlite" else "replace(CAST(r.stream_id AS text), '-', '')")
            + ") LIMIT 1) AS cause FROM {w} JOIN recipient r ON r.message_id = w.message_id ORDER BY r.message_id, r.number",
            wanted,
        )
        mailboxes: dict[MessageId, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        suppressed = []
        for message, number, kind, mailbox, facts, cause in found:
            if facts & SUPPRESSED:
                continue
            if cause is not None:
                suppressed.append((message, number))
            else:
                mailboxes[self.seam.id(MessageId, message)][kind].append(mailbox)
        if suppressed:
            await self.run(
                "UPDATE recipient SET facts = facts | :fact FROM {s}"
                " WHERE recipient.message_id = s.message_id AND recipient.number = s.number",
                relation("s(message_id uuid, number bigint)", suppressed),
                fact=SUPPRESSED,
            )
        return mailboxes

    def _claim(self, row: DriverRow, mailboxes: Mapping[str, Sequence[str]], number: int) -> Claim:
        message, tenant, stream, sender, reply_to, tags, body = row
        return Claim(
            attempt_id=self.new_id(AttemptId),
            message_id=self.seam.id(MessageId, message),
            tenant_id=self.seam.id(TenantId, tenant),
            stream_id=self.seam.id(StreamId, stream),
            sender=sender,
            to=tuple(mailboxes.get("to", ())),
            cc=tuple(mailboxes.get("cc", ())),
            bcc=tuple(mailboxes.get("bcc", ())),
            reply_to=() if reply_to == "[]" else tuple(json.loads(reply_to)),
            content=body,
            tags={} if tags == "{}" else json.loads(tags),
            claimed_at=self.now,
            number=number,
        )

    async def _settle_suppressed(self, empty: Sequence[Claim]) -> None:
        if empty:
            await self.run(
                "UPDATE message SET state = :state, settled_at = :now WHERE id IN (SELECT w.id FROM {w})",
                relation("w(id uuid)", [(claim.message_id,) for claim in empty]),
                state=MessageState.SUPPRESSED,
                now=self.now,
            )

    async def _move_lanes(self, lanes: Sequence[Lane], turn: Turn) -> None:
        if turn.tags:
            former: dict[tuple[TenantId, StreamClass], float] = {}
            for lane in sorted(lanes, key=lambda lane: lane.tag):
                former.setdefault((lane.tenant_id, lane.stream_class), lane.tag)
            await self.run(
                MOVE,
                relation(
                    "w(tenant_id uuid, stream_class text, tag float8, former float8)",
                    [(*whose, tag, former[whose]) for whose, tag in sorted(turn.tags.items())],
                ),
            )
        await self._charge_limits(lanes, turn.picks)
        await self._park(turn.parked)
        if turn.emptied:
            idle = [(stream, self.floors.of(str(self.seam.raw(stream)), self.now)) for stream in sorted(turn.emptied)]
            await self.run(IDLE, relation("w(stream_id uuid, floor timestamptz)", idle), now=self.now)

    async def _charge_limits(self, lanes: Sequence[Lane], picks: Sequence[Pick]) -> None:
        left = {lane.stream_id: lane.allowance for lane in lanes if lane.allowance is not None}
        if not left:
            return
        for pick in picks:
            if pick.stream_id in left:
                left[pick.stream_id] -= pick.cost
        await self.run(
            "UPDATE lane SET tokens = w.tokens, tokens_at = :now FROM {w} WHERE lane.stream_id = w.stream_id",
            relation("w(stream_id uuid, tokens float8)", sorted(left.items())),
            now=self.now,
        )

    async def _park(self, parked: Sequence[Parked]) -> None:
        if parked:
            await self.run(
                "UPDATE lane SET ready = false WHERE stream_id IN (SELECT w.stream_id FROM {w})",
                relation("w(stream_id uuid)", sorted((one.stream_id,) for one in parked)),
            )

    async def is_stranded(self, cell: CellId) -> bool:
        """See ports.DispatchStep."""
        found = await self.run(
            f"{BUSY_LANES} SELECT 1 FROM lane WHERE lane.cell_id = :cell AND {STRANDED} LIMIT 1",
            cell=cell,
            now=self.now,
        )
        return bool(found)

    async def wake_stranded(self, cell: CellId) -> int:
        """See ports.DispatchStep."""
        woken = await self.run(
            f"{BUSY_LANES} {WAKE[self.seam.name]} WHERE lane.cell_id = :cell AND {STRANDED} RETURNING stream_id",
            cell=cell,
            now=self.now,
            **await self._virtual_times(cell),
        )
        self.floors.forget(stream for (stream,) in woken)  # a look that began too late may be why
        return len(woken)

    async def set_account(self, cell: CellId, reading: AccountReading) -> None:
        """See ports.DispatchStep."""
        await self.run(
            "UPDATE cell SET rate_per_second = :rate, quota_24h = :quota, sent_24h = :sent, sending_enabled = :enabled,"
            " enforcement = :enforcement, seen_at = :now WHERE id = :cell",
            rate=reading.rate_per_second,
            quota=reading.quota_24h,
            sent=reading.sent_24h,
            enabled=reading.sending_enabled,
            enforcement=reading.enforcement,
            now=self.now,
            cell=cell,
        )

    _breaker: Breaker
    _shares: Shares | None = None  # as this step read them
    _pools: Mapping[StreamId, PoolId]  # of the lanes that were read
    _tokens: float
    _rate: float
    _backoff: float


def _read_shares(text: str) -> Shares:
    if not text:
        return Shares()
    kept = json.loads(text)
    classes = {StreamClass(name): ClassShare(*share) for name, share in kept["classes"].items()}
    return Shares({**Shares().classes, **classes}, kept["virtual"])


def _write_shares(shares: Shares) -> str:
    classes = {name: [share.weight, share.finish, share.virtual] for name, share in shares.classes.items()}
    return json.dumps({"classes": classes, "virtual": shares.virtual})
