"""Owns the things that one local SES account remembers: tenants, sets, identities, pools, templates, lists and the rest.

Leaves finding them to `emulator.state` and changing them to the families of operations.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from tenantry.emulator.justice import Conduct
from tenantry.emulator.registry import Registry

DEFAULT_POOL = "ses-default-dedicated-pool"  # where the addresses are that stand in no pool


@dataclass(slots=True)
class Tenant:
    """An SES tenant; `resources` maps an associated ARN to the time of association."""

    name: str
    id: str
    arn: str
    created_at: float
    tags: dict[str, str]
    suppression: dict[str, Any] | None = None
    resources: Registry[float] = field(default_factory=Registry)
    suppressed: "Registry[Suppressed]" = field(default_factory=Registry)


@dataclass(slots=True)
class ConfigurationSet:
    """A configuration set; option groups are kept as SES answers them."""

    name: str
    arn: str
    tags: dict[str, str]
    sending_enabled: bool = True
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    destinations: dict[str, dict[str, Any]] = field(default_factory=dict)
    listeners: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # event type -> destinations
    default_of: set[str] = field(default_factory=set)  # identities that send with it unless told otherwise

    def destinations_changed(self) -> None:
        """Recompute which destinations hear of which events."""
        listeners: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for destination in self.destinations.values():
            if destination.get("Enabled"):
                for kind in destination["MatchingEventTypes"]:
                    listeners[kind].append(destination)
        self.listeners = dict(listeners)


@dataclass(slots=True)
class Identity:
    """An email identity, a domain or an address."""

    name: str
    arn: str
    tags: dict[str, str]
    status: str
    verify_at: float | None
    created_at: float
    dkim: dict[str, Any]
    configuration_set: str | None = None
    mail_from: dict[str, Any] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    is_forwarding: bool = True
    certificates: Registry[dict[str, Any]] = field(default_factory=Registry)

    @property
    def is_domain(self) -> bool:
        """Is it a domain rather than one address?"""
        return "@" not in self.name

    def status_at(self, now: float) -> str:
        """Return the verification status; a planned verification happens by the clock."""
        if self.status == "PENDING" and self.verify_at is not None and now >= self.verify_at:
            self.status = "SUCCESS"
        return self.status


@dataclass(slots=True)
class Warmth:
    """How far a managed pool is warmed at one mailbox provider: its first day there, and what it took today."""

    first_day: int
    day: int
    taken: int = 0


@dataclass(slots=True)
class Pool:
    """A dedicated IP pool with its addresses; a managed one counts what it needs to warm them."""

    name: str
    arn: str
    scaling_mode: str
    tags: dict[str, str]
    ips: list[str] = field(default_factory=list)
    asked: int = 0  # recipients that a managed pool without addresses was asked for
    days: set[int] = field(default_factory=set)  # on which days that was
    providers: dict[str, Warmth] = field(default_factory=dict)


@dataclass(slots=True, order=True)
class Deferral:
    """Recipients of a message whose provider is down, and when they are tried again."""

    at: float
    order: int
    addresses: list[str] = field(compare=False)
    way: Any = field(compare=False)  # the message, as `operations.delivery` has it on its way


@dataclass(slots=True)
class DedicatedIp:
    """One leased address: in which pool it is, and how far it is warmed."""

    ip: str
    pool: str | None
    percentage: int = 100
    warming_since: float | None = None


@dataclass(slots=True)
class Recommendation:
    """A finding about a resource, as ListRecommendations shows it."""

    arn: str
    kind: str
    impact: str
    description: str
    opened_at: float
    changed_at: float
    status: str = "OPEN"
    is_by_hand: bool = False  # not opened by counting, and not resolved by it


@dataclass(slots=True)
class StatusRecord:
    """What one side says of a reputation entity, since when and why."""

    status: str
    changed_at: float
    cause: str | None = None


@dataclass(slots=True)
class Entity:
    """A reputation entity: who has stopped it, by which policy it is watched, and what was found."""

    arn: str
    policy: str
    customer: StatusRecord
    aws: StatusRecord
    findings: dict[str, Recommendation] = field(default_factory=dict)  # type -> the open one
    conduct: Conduct | None = None  # what is counted of it, once it has sent

    @property
    def aggregate(self) -> str:
        """DISABLED if either side says so, REINSTATED if the customer does."""
        if "DISABLED" in (self.customer.status, self.aws.status):
            return "DISABLED"
        return "REINSTATED" if "REINSTATED" in (self.customer.status, self.aws.status) else "ENABLED"

    @property
    def impact(self) -> str | None:
        """The highest impact of what is found, or None."""
        impacts = {each.impact for each in self.findings.values()}
        return "HIGH" if "HIGH" in impacts else "LOW" if impacts else None


@dataclass(slots=True)
class Suppressed:
    """One address of a suppression list; SES keeps its case."""

    address: str
    reason: str
    at: float
    message_id: str | None = None
    feedback_id: str | None = None


@dataclass(slots=True)
class Template:
    """An email template, with its parts as the API has them."""

    name: str
    arn: str
    content: dict[str, str]
    created_at: float
    tags: dict[str, str]


@dataclass(slots=True)
class VerificationTemplate:
    """A custom verification email template, with its parts as the API has them."""

    name: str
    arn: str
    parts: dict[str, str]
    tags: dict[str, str]


@dataclass(slots=True)
class Contact:
    """A contact of a list: what it chose per topic, and whether it wants nothing at all."""

    address: str
    created_at: float
    changed_at: float
    preferences: dict[str, str]
    unsubscribed: bool = False
    attributes: str | None = None


@dataclass(slots=True)
class ContactList:
    """A contact list; `topics` maps a name to what the API says of the topic."""

    name: str
    arn: str
    created_at: float
    changed_at: float
    tags: dict[str, str]
    description: str | None = None
    topics: dict[str, dict[str, Any]] = field(default_factory=dict)
    contacts: Registry[Contact] = field(default_factory=Registry)


@dataclass(slots=True)
class Job:
    """An import or export job; `given` is what the call said, `found` what came of it."""

    id: str
    given: dict[str, Any]
    created_at: float
    status: str = "CREATED"
    found: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Endpoint:
    """A multi-region endpoint."""

    name: str
    id: str
    arn: str
    regions: list[str]
    created_at: float
    tags: dict[str, str]


@dataclass(slots=True)
class Profile:
    """What the account as a whole is set to, besides whether it may send."""

    details: dict[str, Any] | None = None
    suppressed_reasons: list[str] = field(default_factory=lambda: ["BOUNCE", "COMPLAINT"])
    validation: dict[str, Any] | None = None
    vdm: dict[str, Any] = field(default_factory=lambda: {"VdmEnabled": "DISABLED"})
    plan: str = "NONE"
    next_plan: str | None = None
    auto_warmup: bool = True
    dashboard: dict[str, Any] = field(default_factory=lambda: {"DashboardEnabled": False})
    production: bool | None = None  # granted on request; None: as the options say
    fresh_start_at: float | None = None  # since when reputation is measured anew
