"""Owns access keys and whether a call is signed with the one that it names.

Leaves the signature itself to `wire.sigv4` and whose a key is to `emulator.accounts`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from tenantry.emulator.calls import Arrival
from tenantry.wire.aws import WireError
from tenantry.wire.sigv4 import SignedRequest, Terms, verified

UNKNOWN = WireError("UnrecognizedClientException", "The security token included in the request is invalid.", 403)
EXPIRED = WireError("ExpiredTokenException", "The security token included in the request is expired.", 403)


@dataclass(frozen=True, slots=True)
class Key:
    """An access key: its secret, and the account that it belongs to; `token` and `arn` are a session's."""

    id: str
    secret: str
    account_id: str
    token: str | None = None
    expires_at: float | None = None
    arn: str | None = None

    @classmethod
    def from_text(cls, text: str, account_id: str) -> "Key":
        """Read `ID:SECRET` or `ID:SECRET:ACCOUNT`; ValueError says what is wrong."""
        key_id, _, rest = text.partition(":")
        secret, _, own = rest.partition(":")
        if not key_id or not secret or (own and not (len(own) == 12 and own.isdigit())):
            raise ValueError(f"the key {key_id!r} must look like ID:SECRET or ID:SECRET:ACCOUNT (12 digits)")
        return cls(key_id, secret, own or account_id)


def keys_from_file(path: Path, account_id: str) -> tuple[Key, ...]:
    """Read a JSON list of keys in their text form; ValueError says what is wrong."""
    raw = json.loads(path.read_text())
    if not isinstance(raw, list) or not all(isinstance(each, str) for each in raw):
        raise ValueError(f"{path} must hold a JSON list of keys, each ID:SECRET or ID:SECRET:ACCOUNT")
    return tuple(Key.from_text(each, account_id) for each in raw)


def unbelieved(arrival: Arrival, key: Key | None, service: str, now: float) -> WireError | None:
    """Return why a call is not believed to come from the holder of its key, or None when it is."""
    if key is None:
        return UNKNOWN
    if key.token != _token(arrival.headers):
        return UNKNOWN
    if key.expires_at is not None and now >= key.expires_at:
        return EXPIRED
    request = SignedRequest(
        arrival.method,
        arrival.path.encode("latin-1"),
        arrival.query.encode("latin-1"),
        [*arrival.headers.items()],
        arrival.body,
    )
    terms = Terms(datetime.fromtimestamp(now, UTC), service=service)
    problem = verified(request, key.secret, sha256(arrival.body).hexdigest(), terms)
    return WireError(problem.code, problem.message, problem.status) if problem else None


def _token(headers: Mapping[bytes, bytes]) -> str | None:
    given = headers.get(b"x-amz-security-token")
    return given.decode("latin-1") if given is not None else None
