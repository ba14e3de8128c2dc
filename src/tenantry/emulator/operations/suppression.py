"""Owns suppression: the lists of the account and of tenants, which of them counts for a send, and what is written.

Leaves the events that tell of a suppressed recipient to the sending operations. Rules: SES guide, "Using the account-level
suppression list", "tenant-level suppression", "configuration set-level suppression": the set overrides the tenant, the
tenant the account, and the scope picks the list that is both checked and written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import SesError, bad_request, not_found
from tenantry.emulator.records import ConfigurationSet, Suppressed, Tenant
from tenantry.emulator.registry import Registry
from tenantry.emulator.state import State

GLOBAL_SECONDS = 14 * 86_400.0


@dataclass(slots=True)
class Suppression:
    """What counts for one send: the list, for which reasons, and whose it is."""

    entries: Registry[Suppressed]
    reasons: Sequence[str]
    is_tenants: bool

    @property
    def sub_type(self) -> str:
        """How a bounce tells of it."""
        return "OnTenantSuppressionList" if self.is_tenants else "OnAccountSuppressionList"

    def holds(self, address: str, now: float) -> bool:
        """Is the address suppressed by now, for a reason that counts? A list keeps the case of an address."""
        found = self.entries.get(address)
        return found is not None and found.at <= now and found.reason in self.reasons


class SuppressionOperations(State):
    """Put, read and remove suppressed addresses."""

    def put_suppressed_destination(self, params: Params, call: Call) -> Result:
        if self.is_sandbox:
            raise bad_request("An account in the sandbox cannot put addresses on the suppression list.")
        address = params["EmailAddress"]
        if "@" not in address or len(address) > 320:
            raise bad_request(f"<{address[:320]}> is no email address.")
        self._list(params)[address] = Suppressed(address, params["Reason"], call.now)
        return None

    def get_suppressed_destination(self, params: Params, call: Call) -> Result:
        found = self._entry(params, call)
        attributes = {"MessageId": found.message_id, "FeedbackId": found.feedback_id} if found.message_id else None
        shown = {**_shown(found), "Attributes": attributes, "TenantName": params.get("TenantName")}
        return {"SuppressedDestination": shown}

    def delete_suppressed_destination(self, params: Params, call: Call) -> Result:
        del self._list(params)[self._entry(params, call).address]
        return None

    def list_suppressed_destinations(self, params: Params, call: Call) -> Result:
        reasons, start, end = params.get("Reasons"), params.get("StartDate"), params.get("EndDate")
        first, last = (start.timestamp() if start else 0.0), (min(call.now, end.timestamp()) if end else call.now)

        def is_wanted(entry: Suppressed) -> bool:
            return first <= entry.at <= last and (not reasons or entry.reason in reasons)

        entries = self._list(params)
        try:
            shown, token = entries.page(params, is_wanted)
        except SesError as error:
            code = "InvalidNextTokenException" if "NextToken" in error.message else error.code
            raise SesError(code, error.message) from None
        return {"SuppressedDestinationSummaries": [_shown(each) for each in shown], "NextToken": token}

    def suppression_for(self, found_set: ConfigurationSet | None, tenant: Tenant | None) -> Suppression:
        """Return which list counts for a send, and for which reasons."""
        own = found_set.options.get("SuppressionOptions", {}) if found_set else {}
        theirs = tenant.suppression or {} if tenant else {}
        scope = own.get("SuppressionScope", theirs.get("SuppressionScope", "ACCOUNT"))
        reasons = own.get("SuppressedReasons", theirs.get("SuppressedReasons", self.profile.suppressed_reasons))
        if scope == "TENANT" and tenant:
            return Suppression(tenant.suppressed, reasons, True)
        return Suppression(self.suppressed, reasons, False)

    def suppress(self, counts: Suppression, entry: Suppressed) -> None:
        """Write an address down that bounced hard or complained, if its reason counts; an older entry stays."""
        before = counts.entries.get(entry.address)
        if entry.reason in counts.reasons and (before is None or before.at > entry.at):
            counts.entries[entry.address] = entry
        if counts.is_tenants and entry.reason == "BOUNCE":
            self.globally_suppressed[entry.address.lower()] = (entry.at, entry.at + GLOBAL_SECONDS)

    def is_globally_suppressed(self, address: str, now: float) -> bool:
        """Is an address on the list that holds for all accounts, which nobody can read?"""
        found = self.globally_suppressed.get(address.lower())
        return found is not None and found[0] <= now < found[1]

    def _list(self, params: Params) -> Registry[Suppressed]:
        name = params.get("TenantName")
        return self.tenant(name).suppressed if name else self.suppressed

    def _entry(self, params: Params, call: Call) -> Suppressed:
        found = self._list(params).get(params["EmailAddress"])
        if found is None or found.at > call.now:
            raise not_found(f"Email address {params['EmailAddress'][:320]} does not exist on your suppression list.")
        return found


def _shown(entry: Suppressed) -> dict[str, Any]:
    return {"EmailAddress": entry.address, "Reason": entry.reason, "LastUpdateTime": entry.at}
