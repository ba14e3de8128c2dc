"""Signature Version 4, held to botocore's signer as the independent oracle."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from unittest.mock import patch
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantry.wire.sigv4 import Credential, ProblemKind, SignedRequest, Signer, parse_authorization, verify

KEY, SECRET, REGION, HOST = "TNT0EXAMPLE", "s3cr+t/with=odd characters", "eu-central-1", "127.0.0.1:8025"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

labels = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=30).map(lambda t: quote(t, safe=""))
paths = st.lists(labels, max_size=4).map(lambda parts: "/v2/email/" + "/".join(parts))
plain_paths = st.sampled_from(["/", "/v2/email/outbound-emails", "/v2/email//identities/", "/v2/email/../x/./y~z"])
values = st.text(st.characters(blacklist_categories=("Cs",)), max_size=12).map(lambda t: quote(t, safe="-_.~"))
queries = st.lists(st.tuples(values.filter(bool), values), max_size=4).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
methods = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"])
bodies = st.one_of(st.binary(max_size=80), st.text(st.characters(blacklist_categories=("Cs",))).map(str.encode))
tokens = st.sampled_from([None, "FwoGZXIvYXdzEJr//////////wEaDexample+token="])
moments = st.integers(978_307_200, 4_102_444_799).map(lambda second: datetime.fromtimestamp(second, UTC))


def botocore_signed(
    method: str, target: str, body: bytes, headers: dict[str, str], at: datetime = NOW, token: str | None = None
) -> AWSRequest:
    request = AWSRequest(method=method, url=f"http://{HOST}{target}", data=body, headers=headers)
    with patch("botocore.auth.get_current_datetime", return_value=at.replace(tzinfo=None)):
        SigV4Auth(Credentials(KEY, SECRET, token), "ses", REGION).add_auth(request)
    return request


def as_received(request: AWSRequest) -> SignedRequest:
    parts = urlsplit(request.url)
    headers = [(b"host", HOST.encode()), (b"user-agent", b"test"), (b"content-length", b"1")]
    headers += [
        (name.lower().encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in request.headers.items()
    ]
    return SignedRequest(request.method, parts.path.encode(), parts.query.encode(), headers, request.body or b"")


def a_request(at: datetime = NOW, **more: str) -> SignedRequest:
    headers = {"Content-Type": "application/json", **more}
    return as_received(botocore_signed("POST", "/v2/email/outbound-emails?a=1", b'{"x": "y"}', headers, at))


def with_header(request: SignedRequest, name: bytes, value: bytes) -> SignedRequest:
    return request._replace(headers=[(n, value if n == name else v) for n, v in request.headers])


@settings(max_examples=300, deadline=None)
@given(methods, st.one_of(paths, plain_paths), queries, bodies, tokens, moments)
def test_the_signer_equals_botocore(
    method: str, path: str, query: str, body: bytes, token: str | None, at: datetime
) -> None:
    """For any method, encoded path, query, body, token and time the Authorization header is botocore's own."""
    oracle = botocore_signed(
        method, f"{path}?{query}" if query else path, body, {"Content-Type": "application/json"}, at, token
    )
    ours = Signer(KEY, SECRET, REGION, "ses", token).headers(
        method, path, query, HOST, body, now=at, content_type="application/json"
    )
    assert ours["authorization"] == oracle.headers["Authorization"]
    assert ours["x-amz-date"] == oracle.headers["X-Amz-Date"]
    assert ours.get("x-amz-security-token") == oracle.headers.get("X-Amz-Security-Token")


def test_the_signer_signs_without_a_content_type() -> None:
    """A call without a body sends no content type and signs none."""
    ours = Signer(KEY, SECRET, REGION, "ses").headers(
        "GET", "/v2/email/account", "", HOST, b"", now=NOW, content_type=""
    )
    assert ours["authorization"] == botocore_signed("GET", "/v2/email/account", b"", {}).headers["Authorization"]
    assert "content-type" not in ours


def test_the_signer_follows_the_clock_over_midnight() -> None:
    """The remembered key and stamp change with the second and the day, in both directions."""
    signer = Signer(KEY, SECRET, REGION, "ses")
    midnight = datetime(2026, 1, 1, tzinfo=UTC)
    for seconds in (-1, 0, -1, 777_600):
        at = midnight + timedelta(seconds=seconds)
        oracle = botocore_signed("POST", "/v2/email/x", b"b", {"Content-Type": "a/b"}, at)
        ours = signer.headers("POST", "/v2/email/x", "", HOST, b"b", now=at, content_type="a/b")
        assert ours["authorization"] == oracle.headers["Authorization"]


def test_the_signer_refuses_a_time_without_zone() -> None:
    """A naive time is a bug that raises at once, never a signature an hour off."""
    with pytest.raises(ValueError, match="zone"):
        Signer(KEY, SECRET, REGION, "ses").headers(
            "GET", "/", "", HOST, b"", now=NOW.replace(tzinfo=None), content_type=""
        )


