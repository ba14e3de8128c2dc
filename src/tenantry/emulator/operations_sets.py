"""Owns the operations on configuration sets and their event destinations.

Leaves their effect on sending to `operations_sending`.
"""

import re
from collections.abc import Mapping
from typing import Any

from tenantry.emulator.errors import SesError, already_exists, bad_request, not_found, unsupported
from tenantry.emulator.state import Call, ConfigurationSet, Params, Result, State, page, tag_list, tags_of

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
        reputation = {"ReputationMetricsEnabled": False, **found.options.get("ReputationOptions", {})}
        return {
            "ConfigurationSetName": found.name,
            "SendingOptions": {"SendingEnabled": found.sending_enabled},
            **found.options,
            "ReputationOptions": reputation,
            "Tags": tag_list(found.tags),
        }

    def list_configuration_sets(self, params: Params, call: Call) -> Result:
        part = params.get("Filter", {}).get("CONFIGURATION_SET_NAME_CONTAINS", "")
        shown, token = page((name for name in self.sets if part in name), params)
        return {"ConfigurationSets": shown, "NextToken": token}

    def delete_configuration_set(self, params: Params, call: Call) -> Result:
        found = self.configuration_set(params["ConfigurationSetName"])
        self.refuse_if_associated(found.arn)
        del self.sets[found.name]
        for identity in self.identities.values():
            if identity.configuration_set == found.name:
                identity.configuration_set = None
        return None

    def put_configuration_set_sending_options(self, params: Params, call: Call) -> Result:
        found = self.configuration_set(params["ConfigurationSetName"])
        found.sending_enabled = params.get("SendingEnabled", False)  # an omitted boolean is false on AWS
        return None

    def put_configuration_set_reputation_options(self, params: Params, call: Call) -> Result:
        enabled = params.get("ReputationMetricsEnabled", False)
        return self._put(params, "ReputationOptions", {"ReputationMetricsEnabled": enabled})

    def put_configuration_set_delivery_options(self, params: Params, call: Call) -> Result:
        self._check_pool(params)
        return self._put(params, "DeliveryOptions", _given(params))

    def put_configuration_set_suppression_options(self, params: Params, call: Call) -> Result:
        return self._put(params, "SuppressionOptions", _given(params))

    def put_configuration_set_tracking_options(self, params: Params, call: Call) -> Result:
        return self._put(params, "TrackingOptions", _given(params))

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
        self.configuration_set(params["ConfigurationSetName"]).options[group] = options
        return None

    def _check_pool(self, options: Mapping[str, Any]) -> None:
        name = options.get("SendingPoolName")
        if name and name not in self.pools and name not in ("ses-shared-pool", "ses-default-dedicated-pool"):
            raise not_found(f"Dedicated IP pool <{name}> does not exist.")

    def _set_destination(self, found: ConfigurationSet, name: str, given: Mapping[str, Any], call: Call) -> None:
        targets = sorted(key for key in given if key.endswith("Destination"))
        if len(targets) != 1:
            raise bad_request("An event destination needs exactly one target.")
        if targets != ["SnsDestination"]:
            raise unsupported(f"event destinations of the kind {targets[0]}; use SnsDestination")
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
