"""Owns the operations on configuration sets and their event destinations.

Leaves their effect on sending to `operations_sending`.
"""

import re
from collections.abc import Mapping
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.coverage import partly
from tenantry.emulator.errors import SesError, already_exists, bad_request, not_found
from tenantry.emulator.operations_pools import SHARED_POOL
from tenantry.emulator.records import DEFAULT_POOL, ConfigurationSet
from tenantry.emulator.state import State, tag_list, tags_of

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_GROUPS = (
    "TrackingOptions",
    "DeliveryOptions",
    "ReputationOptions",
    "SuppressionOptions",
    "VdmOptions",
    "ArchivingOptions",
    "MessageSecurityOptions",
)
DESTINATIONS_MAX = 10
DIMENSIONS_MAX = 10
SETS_MAX = 10_000


class ConfigurationSetOperations(State):
    """Create, read, change and delete configuration sets and event destinations."""

    def create_configuration_set(self, params: Params, call: Call) -> Result:
        name = params["ConfigurationSetName"]
        if not _NAME.fullmatch(name):
            raise bad_request(
                f"Invalid configuration set name <{name}>: 1 to 64 letters, digits, '_' and '-' are allowed."
            )
        if name in self.sets:
            raise already_exists(f"Configuration set <{name}> already exists.")
        if len(self.sets) >= SETS_MAX:
            raise SesError("LimitExceededException", f"There are {SETS_MAX} configuration sets already.")
        options = {group: dict(params[group]) for group in _GROUPS if group in params}
        self._check_pool(options.get("DeliveryOptions", {}))
        made = ConfigurationSet(name, self.options.arn("configuration-set", name), tags_of(params), options=options)
        made.sending_enabled = params.get("SendingOptions", {"SendingEnabled": True}).get("SendingEnabled", False)
        self.sets[name] = made
        return None

    def get_configuration_set(self, params: Params, call: Call) -> Result:
        found = self.configuration_set(params["ConfigurationSetName"])
        fresh = {"ReputationMetricsEnabled": False, "LastFreshStart": self.profile.fresh_start_at}
        reputation = {**fresh, **found.options.get("ReputationOptions", {})}
        return {
            "ConfigurationSetName": found.name,
            "SendingOptions": {"SendingEnabled": found.sending_enabled},
            **found.options,
            "ReputationOptions": reputation,
            "Tags": tag_list(found.tags),
        }

    def list_configuration_sets(self, params: Params, call: Call) -> Result:
        part = params.get("Filter", {}).get("CONFIGURATION_SET_NAME_CONTAINS", "")
        shown, token = self.sets.page_of_names(params, (lambda name: part in name) if part else None)
        return {"ConfigurationSets": shown, "NextToken": token}

    def delete_configuration_set(self, params: Params, call: Call) -> Result:
        found = self.configuration_set(params["ConfigurationSetName"])
        self.refuse_if_associated(found.arn)
        del self.sets[found.name]
        for name in found.default_of:
            self.identities[name].configuration_set = None
        return None

    @partly("the signing scheme is kept; mail is not signed")
    def update_configuration_set(self, params: Params, call: Call) -> Result:
        found = self.configuration_set(params["ConfigurationSetName"])
        if "MessageSecurityOptions" in params:
            found.options["MessageSecurityOptions"] = params["MessageSecurityOptions"]
        return None

    def put_configuration_set_sending_options(self, params: Params, call: Call) -> Result:
        found = self.configuration_set(params["ConfigurationSetName"])
        found.sending_enabled = params.get("SendingEnabled", False)  # an omitted boolean is false on AWS
        return None

    def put_configuration_set_reputation_options(self, params: Params, call: Call) -> Result:
        enabled = params.get("ReputationMetricsEnabled", False)
        before = self.configuration_set(params["ConfigurationSetName"]).options.get("ReputationOptions", {})
        kept = {name: each for name, each in before.items() if name == "LastFreshStart"}
        return self._put(params, "ReputationOptions", {**kept, "ReputationMetricsEnabled": enabled})

    @partly("TlsPolicy is kept and changes nothing")
    def put_configuration_set_delivery_options(self, params: Params, call: Call) -> Result:
        self._check_pool(params)
        return self._put(params, "DeliveryOptions", _given(params))

    def put_configuration_set_suppression_options(self, params: Params, call: Call) -> Result:
        return self._put(params, "SuppressionOptions", _given(params))

    @partly("the options are kept; no link is rewritten")
    def put_configuration_set_tracking_options(self, params: Params, call: Call) -> Result:
        given = _given(params)
        if "HttpsPolicy" in given and "CustomRedirectDomain" not in given:
            raise bad_request("HttpsPolicy needs a CustomRedirectDomain.")
        return self._put(params, "TrackingOptions", given)

    @partly("the options are kept and change nothing")
    def put_configuration_set_vdm_options(self, params: Params, call: Call) -> Result:
        return self._put(params, "VdmOptions", params.get("VdmOptions", {}))

    @partly("the archive's ARN is kept; nothing is archived")
    def put_configuration_set_archiving_options(self, params: Params, call: Call) -> Result:
        return self._put(params, "ArchivingOptions", _given(params))

    def create_configuration_set_event_destination(self, params: Params, call: Call) -> Result:
        found, name = self.configuration_set(params["ConfigurationSetName"]), params["EventDestinationName"]
        if not _NAME.fullmatch(name):
            raise bad_request(f"Invalid event destination name <{name}>.")
        if name in found.destinations:
            raise already_exists(f"Event destination <{name}> already exists.")
        if len(found.destinations) >= DESTINATIONS_MAX:
            raise SesError(
                "LimitExceededException", f"A configuration set has at most {DESTINATIONS_MAX} destinations."
            )
        self._set_destination(found, name, params["EventDestination"], call)
        self.bearer.validated(found.destinations[name], call)
        return None

    def update_configuration_set_event_destination(self, params: Params, call: Call) -> Result:
        found = self.configuration_set(params["ConfigurationSetName"])
        name = _existing(found, params)
        self._set_destination(found, name, {**found.destinations[name], **params["EventDestination"]}, call)
        return None

    def get_configuration_set_event_destinations(self, params: Params, call: Call) -> Result:
        found = self.configuration_set(params["ConfigurationSetName"])
        return {"EventDestinations": [{"Name": name, **each} for name, each in found.destinations.items()]}

    def delete_configuration_set_event_destination(self, params: Params, call: Call) -> Result:
        found = self.configuration_set(params["ConfigurationSetName"])
        del found.destinations[_existing(found, params)]
        found.destinations_changed()
        return None

    def _put(self, params: Params, group: str, options: dict[str, Any]) -> Result:
        kept = self.configuration_set(params["ConfigurationSetName"]).options
        kept.pop(group, None)
        if options:
            kept[group] = options
        return None

    def _check_pool(self, options: Mapping[str, Any]) -> None:
        name = options.get("SendingPoolName")
        if name and name not in self.pools and name not in (SHARED_POOL, DEFAULT_POOL):
            raise not_found(f"Dedicated IP pool <{name}> does not exist.")

    def _set_destination(self, found: ConfigurationSet, name: str, given: Mapping[str, Any], call: Call) -> None:
        targets = sorted(key for key in given if key.endswith("Destination"))
        if len(targets) != 1:
            raise bad_request("An event destination needs exactly one target.")
        if targets == ["PinpointDestination"]:
            raise bad_request("Amazon Pinpoint is no longer available as an event destination.")
        dimensions = given.get("CloudWatchDestination", {}).get("DimensionConfigurations", [])
        if "CloudWatchDestination" in given and not 1 <= len(dimensions) <= DIMENSIONS_MAX:
            raise bad_request(f"A CloudWatch destination has 1 to {DIMENSIONS_MAX} dimensions.")
        if not given.get("MatchingEventTypes"):
            raise bad_request("MatchingEventTypes must name at least one event type.")
        self.bearer.attach(given, call)
        found.destinations[name] = {"Enabled": False, **given}
        found.destinations_changed()


def _given(params: Params) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name != "ConfigurationSetName"}


def _existing(found: ConfigurationSet, params: Params) -> str:
    name: str = params["EventDestinationName"]
    if name not in found.destinations:
        raise not_found(f"No EventDestination <{name}> found for <{found.name}>.")
    return name
