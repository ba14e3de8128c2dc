"""Owns AWS Signature Version 4 with signed payloads, for both sides of a call: signing it and verifying it.

Leaves to others: who a key belongs to, replay within the clock window, and sending or answering anything.
Rules: AWS "Create a signed AWS API request"; presigned, unsigned and streaming forms are refused, not half-supported.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
# The longest Authorization header worth reading: a dozen signed headers and a long key stay far below it.
AUTHORIZATION_BYTES_MAX = 4096
_BEFORE_SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256[ \t]+"
    r"Credential=([\x21-\x2b\x2d\x2e\x30-\x7e]{1,128})/([0-9]{8})/([A-Za-z0-9-]{1,64})/([A-Za-z0-9-]{1,64})/aws4_request"
    r"[ \t]*,[ \t]*SignedHeaders=([a-z0-9_.;-]+)[ \t]*,[ \t]*Signature="
)
_SIGNATURE = re.compile(rb"([0-9a-f]{64})[ \t]*")
_REMEMBERED_BYTES = 512  # a longer Authorization header is read anew each time
_STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_ONE_ONLY = frozenset({b"host", b"x-amz-date", b"x-amz-content-sha256", b"x-amz-security-token"})


class ProblemKind(StrEnum):
    """Why a request is not believed."""

    MISSING = "MissingAuthenticationToken"
    INCOMPLETE = "IncompleteSignature"
    MISMATCH = "SignatureDoesNotMatch"
    SKEWED = "RequestTimeTooSkewed"
    UNSIGNED_PAYLOAD = "UnsignedPayload"
    PRESIGNED = "PresignedRequest"


# REST-JSON services such as SES v2 answer with these names, and use one for a wrong, a late and an early signature.
_WIRE_CODES = {
    ProblemKind.MISSING: ("MissingAuthenticationTokenException", 403),
    ProblemKind.INCOMPLETE: ("IncompleteSignatureException", 400),
    ProblemKind.MISMATCH: ("InvalidSignatureException", 403),
    ProblemKind.SKEWED: ("InvalidSignatureException", 403),
    ProblemKind.UNSIGNED_PAYLOAD: ("InvalidSignatureException", 403),
    ProblemKind.PRESIGNED: ("InvalidSignatureException", 403),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason to refuse a request, in AWS's own words where AWS has them."""

    kind: ProblemKind
    message: str

    @property
    def code(self) -> str:
        """The error type that SES v2 puts on the wire."""
        return _WIRE_CODES[self.kind][0]

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return _WIRE_CODES[self.kind][1]


MISSING = Problem(ProblemKind.MISSING, "Missing Authentication Token")
MISMATCH = Problem(
    ProblemKind.MISMATCH,
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key"
    " and signing method. Consult the service documentation for details.",
)
UNSIGNED_PAYLOAD = Problem(
    ProblemKind.UNSIGNED_PAYLOAD,
    "The payload must be signed: set x-amz-content-sha256 to the SHA-256 of the body, or leave it out."
    " UNSIGNED-PAYLOAD and STREAMING payloads are not accepted.",
)
PRESIGNED = Problem(
    ProblemKind.PRESIGNED,
    "Presigned requests are not accepted: send the signature in the Authorization header, not in the query string.",
)


@dataclass(frozen=True, slots=True)
class Credential:
    """What an Authorization header claims; nothing in it is proven yet."""

    access_key: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str


class SignedRequest(NamedTuple):
    """A request as it came over the wire: path and query still encoded, header names lower-case (ASGI's raw form)."""

    method: str
    path: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


