"""Owns accept's reads and inserts; it never updates or deletes mail, nor writes a lane (ADR 0004)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from sys import intern
from typing import TypeVar, cast

from tenantry.core.event import Fact
from tenantry.core.ids import CellId, Id, KeyId, MessageId, PoolId, StreamId, TenantId
from tenantry.core.message import Accepted, Message, MessageState
from tenantry.core.tenant import IdentityStatus, Sender, Stream, StreamClass, Tenant
from tenantry.ports import Asked, Remembered, Told
from tenantry.store import tables
from tenantry.store.seam import CHANNEL, DriverRow, Insert, Queries, relation
from tenantry.store.tables import AnyId

K = TypeVar("K", bound=Id)
SENDER_KEPT = timedelta(minutes=1)
NOTHING = timedelta(0)
SENDERS_KEPT = 100_000  # about 1 kB each; reading one anew costs as much as the rest of accepting a message
_WAITING, _SETTLED = MessageState.WAITING.value, MessageState.SUPPRESSED.value
QUEUED = int(Fact.QUEUED)
SUPPRESSED = int(Fact.QUEUED | Fact.SUPPRESSED)
_WAKE = (
    "INSERT INTO wake (cell_id, stream_id) SELECT lane.cell_id, lane.stream_id FROM {w}"
    " JOIN lane ON lane.stream_id = w.stream_id WHERE NOT lane.ready"
)
WAKE = {
    "sqlite": _WAKE,
    # workers of other processes listen; only a lane that was idle is told of, since NOTIFY makes commits wait in line
    "postgresql": f"WITH woken AS ({_WAKE} RETURNING cell_id)"
    f" SELECT pg_notify('{CHANNEL}', replace(CAST(cell_id AS text), '-', '')) FROM woken GROUP BY cell_id",
}


# What admission must know, told by one statement: a round trip, or a hop to SQLite's thread, costs more than its rows.
_TIME, _SENDER, _CAUSE, _PAUSED, _NAME = range(5)
_LOOK_UP = (
    f"SELECT {_TIME} AS kind, CAST(NULL AS uuid) AS id, '' AS first, '' AS second, '' AS third,"
    " CAST({clock} AS {instant}) AS at"
    f" UNION ALL SELECT {_SENDER}, k.id, replace(CAST(k.tenant_id AS text), '-', ''), CAST(t.revision AS text), '', k.revoked_at"
    " FROM {w} JOIN key k ON k.id = w.id JOIN tenant t ON t.id = k.tenant_id"
    f" UNION ALL SELECT {_CAUSE}, f.tenant_id, f.address, f.scope, f.cause, NULL"
    " FROM {s} JOIN suppression f ON f.tenant_id = s.tenant_id AND f.address = s.address"
    f" UNION ALL SELECT {_PAUSED}, f.scope_id, '', '', '', NULL"
    " FROM {p} JOIN pause f ON f.scope_id = p.scope_id AND f.ended_at IS NULL"
)
_LOOK_UP_NAMES = (
    f"{_LOOK_UP} UNION ALL SELECT {_NAME}, f.tenant_id, f.name, f.digest, f.answer, f.expires_at"
    " FROM {r} JOIN remembered f ON f.tenant_id = r.tenant_id AND f.name = r.name"
)


class SenderCache:
    """Senders by tenant, each true for one revision of its tenant; a reader compares revisions in its own transaction.

    A database that went back in time counts revisions that it has counted before: hence each is read anew after a minute.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._kept: dict[TenantId, tuple[int, datetime, Sender]] = {}
        self._owners: dict[KeyId, TenantId] = {}  # whose a key is never changes
        self._shared: dict[Id, Id] = {}

    def shared(self, given: K) -> K:
        """Return one object for equal ids of cells and pools: many senders hold the same few."""
        return cast(K, self._shared.setdefault(given, given))

    def last_known(self, key: KeyId) -> Sender | None:
        """Return the sender that was last seen behind a key, who may have changed."""
        owner = self._owners.get(key)
        kept = self._kept.get(owner) if owner is not None else None
        return None if kept is None else kept[2]

    def note_owner(self, key: KeyId, tenant_id: TenantId) -> None:
        """Remember whose a key is, forgetting the one noted longest ago when there are too many."""
        if key in self._owners:
            return
        if len(self._owners) >= SENDERS_KEPT:
            del self._owners[next(iter(self._owners))]
        self._owners[key] = tenant_id

    def get(self, tenant_id: TenantId, revision: int, now: datetime) -> Sender | None:
        """Return the sender as of this revision, if it was read within the last minute."""
        kept = self._kept.get(tenant_id)
        return kept[2] if kept and kept[0] == revision and NOTHING <= now - kept[1] < SENDER_KEPT else None

    def put(self, revision: int, now: datetime, sender: Sender) -> None:
        """Remember a sender as read now, forgetting the one read longest ago when there are too many."""
        self._kept.pop(sender.tenant.id, None)
        if len(self._kept) >= SENDERS_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[sender.tenant.id] = (revision, now, sender)


