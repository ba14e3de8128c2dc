"""Owns what one local SES account remembers, and its few shared questions (find, publish, new ids).

Leaves every operation to the `operations_*` families, which inherit from it; no clock is read here.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import count, islice
from random import Random
from typing import Any, Protocol

from tenantry.emulator.calls import Call as Call
from tenantry.emulator.calls import Params as Params
from tenantry.emulator.calls import Result as Result
from tenantry.emulator.errors import bad_request, not_found
from tenantry.emulator.events import Sent
from tenantry.emulator.faults import EventFaultKind, Faults
from tenantry.emulator.files import Files
from tenantry.emulator.ledger import EventRecord, Ledger
from tenantry.emulator.meters import RollingDay, TokenBucket
from tenantry.emulator.options import Options
from tenantry.emulator.recipients import Recipients
from tenantry.emulator.records import (
    DEFAULT_POOL,
    ConfigurationSet,
    ContactList,
    DedicatedIp,
    Deferral,
    Endpoint,
    Entity,
    Identity,
    Job,
    Pool,
    Profile,
    Recommendation,
    Suppressed,
    Template,
    Tenant,
    VerificationTemplate,
)
from tenantry.emulator.registry import Registry
from tenantry.emulator.vdm import Vdm

TAGS_MAX = 50


class Tagged(Protocol):
    """Anything that has an ARN and tags."""

    arn: str
    tags: dict[str, str]


class Bearer(Protocol):
    """Who brings SES's events to their destinations, each given as the API's EventDestination has it."""

    def attach(self, destination: Mapping[str, Any], call: Call) -> None:
        """Take note that SES will publish to it, or raise SES's error if it cannot."""

    def validated(self, destination: Mapping[str, Any], call: Call) -> None:
        """Publish what SES publishes to a destination that was just made."""

    def bear(self, destination: Mapping[str, Any], event: EventRecord) -> None:
        """Publish one event to it."""

    def weigh(self, what: str, number: int, sent: Sent, at: float) -> None:
        """Count recipients of a message (Sends, Bounces, Complaints, …) for the metrics of reputation."""

    def announce(self, detail_type: str, detail: str, resource_arn: str, at: float) -> None:
        """Tell of a tenant's status or of a finding, where SES tells of it by itself."""

    def start_afresh(self) -> None:
        """Forget the account's counts, and its sets': their reputation is measured from now on."""


class State:
    """Everything an account remembers."""

    def __init__(
        self,
        options: Options,
        bearer: Bearer,
        elsewhere: "Callable[[str, str], State | None]",
        now: float,
        faults: Faults | None = None,
    ) -> None:
        self.elsewhere = elsewhere  # (account id, Region) -> what was ever called there, this place included
        self.random = Random(options.seed)
        self.faults = faults or Faults(Random(f"faults of {options.seed}"))
        self.bearer = bearer
        self.tenants: Registry[Tenant] = Registry()
        self.sets: Registry[ConfigurationSet] = Registry()
        self.identities: Registry[Identity] = Registry()
        self.pools: Registry[Pool] = Registry()
        self.ips: Registry[DedicatedIp] = Registry()
        self.entities: Registry[Entity] = Registry()
        self.associations: dict[str, Registry[Tenant]] = {}  # the ARN of a resource -> the tenants that use it
        self.suppressed: Registry[Suppressed] = Registry()
        self.globally_suppressed: dict[str, tuple[float, float]] = {}  # since when, until when
        self.templates: Registry[Template] = Registry()
        self.verification_templates: Registry[VerificationTemplate] = Registry()
        self.contact_lists: Registry[ContactList] = Registry()
        self.import_jobs: Registry[Job] = Registry()
        self.export_jobs: Registry[Job] = Registry()
        self.endpoints: Registry[Endpoint] = Registry()
        self.recommendations: Registry[Recommendation] = Registry()
        self.profile = Profile()
        self.vdm = Vdm()
        self.links: OrderedDict[str, Any] = OrderedDict()  # how recipients leave a list, by token
        self.files = Files(options.files)
        self.ip_numbers = count(1)
        self.sending_enabled = True
        self.enforcement = "HEALTHY"
        self.is_enforced_by_hand = False
        self.accused: dict[str, None] = {}  # the ARNs of tenants with open findings
        self.hearing_at: float | None = None  # when they are judged again
        self.day = RollingDay()
        self.ledger = Ledger(options.ledger_max, options.ledger_contents_max)
        self.default_pool = Pool(DEFAULT_POOL, options.arn("dedicated-ip-pool", DEFAULT_POOL), "STANDARD", {})
        self.deferred: list[Deferral] = []  # a heap: mail for providers that are down
        self._due: list[tuple[float, int, str, EventRecord, bool]] = []
        self._withheld: list[tuple[str, EventRecord]] = []
        self.order = count()
        self.recipients = Recipients(options.recipients, now)
        self.configure(options)

    def configure(self, options: Options, now: float | None = None) -> None:
        """Take new options from now on (epoch seconds); what was decided before stays, but mail that waits is tried anew."""
        self.options = options
        if options.recipients != self.recipients.rules:
            self.recipients = Recipients(options.recipients, self.recipients.since if now is None else now)
            for each in self.deferred:
                each.at = 0.0
            heapq.heapify(self.deferred)
        self.send_rate = TokenBucket(options.max_send_rate)
        self.control_rate = TokenBucket(options.control_rate_per_second)

    @property
    def is_sandbox(self) -> bool:
        """Does the account send only to verified addresses and the simulator?"""
        return self.options.sandbox if self.profile.production is None else not self.profile.production

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

    def tagged(self, arn: str) -> Tagged:
        """Return whatever has this ARN or raise NotFoundException."""
        kind, _, name = arn.rpartition(":")[2].partition("/")
        if kind == "tenant":
            name = name.partition("/")[0]
        found = self._tagged_kinds()[kind].get(name) if kind in self._tagged_kinds() else None
        if found is not None and found.arn == arn:
            return found
        raise not_found(f"Resource <{arn}> does not exist.")

    def _tagged_kinds(self) -> Mapping[str, Mapping[str, Tagged]]:
        return {
            "tenant": self.tenants,
            "configuration-set": self.sets,
            "identity": self.identities,
            "dedicated-ip-pool": self.pools,
            "template": self.templates,
            "custom-verification-email-template": self.verification_templates,
            "contact-list": self.contact_lists,
            "multi-region-endpoint": self.endpoints,
        }

    def refuse_if_associated(self, arn: str) -> None:
        """Refuse to delete what a tenant still uses."""
        if users := self.associations.get(arn):
            names = ", ".join(islice(users, 10))
            raise bad_request(f"Resource <{arn}> is associated with tenants [{names}]; disassociate it first.")

    def schedule(self, set_name: str, event: EventRecord) -> None:
        """Have an event published once its time has come."""
        heapq.heappush(self._due, (event.at, next(self.order), set_name, event, False))

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
            heapq.heappush(self._due, (event.at + fault.seconds, next(self.order), set_name, event, True))
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
    """Return the Tags parameter as a plain mapping, or raise SES's error for tags that cannot be."""
    tags = {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}
    for key, value in tags.items():
        if not 1 <= len(key) <= 128 or len(value) > 256 or key.lower().startswith("aws:"):
            raise bad_request("A tag key has 1 to 128 characters and not the prefix aws:, a value at most 256.")
    if len(tags) > TAGS_MAX:
        raise bad_request(f"A resource has at most {TAGS_MAX} tags.")
    return tags


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as the API lists them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]