@lru_cache(maxsize=4096)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """Derive the key of one day, Region and service; the last 4,096 are remembered."""
    key = hmac.digest(b"AWS4" + secret.encode(), date.encode(), "sha256")
    for part in (region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@lru_cache(maxsize=1024)
def canonical_path(path: bytes) -> str:
    """Return an encoded path as it is signed: dot segments and empty segments removed, then encoded once more."""
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    tail = b"/" if kept and path.endswith(b"/") else b""
    return quote(b"/" + b"/".join(kept) + tail, safe="/~")


def canonical_query(query: str) -> str:
    """Return an encoded query string as it is signed: pairs sorted by name, then value, each with its equals sign."""
    if not query:
        return ""
    pairs = sorted(pair.partition("=") for pair in query.split("&"))
    return "&".join([f"{name}={value}" for name, _, value in pairs])


def _signature(key: bytes, stamp: str, scope: str, canonical: str) -> str:
    text = f"{ALGORITHM}\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
    return hmac.digest(key, text.encode(), "sha256").hex()


class Signer:
    """Signs requests of one credential to one service in one Region, for the hot path.

    Not a value: it remembers the signing key of the day and the time stamp of the second.
    """

    __slots__ = ("_access_key", "_key", "_region", "_scope", "_second", "_secret_key", "_service", "_stamp", "_token")

    def __init__(
        self, access_key: str, secret_key: str, region: str, service: str, session_token: str | None = None
    ) -> None:
        self._access_key, self._secret_key = access_key, secret_key
        self._region, self._service, self._token = region, service, session_token
        self._second: datetime | None = None
        self._stamp, self._scope, self._key = "", "", b""

    def headers(
        self, method: str, url_path: str, query: str, host: str, body: bytes, *, now: datetime, content_type: str
    ) -> dict[str, str]:
        """Return the headers to send with a request, its Authorization among them.

        Path and query are given encoded, as they will be sent; an empty content type means that none is sent. The
        caller sends Host itself, exactly as given here. A time without a zone raises ValueError.
        """
        second = now.replace(microsecond=0)
        if second != self._second:
            self._set_clock(second)
        names, lines, out = "host;x-amz-date", f"host:{host}\nx-amz-date:{self._stamp}\n", {"x-amz-date": self._stamp}
        if content_type:
            names, lines = f"content-type;{names}", f"content-type:{' '.join(content_type.split())}\n{lines}"
            out["content-type"] = content_type
        if self._token:
            names, lines = f"{names};x-amz-security-token", f"{lines}x-amz-security-token:{self._token}\n"
            out["x-amz-security-token"] = self._token
        canonical = (
            f"{method.upper()}\n{canonical_path(url_path.encode())}\n{canonical_query(query)}\n"
            f"{lines}\n{names}\n{sha256(body).hexdigest()}"
        )
        signature = _signature(self._key, self._stamp, self._scope, canonical)
        out["authorization"] = (
            f"{ALGORITHM} Credential={self._access_key}/{self._scope}, SignedHeaders={names}, Signature={signature}"
        )
        return out

    def _set_clock(self, second: datetime) -> None:
        if second.tzinfo is None:
            raise ValueError("a request is signed at a time with a zone, not at a naive one")
        stamp = second.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        if stamp[:8] != self._stamp[:8]:
            self._scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
            self._key = signing_key(self._secret_key, stamp[:8], self._region, self._service)
        self._second, self._stamp = second, stamp


def parse_authorization(header: str | bytes) -> Credential | None:
    """Read an Authorization header, or return None unless it is exactly one well-formed Signature Version 4."""
    try:
        found = _read_authorization(header.encode("latin-1") if isinstance(header, str) else header)
    except UnicodeEncodeError:
        return None
    if found is None:
        return None
    _, claim, signature = found
    return Credential(claim.access_key, claim.date, claim.region, claim.service, claim.names, signature)


class _Claim(NamedTuple):
    """What an Authorization header claims up to its signature: the same for all calls of one client in one day."""

    access_key: str
    date: str
    region: str
    service: str
    names: tuple[str, ...]
    scope: str
    wanted: Mapping[bytes, str]  # what is signed, and the payload's digest, by the raw names
    flaw: Problem | None  # what is wrong with it whatever the request


def _claim(before_signature: bytes) -> _Claim | None:
    match = _BEFORE_SIGNATURE.fullmatch(before_signature.decode("latin-1"))
    if match is None:
        return None
    access_key, date, region, service, signed = match.groups()
    names = tuple(signed.split(";"))
    wanted = {name.encode("ascii"): name for name in (*names, "x-amz-content-sha256")}
    return _Claim(
        access_key, date, region, service, names, f"{date}/{region}/{service}/aws4_request", wanted, _names_flaw(names)
    )


_remembered_claim = lru_cache(maxsize=4096)(_claim)


class Claimed(NamedTuple):
    """What a request's Authorization header claims, read once for the key and for the check; nothing is proven yet."""

    access_key: str
    claim: _Claim
    signature: str


def _read_authorization(header: bytes) -> Claimed | None:
    before, mark, after = header.rpartition(b"Signature=")
    match = _SIGNATURE.fullmatch(after)
    if match is None or len(header) > AUTHORIZATION_BYTES_MAX:
        return None
    before += mark
    claim = _remembered_claim(before) if len(before) <= _REMEMBERED_BYTES else _claim(before)
    return Claimed(claim.access_key, claim, match[1].decode("ascii")) if claim else None


def claimed(request: SignedRequest) -> Claimed | Problem:
    """Read what a request claims to be signed with, or say why that cannot be told."""
    if request.query and (b"X-Amz-Signature" in request.query or b"X-Amz-Credential" in request.query):
        return PRESIGNED
    given = [value for name, value in request.headers if name == b"authorization"]
    if not given:
        return MISSING
    if len(given) > 1:
        return _incomplete("Authorization header requires to be given once.")
    return _read_authorization(given[0]) or _incomplete(
        "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' parameters in the form"
        f" '{ALGORITHM} Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=..., Signature=...'."
    )


def verify(
    request: SignedRequest, secret: str, now: datetime, skew_seconds: int = 300, service: str = "ses"
) -> Problem | None:
    """Return why a request cannot be believed to come from the holder of the secret, or None when it can.

    The signature is compared in constant time. The body's digest is always computed here, never taken from the request.
    """
    return verified(request, secret, sha256(request.body).hexdigest(), Terms(now, skew_seconds, service))


class Terms(NamedTuple):
    """What a signature must be for."""

    now: datetime
    skew_seconds: int = 300
    service: str = "ses"


def verified(
    request: SignedRequest, secret: str, body_digest: str, terms: Terms, found: Claimed | None = None
) -> Problem | None:
    """Do what verify does for a caller that has the body's SHA-256, 64 hex digits, or what `claimed` read in this request."""
    read = found or claimed(request)
    if isinstance(read, Problem):
        return read
    _, claim, signature = read
    headers = _joined(request.headers, claim.wanted)
    if isinstance(headers, Problem):
        return headers
    stamp = headers.get("x-amz-date", "")
    if problem := _shape_problem(claim, headers, terms.service) or _time_problem(claim.date, stamp, terms):
        return problem
    if problem := _payload_problem(headers.get("x-amz-content-sha256"), body_digest):
        return problem
    lines = "".join([f"{name}:{headers[name]}\n" for name in claim.names])
    canonical = (
        f"{request.method}\n{canonical_path(request.path)}\n{canonical_query(request.query.decode('latin-1'))}\n"
        f"{lines}\n{';'.join(claim.names)}\n{body_digest}"
    )
    key = signing_key(secret, claim.date, claim.region, claim.service)
    expected = _signature(key, stamp, claim.scope, canonical)
    return None if hmac.compare_digest(expected, signature) else MISMATCH


def _incomplete(message: str) -> Problem:
    return Problem(ProblemKind.INCOMPLETE, message)


def _joined(given: Sequence[tuple[bytes, bytes]], wanted: Mapping[bytes, str]) -> dict[str, str] | Problem:
    """Return the wanted headers in canonical form, repeated ones joined in their order."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in given:
        name = wanted.get(raw_name)
        if name is None:
            continue
        value = raw_value.decode("utf-8", "replace")
        if " " in value or not value.isprintable():  # every other white space is not printable
            value = " ".join(value.split())
        if name not in joined:
            joined[name] = value
        elif raw_name in _ONE_ONLY:
            return _incomplete(f"The header '{name}' must be given once.")
        else:
            joined[name] = f"{joined[name]},{value}"
    return joined


def _names_flaw(names: tuple[str, ...]) -> Problem | None:
    if list(names) != sorted(set(names)):
        return _incomplete("SignedHeaders must be sorted and name each header once.")
    if not {"host", "x-amz-date"}.issubset(names):
        return _incomplete("'Host' and 'X-Amz-Date' must be 'SignedHeader's in the AWS Authorization.")
    return None


def _shape_problem(claim: _Claim, headers: dict[str, str], service: str) -> Problem | None:
    if claim.flaw is not None:
        return claim.flaw
    for name in claim.names:
        if name not in headers:
            return _incomplete(f"The signed header '{name}' is not in the request.")
    if claim.service != service:
        return Problem(ProblemKind.MISMATCH, f"Credential should be scoped to correct service: '{service}'.")
    return None


def _time_problem(date: str, stamp: str, terms: Terms) -> Problem | None:
    signed_at = _read_stamp(stamp)
    if signed_at is None:
        return _incomplete("'X-Amz-Date' must be a time like 20260131T235959Z.")
    if date != stamp[:8]:
        return Problem(
            ProblemKind.MISMATCH,
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP:"
            f" '{date}' != '{stamp[:8]}', from '{stamp}'.",
        )
    ahead_seconds = (signed_at - terms.now).total_seconds()
    if ahead_seconds < -terms.skew_seconds:
        return _skewed(f"Signature expired: {stamp} is now earlier than", terms.now, -terms.skew_seconds)
    if ahead_seconds > terms.skew_seconds:
        return _skewed(f"Signature not yet current: {stamp} is still later than", terms.now, terms.skew_seconds)
    return None


@lru_cache(maxsize=1024)
def _read_stamp(stamp: str) -> datetime | None:
    if not _STAMP.fullmatch(stamp):
        return None
    try:
        return datetime.fromisoformat(stamp)
    except ValueError:
        return None


def _skewed(lead: str, now: datetime, seconds: int) -> Problem:
    here, edge = (at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ") for at in (now, now + timedelta(seconds=seconds)))
    sign, minutes = ("-" if seconds < 0 else "+"), abs(seconds) / 60
    return Problem(ProblemKind.SKEWED, f"{lead} {edge} ({here} {sign} {minutes:g} min.)")


def _payload_problem(claimed: str | None, body_digest: str) -> Problem | None:
    if claimed is None or claimed == body_digest:
        return None
    if claimed == "UNSIGNED-PAYLOAD" or claimed.startswith("STREAMING-"):
        return UNSIGNED_PAYLOAD
    return MISMATCH
