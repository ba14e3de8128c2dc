"""Owns what the account tells of what it has sent: VDM's metrics, message insights, address insights, recommendations.

Leaves counting to `emulator.vdm` and finding things to recommend to whoever judges reputation.
"""

import json
from collections.abc import Mapping
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.coverage import partly
from tenantry.emulator.errors import bad_request, not_found
from tenantry.emulator.ledger import MessageRecord
from tenantry.emulator.mail import bare
from tenantry.emulator.records import Recommendation
from tenantry.emulator.state import State
from tenantry.emulator.validation import insights
from tenantry.emulator.vdm import isp_of

QUERIES_MAX = 10
DIMENSIONS_MAX = 3
PAGE_MAX = 100
_EVENTS = {
    "Send": "SEND", "Reject": "REJECT", "Bounce": "BOUNCE", "Complaint": "COMPLAINT", "Delivery": "DELIVERY",
    "Open": "OPEN", "Click": "CLICK", "Rendering Failure": "RENDERING_FAILURE", "DeliveryDelay": "DELIVERY_DELAY",
    "Subscription": "SUBSCRIPTION",
}  # fmt: skip
_WHO = {"bounce": "bouncedRecipients", "complaint": "complainedRecipients", "deliveryDelay": "delayedRecipients"}


class InsightOperations(State):
    """Answer questions about what was sent."""

    @partly("an event counts from the moment its message is accepted, for the day on which it falls due")
    def batch_get_metric_data(self, params: Params, call: Call) -> Result:
        queries = params["Queries"]
        if not 1 <= len(queries) <= QUERIES_MAX:
            raise bad_request(f"Give 1 to {QUERIES_MAX} queries.")
        if len({query["Id"] for query in queries}) < len(queries):
            raise bad_request("Two queries have the same Id.")
        if self.profile.vdm["VdmEnabled"] != "ENABLED":
            raise bad_request("VDM is not enabled for this account (PutAccountVdmAttributes).")
        results = []
        for query in queries:
            dimensions, start, end = query.get("Dimensions", {}), query["StartDate"], query["EndDate"]
            if len(dimensions) > DIMENSIONS_MAX or end < start:
                raise bad_request(f"A query has at most {DIMENSIONS_MAX} dimensions, and ends after it starts.")
            rows = self.vdm.series(query["Metric"], dimensions, start.timestamp(), end.timestamp())
            times, values = [at for at, _ in rows], [count for _, count in rows]
            results.append({"Id": query["Id"], "Timestamps": times, "Values": values})
        return {"Results": results, "Errors": []}

    @partly("the messages whose events are kept: the latest 2,000 unless the server keeps more")
    def get_message_insights(self, params: Params, call: Call) -> Result:
        record = self.ledger.message(params["MessageId"])
        if record is None:
            raise not_found(f"Message <{params['MessageId'][:128]}> does not exist, or is no longer kept.")
        return self.insights_of(record, call.now)

    def insights_of(self, record: MessageRecord, now: float) -> dict[str, Any]:
        """Return what has happened to a message until now, recipient by recipient."""
        events: dict[str, list[dict[str, Any]]] = {bare(each): [] for each, _ in record.outcomes}
        for event in self.ledger.events(record.message_id, now):
            document = json.loads(event.render())
            for address in _recipients(document, list(events)):
                if address in events:
                    kind = _EVENTS[document["eventType"]]
                    events[address].append({"Timestamp": event.at, "Type": kind, "Details": _details(document)})
        rows = [{"Destination": each, "Isp": isp_of(each), "Events": events[each]} for each in events]
        return {
            "MessageId": record.message_id,
            "FromEmailAddress": record.source,
            "Subject": record.subject,
            "EmailTags": [{"Name": name, "Value": value} for name, value in record.tags.items()],
            "Insights": rows,
        }

    @partly("no mailbox is asked: verdicts follow from the address and the script of its domain")
    def get_email_address_insights(self, params: Params, call: Call) -> Result:
        address = params["EmailAddress"]
        if not address or len(address) > 320:
            raise bad_request("EmailAddress has 1 to 320 characters.")
        return {"MailboxValidation": insights(address, self.recipients.rule_for(address))}

    @partly("findings of tenants; identities have none, for nobody looks at DNS")
    def list_recommendations(self, params: Params, call: Call) -> Result:
        wanted = params.get("Filter", {})
        if len(wanted) > 2:
            raise bad_request("Filter has one or two keys.")

        def is_wanted(each: Recommendation) -> bool:
            facts = {"TYPE": each.kind, "IMPACT": each.impact, "STATUS": each.status, "RESOURCE_ARN": each.arn}
            return all(facts[key] == value for key, value in wanted.items())

        shown, token = self.recommendations.page(params, is_wanted if wanted else None, PAGE_MAX)
        return {"Recommendations": [_recommendation(each) for each in shown], "NextToken": token}


def _recommendation(each: Recommendation) -> dict[str, Any]:
    return {
        "ResourceArn": each.arn,
        "Type": each.kind,
        "Description": each.description,
        "Status": each.status,
        "CreatedTimestamp": each.opened_at,
        "LastUpdatedTimestamp": each.changed_at,
        "Impact": each.impact,
    }


def _recipients(document: Mapping[str, Any], everybody: list[str]) -> list[str]:
    for detail, member in _WHO.items():
        if detail in document:
            return [each["emailAddress"] for each in document[detail][member]]
    delivered: list[str] = document.get("delivery", {}).get("recipients", everybody)
    return delivered


def _details(document: Mapping[str, Any]) -> dict[str, Any] | None:
    if bounce := document.get("bounce"):
        code = next((each.get("diagnosticCode") for each in bounce["bouncedRecipients"]), None)
        shown = {"BounceType": bounce["bounceType"].upper(), "BounceSubType": bounce["bounceSubType"]}
        return {"Bounce": {**shown, "DiagnosticCode": code}}
    if complaint := document.get("complaint"):
        kind = complaint.get("complaintFeedbackType")
        return {"Complaint": {"ComplaintSubType": complaint.get("complaintSubType"), "ComplaintFeedbackType": kind}}
    return None
