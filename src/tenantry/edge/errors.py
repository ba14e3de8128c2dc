"""Owns how a refusal is answered: its HTTP status, its one error shape, and its name on the SES wire.

Leaves which refusal it is to decoding and to the flows; docs/errors.md says what each code means.
"""

from __future__ import annotations

import json
from typing import NamedTuple, assert_never

from tenantry.core.message import Refusal, RefusalCode, Submission
from tenantry.wire.sigv4 import Problem, ProblemKind

STATUS = {
    RefusalCode.MALFORMED: 400,
    RefusalCode.INVALID_FIELD: 422,
    RefusalCode.UNAUTHENTICATED: 401,
    RefusalCode.BAD_SIGNATURE: 403,
    RefusalCode.CLOCK_SKEW: 403,
    RefusalCode.KEY_REVOKED: 401,
    RefusalCode.FORBIDDEN: 403,
    RefusalCode.NOT_FOUND: 404,
    RefusalCode.CONFLICT: 409,
    RefusalCode.UNKNOWN_STREAM: 422,
    RefusalCode.AUTHOR_NOT_YOURS: 422,
    RefusalCode.IDENTITY_UNVERIFIED: 422,
    RefusalCode.INVALID_ADDRESS: 422,
    RefusalCode.INVALID_HEADER: 422,
    RefusalCode.NO_RECIPIENTS: 422,
    RefusalCode.TOO_MANY_RECIPIENTS: 422,
    RefusalCode.TOO_LARGE: 413,
    RefusalCode.IDEMPOTENCY_MISMATCH: 409,
    RefusalCode.INVALID_TAG: 422,
    RefusalCode.UNSUPPORTED: 422,
    RefusalCode.BUSY: 503,
    RefusalCode.INTERNAL: 500,
}

# SES's own types, so that the code which a tenant wrote against SES reacts as it does there.
SES_TYPE = {
    RefusalCode.MALFORMED: ("SerializationException", 400),
    RefusalCode.INVALID_FIELD: ("BadRequestException", 400),
    RefusalCode.UNAUTHENTICATED: ("UnrecognizedClientException", 403),
    RefusalCode.BAD_SIGNATURE: ("InvalidSignatureException", 403),
    RefusalCode.CLOCK_SKEW: ("InvalidSignatureException", 403),
    RefusalCode.KEY_REVOKED: ("UnrecognizedClientException", 403),
    RefusalCode.FORBIDDEN: ("AccessDeniedException", 403),
    RefusalCode.NOT_FOUND: ("NotFoundException", 404),
    RefusalCode.CONFLICT: ("ConflictException", 409),
    RefusalCode.UNKNOWN_STREAM: ("NotFoundException", 404),
    RefusalCode.AUTHOR_NOT_YOURS: ("MessageRejected", 400),
    RefusalCode.IDENTITY_UNVERIFIED: ("MessageRejected", 400),
    RefusalCode.INVALID_ADDRESS: ("BadRequestException", 400),
    RefusalCode.INVALID_HEADER: ("BadRequestException", 400),
    RefusalCode.NO_RECIPIENTS: ("BadRequestException", 400),
    RefusalCode.TOO_MANY_RECIPIENTS: ("BadRequestException", 400),
    RefusalCode.TOO_LARGE: ("BadRequestException", 400),
    RefusalCode.IDEMPOTENCY_MISMATCH: ("ConflictException", 409),
    RefusalCode.INVALID_TAG: ("BadRequestException", 400),
    RefusalCode.UNSUPPORTED: ("BadRequestException", 400),
    RefusalCode.BUSY: ("ServiceUnavailable", 503),
    RefusalCode.INTERNAL: ("InternalFailure", 500),
}

NOT_FOUND = Refusal(RefusalCode.NOT_FOUND, "There is no such thing, or it is not yours to see: check the name or id.")
INTERNAL = Refusal(
    RefusalCode.INTERNAL,
    "Something broke on our side. Whether the call had an effect is not known: look before a retry.",
)
UNKEEPABLE = Refusal(
    RefusalCode.INVALID_FIELD, "The store cannot hold a value of this request: remove unusual characters.", "body"
)
NO_SUCH_KEY = Refusal(
    RefusalCode.UNAUTHENTICATED, "The security token included in the request is invalid.", "authorization"
)


