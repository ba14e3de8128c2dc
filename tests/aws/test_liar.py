"""Every answer, silence and lie of SES amounts to its documented class, and no call is made twice."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import boto3
import pytest

from tenantry.app.clock import SystemClock
from tenantry.aws.send import SesSender
from tenantry.aws.session import Credentials, new_session
from tenantry.aws.signed import Limits, SignedClient, Target
from tenantry.core.claim import Claim
from tenantry.core.ids import AttemptId, MessageId, StreamId, TenantId
from tenantry.core.outcome import Handed, Outcome, Refused, Retry
from tests.aws.cells import CELLS, ERRORS, LARGE, Cell, slow_then_silent
from tests.aws.certificates import Certificates, make_certificates
from tests.aws.liar import handed, lying, says

CLOCK = SystemClock()
CREDENTIALS = Credentials(new_session(("AKIDEXAMPLE", "secret")), CLOCK)
SLACK_SECONDS = 3.0  # for a busy machine; no deadline here is as long
TAKEN_BYTES_MAX = 12 * 2**20  # of one answer, with what the kernel buffers; 1 MiB is read
CLAIM = Claim(
    attempt_id=AttemptId.of(UUID(int=1)),
    message_id=MessageId.of(UUID(int=2)),
    tenant_id=TenantId.of(UUID(int=3)),
    stream_id=StreamId.of(UUID(int=7)),
    sender="hello@acme.example",
    to=("ann@there.example",),
    cc=(),
    bcc=(),
    reply_to=(),
    content=b'{"Simple":{"Subject":{"Data":"Hi"},"Body":{"Text":{"Data":"Hello"}}}}',
    tags={},
    claimed_at=datetime(2026, 11, 24, 12, tzinfo=UTC),
    number=1,
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def sender(url: str, deadline: float, connections: int = 4) -> AsyncIterator[SesSender]:
    limits = Limits(connections=connections, idle_seconds=5.0, deadline_seconds=deadline)
    client = SignedClient(Target(url, "us-east-1", "ses"), CREDENTIALS, CLOCK, limits)
    try:
        yield SesSender(client)
    finally:
        await client.close()


async def calls(ses: SesSender, cell: Cell) -> list[Outcome]:
    """Make a cell's calls: one after the other, or all at once."""
    claim = (
        replace(CLAIM, content=b'{"Raw":{"Data":"%s"}}' % (b"x" * cell.content_bytes)) if cell.content_bytes else CLAIM
    )
    if not cell.between:
        return list(await asyncio.gather(*(ses.send(claim) for _ in cell.outcomes)))
    found = []
    for _ in cell.outcomes:
        found.append(await ses.send(claim))
        await asyncio.sleep(cell.between)
    return found


def told(outcome: Outcome) -> str:
    """Say an outcome as the table does."""
    match outcome:
        case Handed():
            return "handed"
        case Refused():
            return "refused"
        case Retry():
            assert not outcome.burned, "whatever SES or the network does, it is not the message's fault"
            return f"retry: {'throttled' if outcome.throttled else outcome.hold}"
        case _:
            return "unknown"


def names(cells: tuple[Cell, ...]) -> list[str]:
    return [re.sub(r"[^\w]+", "-", f"{cell.row}-{cell.variant}").strip("-") for cell in cells]


@pytest.mark.parametrize("cell", CELLS, ids=names(CELLS))
async def test_each_lie_has_its_class_and_costs_one_call(
    cell: Cell, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome is the documented one, in time and in bounded memory; no request is made twice, or after a proof."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates.authority))
    connections = 4 if cell.between else 1
    async with cell.serve(certificates) as liar, sender(liar.url, cell.deadline, connections) as ses:
        began = CLOCK.monotonic()
        found = await calls(ses, cell)
        took = CLOCK.monotonic() - began
        requests, said = len(liar.requests), liar.said
    assert all(told(one) in wanted.split(" or ") for one, wanted in zip(found, cell.outcomes, strict=True)), found
    assert took < cell.deadline * len(found) + SLACK_SECONDS
    assert said < TAKEN_BYTES_MAX
    if cell.requests is None:
        assert requests <= len(found)
    else:
        assert requests == (len(found) if cell.requests < 0 else cell.requests)


async def test_a_call_has_one_deadline_for_everything() -> None:
    """Waiting for a connection, the connection and the answer share the deadline: a call does not take it twice."""
    async with lying(slow_then_silent) as liar, sender(liar.url, 1.5, connections=1) as ses:
        began = CLOCK.monotonic()
        found = await asyncio.gather(ses.send(CLAIM), ses.send(CLAIM))
        took = CLOCK.monotonic() - began
    assert [told(one) for one in found] == ["handed", "unknown"]
    assert took < 2.0


async def test_the_liar_keeps_every_byte() -> None:
    """The log that the other tests count on holds what the client wrote: one whole request, its length and no more."""
    async with lying(says(handed("one"))) as liar, sender(liar.url, 5.0) as ses:
        assert await ses.send(CLAIM) == Handed(CLAIM.attempt_id, "one")
        ((head, body),) = liar.requests
        assert liar.received == len(head) + len(body)
    assert head.startswith(b"POST /v2/email/outbound-emails HTTP/1.1\r\n")
    assert CLAIM.content in body


def test_every_error_of_the_model_has_a_row() -> None:
    """What botocore's model of SES lists for SendEmail is in the matrix with its status; a new one turns this red."""
    client = boto3.client("sesv2", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    shapes = client.meta.service_model.operation_model("SendEmail").error_shapes
    modelled = {(shape.name, shape.metadata["error"]["httpStatusCode"]) for shape in shapes}
    assert len(modelled) >= 8
    assert modelled <= {(code, status) for code, status, _, _ in ERRORS}


def documented() -> Iterator[tuple[str, str]]:
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
    section = page.partition("\n## SES answers\n")[2].partition("\n## ")[0]
    for row, outcome in re.findall(r"^\| (.+?) \| (.+?) \|$", section, re.MULTILINE):
        if row not in {"SES", "---"}:
            yield row, outcome


def test_the_table_of_the_docs_is_the_matrix() -> None:
    """Each row of the page is tested with the outcome that it states, and each tested row is on the page."""
    tested = {(cell.row, ", then ".join(dict.fromkeys(cell.outcomes))) for cell in CELLS}
    assert sorted(documented()) == sorted(tested)


def test_large_requests_do_not_fit_into_the_kernel() -> None:
    """What the deaf cells send is more than a send buffer takes, or they would test nothing."""
    most = Path("/proc/sys/net/ipv4/tcp_wmem")
    assert not most.exists() or int(most.read_text().split()[2]) < LARGE