@settings(max_examples=200, deadline=None)
@given(methods, st.one_of(paths, plain_paths), queries, bodies, tokens)
def test_what_botocore_signs_is_believed(method: str, path: str, query: str, body: bytes, token: str | None) -> None:
    """A request that an unmodified botocore signed verifies with its secret, and with no other."""
    target = f"{path}?{query}" if query else path
    request = as_received(botocore_signed(method, target, body, {"Content-Type": "application/json"}, NOW, token))
    assert verify(request, SECRET, NOW) is None
    problem = verify(request, SECRET + "x", NOW)
    assert problem
    assert problem.kind is ProblemKind.MISMATCH


@settings(max_examples=50, deadline=None)
@given(methods, paths, queries, bodies)
def test_our_own_signature_is_believed(method: str, path: str, query: str, body: bytes) -> None:
    """Signer and verifier are two sides of one rule."""
    sent = Signer(KEY, SECRET, REGION, "sqs").headers(method, path, query, HOST, body, now=NOW, content_type="a/b; c=d")
    headers = [(b"host", HOST.encode()), *((n.encode(), v.encode()) for n, v in sent.items())]
    request = SignedRequest(method, path.encode(), query.encode(), headers, body)
    assert verify(request, SECRET, NOW, service="sqs") is None


@pytest.mark.parametrize("what", ["path", "query", "body"])
def test_any_changed_byte_is_noticed(what: str) -> None:
    """No single changed byte of path, query or body passes."""
    request = a_request()
    original: bytes = getattr(request, what)
    for at in range(len(original)):
        for flip in (1, 2, 32):
            changed = original[:at] + bytes([original[at] ^ flip]) + original[at + 1 :]
            assert verify(request._replace(**{what: changed}), SECRET, NOW) is not None


@pytest.mark.parametrize("name", [b"host", b"x-amz-date", b"content-type", b"authorization"])
def test_any_changed_byte_of_a_signed_header_is_noticed(name: bytes) -> None:
    """No single changed byte of a signed header or of the Authorization passes, unless it changes no meaning."""
    request = a_request()
    original = dict(request.headers)[name]
    credential = parse_authorization(dict(request.headers)[b"authorization"])
    for at in range(len(original)):
        changed = original[:at] + bytes([original[at] ^ 1]) + original[at + 1 :]
        altered = with_header(request, name, changed)
        same_claim = name == b"authorization" and parse_authorization(changed) == credential
        if name == b"authorization" and (claim := parse_authorization(changed)) and credential:
            # The key id is not part of what is signed: it chooses the secret, so another id means another secret.
            same_claim = replace(claim, access_key=credential.access_key) == credential
        assert same_claim or verify(altered, SECRET, NOW) is not None, changed


@pytest.mark.parametrize("method", ["GET", "PUT", "post"])
def test_a_changed_method_is_noticed(method: str) -> None:
    """The method is part of what is signed."""
    assert verify(a_request()._replace(method=method), SECRET, NOW) is not None


@pytest.mark.parametrize(("seconds", "passes"), [(299, True), (-299, True), (301, False), (-301, False)])
def test_the_clock_window_is_five_minutes(seconds: int, passes: bool) -> None:
    """4:59 of skew passes and 5:01 fails, to either side, with AWS's words."""
    problem = verify(a_request(NOW + timedelta(seconds=seconds)), SECRET, NOW)
    assert (problem is None) is passes
    if problem:
        assert problem.kind is ProblemKind.SKEWED
        assert problem.code == "InvalidSignatureException"
        assert problem.message.startswith("Signature expired" if seconds < 0 else "Signature not yet current")


def test_skew_is_told_like_aws() -> None:
    """A late request is told both times and the window, which is how a wrong clock is found."""
    problem = verify(a_request(), SECRET, NOW + timedelta(minutes=6))
    assert problem
    assert problem.message == (
        "Signature expired: 20260304T050607Z is now earlier than 20260304T050707Z (20260304T051207Z - 5 min.)"
    )


