"""Owns what SES should look like, the steps towards it, and what its state makes true; leaves calls to adapters."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tenantry.core.claim import NAME_PREFIX, ses_name
from tenantry.core.ids import Id, PauseId, StreamId, TenantId
from tenantry.core.pause import Pause
from tenantry.core.tenant import DkimMode, Identity, IdentityStatus, Pool, PoolKind, Stream, Tenant

DESTINATION = "events"
CELL_TOPIC = "cell"  # the topic that feeds the cell's event queue; only the control adapter knows its ARN
SHARED_SES_POOL = "ses-shared-pool"  # named, since a set without a pool takes any dedicated IP that is in none
EVENT_TYPES = "SEND REJECT BOUNCE COMPLAINT DELIVERY OPEN CLICK RENDERING_FAILURE DELIVERY_DELAY SUBSCRIPTION"
TAG = "tag:"  # attributes that are tags in SES
SENDING = "sending_enabled"
DOUBT = "doubt"  # in place of true or false, while a call that switches sending is under way
FOR_SENDING = "for_sending"  # observed: whether SES lets an identity send
SES_WORDS = ("verification", "dkim", "zone", "error")  # what of an identity's observed state people are shown


class ResourceKind(StrEnum):
    """The kinds of objects that we own in SES."""

    POOL = "pool"
    CONFIGURATION_SET = "configuration_set"
    EVENT_DESTINATION = "event_destination"
    IDENTITY = "identity"
    TENANT = "tenant"
    ASSOCIATION = "association"


@dataclass(frozen=True, slots=True)
class Resource:
    """One object in SES: its kind, its name there, and the attributes that we look after (flat, text).

    An event destination is named `set/destination`, an association `tenant/` and the end of the resource's ARN
    (`identity/acme.example`). observed holds what SES alone decides (verification status, DKIM
    tokens, ARN); it never makes a difference.
    """

    kind: ResourceKind
    name: str
    attributes: Mapping[str, str]
    observed: Mapping[str, str]

    @property
    def key(self) -> tuple[ResourceKind, str]:
        """What makes it the same object."""
        return self.kind, self.name


class Urgency(StrEnum):
    """The order in which changes use the cell's one control call a second."""

    PAUSE = "pause"
    UNPAUSE = "unpause"
    ONBOARD = "onboard"
    DRIFT = "drift"


@dataclass(frozen=True, slots=True)
class Change:
    """One idempotent step, and one call to SES: make this resource so, or (delete) make it gone."""

    resource: Resource
    urgency: Urgency
    differs: tuple[str, ...]  # the attributes that differ; empty: it is missing, or to be deleted
    delete: bool = False
    there: Resource | None = None  # as last seen

    @property
    def key(self) -> tuple[ResourceKind, str, tuple[str, ...], bool]:
        """What makes it the same step."""
        return (*self.resource.key, self.differs, self.delete)

    @property
    def result(self) -> Resource:
        """What SES has once this step is made: a new object, else what was there with the differences changed."""
        if self.there is None:
            return replace(self.resource, observed={})
        wanted = {name: self.resource.attributes[name] for name in self.differs if name in self.resource.attributes}
        kept = {name: value for name, value in self.there.attributes.items() if name not in self.differs}
        return replace(self.there, attributes=kept | wanted)


_URGENCY = {urgency: place for place, urgency in enumerate(Urgency)}
_LAST_UNMADE = (ResourceKind.CONFIGURATION_SET, ResourceKind.TENANT, ResourceKind.IDENTITY, ResourceKind.POOL)
_UNMAKING = (ResourceKind.ASSOCIATION, ResourceKind.EVENT_DESTINATION, *_LAST_UNMADE)


# ---- what SES should look like


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the store wants of one cell. pauses: those that block now; one that is ending no longer does."""

    tenants: Mapping[TenantId, Tenant]
    streams: Sequence[Stream]
    identities: Sequence[Identity]
    pools: Sequence[Pool]
    pauses: Sequence[Pause]


def ses_pool(pool: Pool) -> str:
    """Name a pool as SES knows it."""
    return SHARED_SES_POOL if pool.kind is PoolKind.SHARED else f"{NAME_PREFIX}{pool.name}"


def scopes(stream: Stream) -> tuple[Id, ...]:
    """Return every scope whose pause stops this stream."""
    return (stream.id, stream.tenant_id, stream.pool_id, stream.cell_id)


def destination_name(stream_id: StreamId) -> str:
    """Name a stream's event destination resource."""
    return f"{ses_name(stream_id)}/{DESTINATION}"


