"""The decision to accept: the first rule that says no wins, and what is admitted is what was asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.admission import CONTENT_MOST_BYTES, RECIPIENTS_MOST, TAGS_MOST, Stamp, admit, bare_address
from tenantry.core.ids import CellId, KeyId, MessageId, PoolId, StreamId, TenantId
from tenantry.core.message import Message, Refusal, RefusalCode, Submission
from tenantry.core.tenant import Sender, Stream, StreamClass, Tenant

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
STAMP = Stamp(MessageId.of(UUID(int=9)), NOON)
TENANT = Tenant(TenantId.of(UUID(int=1)), "acme", CellId.of(UUID(int=2)), "000000000001", {}, NOON)


def stream(number: int, kind: StreamClass, *, default: bool = False) -> Stream:
    pool = PoolId.of(UUID(int=3))
    identifier = StreamId.of(UUID(int=number))
    return Stream(identifier, TENANT.id, TENANT.cell_id, pool, kind.value, kind, "standard", default, NOON)


MAIL, BULK = stream(10, StreamClass.TRANSACTIONAL, default=True), stream(11, StreamClass.MARKETING)
SENDER = Sender(
    tenant=TENANT,
    streams={"transactional": MAIL, "marketing": BULK},
    verified=frozenset({"acme.example", "boss@shared.example"}),
    unverified=frozenset({"new.example"}),
)
WANTED = Submission(
    key_id=KeyId.of(UUID(int=5)),
    sender="hello@acme.example",
    authors=("hello@acme.example",),
    to=("Ann <ann@there.example>",),
    cc=(),
    bcc=(),
    reply_to=(),
    subject="Hello",
    content=b"{}",
)


def code(submission: Submission, sender: Sender = SENDER) -> RefusalCode | None:
    decided = admit(submission, sender, {}, STAMP)
    if isinstance(decided, Refusal):
        assert decided.message.endswith("."), "a refusal is a sentence that says what to do"
        return decided.code
    return None


def test_an_admitted_message_is_what_was_asked_for() -> None:
    """Stream, recipients by kind, cost and expiry follow from the submission alone."""
    wanted = WANTED._replace(cc=("cc@there.example",), bcc=("bcc@there.example",), stream="marketing")
    message = admit(wanted, SENDER, {}, STAMP)
    assert isinstance(message, Message)
    assert (message.id, message.tenant_id, message.stream_id) == (STAMP.id, TENANT.id, BULK.id)
    assert [(one.kind, one.address) for one in message.addressees] == [
        ("to", "ann@there.example"),
        ("cc", "cc@there.example"),
        ("bcc", "bcc@there.example"),
    ]
    assert message.cost == 3
    assert message.expires_at == NOON + timedelta(days=3)


def test_the_default_stream_takes_what_names_none() -> None:
    """A submission without a stream goes to the tenant's default, and without one it is refused by name."""
    message = admit(WANTED, SENDER, {}, STAMP)
    assert isinstance(message, Message)
    assert message.stream_id == MAIL.id
    assert code(WANTED, replace(SENDER, streams={"marketing": BULK})) is RefusalCode.UNKNOWN_STREAM
    assert code(WANTED._replace(stream="other")) is RefusalCode.UNKNOWN_STREAM


@pytest.mark.parametrize(
    ("author", "expected"),
    [
        ("anybody@acme.example", None),
        ("Anybody@ACME.example", None),
        ("boss@shared.example", None),
        ("BOSS@shared.example", None),
        ("other@shared.example", RefusalCode.AUTHOR_NOT_YOURS),
        ("hello@sub.acme.example", RefusalCode.AUTHOR_NOT_YOURS),
        ("hello@notacme.example", RefusalCode.AUTHOR_NOT_YOURS),
        ("acme.example@evil.example", RefusalCode.AUTHOR_NOT_YOURS),
        ("hello@acme.example.evil.example", RefusalCode.AUTHOR_NOT_YOURS),
        ("hello@new.example", RefusalCode.IDENTITY_UNVERIFIED),
        ("", RefusalCode.AUTHOR_NOT_YOURS),
        ("@", RefusalCode.AUTHOR_NOT_YOURS),
    ],
)
def test_authors_are_bound_to_verified_identities(author: str, expected: RefusalCode | None) -> None:
    """An address, or exactly its domain, is an identity of the tenant's; look-alikes and sub-domains are not."""
    assert code(WANTED._replace(authors=(author,))) is expected