@pytest.mark.parametrize("value", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"])
def test_an_unsigned_payload_is_refused(value: str) -> None:
    """A body that the signature does not cover is refused, and the sentence says what to do."""
    problem = verify(a_request(**{"X-Amz-Content-SHA256": value}), SECRET, NOW)
    assert problem
    assert problem.kind is ProblemKind.UNSIGNED_PAYLOAD
    assert "SHA-256" in problem.message


def test_a_stated_payload_digest_is_held_to_the_body() -> None:
    """A right x-amz-content-sha256 passes; a wrong one fails even where it is what was signed."""
    digest = sha256(b'{"x": "y"}').hexdigest()
    assert verify(a_request(**{"X-Amz-Content-SHA256": digest}), SECRET, NOW) is None
    problem = verify(a_request(**{"X-Amz-Content-SHA256": "0" * 64}), SECRET, NOW)
    assert problem
    assert problem.kind is ProblemKind.MISMATCH


def test_a_presigned_query_is_refused() -> None:
    """A signature in the query string is refused by its own name."""
    request = AWSRequest(method="GET", url=f"http://{HOST}/v2/email/account", headers={})
    SigV4QueryAuth(Credentials(KEY, SECRET), "ses", REGION).add_auth(request)
    problem = verify(as_received(request), SECRET, NOW)
    assert problem
    assert problem.kind is ProblemKind.PRESIGNED


def test_no_authorization_is_missing() -> None:
    """A request without Authorization is told so, with SES's code and status."""
    problem = verify(SignedRequest("GET", b"/", b"", [(b"host", b"x")], b""), SECRET, NOW)
    assert problem
    assert (problem.code, problem.status) == ("MissingAuthenticationTokenException", 403)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer abc.def",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/20260101/eu/ses/aws4_request, SignedHeaders=host",
        "AWS4-HMAC-SHA256 Credential=a/b/20260101/eu/ses/aws4_request, SignedHeaders=host, Signature=" + "0" * 64,
        "AWS4-HMAC-SHA256 Credential=a/20260101/eu/ses/aws4_request, SignedHeaders=host, Signature=" + "A" * 64,
        "AWS4-HMAC-SHA256 Credential=a/20260101/eu/ses/aws4_request, SignedHeaders=Host, Signature=" + "0" * 64,
        "AWS4-ECDSA-P256-SHA256 Credential=a/20260101/ses/aws4_request, SignedHeaders=host, Signature=" + "0" * 64,
        "AWS4-HMAC-SHA256 Credential=a/20260101/eu/ses/aws4_request, SignedHeaders=host, Signature=" + "\u0660" * 64,
        "A" * 1_000_000,
    ],
)
def test_a_malformed_authorization_is_incomplete(header: str) -> None:
    """Whatever is not exactly one well-formed Signature Version 4 is incomplete, never a crash."""
    assert parse_authorization(header) is None
    request = with_header(a_request(), b"authorization", header.encode())
    problem = verify(request, SECRET, NOW)
    assert problem
    assert (problem.kind, problem.status) == (ProblemKind.INCOMPLETE, 400)


def test_an_authorization_is_read_into_its_parts() -> None:
    """The claim carries key, date, Region, service, signed headers and signature."""
    text = (
        "AWS4-HMAC-SHA256 Credential=AKIA.x_y/20260101/eu-west-1/ses/aws4_request,"
        "SignedHeaders=host;x-amz-date,Signature=" + "ab" * 32
    )
    expected = Credential("AKIA.x_y", "20260101", "eu-west-1", "ses", ("host", "x-amz-date"), "ab" * 32)
    assert parse_authorization(text) == parse_authorization(text.encode()) == expected


@pytest.mark.parametrize("left_out", ["host", "x-amz-date"])
def test_host_and_date_must_be_signed(left_out: str) -> None:
    """A signature that does not cover host and date could be replayed elsewhere, so it is refused."""
    request = a_request()
    header = dict(request.headers)[b"authorization"].decode()
    names = ";".join(n for n in ("content-type", "host", "x-amz-date") if n != left_out)
    unsigned = header.replace("content-type;host;x-amz-date", names)
    problem = verify(with_header(request, b"authorization", unsigned.encode()), SECRET, NOW)
    assert problem
    assert problem.kind is ProblemKind.INCOMPLETE
    assert "Host" in problem.message


@pytest.mark.parametrize("name", [b"host", b"x-amz-date", b"authorization"])
def test_a_doubled_header_is_refused(name: bytes) -> None:
    """Two hosts, dates or Authorizations leave open which one counts, so neither does."""
    request = a_request()
    doubled = request._replace(headers=[*request.headers, (name, dict(request.headers)[name])])
    problem = verify(doubled, SECRET, NOW)
    assert problem
    assert problem.kind is ProblemKind.INCOMPLETE


def test_another_services_signature_is_refused() -> None:
    """A signature scoped to another service does not open this one."""
    problem = verify(a_request(), SECRET, NOW, service="sqs")
    assert problem
    assert problem.kind is ProblemKind.MISMATCH
    assert "'sqs'" in problem.message


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=40),
    st.binary(max_size=40),
    st.lists(st.tuples(st.sampled_from([b"host", b"x-amz-date", b"authorization", b"x"]), st.binary(max_size=60))),
    st.binary(max_size=20),
)
def test_garbage_never_raises(path: bytes, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Whatever arrives is answered with a problem, not with an exception."""
    assert verify(SignedRequest("POST", path, query, headers, body), SECRET, NOW) is not None
    stamped = [(b"x-amz-date", b"20261399T999999Z") if n == b"x-amz-date" else (n, v) for n, v in headers]
    assert verify(SignedRequest("POST", path, query, stamped, body), SECRET, NOW) is not None
