"""Owns the names and details of what SES puts on the event bus by itself: message events and the status of tenants.

Leaves the JSON of a message event to `emulator.events`. Names and shapes follow EventBridge's reference of SES events.
"""

import json
from datetime import UTC, datetime

DETAIL_TYPES = {
    "SEND": "Email Sent",
    "DELIVERY": "Email Delivered",
    "BOUNCE": "Email Bounced",
    "COMPLAINT": "Email Complaint Received",
    "REJECT": "Email Rejected",
    "OPEN": "Email Opened",
    "CLICK": "Email Clicked",
    "RENDERING_FAILURE": "Email Rendering Failed",
    "DELIVERY_DELAY": "Email Delivery Delayed",
    "SUBSCRIPTION": "Email Subscribed",
}
STATUS_ENABLED = "Sending Status Enabled"
STATUS_DISABLED = "Sending Status Disabled"
FINDING_OPEN = "Advisor Recommendation Status Open"
FINDING_RESOLVED = "Advisor Recommendation Status Resolved"  # one AWS page says Closed, two say Resolved
VERSION = "1.0.0"


def status_detail(status: str, cause: str, origin: str, at: float) -> str:
    """Return the detail of a tenant's status event; `origin` is CUSTOMER_MANAGED or AWS_MANAGED."""
    moment = datetime.fromtimestamp(at, UTC)
    stamp = [*moment.timetuple()[:6], moment.microsecond * 1_000]  # a Java LocalDateTime as an array
    record = {"status": status, "cause": cause, "lastUpdatedTimestamp": stamp}
    return json.dumps({"version": VERSION, "data": {"origin": origin, "record": record}})


def finding_detail(text: str, impact: str, kind: str) -> str:
    """Return the detail of a finding that opens or is resolved; `text` says rate, volume and time in words."""
    return json.dumps({"version": VERSION, "data": text, "metadata": {"impact": impact, "type": kind}})
