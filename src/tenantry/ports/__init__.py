"""What the flows ask of the world: Store, Ses, Control, Feed, Clock, and the errors that these may raise.

Leaves every how to the adapters; tests/conformance decides whether an adapter is right.
"""

from tenantry.ports.cloud import Clock, Control, Feed, Ses
from tenantry.ports.errors import (
    ControlBusy,
    ControlRefused,
    FeedUnavailable,
    StoreBusy,
    StoreConflict,
    StoreInDoubt,
    StoreRejected,
    StoreUnfit,
)
from tenantry.ports.letters import Page, SuppressionStore, TemplateStore
from tenantry.ports.people import FleetStore, MessageFilter, Store, TenantStore
from tenantry.ports.steps import AcceptStep, DispatchStep, GuardStep, IngestStep, ProvisionStep, Step, StoreStep
from tenantry.ports.values import (
    AccountReading,
    Asked,
    Owner,
    Parcel,
    Places,
    Remembered,
    Settled,
    Suppression,
    Survey,
    Tally,
    Told,
)

__all__ = [
    "AcceptStep",
    "AccountReading",
    "Asked",
    "Clock",
    "Control",
    "ControlBusy",
    "ControlRefused",
    "DispatchStep",
    "Feed",
    "FeedUnavailable",
    "FleetStore",
    "GuardStep",
    "IngestStep",
    "MessageFilter",
    "Owner",
    "Page",
    "Parcel",
    "Places",
    "ProvisionStep",
    "Remembered",
    "Ses",
    "Settled",
    "Step",
    "Store",
    "StoreBusy",
    "StoreConflict",
    "StoreInDoubt",
    "StoreRejected",
    "StoreStep",
    "StoreUnfit",
    "Suppression",
    "SuppressionStore",
    "Survey",
    "Tally",
    "TemplateStore",
    "TenantStore",
    "Told",
]
