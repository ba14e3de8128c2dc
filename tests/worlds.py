"""Builds the small worlds that tests start from, out of the real parts; leaves what must hold to the tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

from sqlalchemy import text

from tenantry import ports
from tenantry.core.claim import ATTEMPT_TAG, MESSAGE_TAG, Claim, ses_name
from tenantry.core.event import Report
from tenantry.core.ids import AttemptId, CellId, KeyId, StreamId, TenantId
from tenantry.core.message import Accepted, Submission
from tenantry.core.outcome import Handed
from tenantry.core.standing import counts_as_bounce, fact_of
from tenantry.core.tenant import DkimMode, NewIdentity, NewStream, NewTenant, Scope, StreamClass
from tenantry.flow.accept import Answer, accept
from tenantry.flow.dispatch import claim, settle
from tenantry.ports import AccountReading
from tenantry.store.bootstrap import ensure_cell
from tenantry.store.store import Step, Store

OPERATOR = KeyId("key_" + "0" * 32)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
PLENTY = AccountReading(
    rate_per_second=100_000.0, quota_24h=-1.0, sent_24h=0.0, sending_enabled=True, enforcement="HEALTHY"
)


@dataclass
class FixedClock:
    """A clock that moves only when told to; sleeping moves it."""

    at: datetime = NOON
    elapsed: float = 0.0
    slept: list[float] = field(default_factory=list)

    def wall(self) -> datetime:
        """See ports.Clock."""
        return self.at

    def monotonic(self) -> float:
        """See ports.Clock."""
        return self.elapsed

    def advance(self, seconds: float) -> None:
        """Move the time on."""
        self.at += timedelta(seconds=seconds)
        self.elapsed += seconds

    async def sleep(self, seconds: float) -> None:
        """See ports.Clock."""
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Member:
    """A tenant that is ready to send: verified domain, both streams provisioned, a key."""

    tenant_id: TenantId
    key_id: KeyId
    secret: str
    domain: str
    transactional: StreamId
    marketing: StreamId


async def cell(store: Store, reading: AccountReading = PLENTY) -> CellId:
    """Make the cell and let it send."""
    cell_id = await ensure_cell(store, "main", "us-east-1")
    async with store.step() as step:
        await step.set_account(cell_id, reading)
        await step.conn.execute(text("UPDATE cell SET tokens = rate_per_second"))  # a bucket that has had time to fill
    return cell_id


async def another_cell(store: Store) -> CellId:
    """Make a second cell beside it."""
    return await ensure_cell(store, "other", "eu-west-1")


async def member(store: Store, name: str = "acme") -> Member:
    """Make a tenant that is ready to send."""
    tenant = await store.fleet(OPERATOR).add_tenant(NewTenant(name))
    mine = store.of(tenant.id)
    transactional = await mine.add_stream(NewStream("transactional", StreamClass.TRANSACTIONAL, is_default=True))
    marketing = await mine.add_stream(NewStream("marketing", StreamClass.MARKETING))
    await mine.add_identity(NewIdentity(f"{name}.example", DkimMode.EASY))  # a key pair takes a tenth of a second
    key, secret = await mine.add_key(frozenset({Scope.SEND, Scope.READ}))
    await verify(store)
    return Member(tenant.id, key.id, secret, f"{name}.example", transactional.id, marketing.id)


async def verify(store: Store) -> None:
    """Make every identity verified and every stream provisioned, as provision would."""
    async with store.step() as step:
        now = {"now": step.seam.raw(step.now)}
        await step.conn.execute(text("UPDATE identity SET status = 'verified', verified_at = :now"), now)
        await step.conn.execute(text("UPDATE stream SET provisioned_at = :now"), now)
        await step.conn.execute(text("UPDATE tenant SET revision = revision + 1"))


def submission(member: Member, *to: str, stream: str | None = None, key: str | None = None) -> Submission:
    """A small message of this tenant."""
    return Submission(
        key_id=member.key_id,
        sender=f"hello@{member.domain}",
        authors=(f"hello@{member.domain}",),
        to=to or ("ann@there.example",),
        cc=(),
        bcc=(),
        reply_to=(),
        subject="Hello",
        content=b'{"Simple":{"Subject":{"Data":"Hello"},"Body":{"Text":{"Data":"Hello"}}}}',
        stream=stream,
        idempotency_key=key,
        body_digest=b"body",
        remember_seconds=86_400,
    )


async def accepted(store: Store, member: Member, count: int = 1, stream: str | None = None) -> list[Accepted]:
    """Let this tenant submit messages to as many different people."""
    wanted = [submission(member, f"p{number}@there.example", stream=stream) for number in range(count)]
    answers: Sequence[Answer] = await accept(store, wanted)
    assert all(isinstance(answer, Accepted) for answer in answers), answers
    return [answer for answer in answers if isinstance(answer, Accepted)]


async def handed(store: Store, cell_id: CellId, room: int = 1_000) -> list[tuple[Claim, str]]:
    """Claim all that may go and settle it as handed, as a perfect SES would."""
    done: list[tuple[Claim, str]] = []
    while claims := (await claim(store, cell_id, room)).claims:
        outcomes = [(one, f"ses-{one.attempt_id}") for one in claims]
        await settle(store, [Handed(one.attempt_id, ses_id) for one, ses_id in outcomes])
        done += outcomes
    return done


def report(
    kind: str, claim: Claim, ses_id: str, *recipients: str, bounce: tuple[str, str] = ("Permanent", "General")
) -> Report:
    """An event of SES about a claim that was handed over."""
    fact = fact_of(kind, bounce[0] if kind == "Bounce" else None, "abuse" if kind == "Complaint" else None)
    hard = kind == "Bounce" and counts_as_bounce(*bounce)
    return Report(
        kind=kind,
        fact=fact,
        ses_id=ses_id,
        digest=f"{kind}/{ses_id}/{','.join(recipients)}/{bounce}".encode(),
        at=claim.claimed_at,
        recipients=recipients or tuple(claim.to + claim.cc + claim.bcc),
        tags={
            "ses:configuration-set": (ses_name(claim.stream_id),),
            MESSAGE_TAG: (claim.message_id,),
            ATTEMPT_TAG: (claim.attempt_id,),
        },
        counts=hard or kind == "Complaint",
        suppresses=hard or kind == "Complaint",
        detail={},
        raw="{}",
        message_id=claim.message_id,
        attempt_id=claim.attempt_id,
    )


@dataclass
class FailingStore:
    """A real store whose commits fail as told, one entry a step: an error raised at the commit, or None for a good one."""

    real: Store
    fates: list[Exception | None] = field(default_factory=list)
    steps: int = 0

    def step(self, lock: CellId | None = None) -> AbstractAsyncContextManager[Step]:
        """See ports.Store."""
        return self._failing(self.real.step(lock))

    def accepting(self) -> AbstractAsyncContextManager[Step]:
        """See ports.Store."""
        return self._failing(self.real.accepting())

    @asynccontextmanager
    async def _failing(self, opened: AbstractAsyncContextManager[Step]) -> AsyncIterator[Step]:
        fate = self.fates[self.steps] if self.steps < len(self.fates) else None
        self.steps += 1
        async with opened as step:
            yield step
            if fate is not None:
                raise fate

    def reading(self) -> AbstractAsyncContextManager[Step]:
        """See ports.Store."""
        return self.real.reading()

    def note_claim(self, last: AttemptId) -> None:
        """See ports.Store."""
        self.real.note_claim(last)

    def next_fails(self, *fates: Exception | None) -> ports.Store:
        """Let the coming steps fail so; returns itself as the port that flows take."""
        self.fates, self.steps = list(fates), 0
        return cast(ports.Store, self)