def association_name(stream_id: StreamId, suffix: str) -> str:
    """Name the association of a stream's SES tenant with a resource, given by the end of its ARN."""
    return f"{ses_name(stream_id)}/{suffix}"


def set_suffix(stream_id: StreamId) -> str:
    """Return the end of the ARN of a stream's configuration set."""
    return f"configuration-set/{ses_name(stream_id)}"


def identity_suffix(name: str) -> str:
    """Return the end of an identity's ARN."""
    return f"identity/{name}"


def names_of(stream_id: StreamId, identity_name: str | None) -> Iterator[tuple[ResourceKind, str]]:
    """Yield the kinds and names of a stream's own objects, with its right to use this identity."""
    yield ResourceKind.CONFIGURATION_SET, ses_name(stream_id)
    yield ResourceKind.EVENT_DESTINATION, destination_name(stream_id)
    yield ResourceKind.TENANT, ses_name(stream_id)
    yield ResourceKind.ASSOCIATION, association_name(stream_id, set_suffix(stream_id))
    if identity_name:
        yield ResourceKind.ASSOCIATION, association_name(stream_id, identity_suffix(identity_name))


def desired(wanted: Wanted) -> list[Resource]:
    """Return what SES should hold, in an order that can be made: what is needed first stands first."""
    stopped = {pause.scope_id for pause in wanted.pauses}
    pools = {pool.id: pool for pool in wanted.pools}
    owned: dict[TenantId, list[Identity]] = {}
    for identity in wanted.identities:
        owned.setdefault(identity.tenant_id, []).append(identity)
    resources = {made.key: made for pool in wanted.pools if pool.kind is not PoolKind.SHARED for made in (_pool(pool),)}
    for stream in wanted.streams:
        tenant, identities = wanted.tenants[stream.tenant_id], owned.get(stream.tenant_id, ())
        stops = not stopped.isdisjoint(scopes(stream))
        for made in _of_stream(_Site(stream, tenant, pools[stream.pool_id], stops), identities):
            resources.setdefault(made.key, made)
    for identity in wanted.identities:
        made = _identity(identity, wanted.tenants[identity.tenant_id])
        resources.setdefault(made.key, made)
    return list(resources.values())


@dataclass(frozen=True, slots=True)
class _Site:
    """A stream with all around it that its resources are made from."""

    stream: Stream
    tenant: Tenant
    pool: Pool
    stopped: bool


def _of_stream(site: _Site, identities: Sequence[Identity]) -> Iterator[Resource]:
    """Yield what one stream needs, its tenant's identities among it, so that one stream after the other can start."""
    stream = site.stream
    tags = _tags(site.tenant, stream)
    yield _set(site, tags)
    yield _made(
        ResourceKind.EVENT_DESTINATION,
        destination_name(stream.id),
        events=EVENT_TYPES,
        enabled="true",
        target=CELL_TOPIC,
    )
    for identity in identities:
        yield _identity(identity, site.tenant)
    yield Resource(ResourceKind.TENANT, ses_name(stream.id), {**tags, **SUPPRESSION}, {})
    for suffix in (set_suffix(stream.id), *(identity_suffix(one.name) for one in identities)):
        yield _made(ResourceKind.ASSOCIATION, association_name(stream.id, suffix))


SUPPRESSION: Mapping[str, str] = {"suppression_scope": "TENANT", "suppression_reasons": "BOUNCE COMPLAINT"}
"""One tenant's bounce must not block the address for all, which is SES's own default."""


def _made(kind: ResourceKind, name: str, **attributes: str) -> Resource:
    return Resource(kind, name, attributes, {})


def _pool(pool: Pool) -> Resource:
    mode = "MANAGED" if pool.kind is PoolKind.MANAGED else "STANDARD"
    return _made(ResourceKind.POOL, ses_pool(pool), scaling_mode=mode)


def _set(site: _Site, tags: Mapping[str, str]) -> Resource:
    attributes = {
        SENDING: "false" if site.stopped else "true",
        "reputation_metrics": "true",
        "pool": ses_pool(site.pool),
        "tls": "OPTIONAL",
        **SUPPRESSION,
        **tags,
    }
    return Resource(ResourceKind.CONFIGURATION_SET, ses_name(site.stream.id), attributes, {})


