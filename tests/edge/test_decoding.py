"""Decoding without sockets: whatever is sent ends as a submission free of injection, or as a refusal."""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.ids import KeyId
from tenantry.core.message import Refusal, Submission
from tenantry.edge import rest_message, ses_message
from tenantry.edge.ses_message import QUICK, Call, Decoded, SendEmail, invocation_id
from tenantry.wire.aws import Service, WireError
from tests.edge.doorstep import MODEL

KEY = KeyId("key_" + "0" * 32)
SERVICE = Service(MODEL, "sesv2")
GOOD = {"from": "a@acme.example", "to": "b@example.com", "subject": "Hi", "text": "Hello"}
SES_GOOD = {
    "FromEmailAddress": "A <a@acme.example>",
    "Destination": {"ToAddresses": ["b@example.com"]},
    "Content": {"Simple": {"Subject": {"Data": "Hi"}, "Body": {"Text": {"Data": "Hello"}}}},
}
TRICKY = st.text(st.sampled_from('ab@.<>",;:() \t\r\n\0\x0b\x85\u2028\u00e9=?'), max_size=30)


def clean(submission: Submission) -> bool:
    """Whether nothing that goes into a header holds a control character or a line's end."""
    lines = (submission.sender, *submission.recipients, *submission.reply_to, submission.subject, *submission.authors)
    return all(line.isprintable() and "\n" not in line for line in lines)


@given(st.sampled_from(["from", "to", "cc", "bcc", "reply_to", "subject"]), TRICKY)
def test_no_text_of_a_rest_body_breaks_out_of_its_header(field: str, text: str) -> None:
    """Any text in an address or the subject is refused, or comes to one clean line."""
    decoded = rest_message.decode(KEY, json.dumps({**GOOD, field: text}).encode(), None)
    if isinstance(decoded, Refusal):
        assert decoded.field
        assert decoded.message
    else:
        assert clean(decoded)
        assert json.loads(decoded.content)["Simple"]["Subject"]["Data"] == decoded.subject


@given(TRICKY, TRICKY)
def test_no_header_of_a_ses_call_breaks_out(name: str, value: str) -> None:
    """Any name and value of a header is refused, or handed over as one clean line."""
    content = {"Simple": {**SES_GOOD["Content"]["Simple"], "Headers": [{"Name": name, "Value": value}]}}
    decoded = ses_message.decode(Call(KEY, b"", None), cast(SendEmail, {**SES_GOOD, "Content": content}))
    if isinstance(decoded, Decoded):
        handed = json.loads(decoded.submission.content)["Simple"]["Headers"]
        assert all(row["Name"].isprintable() and row["Value"].isprintable() for row in handed)


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(body: bytes) -> None:
    """No body makes a door fail: each is decoded or refused."""
    assert isinstance(rest_message.decode(KEY, body, None), Refusal | Submission)
    assert isinstance(SERVICE.decode("SendEmail", body), dict | WireError)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["", "x", "QUJD", "INLINE", "BASE64", "b@example.com"]),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
MEMBERS = st.sampled_from(
    ["FromEmailAddress", "Destination", "Content", "EmailTags", "ReplyToAddresses", "TenantName", "EndpointId", "New"]
)


@given(st.dictionaries(MEMBERS, JSON, max_size=3), st.binary(max_size=12))
def test_the_quick_reader_says_nothing_but_what_the_model_says(changes: dict[str, object], blob: bytes) -> None:
    """What the quick reader takes, the model's reader takes too, and reads alike."""
    data = b64encode(blob).decode()
    attachment = {"FileName": "a", "RawContent": data}
    simple = {**SES_GOOD["Content"]["Simple"], "Attachments": [attachment]}
    for content in ({"Raw": {"Data": data}}, {"Simple": simple}):
        body = json.dumps({**SES_GOOD, "Content": content, **changes}).encode()
        try:
            quick = QUICK.validate_json(body)
        except ValueError:
            continue
        read = SERVICE.decode("SendEmail", body)
        if isinstance(read, WireError):
            # Lengths and the like, which our own checks hold too: what the model refuses is refused here as well.
            assert isinstance(ses_message.decode(Call(KEY, sha256(body).digest(), None), quick), Refusal), read
        else:
            assert quick == read


@pytest.mark.parametrize("text", ["x" * 995, "x" * 998])
def test_a_long_subject_is_taken_up_to_its_limit(text: str) -> None:
    """A subject may be as long as a header line."""
    assert isinstance(rest_message.decode(KEY, json.dumps({**GOOD, "subject": text}).encode(), None), Submission)


def test_content_is_handed_over_as_it_was_written() -> None:
    """What the caller wrote about attachments reaches SES unchanged, and text is UTF-8."""
    attachment = {
        "FileName": "a.txt",
        "RawContent": b"\xff\x00",
        "ContentDescription": "notes",
        "ContentTransferEncoding": "QUOTED_PRINTABLE",
    }
    simple = {**SES_GOOD["Content"]["Simple"], "Attachments": [attachment]}
    decoded = ses_message.decode(Call(KEY, b"", None), cast(SendEmail, {**SES_GOOD, "Content": {"Simple": simple}}))
    assert isinstance(decoded, Decoded)
    handed = json.loads(decoded.submission.content)["Simple"]
    assert handed["Attachments"] == [{**attachment, "RawContent": b64encode(b"\xff\x00").decode()}]
    plain = ses_message.decode(Call(KEY, b"", None), cast(SendEmail, SES_GOOD))
    assert isinstance(plain, Decoded)
    assert json.loads(plain.submission.content)["Simple"]["Subject"] == {"Data": "Hi", "Charset": "UTF-8"}


@pytest.mark.parametrize(
    ("header", "known"),
    [(None, None), (b"", None), (b"x" * 129, None), (b"a\xff", None), (b"a\nb", None), (b"7-8", "7-8")],
)
def test_an_odd_invocation_id_counts_as_none(header: bytes | None, known: str | None) -> None:
    """Text that no SDK would send as an id dedupes nothing."""
    assert invocation_id(header) == known


def test_a_retry_is_known_by_id_and_body() -> None:
    """The idempotency name holds both, so that one id with two bodies makes two calls."""
    names = set[str | None]()
    for invocation, body in (("1", b"a"), ("1", b"b"), ("2", b"a"), (None, b"a")):
        decoded = ses_message.decode(Call(KEY, sha256(body).digest(), invocation), cast(SendEmail, SES_GOOD))
        assert isinstance(decoded, Decoded)
        names.add(decoded.submission.idempotency_key)
    assert len(names) == 4
    assert None in names
