"""Owns which changes people may make to tenants, streams, identities, pools and keys; leaves pauses to guard.

Each verb checks by pure functions first, so that a refusal changes nothing; names taken meanwhile are the store's word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tenantry.core.ids import Id, IdentityId, KeyId, PoolId, StreamId, TenantId
from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.policy import POLICIES
from tenantry.core.tenant import (
    DkimMode,
    DnsRecord,
    Identity,
    Key,
    NewIdentity,
    NewStream,
    NewTenant,
    Pool,
    PoolKind,
    Scope,
    Stream,
    StreamClass,
    Tenant,
)
from tenantry.ports import FleetStore, Store, StoreConflict, StoreRejected, TenantStore
from tenantry.wire.address import AddressError, ascii_domain, parse_mailbox

SHARED_POOL = "shared"
POOLS_MAX = 50  # per Region, standard and managed together (SES quotas)
LABELS_MAX = 20  # SES takes 50 tags on a resource; some are ours
TENANT_SCOPES = frozenset({Scope.SEND, Scope.READ, Scope.MANAGE})
OPERATOR_SCOPES = frozenset({Scope.READ, Scope.MANAGE, Scope.OPERATE})

_NAME = re.compile(r"[a-z0-9_-]{1,64}")
_LABEL_VALUE = re.compile(r"[\w .:/=+@-]{0,256}")  # what a tag in AWS may hold


@dataclass(frozen=True, slots=True)
class MadeTenant:
    """A tenant with all that it needs to send once SES has verified its identity."""

    tenant: Tenant
    streams: tuple[Stream, ...]
    identity: Identity | None


async def add_tenant(
    store: Store, operator: KeyId, wanted: NewTenant, domain: NewIdentity | None, pool: str
) -> MadeTenant | Refusal:
    """Make a tenant with its identity and both streams, `transactional` (the default) and `marketing`, in one pool.

    A tenant that an earlier call began and could not finish is finished, so that the same call can be made again.
    """
    fleet = store.fleet(operator)
    identity = identity_as_kept(domain) if domain else None
    if isinstance(identity, Refusal):
        return replace(identity, field="domain")
    if flaw := tenant_flaw(wanted) or await _pool_flaw(fleet, pool):
        return flaw
    tenant = await _begun(store, fleet, wanted)
    if isinstance(tenant, Refusal):
        return tenant
    mine = store.of(tenant.id)
    try:
        held = (await mine.identity(identity.name) or await mine.add_identity(identity)) if identity else None
    except StoreConflict as error:
        return Refusal(RefusalCode.CONFLICT, f"{error} Give another domain, or leave it out.", "domain")
    return MadeTenant(tenant, await _both_streams(mine, pool), held)


async def add_stream(store: Store, tenant: Tenant, wanted: NewStream) -> Stream | Refusal:
    """Make a stream of this tenant's."""
    if flaw := stream_flaw(wanted):
        return flaw
    try:
        return await store.of(tenant.id).add_stream(wanted)
    except StoreConflict as error:
        return Refusal(RefusalCode.CONFLICT, f"{error} Give another name.", "name")
    except StoreRejected as error:
        return Refusal(RefusalCode.INVALID_FIELD, f"{error} Give a pool that `pool list` shows.", "pool")


async def add_identity(store: Store, tenant: Tenant, wanted: NewIdentity) -> Identity | Refusal:
    """Make an identity of this tenant's, unverified until SES sees its records."""
    identity = identity_as_kept(wanted)
    if isinstance(identity, Refusal):
        return identity
    try:
        return await store.of(tenant.id).add_identity(identity)
    except StoreConflict as error:
        return Refusal(RefusalCode.CONFLICT, f"{error} Each name has one holder.", "name")


