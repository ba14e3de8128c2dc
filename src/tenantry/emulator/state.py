"""Owns what one local SES account remembers, and its few shared questions (find, publish, new ids).

Leaves every operation to the `operations_*` families, which inherit from it; no clock is read here.
"""

import base64
import binascii
import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Protocol

from tenantry.emulator.calls import Call as Call
from tenantry.emulator.calls import Params as Params
from tenantry.emulator.calls import Result as Result
from tenantry.emulator.errors import bad_request, not_found
from tenantry.emulator.faults import EventFaultKind, Faults
from tenantry.emulator.ledger import EventRecord, Ledger
from tenantry.emulator.meters import RollingDay, TokenBucket
from tenantry.emulator.options import Options
from tenantry.emulator.recipients import Recipients

PAGE_SIZE = 100


class Bearer(Protocol):
    """Who brings SES's events to their destinations, each given as the API's EventDestination has it."""

    def attach(self, destination: Mapping[str, Any], call: Call) -> None:
        """Take note that SES will publish to it, or raise SES's error if it cannot."""

    def validated(self, destination: Mapping[str, Any], call: Call) -> None:
        """Publish what SES publishes to a destination that was just made."""

    def bear(self, destination: Mapping[str, Any], event: EventRecord) -> None:
        """Publish one event to it."""


@dataclass(slots=True)
class Tenant:
    """An SES tenant; `resources` maps an associated ARN to the time of association."""

    name: str
    id: str
    arn: str
    created_at: float
    tags: dict[str, str]
    suppression: dict[str, Any] | None = None
    resources: dict[str, float] = field(default_factory=dict)


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
class Pool:
    """A dedicated IP pool with its addresses."""

    name: str
    arn: str
    scaling_mode: str
    tags: dict[str, str]
    ips: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Entity:
    """A reputation entity: who has stopped it, and by which policy it is watched."""

    arn: str
    policy: str
    changed_at: float
    customer_status: str = "ENABLED"
    aws_status: str = "ENABLED"

    @property
    def aggregate(self) -> str:
        """DISABLED if either side says so, REINSTATED if the customer does."""
        if "DISABLED" in (self.customer_status, self.aws_status):
            return "DISABLED"
        return "REINSTATED" if "REINSTATED" in (self.customer_status, self.aws_status) else "ENABLED"


