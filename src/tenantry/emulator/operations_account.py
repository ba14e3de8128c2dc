"""Owns the operations on the account itself and on tags.

Leaves the counting of what was sent to `operations_sending`.
"""

from tenantry.emulator.state import Call, Params, Result, State, tag_list, tags_of

UNLIMITED_SEND_RATE = 1_000_000.0


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
            "EnforcementStatus": "HEALTHY",
            "ProductionAccessEnabled": not options.sandbox,
            "SendQuota": quota,
            "SendingEnabled": self.sending_enabled,
            "SuppressionAttributes": {"SuppressedReasons": []},
            "PricingAttributes": {"CurrentPlan": "NONE"},
        }

    def put_account_sending_attributes(self, params: Params, call: Call) -> Result:
        self.sending_enabled = params.get("SendingEnabled", False)
        return None

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