async def add_key(
    store: Store, operator: KeyId | None, tenant_id: TenantId | None, scopes: frozenset[Scope]
) -> tuple[Key, str] | Refusal:
    """Make a key of a tenant's, or (no tenant) the operator's, and return it with its secret, shown this once."""
    if flaw := scopes_flaw(tenant_id, scopes):
        return flaw
    if tenant_id is not None:
        mine = store.of(tenant_id)
        if await mine.tenant() is None:
            return Refusal(RefusalCode.NOT_FOUND, "There is no such tenant.", "tenant")
        return await mine.add_key(scopes)
    if operator is None:
        return Refusal(RefusalCode.FORBIDDEN, "Only an operator makes operators' keys: name a tenant.", "tenant")
    return await store.fleet(operator).add_key(scopes)


async def rotate_key(
    store: Store, operator: KeyId | None, key: Key, overlap_seconds: float
) -> tuple[Key, str] | Refusal:
    """Make a key with the same owner and scopes, and let the old one end after the overlap; it must be live.

    Two steps: where the second one fails the old key lives on, and the call can be made again.
    """
    owner: TenantStore | FleetStore
    if key.tenant_id is not None:
        owner = store.of(key.tenant_id)
    elif operator is not None:
        owner = store.fleet(operator)
    else:
        return Refusal(RefusalCode.FORBIDDEN, "Only an operator makes operators' keys.", "key")
    made, secret = await owner.add_key(key.scopes)
    if await owner.revoke_key(key.id, overlap_seconds):
        return made, secret
    await owner.revoke_key(made.id)
    return Refusal(RefusalCode.CONFLICT, "The key is revoked already: make a new one.", "key")


async def add_pool(store: Store, operator: KeyId, name: str, kind: PoolKind) -> Pool | Refusal:
    """Make a pool of dedicated IPs."""
    fleet = store.fleet(operator)
    if flaw := pool_flaw(name, kind, await fleet.pools()):
        return flaw
    try:
        return await fleet.add_pool(name, kind)
    except StoreConflict as error:
        return Refusal(RefusalCode.CONFLICT, f"{error} Give another name.", "name")


# ---- the rules


def name_flaw(name: str, field: str = "name") -> Refusal | None:
    """Say why this is no name, or None: 1 to 64 of a-z, 0-9, - and _, and nothing that reads like an id of ours."""
    if not _NAME.fullmatch(name):
        return Refusal(RefusalCode.INVALID_FIELD, "Give a name of 1 to 64 characters out of a-z, 0-9, - and _.", field)
    if any(_reads_as(kind, name) for kind in (TenantId, StreamId, IdentityId, KeyId, PoolId)):
        return Refusal(RefusalCode.INVALID_FIELD, "Give a name that does not look like an id.", field)
    return None


def tenant_flaw(wanted: NewTenant) -> Refusal | None:
    """Say why this tenant cannot be made, or None."""
    if flaw := name_flaw(wanted.name):
        return flaw
    if len(wanted.labels) > LABELS_MAX:
        return Refusal(RefusalCode.INVALID_FIELD, f"Give at most {LABELS_MAX} labels.", "labels")
    for name, value in wanted.labels.items():
        if name_flaw(name) or name.startswith("tenantry"):
            sentence = "Name labels by 1 to 64 of a-z, 0-9, - and _, not beginning with tenantry."
            return Refusal(RefusalCode.INVALID_FIELD, sentence, "labels")
        if not _LABEL_VALUE.fullmatch(value):
            sentence = f"Give label {name} up to 256 letters, digits, spaces and . : / = + @ - _."
            return Refusal(RefusalCode.INVALID_FIELD, sentence, "labels")
    return None


def stream_flaw(wanted: NewStream) -> Refusal | None:
    """Say why this stream cannot be made, or None; whether its pool exists is the store's to say."""
    if flaw := name_flaw(wanted.name):
        return flaw
    if wanted.policy not in POLICIES:
        known = ", ".join(sorted(POLICIES))
        return Refusal(RefusalCode.INVALID_FIELD, f"Give one of the policies {known}.", "policy")
    return None