class State:
    """Everything an account remembers."""

    def __init__(self, options: Options, bearer: Bearer) -> None:
        self.random = Random(options.seed)
        self.faults = Faults(Random(f"faults of {options.seed}"))
        self.bearer = bearer
        self.tenants: dict[str, Tenant] = {}
        self.sets: dict[str, ConfigurationSet] = {}
        self.identities: dict[str, Identity] = {}
        self.pools: dict[str, Pool] = {}
        self.entities: dict[str, Entity] = {}
        self.ip_numbers = count(1)
        self.sending_enabled = True
        self.enforcement = "HEALTHY"
        self.day = RollingDay()
        self.ledger = Ledger(options.ledger_max, options.ledger_contents_max)
        self._due: list[tuple[float, int, str, EventRecord, bool]] = []
        self._withheld: list[tuple[str, EventRecord]] = []
        self._order = count()
        self.configure(options)

    def configure(self, options: Options) -> None:
        """Take new options from now on; what was decided before stays."""
        self.options = options
        self.recipients = Recipients(options.recipients)
        self.send_rate = TokenBucket(options.max_send_rate)
        self.control_rate = TokenBucket(options.control_rate_per_second)

    def new_uuid(self) -> str:
        """Return a fresh id from the account's own random source."""
        digits = f"{self.random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def new_message_id(self, now: float) -> str:
        """Return an id in SES's form; feedback ids look alike."""
        return f"0100{int(now * 1000):012x}-{self.new_uuid()}-000000"

    def tenant(self, name: str) -> Tenant:
        """Return the tenant or raise NotFoundException."""
        if found := self.tenants.get(name):
            return found
        raise not_found(f"Tenant <{name}> does not exist.")

    def configuration_set(self, name: str) -> ConfigurationSet:
        """Return the configuration set or raise NotFoundException."""
        if found := self.sets.get(name):
            return found
        raise not_found(f"Configuration set <{name}> does not exist.")

    def identity(self, name: str) -> Identity:
        """Return the identity or raise NotFoundException."""
        if found := self.identities.get(name.lower()):
            return found
        raise not_found(f"Email identity <{name}> does not exist.")

    def pool(self, name: str) -> Pool:
        """Return the pool or raise NotFoundException."""
        if found := self.pools.get(name):
            return found
        raise not_found(f"Dedicated IP pool <{name}> does not exist.")

    def tagged(self, arn: str) -> Tenant | ConfigurationSet | Identity | Pool:
        """Return whatever has this ARN or raise NotFoundException."""
        name = arn.partition("/")[2]
        candidates: list[Tenant | ConfigurationSet | Identity | Pool | None] = [
            self.tenants.get(name.partition("/")[0]),
            self.sets.get(name),
            self.identities.get(name.lower()),
            self.pools.get(name),
        ]
        for found in candidates:
            if found is not None and found.arn == arn:
                return found
        raise not_found(f"Resource <{arn}> does not exist.")

    def refuse_if_associated(self, arn: str) -> None:
        """Refuse to delete what a tenant still uses."""
        names = [tenant.name for tenant in self.tenants.values() if arn in tenant.resources]
        if names:
            raise bad_request(
                f"Resource <{arn}> is associated with tenants [{', '.join(names)}]; disassociate it first."
            )

    def schedule(self, set_name: str, event: EventRecord) -> None:
        """Have an event published once its time has come."""
        heapq.heappush(self._due, (event.at, next(self._order), set_name, event, False))

    def next_due(self) -> float | None:
        """Return when the next event is due, or None."""
        return self._due[0][0] if self._due else None

    def publish_due(self, now: float) -> int:
        """Publish the events whose time has come; return how many."""
        number = 0
        while self._due and self._due[0][0] <= now:
            _, _, set_name, event, is_late = heapq.heappop(self._due)
            (self._tell if is_late else self.publish)(set_name, event)
            number += 1
        return number

    def publish(self, set_name: str, event: EventRecord) -> None:
        """Tell every enabled destination of the set that listens to this kind of event, unless a fault is ordered."""
        if self.faults.is_feed_stopped:
            self._withheld.append((set_name, event))
            return
        fault = self.faults.for_event(event.kind)
        if fault is None:
            self._tell(set_name, event)
        elif fault.kind is EventFaultKind.DELAY:
            heapq.heappush(self._due, (event.at + fault.seconds, next(self._order), set_name, event, True))
        elif fault.kind is EventFaultKind.DUPLICATE:
            self._tell(set_name, event)
            self._tell(set_name, event)

    def resume_feed(self) -> None:
        """Let events flow again; those withheld go out now, in their order."""
        self.faults.is_feed_stopped = False
        withheld, self._withheld = self._withheld, []
        for each in withheld:
            self.publish(*each)

    def _tell(self, set_name: str, event: EventRecord) -> None:
        found = self.sets.get(set_name)
        for destination in found.listeners.get(event.kind, ()) if found else ():
            self.bearer.bear(destination, event)


def tags_of(params: Params) -> dict[str, str]:
    """Return the Tags parameter as a plain mapping."""
    return {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as the API lists them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def page(names: Iterable[str], params: Params) -> tuple[list[str], str | None]:
    """Return one page of names in their order and the token of the next (None at the end)."""
    size = params.get("PageSize") or PAGE_SIZE
    after = _read_token(params.get("NextToken"))
    rest = sorted(name for name in names if after is None or name > after)
    shown = rest[:size]
    return shown, base64.urlsafe_b64encode(shown[-1].encode()).decode() if len(rest) > size else None


def _read_token(token: str | None) -> str | None:
    if not token:
        return None
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise bad_request("The NextToken is not valid.") from None