def _identity(identity: Identity, tenant: Tenant) -> Resource:
    tags = _tags(tenant, None)
    if "@" in identity.name:
        return Resource(ResourceKind.IDENTITY, identity.name, tags, {})
    byo = identity.dkim is DkimMode.BYODKIM
    dkim = {"dkim": "EXTERNAL", "selector": identity.selector} if byo else {"dkim": "AWS_SES"}
    return Resource(ResourceKind.IDENTITY, identity.name, dkim | tags, {})


def _tags(tenant: Tenant, stream: Stream | None) -> dict[str, str]:
    """Return the tags that let AWS bill be split by tenant, stream and label."""
    tags = {f"{TAG}tenantry-tenant": tenant.id.partition("_")[2]} | {f"{TAG}{k}": v for k, v in tenant.labels.items()}
    tags[f"{TAG}tenantry-tenant-name"] = tenant.name
    if stream:
        tags[f"{TAG}tenantry-stream"] = stream.name
    return tags


# ---- the steps towards it


def is_ours(resource: Resource) -> bool:
    """Say whether we may delete it: it carries our name prefix, or (an identity) our tag; nothing else is touched."""
    if resource.kind is ResourceKind.IDENTITY:
        return f"{TAG}tenantry-tenant" in resource.attributes
    return resource.name.startswith(NAME_PREFIX)


def plan(desired: Sequence[Resource], mirror: Sequence[Resource]) -> list[Change]:
    """Return the steps from what SES has to what it should have, most urgent first; none when nothing differs.

    Pauses come first, then their endings, then what is missing, in the order given by desired (what is needed first
    stands first), then differences, then what is no longer wanted, associations before what they hold.
    """
    present = {resource.key: resource for resource in mirror}
    changes = [change for resource in desired for change in _towards(resource, present.get(resource.key))]
    return most_urgent_first([*changes, *_deletions({resource.key for resource in desired}, mirror)])


def most_urgent_first(changes: Iterable[Change]) -> list[Change]:
    """Return changes in the order to make them in; within one urgency the given order stands."""
    return sorted(changes, key=lambda change: (_URGENCY[change.urgency], change.delete))


_CALLS = {
    SENDING: "sending",
    "reputation_metrics": "reputation",
    "pool": "delivery",
    "tls": "delivery",
    "suppression_scope": "suppression",
    "suppression_reasons": "suppression",
}
"""Which call changes an attribute, where one object has several; tags have two, the rest has one."""


def _towards(wanted: Resource, there: Resource | None) -> list[Change]:
    if there is None:
        return [Change(wanted, Urgency.ONBOARD, ())]
    calls: dict[str, list[str]] = {}
    for name, value in sorted(wanted.attributes.items()):
        if there.attributes.get(name) != value:
            calls.setdefault("tag" if name.startswith(TAG) else _CALLS.get(name, "own"), []).append(name)
    gone = [name for name in sorted(there.attributes) if name.startswith(TAG) and name not in wanted.attributes]
    if gone:
        calls["untag"] = gone
    return [Change(wanted, _urgency(wanted, call), tuple(names), there=there) for call, names in calls.items()]


def _urgency(wanted: Resource, call: str) -> Urgency:
    if call != "sending":
        return Urgency.DRIFT
    return Urgency.PAUSE if wanted.attributes[SENDING] == "false" else Urgency.UNPAUSE


def _deletions(wanted: Collection[tuple[ResourceKind, str]], mirror: Iterable[Resource]) -> list[Change]:
    surplus = [resource for resource in mirror if resource.key not in wanted and is_ours(resource)]
    surplus.sort(key=lambda resource: (_UNMAKING.index(resource.kind), resource.name))
    return [Change(resource, Urgency.DRIFT, (), delete=True, there=resource) for resource in surplus]


# ---- what follows from what SES has


@dataclass(frozen=True, slots=True)
class Progress:
    """What has come true: streams that can send now or no longer, pauses that SES holds, pauses that are over.

    identities: those whose standing with SES changed, as they stand now.
    """

    provisioned: tuple[StreamId, ...]
    lost: tuple[StreamId, ...]
    fenced: tuple[PauseId, ...]
    ended: tuple[PauseId, ...]
    identities: tuple[Identity, ...]


