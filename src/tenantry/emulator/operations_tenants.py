"""Owns the tenant operations: tenants and what is associated with them.

Leaves their reputation to `operations_reputation` and the association gate to `operations_sending`.
"""

import re
from itertools import takewhile
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import SesError, already_exists, bad_request
from tenantry.emulator.records import Entity, StatusRecord, Tenant
from tenantry.emulator.registry import Registry
from tenantry.emulator.state import State, tag_list, tags_of

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TYPES = {"identity": "EMAIL_IDENTITY", "configuration-set": "CONFIGURATION_SET", "template": "EMAIL_TEMPLATE"}


class TenantOperations(State):
    """Create, read and delete tenants, and associate resources with them."""

    def create_tenant(self, params: Params, call: Call) -> Result:
        name = params["TenantName"]
        if not _NAME.fullmatch(name):
            raise bad_request("TenantName must have 1 to 64 letters, digits, hyphens or underscores.")
        if name in self.tenants:
            raise already_exists(f"Tenant <{name}> already exists.")
        if (most := self.options.tenants_max) is not None and len(self.tenants) >= most:
            raise SesError("LimitExceededException", f"There are {most:.0f} tenants already.")
        suppression = _suppression(params.get("SuppressionAttributes", {}))
        tenant_id = f"tn-{self.random.getrandbits(120):030x}"
        arn = self.options.arn("tenant", f"{name}/{tenant_id}")
        self.tenants[name] = Tenant(name, tenant_id, arn, call.now, tags_of(params), suppression)
        policy = f"arn:aws:ses:{self.options.region}:aws:reputation-policy/standard"
        self.entities[arn] = Entity(arn, policy, StatusRecord("ENABLED", call.now), StatusRecord("ENABLED", call.now))
        return self._full(self.tenants[name])

    def get_tenant(self, params: Params, call: Call) -> Result:
        return {"Tenant": self._full(self.tenant(params["TenantName"]))}

    def list_tenants(self, params: Params, call: Call) -> Result:
        wanted = params.get("Filter", {})
        part, status = wanted.get("TENANT_NAME_CONTAINS", ""), wanted.get("SENDING_STATUS")

        def wanted_is(tenant: Tenant) -> bool:
            return part in tenant.name and status in (None, self.entities[tenant.arn].aggregate)

        shown, token = self.tenants.page(params, wanted_is if wanted else None)
        return {"Tenants": [self._short(tenant) for tenant in shown], "NextToken": token}

    def delete_tenant(self, params: Params, call: Call) -> Result:
        tenant = self.tenant(params["TenantName"])
        for arn in list(tenant.resources):
            self._part(tenant, arn)
        own = takewhile(lambda name: name.startswith(tenant.arn), self.recommendations.after(tenant.arn))
        for name in [*own]:
            del self.recommendations[name]
        del self.tenants[tenant.name], self.entities[tenant.arn]
        return None

    def create_tenant_resource_association(self, params: Params, call: Call) -> Result:
        tenant, arn = self.tenant(params["TenantName"]), params["ResourceArn"]
        if _type_of(arn) is None:
            raise bad_request(f"Resource <{arn}> is no identity, configuration set or template.")
        self.tagged(arn)
        if arn in tenant.resources:
            raise already_exists(f"Resource <{arn}> is already associated with tenant <{tenant.name}>.")
        tenant.resources[arn] = call.now
        self.associations.setdefault(arn, Registry())[tenant.name] = tenant
        return None

    def delete_tenant_resource_association(self, params: Params, call: Call) -> Result:
        # SES is reported to succeed silently when there is no such association.
        tenant, arn = self.tenant(params["TenantName"]), params["ResourceArn"]
        if arn in tenant.resources:
            self._part(tenant, arn)
        return None

    def _part(self, tenant: Tenant, arn: str) -> None:
        del tenant.resources[arn]
        users = self.associations[arn]
        del users[tenant.name]
        if not users:
            del self.associations[arn]

    def list_tenant_resources(self, params: Params, call: Call) -> Result:
        wanted = params.get("Filter", {}).get("RESOURCE_TYPE")
        wanted = _TYPES.get(wanted, wanted)  # the service speaks of `identity`, its model of EMAIL_IDENTITY
        tenant = self.tenant(params["TenantName"])
        shown, token = tenant.resources.page_of_names(params, lambda arn: wanted in (None, _type_of(arn)))
        rows = [{"ResourceType": _type_of(arn), "ResourceArn": arn} for arn in shown]
        return {"TenantResources": rows, "NextToken": token}

    def list_resource_tenants(self, params: Params, call: Call) -> Result:
        arn = params["ResourceArn"]
        self.tagged(arn)
        shown, token = self.associations.get(arn, Registry()).page(params)
        rows = [
            {
                "TenantName": tenant.name,
                "TenantId": tenant.id,
                "ResourceArn": arn,
                "AssociatedTimestamp": tenant.resources[arn],
            }
            for tenant in shown
        ]
        return {"ResourceTenants": rows, "NextToken": token}

    def put_tenant_suppression_attributes(self, params: Params, call: Call) -> Result:
        self.tenant(params["TenantName"]).suppression = _suppression(params)
        return None

    def _short(self, tenant: Tenant) -> dict[str, Any]:
        return {
            "TenantName": tenant.name,
            "TenantId": tenant.id,
            "TenantArn": tenant.arn,
            "CreatedTimestamp": tenant.created_at,
            "SendingStatus": self.entities[tenant.arn].aggregate,
        }

    def _full(self, tenant: Tenant) -> dict[str, Any]:
        return {**self._short(tenant), "Tags": tag_list(tenant.tags), "SuppressionAttributes": tenant.suppression}


def _type_of(arn: str) -> str | None:
    return _TYPES.get(arn.rpartition(":")[2].partition("/")[0])


def _suppression(params: Params) -> dict[str, Any] | None:
    """Return the pair to keep; SES wants both members or neither."""
    given = {name: params[name] for name in ("SuppressedReasons", "SuppressionScope") if name in params}
    if len(given) == 1:
        raise bad_request("Give both SuppressedReasons and SuppressionScope, or neither.")
    return given or None