def test_every_author_is_bound() -> None:
    """One good address does not carry another: From, Sender and envelope sender are each looked at."""
    assert code(WANTED._replace(authors=("hello@acme.example", "boss@bank.example"))) is RefusalCode.AUTHOR_NOT_YOURS
    assert code(WANTED._replace(authors=())) is RefusalCode.INVALID_ADDRESS


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_recipients_are_one_to_fifty_in_all(to: int, cc: int, bcc: int) -> None:
    """SES's limit is on the sum of to, cc and bcc."""
    lists = [tuple(f"p{number}@there.example" for number in range(count)) for count in (to, cc, bcc)]
    found = code(WANTED._replace(to=lists[0], cc=lists[1], bcc=lists[2]))
    total = to + cc + bcc
    expected = RefusalCode.NO_RECIPIENTS if total == 0 else RefusalCode.TOO_MANY_RECIPIENTS
    assert found is (None if 1 <= total <= RECIPIENTS_MOST else expected)


def test_size_and_tags_have_limits_and_our_prefixes_are_kept() -> None:
    """What attributes events cannot be forged by a tag, in any case of letters."""
    assert code(WANTED._replace(content=b"x" * (CONTENT_MOST_BYTES + 1))) is RefusalCode.TOO_LARGE
    assert code(WANTED._replace(tags={f"t{number}": "v" for number in range(TAGS_MOST)})) is None
    assert code(WANTED._replace(tags={f"t{n}": "v" for n in range(TAGS_MOST + 1)})) is RefusalCode.INVALID_TAG
    for name in ("tenantry-message", "Tenantry-Attempt", "ses:configuration-set", "SES:anything"):
        assert code(WANTED._replace(tags={name: "v"})) is RefusalCode.INVALID_TAG


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=8), st.sets(st.sampled_from("abcd")))
def test_suppressed_recipients_cost_nothing_and_refuse_nobody(to: list[str], gone: set[str]) -> None:
    """Each suppressed address is marked with its cause, in any case of letters; cost is the rest."""
    suppressed = {(TENANT.id, MAIL.id, f"{name}@there.example"): "bounce" for name in gone}
    mailboxes = tuple(f"{name.upper()} <{name.upper()}@There.Example>" for name in to)
    message = admit(WANTED._replace(to=mailboxes), SENDER, suppressed, STAMP)
    assert isinstance(message, Message)
    assert [one.suppressed for one in message.addressees] == ["bounce" if name in gone else None for name in to]
    assert message.cost == sum(name not in gone for name in to)


def test_another_streams_suppression_does_not_reach_here() -> None:
    """What is suppressed for marketing is mailed by transactional."""
    suppressed = {(TENANT.id, BULK.id, "ann@there.example"): "complaint"}
    message = admit(WANTED, SENDER, suppressed, STAMP)
    assert isinstance(message, Message)
    assert message.cost == 1


@pytest.mark.parametrize(
    ("mailbox", "address"),
    [
        ("ann@there.example", "ann@there.example"),
        ("Ann <Ann@There.example>", "ann@there.example"),
        ('"a <b@c.example>" <ann@there.example>', "ann@there.example"),
        ("<ann@there.example>", "ann@there.example"),
    ],
)
def test_the_bare_address_is_what_is_mailed(mailbox: str, address: str) -> None:
    """A display name, even one that looks like an address, does not hide the recipient from suppression."""
    assert bare_address(mailbox) == address
