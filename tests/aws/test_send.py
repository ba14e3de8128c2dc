"""The send adapter against the local SES, and the words that it keeps; every silence and lie is in test_liar.py."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import boto3
import pytest

from tenantry.app.clock import SystemClock
from tenantry.aws.send import SesSender
from tenantry.aws.session import Credentials, new_session
from tenantry.aws.signed import Limits, SignedClient, Target
from tenantry.core.claim import ATTEMPT_TAG, MESSAGE_TAG, Claim, ses_name
from tenantry.core.ids import AttemptId, MessageId, StreamId, TenantId
from tenantry.core.outcome import Handed, Hold, Outcome, Refused, Retry
from tenantry.emulator.local import Local
from tenantry.emulator.options import Options
from tests.aws.liar import Behaviour, answers, lying

ATTEMPT = AttemptId.of(UUID(int=1))
STREAM = StreamId.of(UUID(int=7))
NAME = ses_name(STREAM)
CLAIM = Claim(
    attempt_id=ATTEMPT,
    message_id=MessageId.of(UUID(int=2)),
    tenant_id=TenantId.of(UUID(int=3)),
    stream_id=STREAM,
    sender="Acme & Co <hello@acme.example>",
    to=("Ann <ann@there.example>", '"Quote \\" d" <q@there.example>'),
    cc=("cc@there.example",),
    bcc=("bcc@there.example",),
    reply_to=("answers@acme.example",),
    content='{"Simple":{"Subject":{"Data":"Grüße"},"Body":{"Text":{"Data":"Hello"}}}}'.encode(),
    tags={"campaign": "spring"},
    claimed_at=datetime(2026, 11, 24, 12, tzinfo=UTC),
    number=1,
)


@asynccontextmanager
async def sender(url: str, deadline_seconds: float = 5.0) -> AsyncIterator[SesSender]:
    clock = SystemClock()
    credentials = Credentials(new_session(("AKIDEXAMPLE", "secret")), clock)
    limits = Limits(connections=4, idle_seconds=5.0, deadline_seconds=deadline_seconds)
    client = SignedClient(Target(url, "us-east-1", "ses"), credentials, clock, limits)
    try:
        yield SesSender(client)
    finally:
        await client.close()


async def outcome(behave: Behaviour, deadline_seconds: float = 5.0) -> tuple[Outcome, int]:
    """Send once to a server that behaves so; return the outcome and how many requests it saw."""
    async with lying(behave) as server, sender(server.url, deadline_seconds) as ses:
        return await ses.send(CLAIM), len(server.requests)


def error(code: str, message: str, status: int = 400) -> Behaviour:
    return answers(status, json.dumps({"message": message}).encode(), f"x-amzn-ErrorType: {code}:http://internal/")


# ---- the local SES


@pytest.fixture
async def local() -> AsyncIterator[Local]:
    options = Options(control_rate_per_second=None, max_send_rate=None, max_24_hour_send=None)
    running = Local(options)
    await asyncio.to_thread(running.__enter__)
    yield running
    await asyncio.to_thread(running.__exit__, None, None, None)


def provision(local: Local, *, associated: bool = True, enabled: bool = True) -> None:
    """Make what provision makes for the stream, with boto3."""
    ses = boto3.client(
        "sesv2",
        endpoint_url=local.url,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
    )
    ses.create_email_identity(EmailIdentity="acme.example")
    ses.create_configuration_set(ConfigurationSetName=NAME, SendingOptions={"SendingEnabled": enabled})
    ses.create_tenant(TenantName=NAME)
    if associated:
        for kind, name in (("identity", "acme.example"), ("configuration-set", NAME)):
            arn = local.account.options.arn(kind, name)
            ses.create_tenant_resource_association(TenantName=NAME, ResourceArn=arn)


async def test_a_claim_is_handed_over_whole(local: Local) -> None:
    """SES gets every recipient by kind, the author, our tags beside the tenant's, tenant and set; its id comes back."""
    await asyncio.to_thread(provision, local)
    async with sender(local.url) as ses:
        handed = await ses.send(CLAIM)
    assert isinstance(handed, Handed)
    (record,) = local.account.ledger.messages
    assert record.message_id == handed.ses_id
    assert (tuple(record.to), tuple(record.cc), tuple(record.bcc)) == (CLAIM.to, CLAIM.cc, CLAIM.bcc)
    assert (record.source, record.subject) == (CLAIM.sender, "Grüße")
    assert (record.tenant, record.configuration_set) == (NAME, NAME)
    assert record.tags == {"campaign": "spring", MESSAGE_TAG: CLAIM.message_id, ATTEMPT_TAG: CLAIM.attempt_id}


async def test_a_missing_association_is_our_own_gap(local: Local) -> None:
    """What SES says is not associated is held as unprovisioned, not lost."""
    await asyncio.to_thread(provision, local, associated=False)
    async with sender(local.url) as ses:
        held = await ses.send(CLAIM)
    assert isinstance(held, Retry)
    assert (held.hold, held.burned) == (Hold.UNPROVISIONED, False)


async def test_nothing_made_yet_is_our_own_gap_too(local: Local) -> None:
    """A tenant or set that SES does not have holds the mail until provision has made it."""
    async with sender(local.url) as ses:
        held = await ses.send(CLAIM)
    assert isinstance(held, Retry)
    assert held.hold is Hold.UNPROVISIONED


async def test_a_set_that_is_switched_off_holds(local: Local) -> None:
    """SES's own fence answers as paused: the message waits, no attempt burned."""
    await asyncio.to_thread(provision, local, enabled=False)
    async with sender(local.url) as ses:
        held = await ses.send(CLAIM)
    assert isinstance(held, Retry)
    assert (held.hold, held.burned, held.throttled) == (Hold.PAUSED, False, False)


# ---- answers that the matrix of test_liar.py does not look into


@pytest.mark.parametrize(
    ("code", "message"),
    [("SendingPausedException", "Sending is paused for this account."), ("NotFoundException", "No such set: x.")],
)
async def test_a_hold_has_ses_words(code: str, message: str) -> None:
    """A no that somebody can turn into a yes is a wait with its reason, in SES's words."""
    found, _ = await outcome(error(code, message))
    assert isinstance(found, Retry)
    assert found.reason == f"{code}: {message}"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("BadRequestException", "Illegal address"),
        ("MessageRejected", "Message failed virus scan."),
        ("SomethingNewException", "no"),
    ],
)
async def test_what_will_not_change_is_refused_in_ses_words(code: str, message: str) -> None:
    """A no for good settles the message, with SES's own words for its tenant."""
    found, _ = await outcome(error(code, message))
    assert found == Refused(ATTEMPT, f"{code}: {message}")


async def test_words_that_no_store_can_hold_are_made_fit() -> None:
    """SES may echo what a tenant sent: a NUL or half a character in its words must not stop the settling of others."""
    found, _ = await outcome(answers(400, b'{"message":"Illegal \\u0000 \\ud800 address"}', "x-amzn-ErrorType: Bad"))
    assert isinstance(found, Refused)
    assert "\0" not in found.reason
    assert found.reason.encode().decode() == found.reason


async def test_missing_credentials_are_proof_that_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials no byte leaves: the message waits, no attempt burned, and is never held as unknown."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    clock = SystemClock()
    client = SignedClient(
        Target("http://127.0.0.1:9", "us-east-1", "ses"), Credentials(boto3.Session(), clock), clock, Limits()
    )
    found = await SesSender(client).send(CLAIM)
    assert isinstance(found, Retry)
    assert not found.burned
    assert "AWS_ACCESS_KEY_ID" in found.reason