class AcceptQueries(Queries):
    """Implements ports.AcceptStep."""

    sender_cache: SenderCache

    def expected(self, keys: Iterable[KeyId]) -> Mapping[KeyId, Sender]:
        """See ports.AcceptStep."""
        return {key: sender for key in keys if (sender := self.sender_cache.last_known(key)) is not None}

    async def _current(self, found: Sequence[tuple[KeyId, TenantId, int]]) -> Mapping[KeyId, Sender]:
        """Return the sender behind each key as of its tenant's revision, read where it is not remembered."""
        cache = self.sender_cache
        known = {tenant: cache.get(tenant, revision, self.now) for _, tenant, revision in found}
        missed = {tenant: revision for _, tenant, revision in found if known[tenant] is None}
        if missed:
            for fresh in (await self._senders([tenant[-32:] for tenant in sorted(missed)])).values():
                known[fresh.tenant.id] = fresh
                cache.put(missed[fresh.tenant.id], self.now, fresh)
        for key, tenant, _ in found:
            cache.note_owner(key, tenant)
        return {key: sender for key, tenant, _ in found if (sender := known[tenant]) is not None}

    async def _senders(self, tenants: Sequence[str]) -> dict[str, Sender]:
        """Read these tenants with all that they may send as, in three statements however many they are."""
        wanted = relation("w(id uuid)", [(tenant,) for tenant in tenants])
        ids = {tenant: self.seam.id(TenantId, tenant) for tenant in tenants}
        streams: dict[str, dict[str, Stream]] = {tenant: {} for tenant in tenants}
        for row in await self.run(
            "SELECT s.tenant_id, s.id, s.cell_id, s.pool_id, s.name, s.stream_class, s.policy, s.is_default, s.created_at,"
            " s.provisioned_at, s.send_limit, s.ramp_stage, s.cohort FROM {w} JOIN stream s ON s.tenant_id = w.id",
            wanted,
        ):
            stream = self._stream(row, ids)
            streams[row[0]][stream.name] = stream
        names: dict[str, dict[bool, set[str]]] = {tenant: {True: set(), False: set()} for tenant in tenants}
        own: dict[str, dict[str, Stream]] = {tenant: {} for tenant in tenants}
        for tenant, name, status, stream_id in await self.run(
            "SELECT i.tenant_id, i.name, i.status, i.stream_id FROM {w} JOIN identity i ON i.tenant_id = w.id", wanted
        ):
            names[tenant][status == IdentityStatus.VERIFIED].add(name)
            if stream_id is not None:
                its = self.seam.id(StreamId, stream_id)
                own[tenant][name] = next(one for one in streams[tenant].values() if one.id == its)
        return {
            row[0]: Sender(
                tenant=self._tenant(row, ids),
                streams=streams[row[0]],
                verified=frozenset(names[row[0]][True]),
                unverified=frozenset(names[row[0]][False]),
                own_streams=own[row[0]],
            )
            for row in await self.run(
                "SELECT t.id, t.name, t.cell_id, t.account, t.labels, t.created_at FROM {w} JOIN tenant t ON t.id = w.id",
                wanted,
            )
        }

    def _tenant(self, row: DriverRow, ids: Mapping[str, TenantId]) -> Tenant:
        tenant, name, cell, account, labels, created = row
        return Tenant(
            ids[tenant],
            name,
            self.sender_cache.shared(self.seam.id(CellId, cell)),
            account,
            {} if labels == "{}" else json.loads(labels),
            self.seam.at(created),
        )

    def _stream(self, row: DriverRow, ids: Mapping[str, TenantId]) -> Stream:
        tenant, stream, cell, pool, name, stream_class, policy, default, created, provisioned, limit, stage, cohort = (
            row
        )
        return Stream(
            id=self.seam.id(StreamId, stream),
            tenant_id=ids[tenant],
            cell_id=self.sender_cache.shared(self.seam.id(CellId, cell)),
            pool_id=self.sender_cache.shared(self.seam.id(PoolId, pool)),
            name=intern(name),
            stream_class=StreamClass(stream_class),
            policy=intern(policy),
            is_default=bool(default),
            created_at=self.seam.at(created),
            provisioned_at=None if provisioned is None else self.seam.at(provisioned),
            limit=limit,
            ramp_stage=stage,
            cohort=cohort,
        )

    async def look_up(self, asked: Asked) -> Told:
        """See ports.AcceptStep."""
        scopes = {one for stream in asked.streams for one in _scopes(stream)}
        names = sorted(asked.names)
        relations = [
            relation("w(id uuid)", [(key,) for key in asked.keys]),
            relation("s(tenant_id uuid, address text)", list({(one[0], one[2]) for one in asked.addresses})),
            relation("p(scope_id uuid)", [(one,) for one in scopes]),
        ]
        if names:
            relations.append(relation("r(tenant_id uuid, name text)", names))
        found: list[tuple[KeyId, TenantId, int]] = []
        ends: dict[KeyId, datetime] = {}
        causes: dict[tuple[TenantId, str, str], str] = {}
        paused: set[str] = set()
        answers: dict[tuple[TenantId, str], Remembered] = {}
        for kind, id_, first, second, third, at in await self.run(_LOOK_UP_NAMES if names else _LOOK_UP, *relations):
            if kind == _SENDER:
                found.append((self.seam.id(KeyId, id_), self.seam.id(TenantId, first), int(second)))
                if at is not None:
                    ends[found[-1][0]] = self.seam.at(at)
            elif kind == _TIME:
                self.now = self.now if at is None else self.seam.at(at)
            elif kind == _CAUSE:
                causes[self.seam.id(TenantId, id_), first, second] = third
            elif kind == _PAUSED:
                paused.add(self.seam.id(AnyId, id_)[-32:])
            else:
                known = Remembered(bytes.fromhex(second), _read_answer(third), self.seam.at(at))
                answers[self.seam.id(TenantId, id_), first] = known
        if ends:
            found = [one for one in found if one[0] not in ends or ends[one[0]] > self.now]
        return Told(
            await self._current(found),
            _suppressed(asked.addresses, causes) if causes else {},
            _holds(asked.streams, paused),
            self._valid(answers) if answers else {},
        )

    def _valid(self, answers: Mapping[tuple[TenantId, str], Remembered]) -> Mapping[tuple[TenantId, str], Remembered]:
        """Return what is not over, and make room for the rest: those names may be given anew."""
        over = sorted(name for name, answer in answers.items() if answer.expires_at <= self.now)
        if over:
            self.later(
                "DELETE FROM remembered WHERE (tenant_id, name) IN (SELECT w.tenant_id, w.name FROM {w})"
                " AND expires_at <= :now",
                relation("w(tenant_id uuid, name text)", over),
                now=self.now,
            )
        return {name: answer for name, answer in answers.items() if answer.expires_at > self.now}

    def insert_mail(self, accepted: Sequence[tuple[Message, Accepted]]) -> None:
        """Write messages, recipients, content, waiting rows and the answers to remember; rows sorted by key."""
        messages = sorted((message for message, _ in accepted), key=lambda message: message.id)
        self.insert_later(
            self._message_rows(messages),
            _recipient_rows(messages),
            Insert(
                tables.content,
                "message_id, body",
                ([message.id for message in messages], [message.submission.content for message in messages]),
            ),
            self._waiting_rows([message for message in messages if message.cost]),
            self._remembered_rows(accepted),
        )

    def _message_rows(self, messages: Sequence[Message]) -> Insert:
        submissions = [message.submission for message in messages]
        settled = [message.cost == 0 for message in messages]
        return Insert(
            tables.message,
            "id, tenant_id, stream_id, state, sender, reply_to, subject, tags, size, recipients, accepted_at, expires_at,"
            " settled_at, possible_duplicate",
            (
                [message.id for message in messages],
                [message.tenant_id for message in messages],
                [message.stream_id for message in messages],
                [_SETTLED if one else _WAITING for one in settled],
                [one.sender for one in submissions],
                [json.dumps(one.reply_to) if one.reply_to else "[]" for one in submissions],
                [one.subject for one in submissions],
                [json.dumps(dict(one.tags)) if one.tags else "{}" for one in submissions],
                [len(one.content) for one in submissions],
                [len(message.addressees) for message in messages],
                [self.now] * len(messages),
                [message.expires_at for message in messages],
                [self.now if one else None for one in settled],
                [False] * len(messages),
            ),
        )

    def _waiting_rows(self, messages: Sequence[Message]) -> Insert:
        return Insert(
            tables.waiting,
            "message_id, stream_id, due_at, cost, attempts",
            (
                [message.id for message in messages],
                [message.stream_id for message in messages],
                [self.now] * len(messages),
                [message.cost for message in messages],
                [0] * len(messages),
            ),
        )

    def _remembered_rows(self, accepted: Sequence[tuple[Message, Accepted]]) -> Insert:
        named = [(message, answer) for message, answer in accepted if message.submission.idempotency_key is not None]
        named.sort(key=lambda one: (one[0].tenant_id, one[0].submission.idempotency_key))
        submissions = [message.submission for message, _ in named]
        return Insert(
            tables.remembered,
            "tenant_id, name, digest, answer, expires_at",
            (
                [message.tenant_id for message, _ in named],
                [one.idempotency_key for one in submissions],
                [one.body_digest.hex() for one in submissions],
                [_write_answer(answer) for _, answer in named],
                [self.now + timedelta(seconds=one.remember_seconds) for one in submissions],
            ),
        )

    async def insert_accepted(self, accepted: Sequence[tuple[Message, Accepted]]) -> None:
        """See ports.AcceptStep.insert_accepted."""
        self.insert_mail(accepted)
        self._wake({message.stream_id for message, _ in accepted if message.cost})

    def _wake(self, streams: Iterable[StreamId]) -> None:
        """Leave a wake for each lane that is not ready; a lane made unready meanwhile is found by the sweep."""
        self.later(
            WAKE[self.seam.name],
            relation("w(stream_id uuid)", [(stream,) for stream in sorted(streams)]),
        )