def progress(wanted: Wanted, ending: Sequence[Pause], mirror: Iterable[Resource]) -> Progress:
    """Say what SES's state makes true of the store's things.

    ending: pauses that somebody ended and that hold until SES sends again. A stream can send once all that a send
    names is there; it can no longer when its set, SES tenant or their association is gone. A pause is fenced once no
    set of its scope sends; where there is no set, nothing can be sent; one that is being switched may send.
    """
    seen = _Seen(wanted, mirror)
    opening = [pause for pause in wanted.pauses if pause.fenced_at is None]
    under = {
        pause.id: [one for one in wanted.streams if pause.scope_id in scopes(one)] for pause in (*opening, *ending)
    }
    return Progress(
        provisioned=tuple(one.id for one in wanted.streams if one.provisioned_at is None and seen.can_send(one)),
        lost=tuple(one.id for one in wanted.streams if one.provisioned_at is not None and not seen.is_made(one)),
        fenced=tuple(pause.id for pause in opening if all(seen.is_still(one) for one in under[pause.id])),
        ended=tuple(pause.id for pause in ending if all(seen.may_go_on(one) for one in under[pause.id])),
        identities=tuple(now for one in wanted.identities if (now := seen.as_it_stands(one)) != one),
    )


class _Seen:
    """SES's state, asked about the store's things."""

    def __init__(self, wanted: Wanted, mirror: Iterable[Resource]) -> None:
        self._there = {resource.key: resource for resource in mirror}
        self._stopped = {pause.scope_id for pause in wanted.pauses}
        self._identities: dict[TenantId, list[Identity]] = {}
        self._live: dict[TenantId, list[Stream]] = {}
        for identity in wanted.identities:
            self._identities.setdefault(identity.tenant_id, []).append(identity)
        for stream in wanted.streams:
            if stream.provisioned_at is not None:
                self._live.setdefault(stream.tenant_id, []).append(stream)

    def sending(self, stream: Stream) -> str | None:
        there = self._there.get((ResourceKind.CONFIGURATION_SET, ses_name(stream.id)))
        return there.attributes.get(SENDING) if there else None

    def is_still(self, stream: Stream) -> bool:
        """SES sends nothing for it."""
        return self.sending(stream) in (None, "false")

    def may_go_on(self, stream: Stream) -> bool:
        """SES sends for it again, or another pause keeps it stopped."""
        return self.sending(stream) in (None, "true") or not self._stopped.isdisjoint(scopes(stream))

    def is_made(self, stream: Stream) -> bool:
        name = ses_name(stream.id)
        own = (ResourceKind.CONFIGURATION_SET, name) in self._there and (ResourceKind.TENANT, name) in self._there
        return own and self._associated(stream, set_suffix(stream.id))

    def can_send(self, stream: Stream) -> bool:
        """It is made, its events are routed, and it may use each of its tenant's identities that SES knows."""
        mine = self._identities.get(stream.tenant_id, ())
        known = [identity_suffix(one.name) for one in mine if (ResourceKind.IDENTITY, one.name) in self._there]
        routed = (ResourceKind.EVENT_DESTINATION, destination_name(stream.id)) in self._there
        return routed and self.is_made(stream) and all(self._associated(stream, one) for one in known)

    def as_it_stands(self, identity: Identity) -> Identity:
        """Return the identity with SES's words; it is verified once every stream that sends may use it."""
        there = self._there.get((ResourceKind.IDENTITY, identity.name))
        if there is None:
            return identity  # not looked at yet: it stays what it was, and SES's own no makes its mail wait
        observed = there.observed
        suffix = identity_suffix(identity.name)
        usable = all(self._associated(one, suffix) for one in self._live.get(identity.tenant_id, ()))
        if observed.get(FOR_SENDING) == "true" and (usable or identity.status is IdentityStatus.VERIFIED):
            status = IdentityStatus.VERIFIED
        else:
            status = IdentityStatus.FAILED if observed.get("verification") == "FAILED" else IdentityStatus.PENDING
        words = {name: observed[name] for name in SES_WORDS if observed.get(name)}
        tokens = tuple(observed.get("tokens", "").split()) if identity.dkim is DkimMode.EASY else ()
        return replace(identity, status=status, ses_status=words, tokens=tokens)

    def _associated(self, stream: Stream, suffix: str) -> bool:
        return (ResourceKind.ASSOCIATION, association_name(stream.id, suffix)) in self._there