class RefusedError(Exception):
    """Carries a refusal out of the management routes to the one place that answers it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Answer(NamedTuple):
    """A whole HTTP answer."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    code: RefusalCode | None = None  # of a refusal, whatever its words


def too_large(max_bytes: int) -> Refusal:
    """Refuse a body that is larger than what is read."""
    return Refusal(RefusalCode.TOO_LARGE, f"Shorten the request: its body may have {max_bytes:,} bytes.", "body")


def rest_answer(refusal: Refusal, request_id: str, docs_url_prefix: str, status: int | None = None) -> Answer:
    """Return a refusal in the REST shape; status is given where the framework, not the code, decides it."""
    body = {
        "error": {
            "code": refusal.code,
            "message": refusal.message,
            "field": refusal.field,
            "request_id": request_id,
            "docs": f"{docs_url_prefix}{refusal.code}",
        }
    }
    return Answer(status or STATUS[refusal.code], json.dumps(body).encode(), _rest_headers(refusal.code), refusal.code)


def _rest_headers(code: RefusalCode) -> tuple[tuple[bytes, bytes], ...]:
    match code:
        case RefusalCode.BUSY:
            return ((b"retry-after", b"1"),)
        case RefusalCode.UNAUTHENTICATED | RefusalCode.KEY_REVOKED:
            return ((b"www-authenticate", b'Bearer realm="tenantry"'),)
        case _:
            return ()


def ses_answer(refusal: Refusal, words: str | None = None) -> Answer:
    """Return a refusal as SES would say it, with our own code and field in headers that an SDK shows nobody."""
    kind, status = SES_TYPE[refusal.code]
    return _ses_answer(kind, status, words or refusal.message, refusal)


def signature_answer(problem: Problem) -> Answer:
    """Return why a signature is not believed, in AWS's own words."""
    return _ses_answer(problem.code, problem.status, problem.message, Refusal(_code_of(problem), "", "authorization"))


def ses_error(kind: str, status: int, message: str, refusal: Refusal) -> Answer:
    """Return an error whose type and words are SES's own, beside the refusal that we call it."""
    return _ses_answer(kind, status, message, refusal)


def verification_words(refusal: Refusal, submission: Submission, region: str) -> str | None:
    """Return SES's sentence about authors that are not verified, or None for other refusals.

    Client libraries look for this very sentence; it names the authors that the refusal names, else all of them.
    """
    if refusal.code not in (RefusalCode.AUTHOR_NOT_YOURS, RefusalCode.IDENTITY_UNVERIFIED):
        return None
    named = [author for author in submission.authors if author in refusal.message] or submission.authors
    failed = ", ".join(dict.fromkeys(named))
    return (
        f"Email address is not verified. The following identities failed the check in region {region.upper()}: {failed}"
    )


def _ses_answer(kind: str, status: int, message: str, refusal: Refusal) -> Answer:
    headers = [(b"x-amzn-errortype", kind.encode()), (b"x-tenantry-code", refusal.code.encode())]
    if refusal.field:
        headers.append((b"x-tenantry-field", ascii(refusal.field[:200])[1:-1].encode()))
    return Answer(status, json.dumps({"__type": kind, "message": message}).encode(), tuple(headers), refusal.code)


def _code_of(problem: Problem) -> RefusalCode:
    match problem.kind:
        case ProblemKind.MISSING:
            return RefusalCode.UNAUTHENTICATED
        case ProblemKind.SKEWED:
            return RefusalCode.CLOCK_SKEW
        case ProblemKind.INCOMPLETE | ProblemKind.MISMATCH | ProblemKind.UNSIGNED_PAYLOAD | ProblemKind.PRESIGNED:
            return RefusalCode.BAD_SIGNATURE
    assert_never(problem.kind)
