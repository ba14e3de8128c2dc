"""Owns the operations on the account itself and on tags.

Leaves the counting of what was sent to `operations_sending` and the account's dedicated addresses to `operations_pools`.
"""

from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.coverage import partly
from tenantry.emulator.errors import SesError, bad_request
from tenantry.emulator.justice import STATUSES
from tenantry.emulator.state import TAGS_MAX, State, Tagged, tag_list, tags_of

UNLIMITED_SEND_RATE = 1_000_000.0
REVIEWS = ("PENDING", "GRANTED", "DENIED", "FAILED")


class AccountOperations(State):
    """Read and change what holds for the whole account; tag resources."""

    def get_account(self, params: Params, call: Call) -> Result:
        options, profile = self.options, self.profile
        most, rate = options.max_24_hour_send, options.max_send_rate
        quota = {
            "Max24HourSend": -1.0 if most is None else most,
            "MaxSendRate": rate or UNLIMITED_SEND_RATE,
            "SentLast24Hours": self.day.total(call.now),
        }
        return {
            "DedicatedIpAutoWarmupEnabled": profile.auto_warmup,
            "EnforcementStatus": self.enforcement,
            "ProductionAccessEnabled": not self.is_sandbox,
            "SendQuota": quota,
            "SendingEnabled": self.sending_enabled and self.enforcement != "SHUTDOWN",
            "SuppressionAttributes": {
                "SuppressedReasons": profile.suppressed_reasons,
                "ValidationAttributes": profile.validation,
            },
            "Details": profile.details,
            "VdmAttributes": profile.vdm,
            "PricingAttributes": {"CurrentPlan": profile.plan, "NextPlan": profile.next_plan},
        }

    def put_account_sending_attributes(self, params: Params, call: Call) -> Result:
        self.sending_enabled = params.get("SendingEnabled", False)
        return None

    @partly("no person reviews the request: it stays PENDING until the admin API decides it")
    def put_account_details(self, params: Params, call: Call) -> Result:
        before = self.profile.details
        if before and before["ReviewDetails"]["Status"] in ("PENDING", "DENIED"):
            raise SesError("ConflictException", "The details of the account are under review, or were denied.", 409)
        names = ("MailType", "WebsiteURL", "ContactLanguage", "UseCaseDescription", "AdditionalContactEmailAddresses")
        details: dict[str, Any] = {name: params[name] for name in names if name in params}
        wants_more = params.get("ProductionAccessEnabled", False) and self.is_sandbox
        status = "PENDING" if wants_more else "GRANTED"
        details["ReviewDetails"] = {"Status": status, "CaseId": f"case-{self.new_uuid()}"}
        self.profile.details = details
        return None

    def decide_review(self, status: str) -> None:
        """Decide the pending request for production access; GRANTED leaves the sandbox."""
        details = self.profile.details
        if status not in REVIEWS or details is None:
            raise bad_request(f"review is one of {', '.join(REVIEWS)}, of a request that was made.")
        details["ReviewDetails"]["Status"] = status
        if status == "GRANTED":
            self.profile.production = True

    def put_account_suppression_attributes(self, params: Params, call: Call) -> Result:
        if "SuppressedReasons" in params or "ValidationAttributes" not in params:
            self.profile.suppressed_reasons = params.get("SuppressedReasons", [])
        if "ValidationAttributes" in params:
            self.profile.validation = params["ValidationAttributes"]
        return None

    def put_account_vdm_attributes(self, params: Params, call: Call) -> Result:
        self.profile.vdm = params["VdmAttributes"]
        return None

    @partly("the plan is kept, a lower one as NextPlan for good: no cycle ends here and nothing is billed")
    def put_account_pricing_attributes(self, params: Params, call: Call) -> Result:
        order = ("NONE", "ESSENTIALS", "PRO", "ENTERPRISE")
        profile, plan = self.profile, params["Plan"]
        if order.index(plan) >= order.index(profile.plan):
            profile.plan, profile.next_plan = plan, None
        else:
            profile.next_plan = plan
        return None

    def set_enforcement(self, status: str, now: float) -> None:
        """Decide as Amazon's people do what they think of the account; under SHUTDOWN nothing is sent until it is lifted.

        What is decided so is not taken back by counting; an account that is HEALTHY again starts afresh.
        """
        if status not in STATUSES:
            raise bad_request(f"Enforcement is one of {', '.join(STATUSES)}, not {status!r}.")
        if status == self.enforcement:
            return
        if status == "HEALTHY":
            self.profile.fresh_start_at = now
            self.bearer.start_afresh()
        self.is_enforced_by_hand = status != "HEALTHY"
        self.enforcement = status

    def tag_resource(self, params: Params, call: Call) -> Result:
        found, tags = self.tagged(params["ResourceArn"]), tags_of(params)
        if len(found.tags | tags) > TAGS_MAX:
            raise bad_request(f"A resource has at most {TAGS_MAX} tags.")
        found.tags.update(tags)
        return None

    def untag_resource(self, params: Params, call: Call) -> Result:
        tags = self.tagged(params["ResourceArn"]).tags
        for key in params["TagKeys"]:
            tags.pop(key, None)
        return None

    def list_tags_for_resource(self, params: Params, call: Call) -> Result:
        found: Tagged = self.tagged(params["ResourceArn"])
        return {"Tags": tag_list(found.tags)}
