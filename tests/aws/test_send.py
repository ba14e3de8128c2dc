"""The send adapter: what SES's answers, and its silences, amount to; against the local SES and a server that lies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
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
from tenantry.core.outcome import Handed, Hold, Outcome, Refused, Retry, Unknown
from tenantry.emulator.local import Local
from tenantry.emulator.options import Options
from tests.aws import liar
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


# ---- silences and lies


async def test_no_connection_is_proof_that_nothing_was_sent() -> None:
    """Where nobody listens the message may go again, and the failure is not the message's."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with sender(f"http://127.0.0.1:{closed.getsockname()[1]}") as ses:
            found = await ses.send(CLAIM)
    assert isinstance(found, Retry)
    assert (found.burned, found.throttled) == (False, False)


async def test_a_connection_that_never_comes_is_proof_too() -> None:
    """Where packets vanish the call ends before its deadline as not accepted: nothing was written yet."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)  # accepts nobody: once its queue is full, the next connection gets no answer
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                early = stack.enter_context(socket.socket())
                early.setblocking(False)
                early.connect_ex(deaf.getsockname())
            async with sender(f"http://127.0.0.1:{deaf.getsockname()[1]}", deadline_seconds=0.4) as ses:
                found = await ses.send(CLAIM)
    assert isinstance(found, Retry), found


@pytest.mark.parametrize(
    "behave", [liar.cuts_after_the_body, liar.cuts_in_the_answer, liar.resets, liar.talks_nonsense]
)
async def test_a_cut_after_the_request_is_unknown(behave: Behaviour) -> None:
    """Once the request was written, SES may have it: never resent blindly, and exactly one request was made."""
    found, requests = await outcome(behave)
    assert isinstance(found, Unknown)
    assert requests == 1


async def test_a_call_past_its_deadline_is_unknown() -> None:
    """A server that says nothing costs the deadline, and the outcome is not known."""
    began = asyncio.get_running_loop().time()
    found, requests = await outcome(liar.hangs, deadline_seconds=0.2)
    assert isinstance(found, Unknown)
    assert requests == 1
    assert asyncio.get_running_loop().time() - began < 2.0


async def test_a_pooled_connection_that_is_cut_is_not_tried_again() -> None:
    """The second call on a kept connection that dies is unknown: the client must not resend by itself."""

    async def once(server: liar.Liar, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"MessageId":"one"}')
        await writer.drain()
        await server.read(reader)

    async with lying(once) as server, sender(server.url) as ses:
        first, second = await ses.send(CLAIM), await ses.send(CLAIM)
        assert len(server.requests) == 2
    assert first == Handed(ATTEMPT, "one")
    assert isinstance(second, Unknown)


@pytest.mark.parametrize("body", [b"", b"{}", b"not json", b"[]", b"null", b'{"MessageId":null}', b'{"MessageId":""}'])
async def test_a_good_status_without_an_id_is_unknown(body: bytes) -> None:
    """200 with junk proves nothing."""
    found, _ = await outcome(answers(200, body))
    assert isinstance(found, Unknown)


@pytest.mark.parametrize("status", [201, 204, 301, 307, 500, 502, 503, 504])
async def test_every_other_status_is_unknown(status: int) -> None:
    """A 5xx, a redirect or a strange success may stand after the mail was taken; a redirect is not followed."""
    found, requests = await outcome(answers(status, b"", "Location: /elsewhere"))
    assert isinstance(found, Unknown)
    assert requests == 1


async def test_an_error_of_ses_behind_a_5xx_is_unknown() -> None:
    """Even a well-formed error does not prove that nothing was sent when its status says that SES failed."""
    found, _ = await outcome(error("InternalServiceErrorException", "oops", 500))
    assert isinstance(found, Unknown)


async def test_a_throttle_slows_and_burns_nothing() -> None:
    """429, and the daily quota's 400, are the account's: the message comes again as it was."""
    for behave in (
        error("TooManyRequestsException", "Maximum sending rate exceeded.", 429),
        error("ThrottlingException", "Daily message quota exceeded."),
        error("LimitExceededException", "There are too many instances."),
        answers(429, b""),
    ):
        found, _ = await outcome(behave)
        assert isinstance(found, Retry)
        assert (found.burned, found.throttled) == (False, True)


@pytest.mark.parametrize(
    ("code", "message", "hold"),
    [
        ("AccountSuspendedException", "The account was shut down.", Hold.PAUSED),
        ("SendingPausedException", "Sending is paused for this account.", Hold.PAUSED),
        ("MailFromDomainNotVerifiedException", "MX is missing.", Hold.UNVERIFIED),
        ("NotFoundException", "Configuration set does not exist.", Hold.UNPROVISIONED),
        ("AccessDeniedException", "Tenant not associated with resources [x]", Hold.UNPROVISIONED),
        ("MessageRejected", "Email address is not verified. The following ...", Hold.UNVERIFIED),
        ("MessageRejected", "Sending disabled for arn:aws:ses:...", Hold.PAUSED),
    ],
)
async def test_what_may_change_holds(code: str, message: str, hold: Hold) -> None:
    """A no that somebody can turn into a yes is a wait with its reason, in SES's words."""
    found, _ = await outcome(error(code, message))
    assert isinstance(found, Retry)
    assert (found.hold, found.burned, found.throttled) == (hold, False, False)
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


@pytest.mark.parametrize("code", ["ExpiredTokenException", "SignatureDoesNotMatch", "UnrecognizedClientException"])
async def test_our_own_credentials_are_never_the_messages_fault(code: str) -> None:
    """While our keys are wrong mail waits: nothing is refused and no attempt is burned."""
    found, _ = await outcome(error(code, "no", 403))
    assert isinstance(found, Retry)
    assert (found.burned, found.throttled) == (False, False)


async def test_words_that_no_store_can_hold_are_made_fit() -> None:
    """SES may echo what a tenant sent: a NUL or half a character in its words must not stop the settling of others."""
    found, _ = await outcome(answers(400, b'{"message":"Illegal \\u0000 \\ud800 address"}', "x-amzn-ErrorType: Bad"))
    assert isinstance(found, Refused)
    assert "\0" not in found.reason
    assert found.reason.encode().decode() == found.reason


async def test_an_id_that_no_store_can_hold_proves_nothing() -> None:
    """An answer that does not look like SES's is no hand-off."""
    found, _ = await outcome(answers(200, b'{"MessageId":"\\u0000\\ud800"}'))
    assert isinstance(found, Unknown)
    found, _ = await outcome(answers(200, json.dumps({"MessageId": "x" * 5_000}).encode()))
    assert isinstance(found, Unknown)


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
