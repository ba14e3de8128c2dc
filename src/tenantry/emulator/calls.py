"""Owns what a call is inside the local SES: as HTTP brought it, its circumstances, and its answer.

Leaves reading it to the codecs and answering it to the services.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

Params = Mapping[str, Any]
Result = dict[str, Any] | None

_CREDENTIAL = re.compile(rb"Credential=([^/,\s]{1,128})/[^/,\s]*/([^/,\s]*)/([^/,\s]*)/")


class Call(NamedTuple):
    """The circumstances of one call: when, by whom, from where, and under which address the server was reached."""

    now: float
    key_id: str = "local"
    source_ip: str = "127.0.0.1"
    endpoint: str = "http://127.0.0.1"


class Answer(NamedTuple):
    """What goes back: status, headers, body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Scope(NamedTuple):
    """What a signature says that it is for; all empty without one."""

    key_id: str
    region: str
    service: str


@dataclass(slots=True)
class Arrival:
    """One HTTP request whose body is read: path still percent-encoded, header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]
    body: bytes
    scope: Scope

    @property
    def target(self) -> str:
        """The operation of the JSON protocols, or nothing."""
        return self.headers.get(b"x-amz-target", b"").decode("latin-1")

    @property
    def is_form(self) -> bool:
        """Is the body a form, as in the query protocol?"""
        return self.headers.get(b"content-type", b"").startswith(b"application/x-www-form-urlencoded")


def signed_scope(authorization: bytes) -> Scope:
    """Read whom and what a request claims to be from and for, without believing it."""
    found = _CREDENTIAL.search(authorization)
    return _scope(*found.groups()) if found else _NO_SCOPE


_NO_SCOPE = Scope("", "", "")


@lru_cache(maxsize=1_024)  # callers are few
def _scope(key_id: bytes, region: bytes, service: bytes) -> Scope:
    return Scope(key_id.decode("latin-1"), region.decode("latin-1"), service.decode("latin-1"))