def _suppressed(
    addresses: Iterable[tuple[TenantId, StreamId, str]], causes: Mapping[tuple[TenantId, str, str], str]
) -> Mapping[tuple[TenantId, StreamId, str], str]:
    return {
        (tenant, stream, address): cause
        for tenant, stream, address in addresses
        for scope in ("", stream.rpartition("_")[2])
        if (cause := causes.get((tenant, address, scope))) is not None
    }


def _scopes(stream: Stream) -> tuple[Id, ...]:
    return stream.id, stream.tenant_id, stream.pool_id, stream.cell_id


def _holds(streams: Iterable[Stream], paused: set[str]) -> Mapping[StreamId, str]:
    holds = {stream.id: "unprovisioned" for stream in streams if stream.provisioned_at is None}
    if paused:
        holds.update((one.id, "paused") for one in streams if any(scope[-32:] in paused for scope in _scopes(one)))
    return holds


def _recipient_rows(messages: Sequence[Message]) -> Insert:
    rows = [(message, number, addressee) for message in messages for number, addressee in enumerate(message.addressees)]
    return Insert(
        tables.recipient,
        "message_id, number, tenant_id, stream_id, kind, mailbox, address, facts, cohort",
        (
            [message.id for message, _, _ in rows],
            [number for _, number, _ in rows],
            [message.tenant_id for message, _, _ in rows],
            [message.stream_id for message, _, _ in rows],
            [addressee.kind for _, _, addressee in rows],
            [addressee.mailbox for _, _, addressee in rows],
            [addressee.address for _, _, addressee in rows],
            [QUEUED if addressee.suppressed is None else SUPPRESSED for _, _, addressee in rows],
            [0] * len(rows),
        ),
    )


def _write_answer(answer: Accepted) -> str:
    return json.dumps([answer.id, answer.stream, answer.accepted_at.isoformat(), answer.suppressed, answer.hold])


def _read_answer(text: str) -> Accepted:
    message_id, stream, at, suppressed, hold = json.loads(text)
    return Accepted(MessageId(message_id), stream, datetime.fromisoformat(at), tuple(suppressed), True, hold)
