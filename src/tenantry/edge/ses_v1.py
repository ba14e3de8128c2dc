"""Owns the SES v1 door: the query protocol of older SDKs, verified, decoded, and answered in XML in SES's own words.

Leaves what each operation does to `ses_v1_operations`; sending goes by the same reading and the same accept as v2's.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256

from starlette.types import Receive, Scope, Send

from tenantry.core.message import RefusalCode
from tenantry.core.tenant import Key
from tenantry.edge import errors
from tenantry.edge.asgi import ClientGoneError, header, read_body
from tenantry.edge.auth import Keyring
from tenantry.edge.doors import OFF_LOOP_BYTES, Doors
from tenantry.edge.ses_call import Caller, No
from tenantry.edge.ses_desk import Order, denied, unauthorized_words
from tenantry.edge.ses_message import Call, invocation_id
from tenantry.edge.ses_v1_operations import OPERATIONS
from tenantry.flow.accept import busy
from tenantry.ports import StoreBusy
from tenantry.wire.aws import WireError
from tenantry.wire.aws_query import QueryService
from tenantry.wire.sigv4 import Claimed, Problem, ProblemKind, SignedRequest, Terms, claimed, verified

PATH = "/"
SKEW_SECONDS = 300
_TOKEN = WireError("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
_SIGNATURES = {
    ProblemKind.MISSING: ("MissingAuthenticationToken", 403),
    ProblemKind.INCOMPLETE: ("IncompleteSignature", 400),
    ProblemKind.SKEWED: ("SignatureDoesNotMatch", 403),
}
_CODES = {
    RefusalCode.FORBIDDEN: ("AccessDenied", 403),
    RefusalCode.UNKNOWN_STREAM: ("ConfigurationSetDoesNotExistException", 400),
    RefusalCode.AUTHOR_NOT_YOURS: ("MessageRejected", 400),
    RefusalCode.IDENTITY_UNVERIFIED: ("MessageRejected", 400),
    RefusalCode.NOT_FOUND: ("TemplateDoesNotExistException", 400),
    RefusalCode.KEY_REVOKED: ("InvalidClientTokenId", 403),
    RefusalCode.BUSY: ("ServiceUnavailable", 503),
    RefusalCode.INTERNAL: ("InternalFailure", 500),
}
"""What a refusal is called here; what is not named is InvalidParameterValue."""


class SesV1Door:
    """Answers `POST /`."""

    def __init__(self, doors: Doors, keyring: Keyring) -> None:
        self._doors, self._keyring = doors, keyring
        self._service = QueryService(doors.ses_model, "ses")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as a whole or not at all."""
        request_id: str = scope["tenantry.request_id"]
        try:
            found = await self._outcome(scope, receive, request_id)
        except ClientGoneError:
            return
        except StoreBusy as error:
            found = self._no(No(busy(error)))
        except Exception as error:  # a bug, too, is answered in this door's XML
            self._doors.report_bug(request_id, error)
            found = self._no(No(errors.INTERNAL))
        status, body = 200, found
        if isinstance(found, WireError):
            status, _, body = self._service.encode_error(found, request_id)
        assert isinstance(body, bytes)
        headers = [
            (b"content-type", b"text/xml"),
            (b"content-length", b"%d" % len(body)),
            (b"x-amzn-requestid", request_id.encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _outcome(self, scope: Scope, receive: Receive, request_id: str) -> bytes | WireError:
        body = await read_body(scope, receive, self._doors.max_body_bytes)
        if body is None:
            return self._no(No(errors.too_large(self._doors.max_body_bytes)))
        request = SignedRequest(scope["method"], b"/", scope["query_string"], scope["headers"], body)
        claim = claimed(request)
        if isinstance(claim, Problem):
            return self._refused(RefusalCode.BAD_SIGNATURE, _signature_error(claim))
        found = await self._keyring.find(claim.access_key)
        if found is None:
            return self._refused(RefusalCode.UNAUTHENTICATED, _TOKEN)
        call = Call(found[0].id, sha256(body).digest(), invocation_id(header(scope, b"amz-sdk-invocation-id")))
        if len(body) <= OFF_LOOP_BYTES:
            order = self._read(request, claim, found, call)
        else:
            order = await asyncio.to_thread(self._read, request, claim, found, call)
        return order if isinstance(order, WireError) else await self._serve(order, request_id)

    def _read(self, request: SignedRequest, claim: Claimed, found: tuple[Key, str], call: Call) -> Order | WireError:
        """Verify and decode; all of it is work for the CPU, so that it can be done in a thread."""
        key, secret = found
        terms = Terms(self._doors.clock.wall(), SKEW_SECONDS)
        if problem := verified(request, secret, call.body_digest.hex(), terms, claim):
            return self._refused(RefusalCode.BAD_SIGNATURE, _signature_error(problem))
        if key.revoked_at is not None:
            return self._refused(RefusalCode.KEY_REVOKED, _TOKEN)
        read = self._service.read(request.body)
        if isinstance(read, WireError):
            return self._refused(RefusalCode.MALFORMED, read)
        name, given = read
        operation = OPERATIONS.get(name)
        if operation is None or denied(key, operation.scope):
            words = unauthorized_words(key, name)
            return self._refused(RefusalCode.FORBIDDEN, WireError("AccessDenied", words, 403))
        return Order(name, key, call, given)

    async def _serve(self, order: Order, request_id: str) -> bytes | WireError:
        tenant_id = order.key.tenant_id
        assert tenant_id is not None, "an operator's key is denied"
        caller = Caller(self._doors, order.key, tenant_id, order.call)
        result = await OPERATIONS[order.name].run(caller, order.given)
        return self._no(result) if isinstance(result, No) else self._service.encode(order.name, result, request_id)

    def _no(self, no: No) -> WireError:
        code, status = _CODES.get(no.refusal.code, ("InvalidParameterValue", 400))
        return self._refused(no.refusal.code, WireError(code, no.words or no.refusal.message, status))

    def _refused(self, code: RefusalCode, error: WireError) -> WireError:
        self._doors.refused(code)
        return error


def _signature_error(problem: Problem) -> WireError:
    code, status = _SIGNATURES.get(problem.kind, ("SignatureDoesNotMatch", 403))
    return WireError(code, problem.message, status)
