"""Owns what every operation of the SES wire is given and may answer: the caller, a no in SES's words, pages, ARNs.

Leaves each operation to its module, the table of them to `ses_desk`, and SendEmail's hot path to `ses` and `ses_message`.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from tenantry.core.ids import TenantId
from tenantry.core.message import Accepted, Refusal, RefusalCode, Submission
from tenantry.core.tenant import Key, Scope, Stream, Tenant
from tenantry.edge.doors import Doors
from tenantry.edge.ses_message import Call
from tenantry.edge.submit import foreign_tenant, submit
from tenantry.ports import Page, TenantStore
from tenantry.wire.aws import Members

T = TypeVar("T")
PAGE_MOST = 1_000


class No(NamedTuple):
    """An expected no: our own refusal, with SES's type and words where they are not the usual ones of its code."""

    refusal: Refusal
    kind: str | None = None
    words: str | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, by which key, and what makes a retry of the call recognisable."""

    doors: Doors
    key: Key
    tenant_id: TenantId
    call: Call

    @property
    def mine(self) -> TenantStore:
        """The caller's own things."""
        return self.doors.store.of(self.tenant_id)

    async def tenant(self) -> Tenant:
        """Return the tenant whose key this is."""
        found = await self.mine.tenant()
        assert found is not None, "a key's tenant is there"
        return found

    async def stream(self, name: str) -> Stream | No:
        """Return the stream that a configuration set's name stands for; ids are no names here, as in SES."""
        found = next((stream for stream in await self.mine.streams() if stream.name == name), None)
        return found or no_set(name)

    async def accept(self, submission: Submission) -> Accepted | Refusal:
        """Accept by the batch that all doors share; a busy store is a refusal."""
        return await submit(self.doors, submission)

    async def foreign_tenant(self, given: Members) -> No | None:
        """Refuse a TenantName that is not the caller's own, whether or not anybody has it."""
        name = given.get("TenantName")
        if name is None or await foreign_tenant(self.doors, self.tenant_id, (name,)) is None:
            return None
        return not_found(f"Tenant {name} does not exist.", "TenantName")


Handler = Callable[[Caller, Members], Awaitable[Members | No]]


class Operation(NamedTuple):
    """What a key needs for an operation, and what does it."""

    scope: Scope
    run: Handler


def not_found(words: str, field: str | None = None) -> No:
    """What is named does not exist, or is not the caller's."""
    return No(Refusal(RefusalCode.NOT_FOUND, words, field))


def no_set(name: str) -> No:
    """There is no such configuration set, in SES's words."""
    words = f"Configuration set <{name[:64]}> does not exist."
    return No(Refusal(RefusalCode.UNKNOWN_STREAM, words, "ConfigurationSetName"))


def bad(words: str, field: str | None = None) -> No:
    """The request is wrong in itself."""
    return No(Refusal(RefusalCode.INVALID_FIELD, words, field))


def exists(words: str, field: str | None = None) -> No:
    """It exists already."""
    return No(Refusal(RefusalCode.CONFLICT, words, field), "AlreadyExistsException")


def full(words: str, field: str | None = None) -> No:
    """There are as many as there may be."""
    return No(Refusal(RefusalCode.TOO_LARGE, words, field), "LimitExceededException")


def page_of(items: Sequence[T], name: Callable[[T], str], given: Members, most: int = PAGE_MOST) -> Page[T] | No:
    """Return the page of a list, sorted by unique names, that PageSize and NextToken ask for."""
    size = page_size(given, most)
    if isinstance(size, No):
        return size
    after = ""
    if token := given.get("NextToken"):
        try:
            if len(token) > 4_096:
                raise ValueError("too long")
            after = json.loads(urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4)))["after"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return bad_token()
        if not isinstance(after, str):
            return bad_token()
    rest = [one for one in sorted(items, key=name) if name(one) > after]
    more = len(rest) > size
    return Page(rest[:size], _token(name(rest[size - 1])) if more else None)


def page_size(given: Members, most: int, name: str = "PageSize") -> int | No:
    """Return how many are asked for, at most `most`."""
    size = given.get(name)
    if size is None or size == 0:
        return most
    return min(size, most) if size > 0 else bad(f"{name} must be 1 to {most}.", name)


def bad_token() -> No:
    """Refuse a token that was not made here, in SES's words."""
    refusal = Refusal(RefusalCode.INVALID_FIELD, "The specified next token is invalid.", "NextToken")
    return No(refusal, "InvalidNextTokenException")


def _token(after: str) -> str:
    return urlsafe_b64encode(json.dumps({"after": after}).encode()).decode().rstrip("=")


def tags_of(given: Members) -> Mapping[str, str]:
    """Return the tags of a resource as they are given."""
    return {row["Key"]: row["Value"] for row in given.get("Tags", ())}


def arn(caller: Caller, tenant: Tenant, resource: str) -> str:
    """Return the ARN of a thing in the tenant's own virtual account."""
    return f"arn:aws:ses:{caller.doors.region}:{tenant.account}:{resource}"
