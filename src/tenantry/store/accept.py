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
from tenantry.ports import Remembered
from tenantry.store import tables
from tenantry.store.seam import CHANNEL, DriverRow, Insert, Queries, relation
from tenantry.store.tables import AnyId

K = TypeVar("K", bound=Id)
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


class SenderCache:
    """Senders by tenant, each true for one revision of its tenant; a reader compares revisions in its own transaction."""

    def __init__(self) -> None:
        """Start empty."""
        self._kept: dict[TenantId, tuple[int, Sender]] = {}
        self._shared: dict[Id, Id] = {}

    def shared(self, given: K) -> K:
        """Return one object for equal ids of cells and pools: many senders hold the same few."""
        return cast(K, self._shared.setdefault(given, given))

    def get(self, tenant_id: TenantId, revision: int) -> Sender | None:
        """Return the sender as of this revision, if known."""
        kept = self._kept.get(tenant_id)
        return kept[1] if kept and kept[0] == revision else None

    def put(self, revision: int, sender: Sender) -> None:
        """Remember a sender, forgetting the oldest when there are too many."""
        if len(self._kept) >= SENDERS_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[sender.tenant.id] = (revision, sender)


class AcceptQueries(Queries):
    """Implements ports.AcceptStep."""

    sender_cache: SenderCache

    async def senders(self, keys: Iterable[KeyId]) -> Mapping[KeyId, Sender]:
        """See ports.AcceptStep."""
        found = await self.run(
            "SELECT k.id, k.tenant_id, t.revision FROM {w} JOIN key k ON k.id = w.id"
            " JOIN tenant t ON t.id = k.tenant_id WHERE k.revoked_at IS NULL",
            relation("w(id uuid)", [(key,) for key in keys]),
        )
        known = {
            tenant: self.sender_cache.get(self.seam.id(TenantId, tenant), revision) for _, tenant, revision in found
        }
        missed = {tenant: revision for _, tenant, revision in found if known[tenant] is None}
        if missed:
            read = await self._senders(sorted(missed))
            known.update(read)
            for tenant, fresh in read.items():
                self.sender_cache.put(missed[tenant], fresh)
        return {self.seam.id(KeyId, key): sender for key, tenant, _ in found if (sender := known[tenant]) is not None}

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
        for tenant, name, status in await self.run(
            "SELECT i.tenant_id, i.name, i.status FROM {w} JOIN identity i ON i.tenant_id = w.id", wanted
        ):
            names[tenant][status == IdentityStatus.VERIFIED].add(name)
        return {
            row[0]: Sender(
                tenant=self._tenant(row, ids),
                streams=streams[row[0]],
                verified=frozenset(names[row[0]][True]),
                unverified=frozenset(names[row[0]][False]),
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

    async def remembered(self, names: Iterable[tuple[TenantId, str]]) -> Mapping[tuple[TenantId, str], Remembered]:
        """See ports.AcceptStep."""
        wanted = sorted(names)
        if not wanted:
            return {}
        given = relation("w(tenant_id uuid, name text)", wanted)
        found = await self.run(
            "SELECT r.tenant_id, r.name, r.digest, r.answer, r.expires_at FROM {w}"
            " JOIN remembered r ON r.tenant_id = w.tenant_id AND r.name = w.name",
            given,
        )
        answers = {
            (self.seam.id(TenantId, tenant), name): Remembered(
                bytes.fromhex(digest), _read_answer(answer), self.seam.at(expires)
            )
            for tenant, name, digest, answer, expires in found
        }
        valid = {name: answer for name, answer in answers.items() if answer.expires_at > self.now}
        if len(valid) < len(answers):  # make room: these names may be given anew
            await self.run(
                "DELETE FROM remembered WHERE (tenant_id, name) IN (SELECT w.tenant_id, w.name FROM {w})"
                " AND expires_at <= :now",
                given,
                now=self.now,
            )
        return valid

    async def suppressed(
        self, wanted: Iterable[tuple[TenantId, StreamId, str]]
    ) -> Mapping[tuple[TenantId, StreamId, str], str]:
        """See ports.AcceptStep."""
        triples = list(wanted)
        found = await self.run(
            "SELECT s.tenant_id, s.address, s.scope, s.cause FROM {w} JOIN suppression s"
            " ON s.tenant_id = w.tenant_id AND s.address = w.address",
            relation("w(tenant_id uuid, address text)", list({(tenant, address) for tenant, _, address in triples})),
        )
        causes = {(self.seam.id(TenantId, row[0]), row[1], row[2]): row[3] for row in found}
        if not causes:
            return {}
        return {
            (tenant, stream, address): cause
            for tenant, stream, address in triples
            for scope in ("", stream.rpartition("_")[2])
            if (cause := causes.get((tenant, address, scope))) is not None
        }

    async def holds(self, streams: Iterable[Stream]) -> Mapping[StreamId, str]:
        """See ports.AcceptStep."""
        scopes = {stream.id: (stream.id, stream.tenant_id, stream.pool_id, stream.cell_id) for stream in streams}
        found = await self.run(
            "SELECT w.scope_id FROM {w} JOIN pause p ON p.scope_id = w.scope_id AND p.ended_at IS NULL",
            relation("w(scope_id uuid)", [(scope,) for scope in {one for four in scopes.values() for one in four}]),
        )
        holds = {stream.id: "unprovisioned" for stream in streams if stream.provisioned_at is None}
        if found:
            paused = {self.seam.id(AnyId, scope)[-32:] for (scope,) in found}
            holds.update((stream, "paused") for stream, four in scopes.items() if paused & {one[-32:] for one in four})
        return holds

    async def insert_mail(self, accepted: Sequence[tuple[Message, Accepted]]) -> None:
        """Write messages, recipients, content, waiting rows and the answers to remember; rows sorted by key."""
        messages = sorted((message for message, _ in accepted), key=lambda message: message.id)
        await self.insert_all(
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
        await self.insert_mail(accepted)
        await self._wake({message.stream_id for message, _ in accepted if message.cost})

    async def _wake(self, streams: Iterable[StreamId]) -> None:
        """Leave a wake for each lane that is not ready; a lane made unready meanwhile is found by the sweep."""
        await self.run(
            WAKE[self.seam.name],
            relation("w(stream_id uuid)", [(stream,) for stream in sorted(streams)]),
        )


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
