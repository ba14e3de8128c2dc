"""Owns the operations on the account itself and on tags.

Leaves the counting of what was sent to `operations_sending`.
"""

from tenantry.emulator.errors import bad_request
from tenantry.emulator.state import Call, Params, Result, State, tag_list, tags_of

UNLIMITED_SEND_RATE = 1_000_000.0
ENFORCEMENTS = ("HEALTHY", "PROBATION", "SHUTDOWN")


class AccountOperations(State):
    """Read and pause the account; tag resources."""

    def get_account(self, params: Params, call: Call) -> Result:
        options = self.options
        quota = {
            "Max24HourSend": -1.0 if options.max_24_hour_send is None else options.max_24_hour_send,
            "MaxSendRate": options.max_send_rate or UNLIMITED_SEND_RATE,
            "SentLast24Hours": self.day.total(call.now),
        }
        return {
            "DedicatedIpAutoWarmupEnabled": True,
            "EnforcementStatus": self.enforcement,
            "ProductionAccessEnabled": not options.sandbox,
            "SendQuota": quota,
            "SendingEnabled": self.sending_enabled and self.enforcement != "SHUTDOWN",
            "SuppressionAttributes": {"SuppressedReasons": []},
            "PricingAttributes": {"CurrentPlan": "NONE"},
        }

    def put_account_sending_attributes(self, params: Params, call: Call) -> Result:
        self.sending_enabled = params.get("SendingEnabled", False)
        return None

    def set_enforcement(self, status: str) -> None:
        """Decide what Amazon thinks of the account; under SHUTDOWN nothing is sent until it is lifted."""
        if status not in ENFORCEMENTS:
            raise bad_request(f"Enforcement is one of {', '.join(ENFORCEMENTS)}, not {status!r}.")
        self.enforcement = status

    def tag_resource(self, params: Params, call: Call) -> Result:
        self.tagged(params["ResourceArn"]).tags.update(tags_of(params))
        return None

    def untag_resource(self, params: Params, call: Call) -> Result:
        tags = self.tagged(params["ResourceArn"]).tags
        for key in params["TagKeys"]:
            tags.pop(key, None)
        return None

    def list_tags_for_resource(self, params: Params, call: Call) -> Result:
        return {"Tags": tag_list(self.tagged(params["ResourceArn"]).tags)}
