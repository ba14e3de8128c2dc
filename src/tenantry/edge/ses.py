"""Owns the SES door: the calls of an unmodified AWS SDK, verified, decoded and answered in SES's own words.

Leaves what a SendEmail call means to `ses_message`, and every other operation to `ses_desk`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from typing import cast

from pydantic import ValidationError
from starlette.types import Receive, Scope

from tenantry.core.message import Accepted, Refusal, RefusalCode
from tenantry.core.tenant import Key
from tenantry.edge import errors
from tenantry.edge.asgi import read_body
from tenantry.edge.auth import REVOKED, Keyring, barred_from_sending
from tenantry.edge.doors import OFF_LOOP_BYTES, Doors
from tenantry.edge.errors import Answer
from tenantry.edge.ses_desk import Asked, Order, SesDesk, refusal_of
from tenantry.edge.ses_message import QUICK, Call, Decoded, SendEmail, decode, invocation_id
from tenantry.edge.submit import foreign_tenant, submit
from tenantry.wire.aws import Service, WireError
from tenantry.wire.sigv4 import Claimed, Problem, SignedRequest, Terms, claimed, verified

PREFIX = "/v2/email"
REQUEST_ID = b"x-amzn-requestid"
SKEW_SECONDS = 300
_SEND = "SendEmail"
_UNKNOWN_OPERATION = errors.ses_error("UnknownOperationException", 404, "", errors.NOT_FOUND)


class SesDoor:
    """Answers everything below /v2/email."""

    def __init__(self, doors: Doors, keyring: Keyring) -> None:
        self._doors, self._keyring = doors, keyring
        self._service = Service(doors.sesv2_model, "sesv2")
        self._desk = SesDesk(doors, self._service)

    async def reply(self, scope: Scope, receive: Receive) -> Answer:
        """Return the answer to one request; an error of ours is left to the dispatcher."""
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        query: bytes = scope["query_string"]
        route = self._service.route(scope["method"], path.decode("latin-1"), query.decode("latin-1"))
        if route is None:
            return _UNKNOWN_OPERATION
        body = await read_body(scope, receive, self._doors.max_body_bytes)
        if body is None:
            return errors.ses_answer(errors.too_large(self._doors.max_body_bytes))
        request = SignedRequest(scope["method"], path, query, scope["headers"], body)
        claim = claimed(request)
        if isinstance(claim, Problem):
            return errors.signature_answer(claim)
        found = await self._keyring.find(claim.access_key)
        if found is None:
            return errors.ses_answer(errors.NO_SUCH_KEY)
        if len(body) <= OFF_LOOP_BYTES:
            decoded = self._read(request, claim, found, route)
        else:
            decoded = await asyncio.to_thread(self._read, request, claim, found, route)
        if isinstance(decoded, Decoded):
            return await self._accept(found[0], decoded)
        return await self._desk.serve(decoded) if isinstance(decoded, Order) else decoded

    def _read(
        self, request: SignedRequest, claim: Claimed, found: tuple[Key, str], route: tuple[str, Mapping[str, str]]
    ) -> Decoded | Order | Answer:
        """Verify and decode; all of it is work for the CPU, so that it can be done in a thread."""
        (key, secret), digest = found, sha256(request.body)
        terms = Terms(self._doors.clock.wall(), SKEW_SECONDS)
        if problem := verified(request, secret, digest.hexdigest(), terms, claim):
            return errors.signature_answer(problem)
        if key.is_revoked(terms.now):  # told only to who holds the secret
            return errors.ses_answer(REVOKED, errors.NO_SUCH_KEY.message)
        if route[0] != _SEND:
            return self._order(request, key, digest.digest(), route)
        if refused := barred_from_sending(key):
            return errors.ses_answer(refused)
        given = self._parameters(request.body)
        if isinstance(given, WireError):
            return errors.ses_error(given.code, given.status, given.message, refusal_of(given))
        if "Template" in given["Content"] and len(given["Content"]) == 1:
            return self._order(request, key, digest.digest(), route)
        decoded = decode(Call(key.id, digest.digest(), _invocation_id(request)), given)
        return errors.ses_answer(decoded) if isinstance(decoded, Refusal) else decoded

    def _order(
        self, request: SignedRequest, key: Key, digest: bytes, route: tuple[str, Mapping[str, str]]
    ) -> Order | Answer:
        call = Call(key.id, digest, _invocation_id(request))
        return self._desk.order(key, call, Asked(route[0], request.body, route[1], request.query.decode("latin-1")))

    def _parameters(self, body: bytes) -> SendEmail | WireError:
        try:
            return QUICK.validate_json(body)
        except ValidationError:
            given = self._service.decode(_SEND, body)
            return given if isinstance(given, WireError) else cast(SendEmail, given)

    async def _accept(self, key: Key, decoded: Decoded) -> Answer:
        if decoded.tenant_names and (foreign := await foreign_tenant(self._doors, key.tenant_id, decoded.tenant_names)):
            refusal = Refusal(RefusalCode.NOT_FOUND, f"Tenant {foreign} does not exist.", "TenantName")
            return errors.ses_answer(refusal)
        outcome = await submit(self._doors, decoded.submission)
        if isinstance(outcome, Accepted):
            return Answer(200, b'{"MessageId":"' + outcome.id.encode() + b'"}')
        return errors.ses_answer(outcome, self._words(outcome, decoded))

    def _words(self, refusal: Refusal, decoded: Decoded) -> str | None:
        if refusal.code is RefusalCode.UNKNOWN_STREAM and decoded.submission.stream:
            return f"Configuration set <{decoded.submission.stream}> does not exist."
        return errors.verification_words(refusal, decoded.submission, self._doors.region)


def _invocation_id(request: SignedRequest) -> str | None:
    for name, value in request.headers:
        if name == b"amz-sdk-invocation-id":
            return invocation_id(value)
    return None
