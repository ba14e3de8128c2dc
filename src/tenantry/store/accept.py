"""Owns accept's reads and inserts; it never updates or deletes mail, nor writes a lane (ADR 0004)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select

from tenantry.core.event import Fact
from tenantry.core.ids import KeyId, MessageId, StreamId, TenantId
from tenantry.core.message import Accepted, Message, MessageState
from tenantry.core.tenant import Identity, IdentityStatus, Sender, Stream, Tenant
from tenantry.ports import Remembered
from tenantry.store import tables
from tenantry.store.rows import read_identity, read_stream, read_tenant
from tenantry.store.seam import Queries, Value, relation

SENDERS_KEPT = 10_000


class SenderCache:
    """Senders by tenant, each true for one revision of its tenant; a reader compares revisions in its own transaction."""

    def __init__(self) -> None:
        """Start empty."""
        self._kept: dict[TenantId, tuple[int, Sender]] = {}

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
        senders: dict[KeyId, Sender] = {}
        for key, tenant, revision in found:
            tenant_id = self.seam.id(TenantId, tenant)
            sender = self.sender_cache.get(tenant_id, revision)
            if sender is None:
                sender = await self._sender(tenant_id)
                self.sender_cache.put(revision, sender)
            senders[self.seam.id(KeyId, key)] = sender
        return senders

    async def _sender(self, tenant_id: TenantId) -> Sender:
        tenant = await self._one_tenant(tenant_id)
        streams = await self.conn.execute(select(tables.stream).where(tables.stream.c.tenant_id == tenant_id))
        found = await self.conn.execute(select(tables.identity).where(tables.identity.c.tenant_id == tenant_id))
        identities: list[Identity] = [read_identity(row) for row in found]
        verified = frozenset(one.name for one in identities if one.status is IdentityStatus.VERIFIED)
        return Sender(
            tenant=tenant,
            streams={stream.name: stream for stream in map(read_stream, streams)},
            verified=verified,
            unverified=frozenset(one.name for one in identities) - verified,
        )

    async def _one_tenant(self, tenant_id: TenantId) -> Tenant:
        return read_tenant(
            (await self.conn.execute(select(tables.tenant).where(tables.tenant.c.id == tenant_id))).one()
        )

    async def remembered(self, names: Iterable[tuple[TenantId, str]]) -> Mapping[tuple[TenantId, str], Remembered]:
        """See ports.AcceptStep."""
        wanted = list(names)
        if not wanted:
            return {}
        found = await self.run(
            "SELECT r.tenant_id, r.name, r.digest, r.answer, r.expires_at FROM {w}"
            " JOIN remembered r ON r.tenant_id = w.tenant_id AND r.name = w.name WHERE r.expires_at > :now",
            relation("w(tenant_id uuid, name text)", wanted),
            now=self.now,
        )
        return {
            (self.seam.id(TenantId, tenant), name): Remembered(
                bytes.fromhex(digest), _read_answer(answer), self.seam.at(expires)
            )
            for tenant, name, digest, answer, expires in found
        }

    async def suppressed(
        self, wanted: Iterable[tuple[TenantId, StreamId, str]]
    ) -> Mapping[tuple[TenantId, StreamId, str], str]:
        """See ports.AcceptStep."""
        found = await self.run(
            "SELECT w.tenant_id, w.stream_id, w.address, s.cause FROM {w} JOIN suppression s"
            " ON s.tenant_id = w.tenant_id AND s.address = w.address WHERE s.scope = '' OR s.scope = w.scope",
            relation(
                "w(tenant_id uuid, stream_id uuid, address text, scope text)",
                [(tenant, stream, address, stream.rpartition("_")[2]) for tenant, stream, address in wanted],
            ),
        )
        return {
            (self.seam.id(TenantId, tenant), self.seam.id(StreamId, stream), address): cause
            for tenant, stream, address, cause in found
        }

    async def holds(self, streams: Iterable[Stream]) -> Mapping[StreamId, str]:
        """See ports.AcceptStep."""
        wanted = list(streams)
        holds = {stream.id: "unprovisioned" for stream in wanted if stream.provisioned_at is None}
        scopes = [
            (stream.id, scope)
            for stream in wanted
            for scope in (stream.id, stream.tenant_id, stream.pool_id, stream.cell_id)
        ]
        found = await self.run(
            "SELECT w.stream_id FROM {w} JOIN pause p ON p.scope_id = w.scope_id AND p.ended_at IS NULL",
            relation("w(stream_id uuid, scope_id uuid)", scopes),
        )
        holds.update((self.seam.id(StreamId, stream), "paused") for (stream,) in found)
        return holds

    async def insert_mail(self, accepted: Sequence[tuple[Message, Accepted]]) -> None:
        """Write messages, recipients, content and waiting rows; rows sorted by key."""
        messages = sorted((message for message, _ in accepted), key=lambda message: message.id)
        await self.insert(
            tables.message,
            "id, tenant_id, stream_id, state, sender, reply_to, subject, tags, size, recipients, accepted_at, expires_at,"
            " settled_at, possible_duplicate",
            [self._message_row(message) for message in messages],
        )
        await self.insert(
            tables.recipient,
            "message_id, number, tenant_id, stream_id, kind, mailbox, address, facts, cohort",
            [row for message in messages for row in _recipient_rows(message)],
        )
        await self.insert(
            tables.content, "message_id, body", [(message.id, message.submission.content) for message in messages]
        )
        await self.insert(
            tables.waiting,
            "message_id, stream_id, due_at, cost, attempts",
            [(message.id, message.stream_id, self.now, message.cost, 0) for message in messages if message.cost],
        )

    def _message_row(self, message: Message) -> tuple[Value, ...]:
        submission = message.submission
        settled = message.cost == 0
        return (
            message.id,
            message.tenant_id,
            message.stream_id,
            MessageState.SUPPRESSED if settled else MessageState.WAITING,
            submission.sender,
            json.dumps(submission.reply_to) if submission.reply_to else "[]",
            submission.subject,
            json.dumps(dict(submission.tags)) if submission.tags else "{}",
            len(submission.content),
            len(message.addressees),
            self.now,
            message.expires_at,
            self.now if settled else None,
            False,
        )

    async def insert_accepted(self, accepted: Sequence[tuple[Message, Accepted]]) -> None:
        """See ports.AcceptStep.insert_accepted."""
        await self.insert_mail(accepted)
        await self._wake({message.stream_id for message, _ in accepted if message.cost})
        rows = [
            (message.tenant_id, name, message.submission.body_digest.hex(), _write_answer(answer), until)
            for message, answer in accepted
            if (name := message.submission.idempotency_key) is not None
            for until in (self.now + timedelta(seconds=message.submission.remember_seconds),)
        ]
        if rows:
            names = relation("w(tenant_id uuid, name text)", sorted((row[0], row[1]) for row in rows))
            await self.run(
                "DELETE FROM remembered WHERE EXISTS (SELECT 1 FROM {w}"
                " WHERE w.tenant_id = remembered.tenant_id AND w.name = remembered.name) AND expires_at <= :now",
                names,
                now=self.now,
            )
            await self.insert(tables.remembered, "tenant_id, name, digest, answer, expires_at", sorted(rows))

    async def _wake(self, streams: Iterable[StreamId]) -> None:
        """Leave a wake for each lane that is not ready; a lane made unready meanwhile is found by the sweep."""
        await self.run(
            "INSERT INTO wake (cell_id, stream_id) SELECT lane.cell_id, lane.stream_id FROM {w}"
            " JOIN lane ON lane.stream_id = w.stream_id WHERE NOT lane.ready",
            relation("w(stream_id uuid)", [(stream,) for stream in sorted(streams)]),
        )


def _recipient_rows(message: Message) -> Iterable[tuple[Value, ...]]:
    for number, addressee in enumerate(message.addressees):
        facts = Fact.QUEUED if addressee.suppressed is None else Fact.QUEUED | Fact.SUPPRESSED
        yield (
            message.id,
            number,
            message.tenant_id,
            message.stream_id,
            addressee.kind,
            addressee.mailbox,
            addressee.address,
            int(facts),
            0,
        )


def _write_answer(answer: Accepted) -> str:
    return json.dumps([answer.id, answer.stream, answer.accepted_at.isoformat(), answer.suppressed, answer.hold])


def _read_answer(text: str) -> Accepted:
    message_id, stream, at, suppressed, hold = json.loads(text)
    return Accepted(MessageId(message_id), stream, datetime.fromisoformat(at), tuple(suppressed), True, hold)
