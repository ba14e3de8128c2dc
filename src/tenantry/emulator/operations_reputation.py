"""Owns the operations on reputation entities: status set by the customer, and the policy.

Leaves findings and automatic pauses out: nothing here changes a status by itself.
"""

from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.coverage import partly
from tenantry.emulator.errors import bad_request, not_found
from tenantry.emulator.records import Entity
from tenantry.emulator.state import State

_POLICIES = ("none", "standard", "strict")


class ReputationOperations(State):
    """Read reputation entities and set their customer-managed status and policy."""

    @partly("no ReputationImpact, and nothing judges by itself")
    def get_reputation_entity(self, params: Params, call: Call) -> Result:
        reference = params["ReputationEntityReference"]
        if reference not in self.entities:
            raise not_found(f"Reputation entity <{reference}> does not exist.")
        return {"ReputationEntity": _shown(self.entities[reference])}

    @partly("no ReputationImpact: a filter by it finds nothing")
    def list_reputation_entities(self, params: Params, call: Call) -> Result:
        wanted = params.get("Filter", {})
        prefix, status = wanted.get("ENTITY_REFERENCE_PREFIX", ""), wanted.get("SENDING_STATUS")
        impact = wanted.get("REPUTATION_IMPACT")

        def wanted_is(entity: Entity) -> bool:
            return entity.arn.startswith(prefix) and status in (None, entity.aggregate) and impact is None

        shown, token = self.entities.page(params, wanted_is if wanted else None)
        return {"ReputationEntities": [_shown(each) for each in shown], "NextToken": token}

    def update_reputation_entity_customer_managed_status(self, params: Params, call: Call) -> Result:
        entity = self._entity(params)
        entity.customer_status, entity.changed_at = params["SendingStatus"], call.now
        return None

    @partly("the policy is kept; nothing is paused by it")
    def update_reputation_entity_policy(self, params: Params, call: Call) -> Result:
        entity, policy = self._entity(params), params["ReputationEntityPolicy"]
        prefix = f"arn:aws:ses:{self.options.region}:aws:reputation-policy/"
        if not (policy.startswith(prefix) and policy.removeprefix(prefix) in _POLICIES):
            raise bad_request(f"<{policy}> is no reputation policy; known are {prefix}{{{'|'.join(_POLICIES)}}}.")
        entity.policy = policy
        return None

    def _entity(self, params: Params) -> Entity:
        # The two updates model no NotFoundException.
        reference = params["ReputationEntityReference"]
        if reference not in self.entities:
            raise bad_request(f"Reputation entity <{reference}> does not exist.")
        return self.entities[reference]


def _shown(entity: Entity) -> dict[str, Any]:
    return {
        "ReputationEntityReference": entity.arn,
        "ReputationEntityType": "RESOURCE",
        "ReputationManagementPolicy": entity.policy,
        "CustomerManagedStatus": {"Status": entity.customer_status, "LastUpdatedTimestamp": entity.changed_at},
        "AwsSesManagedStatus": {"Status": entity.aws_status, "LastUpdatedTimestamp": entity.changed_at},
        "SendingStatusAggregate": entity.aggregate,
    }
