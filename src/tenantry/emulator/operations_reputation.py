"""Owns reputation: what both sides say of tenants, findings and the pauses that follow, the review of the account.

Leaves lines and counting to `emulator.justice`, how often it is judged to `neighbours.ses_metrics`. A policy's pause is the
customer's own status (he lifts it); what Amazon's people decide is the other one, which he cannot lift.
"""

from collections.abc import Mapping
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.coverage import partly
from tenantry.emulator.errors import bad_request, not_found
from tenantry.emulator.justice import HOUR_SECONDS, LINES, PAUSED_BY, STATUSES, Conduct, account_status
from tenantry.emulator.neighbours.ses_events import (
    FINDING_OPEN,
    FINDING_RESOLVED,
    STATUS_DISABLED,
    STATUS_ENABLED,
    finding_detail,
    status_detail,
)
from tenantry.emulator.records import Entity, Recommendation, StatusRecord
from tenantry.emulator.state import State

CUSTOMER, AWS = "CUSTOMER_MANAGED", "AWS_MANAGED"
BY_HAND = ("IP_LISTING", "FEEDBACK_3P", "BOUNCE", "COMPLAINT")  # what Amazon's people may find of a tenant
CAUSE_MAX = 512
_BY_CUSTOMER = "Changed by the customer."