def identity_as_kept(wanted: NewIdentity) -> NewIdentity | Refusal:
    """Return the identity under the one name that it is kept by (lower case, ASCII), or say what is wrong with it.

    SES takes a DKIM key of one's own for domains alone, so an address has none.
    """
    try:
        if "@" not in wanted.name:
            return replace(wanted, name=ascii_domain(wanted.name.strip()))
        mailbox = parse_mailbox(wanted.name.strip())
    except AddressError as error:
        return Refusal(RefusalCode.INVALID_FIELD, str(error), "name")
    if mailbox.display:
        return Refusal(RefusalCode.INVALID_FIELD, "Give the address alone, without a display name.", "name")
    return replace(wanted, name=mailbox.address.lower(), dkim=DkimMode.EASY)


def scopes_flaw(tenant_id: TenantId | None, scopes: frozenset[Scope]) -> Refusal | None:
    """Say why a key cannot have these scopes, or None."""
    allowed = OPERATOR_SCOPES if tenant_id is None else TENANT_SCOPES
    if not scopes or not scopes <= allowed:
        whose = "an operator's" if tenant_id is None else "a tenant's"
        sentence = f"Give {whose} key one or more of the scopes {', '.join(sorted(allowed))}."
        return Refusal(RefusalCode.INVALID_FIELD, sentence, "scopes")
    return None


def pool_flaw(name: str, kind: PoolKind, pools: Sequence[Pool]) -> Refusal | None:
    """Say why this pool cannot be made beside those that exist, or None."""
    if flaw := name_flaw(name):
        return flaw
    if len(name) > 50:
        return Refusal(RefusalCode.INVALID_FIELD, "Give a pool a name of at most 50 characters.", "name")
    if kind is PoolKind.SHARED:
        return Refusal(RefusalCode.INVALID_FIELD, "Make a standard or a managed pool: the shared one exists.", "kind")
    if sum(pool.kind is not PoolKind.SHARED for pool in pools) >= POOLS_MAX:
        sentence = f"Share a pool: SES has at most {POOLS_MAX} in a Region, and all are taken."
        return Refusal(RefusalCode.CONFLICT, sentence, "name")
    return None


def dns_records(identity: Identity) -> tuple[DnsRecord, ...]:
    """Return the records that the domain's owner publishes; an address has none; Easy DKIM's need SES's tokens."""
    domain = identity.name
    if "@" in domain:
        return ()
    if identity.dkim is DkimMode.BYODKIM:
        host = f"{identity.selector}._domainkey.{domain}"
        dkim: tuple[DnsRecord, ...] = (DnsRecord("TXT", host, f"v=DKIM1; k=rsa; p={identity.public_key}", "dkim"),)
    else:
        zone = identity.ses_status.get("zone", "dkim.amazonses.com")
        dkim = tuple(
            DnsRecord("CNAME", f"{token}._domainkey.{domain}", f"{token}.{zone}", "dkim") for token in identity.tokens
        )
    return (*dkim, DnsRecord("TXT", f"_dmarc.{domain}", "v=DMARC1; p=none;", "dmarc"))


# ---- steps of the verbs


async def _begun(store: Store, fleet: FleetStore, wanted: NewTenant) -> Tenant | Refusal:
    """Make the tenant, or return the one of this name that was begun and has not both its streams yet."""
    try:
        return await fleet.add_tenant(wanted)
    except StoreConflict as error:
        tenant = await fleet.tenant(wanted.name)
        if tenant and {stream.name for stream in await store.of(tenant.id).streams()} < set(StreamClass):
            return tenant
        return Refusal(RefusalCode.CONFLICT, f"{error} Give another name.", "name")


async def _both_streams(mine: TenantStore, pool: str) -> tuple[Stream, ...]:
    made: list[Stream] = []
    for kind in (StreamClass.TRANSACTIONAL, StreamClass.MARKETING):
        first = kind is StreamClass.TRANSACTIONAL
        made.append(
            await mine.stream(kind.value) or await mine.add_stream(NewStream(kind.value, kind, pool, is_default=first))
        )
    return tuple(made)


async def _pool_flaw(fleet: FleetStore, pool: str) -> Refusal | None:
    known = [each.name for each in await fleet.pools()]
    if pool in known:
        return None
    return Refusal(RefusalCode.INVALID_FIELD, f"Give one of the pools {', '.join(known[:20])}.", "pool")


def _reads_as(kind: type[Id], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True
