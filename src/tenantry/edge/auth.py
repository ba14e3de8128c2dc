"""Owns who calls: finding a key, remembering it for a second, and the bearer form of it.

Leaves signatures to the wire, secrets at rest to the store, and what a key may reach to the routes.
"""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass
from typing import Protocol

from tenantry.core.ids import KeyId
from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.tenant import Key, Scope
from tenantry.edge.errors import NO_SUCH_KEY
from tenantry.ports import Clock

TTL_SECONDS = 1.0  # a revoked key opens no door for longer than this
REMEMBERED_MAX = 20_000  # keys, and as many ids that are none

NO_BEARER = Refusal(
    RefusalCode.UNAUTHENTICATED, "Give the header 'Authorization: Bearer <key id>.<secret>'.", "authorization"
)
WRONG_BEARER = Refusal(
    RefusalCode.UNAUTHENTICATED,
    "There is no such pair of key id and secret: check both, or make a new key.",
    "authorization",
)
REVOKED = Refusal(RefusalCode.KEY_REVOKED, "This key was revoked: use another one.", "authorization")


class KeySource(Protocol):
    """Where keys are kept; the store is one."""

    async def key(self, key_id: KeyId) -> tuple[Key, str] | None:
        """Return a key with its secret."""
        ...


@dataclass(frozen=True, slots=True)
class _Entry:
    found: tuple[Key, str] | None
    until: float


class Keyring:
    """The keys that were asked for within the last second; callers that miss together share one read.

    Keys and unknown ids are remembered apart, so that guessing ids cannot push out the keys in use.
    """

    def __init__(self, source: KeySource, clock: Clock, remembered_max: int = REMEMBERED_MAX) -> None:
        self._source, self._clock, self._most = source, clock, remembered_max
        self._known: dict[str, _Entry] = {}
        self._unknown: dict[str, _Entry] = {}
        self._reading: dict[str, asyncio.Task[tuple[Key, str] | None]] = {}

    async def find(self, text: str) -> tuple[Key, str] | None:
        """Return a key, revoked or not, with its secret; None when there is none of this id."""
        entry = self._known.get(text) or self._unknown.get(text)
        if entry and entry.until > self._clock.monotonic():
            return entry.found
        task = self._reading.get(text)
        if task is None:
            try:
                key_id = KeyId(text)
            except ValueError:
                return None
            task = self._reading[text] = asyncio.create_task(self._read(key_id))
        return await asyncio.shield(task)  # one caller that hangs up must not fail the others

    async def _read(self, key_id: KeyId) -> tuple[Key, str] | None:
        until = self._clock.monotonic() + TTL_SECONDS  # counted from before the read: what it saw may be that old
        try:
            found = await self._source.key(key_id)
        finally:
            self._reading.pop(key_id, None)
        self._known.pop(key_id, None)
        self._unknown.pop(key_id, None)
        cache = self._known if found else self._unknown
        if len(cache) >= self._most:
            del cache[next(iter(cache))]  # the one read longest ago
        cache[str(key_id)] = _Entry(found, until)
        return found

    async def bearer(self, authorization: bytes | None) -> Key | Refusal:
        """Return the live key that an Authorization header proves to hold, or why not."""
        scheme, _, token = (authorization or b"").partition(b" ")
        name, dot, given = token.strip().partition(b".")
        if scheme.lower() != b"bearer" or not dot or len(token) > 512:
            return NO_BEARER
        found = await self.find(name.decode("latin-1"))
        secret = found[1] if found else ""
        if not hmac.compare_digest(secret.encode(), given) or found is None:
            return WRONG_BEARER
        return REVOKED if found[0].is_revoked(self._clock.wall()) else found[0]


def lacks(key: Key, scope: Scope) -> Refusal | None:
    """Refuse a key that has neither this scope nor the operator's."""
    if scope in key.scopes or (Scope.OPERATE in key.scopes and key.tenant_id is None):
        return None
    return Refusal(RefusalCode.FORBIDDEN, f"This key has no scope '{scope}': use one that has it.", "authorization")


def barred_from_sending(key: Key) -> Refusal | None:
    """Refuse a key that may not hand in mail: an operator's has no tenant whose mail it would be."""
    if key.tenant_id is None:
        return Refusal(
            RefusalCode.FORBIDDEN, "An operator's key cannot send: use a key of the tenant.", "authorization"
        )
    return lacks(key, Scope.SEND)


__all__ = ["NO_SUCH_KEY", "REVOKED", "Keyring", "barred_from_sending", "lacks"]