class ReputationOperations(State):
    """Read reputation entities, set status and policy; judge tenants and the account."""

    def get_reputation_entity(self, params: Params, call: Call) -> Result:
        reference = params["ReputationEntityReference"]
        if reference not in self.entities:
            raise not_found(f"Reputation entity <{reference}> does not exist.")
        return {"ReputationEntity": _shown(self.entities[reference])}

    def list_reputation_entities(self, params: Params, call: Call) -> Result:
        wanted = params.get("Filter", {})
        prefix, status = wanted.get("ENTITY_REFERENCE_PREFIX", ""), wanted.get("SENDING_STATUS")
        impact, kind = wanted.get("REPUTATION_IMPACT"), wanted.get("ENTITY_TYPE", "RESOURCE")

        def wanted_is(entity: Entity) -> bool:
            right_place = entity.arn.startswith(prefix) and kind == "RESOURCE"
            return right_place and status in (None, entity.aggregate) and impact in (None, entity.impact)

        shown, token = self.entities.page(params, wanted_is if wanted else None)
        return {"ReputationEntities": [_shown(each) for each in shown], "NextToken": token}

    def update_reputation_entity_customer_managed_status(self, params: Params, call: Call) -> Result:
        self._say(self._entity(params), CUSTOMER, StatusRecord(params["SendingStatus"], call.now))
        return None

    @partly("`none` never pauses: the severe cases that SES may pause all the same are decided by the admin API")
    def update_reputation_entity_policy(self, params: Params, call: Call) -> Result:
        entity, policy = self._entity(params), params["ReputationEntityPolicy"]
        prefix = f"arn:aws:ses:{self.options.region}:aws:reputation-policy/"
        if not (policy.startswith(prefix) and policy.removeprefix(prefix) in PAUSED_BY):
            raise bad_request(f"<{policy}> is no reputation policy; known are {prefix}{{{'|'.join(PAUSED_BY)}}}.")
        entity.policy = policy
        self._act(entity, call.now, is_new=False)
        return None

    def judge(self, at: float, account: Mapping[str, float], tenants: Mapping[str, Mapping[str, int]]) -> None:
        """Judge whoever sent or was reported: `account` has the weights of its tally, `tenants` fresh counts by name."""
        status = account_status(self.enforcement, account)
        if status != self.enforcement and not (self.is_enforced_by_hand and _is_milder(status, self.enforcement)):
            self.enforcement = status
        for name, fresh in tenants.items():
            if tenant := self.tenants.get(name):
                entity = self.entities[tenant.arn]
                if entity.conduct is None:
                    entity.conduct = Conduct()
                entity.conduct.add(at, fresh)
                self._judge(entity, at)

    def judge_again(self, now: float) -> None:
        """Judge who stands accused, as the hours pass in which nothing is sent: old mail no longer counts."""
        while self.hearing_at is not None and self.hearing_at <= now:
            at, self.hearing_at = self.hearing_at, None
            for arn in [*self.accused]:
                if entity := self.entities.get(arn):
                    self._judge(entity, at)
                else:
                    del self.accused[arn]
            self.hearing_at = at + HOUR_SECONDS if self.accused else None

    def next_judgement(self) -> float | None:
        """Return when the accused are judged again, or None."""
        return self.hearing_at

    def enforce(self, tenant: str, status: str, cause: str | None, now: float) -> None:
        """Decide as Amazon's people do whether a tenant may send (ENABLED or DISABLED); raise SES's error for odd ones."""
        if status not in ("ENABLED", "DISABLED") or (cause is not None and not 1 <= len(cause) <= CAUSE_MAX):
            raise bad_request(f"status is ENABLED or DISABLED; a cause has 1 to {CAUSE_MAX} characters.")
        self._say(self.entities[self.tenant(tenant).arn], AWS, StatusRecord(status, now, cause))

    def find(self, tenant: str, kind: str, impact: str | None, now: float) -> None:
        """Find something of a tenant by hand, LOW or HIGH, or no longer (None): what no counting shows, as a blocklist."""
        if kind not in BY_HAND or impact not in (None, "LOW", "HIGH"):
            raise bad_request(f"type is one of {', '.join(BY_HAND)}; impact LOW, HIGH or null.")
        entity = self.entities[self.tenant(tenant).arn]
        said = "An IP address is on a blocklist." if kind == "IP_LISTING" else "Reported to Amazon SES."
        present = {name: (each.impact, each.description) for name, each in entity.findings.items()}
        self._settle(entity, {**present, kind: (impact, said)}, now)
        if impact:
            entity.findings[kind].is_by_hand = True

    def _judge(self, entity: Entity, at: float) -> None:
        found = entity.conduct.findings(at) if entity.conduct else {}
        self._settle(entity, {**_by_hand(entity), **found}, at)

    def _settle(self, entity: Entity, found: Mapping[str, tuple[str | None, str]], at: float) -> None:
        """Open and resolve findings, then let the policy act: on a new one, or on any unless the tenant is reinstated."""
        is_new = False
        for kind in {**dict.fromkeys(entity.findings), **found}:
            impact, said = found.get(kind, (None, ""))
            before = entity.findings.get(kind)
            if impact is None:
                if before:
                    self._resolve(entity, before, at)
            elif before is None or before.impact != impact:
                is_new = is_new or before is None or impact == "HIGH"
                self._open(entity, kind, (impact, said), at)
        if entity.findings:
            self.accused[entity.arn] = None
            self.hearing_at = self.hearing_at or at + HOUR_SECONDS
        else:
            self.accused.pop(entity.arn, None)
        self._act(entity, at, is_new=is_new)

    def _act(self, entity: Entity, at: float, *, is_new: bool) -> None:
        stopping = PAUSED_BY[entity.policy.rpartition("/")[2]]
        worst = next((each for each in entity.findings.values() if each.impact == entity.impact), None)
        is_reinstated = entity.customer.status == "REINSTATED"
        if (
            worst
            and worst.impact in stopping
            and entity.customer.status != "DISABLED"
            and (is_new or not is_reinstated)
        ):
            cause = f"Paused by reputation policy {entity.policy.rpartition('/')[2]}: {worst.description}"
            self._say(entity, CUSTOMER, StatusRecord("DISABLED", at, cause))
        elif is_reinstated and not entity.findings:
            self._say(entity, CUSTOMER, StatusRecord("ENABLED", at, "All reputation findings are resolved."))

    def _open(self, entity: Entity, kind: str, what: tuple[str, str], at: float) -> None:
        impact, said = what
        found = Recommendation(entity.arn, kind, impact, said, at, at)
        entity.findings[kind] = self.recommendations[f"{entity.arn} {kind}"] = found
        self.bearer.announce(FINDING_OPEN, finding_detail(said, impact, kind), entity.arn, at)

    def _resolve(self, entity: Entity, found: Recommendation, at: float) -> None:
        found.status, found.changed_at = "FIXED", at
        del entity.findings[found.kind]
        detail = finding_detail(found.description, found.impact, found.kind)
        self.bearer.announce(FINDING_RESOLVED, detail, entity.arn, at)

    def _say(self, entity: Entity, origin: str, record: StatusRecord) -> None:
        """Write one side's status down, and tell of it if it changed."""
        before = entity.customer if origin == CUSTOMER else entity.aws
        if origin == CUSTOMER:
            entity.customer = record
        else:
            entity.aws = record
        if before.status != record.status:
            kind = STATUS_DISABLED if record.status == "DISABLED" else STATUS_ENABLED
            detail = status_detail(record.status, record.cause or _BY_CUSTOMER, origin, record.changed_at)
            self.bearer.announce(kind, detail, entity.arn, record.changed_at)

    def _entity(self, params: Params) -> Entity:
        # The two updates model no NotFoundException.
        reference = params["ReputationEntityReference"]
        if reference not in self.entities:
            raise bad_request(f"Reputation entity <{reference}> does not exist.")
        return self.entities[reference]


def _by_hand(entity: Entity) -> dict[str, tuple[str | None, str]]:
    """Return the open findings that no counting opened, and none can resolve."""
    return {
        kind: (each.impact, each.description)
        for kind, each in entity.findings.items()
        if kind not in LINES or each.is_by_hand
    }


def _is_milder(status: str, than: str) -> bool:
    return STATUSES.index(status) < STATUSES.index(than)


def _shown(entity: Entity) -> dict[str, Any]:
    return {
        "ReputationEntityReference": entity.arn,
        "ReputationEntityType": "RESOURCE",
        "ReputationManagementPolicy": entity.policy,
        "CustomerManagedStatus": _record(entity.customer),
        "AwsSesManagedStatus": _record(entity.aws),
        "SendingStatusAggregate": entity.aggregate,
        "ReputationImpact": entity.impact,
    }


def _record(record: StatusRecord) -> dict[str, Any]:
    return {"Status": record.status, "Cause": record.cause, "LastUpdatedTimestamp": record.changed_at}
