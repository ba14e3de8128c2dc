"""Owns what a tenant asks of its virtual account on the SES wire: standing, suppression, and what became of a message.

Leaves the rules of suppression to `flow.suppress`, and what an event means to core.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from tenantry.core.ids import MessageId
from tenantry.core.message import Refusal
from tenantry.core.provider import provider_of
from tenantry.core.reading import MessageView, TimelineEntry
from tenantry.core.suppression import Cause, NewSuppression, Suppressed, SuppressionFilter
from tenantry.core.tenant import Scope
from tenantry.edge.ses_call import Caller, No, Operation, bad_token, not_found, page_size
from tenantry.flow import suppress
from tenantry.ports import StoreRejected
from tenantry.wire.aws import Members

QUOTA_24H = -1.0  # SES's word for no limit: what is accepted waits for its turn
RATE_PER_SECOND = 1_000.0  # clients divide by it; nothing is refused for coming faster
DAY = timedelta(hours=24)
_REASONS = {Cause.BOUNCE: "BOUNCE"}  # SES has two: what the recipient or the tenant decided is told as COMPLAINT
_CAUSES = {
    "BOUNCE": frozenset({Cause.BOUNCE}),
    "COMPLAINT": frozenset({Cause.COMPLAINT, Cause.UNSUBSCRIBE, Cause.MANUAL}),
}
_EVENTS = {
    "Send": "SEND",
    "Reject": "REJECT",
    "Bounce": "BOUNCE",
    "Complaint": "COMPLAINT",
    "Delivery": "DELIVERY",
    "Open": "OPEN",
    "Click": "CLICK",
    "Rendering Failure": "RENDERING_FAILURE",
    "DeliveryDelay": "DELIVERY_DELAY",
    "Subscription": "SUBSCRIPTION",
}


async def get_account(caller: Caller, _given: Members) -> Members | No:
    """GetAccount: the tenant's own, and nothing of the account behind it but whether it sends."""
    sends = await is_sending(caller)
    return {
        "DedicatedIpAutoWarmupEnabled": False,
        "EnforcementStatus": "HEALTHY" if sends else "SHUTDOWN",
        "ProductionAccessEnabled": True,
        "SendQuota": {
            "Max24HourSend": QUOTA_24H,
            "MaxSendRate": RATE_PER_SECOND,
            "SentLast24Hours": float(await sent(caller)),
        },
        "SendingEnabled": sends,
        "SuppressionAttributes": {"SuppressedReasons": ["BOUNCE", "COMPLAINT"]},
    }


async def is_sending(caller: Caller) -> bool:
    """Say whether the tenant as a whole may send now: no pause of its own, and an account that sends."""
    stopped = {pause.scope_id for pause in await caller.mine.pauses(open_only=True)}
    return caller.tenant_id not in stopped and not (await caller.mine.outlook()).stopped


async def sent(caller: Caller) -> int:
    """Return how many recipients were accepted in the last 24 hours."""
    return await caller.mine.sent_since(caller.doors.clock.wall() - DAY)


# ---- suppression


async def put_suppressed(caller: Caller, given: Members) -> Members | No:
    """PutSuppressedDestination."""
    if foreign := await caller.foreign_tenant(given):
        return foreign
    cause = Cause.BOUNCE if given["Reason"] == "BOUNCE" else Cause.COMPLAINT
    entry = NewSuppression(given["EmailAddress"], cause)
    done = await suppress.add(caller.doors.store, caller.tenant_id, [entry])
    if isinstance(done, Refusal):
        return No(done)
    return No(done.refused[0]) if done.refused[0] else {}


async def get_suppressed(caller: Caller, given: Members) -> Members | No:
    """GetSuppressedDestination."""
    if foreign := await caller.foreign_tenant(given):
        return foreign
    address = suppress.address_as_kept(given["EmailAddress"])
    if isinstance(address, Refusal):
        return _not_suppressed(given)
    page = await caller.mine.suppressions(SuppressionFilter(address=address, once=True), None, 1)
    return {"SuppressedDestination": _shown(page.items[0])} if page.items else _not_suppressed(given)


async def delete_suppressed(caller: Caller, given: Members) -> Members | No:
    """DeleteSuppressedDestination: of the tenant, and of each stream."""
    if foreign := await caller.foreign_tenant(given):
        return foreign
    gone = await suppress.remove(caller.doors.store, caller.tenant_id, [given["EmailAddress"]])
    if isinstance(gone, Refusal):
        return No(gone)
    return {} if gone else _not_suppressed(given)


async def list_suppressed(caller: Caller, given: Members) -> Members | No:
    """ListSuppressedDestinations: each address once."""
    if foreign := await caller.foreign_tenant(given):
        return foreign
    size = page_size(given, 1_000)
    if isinstance(size, No):
        return size
    causes = frozenset[Cause]().union(*(_CAUSES[reason] for reason in given.get("Reasons", ())))
    wanted = SuppressionFilter(causes=causes, since=given.get("StartDate"), until=given.get("EndDate"), once=True)
    try:
        page = await caller.mine.suppressions(wanted, given.get("NextToken"), size)
    except StoreRejected:
        return bad_token()
    rows = [_shown(entry) for entry in page.items]
    return {"SuppressedDestinationSummaries": rows, "NextToken": page.next_cursor}


def _shown(entry: Suppressed) -> Members:
    reason = _REASONS.get(entry.cause, "COMPLAINT")
    return {"EmailAddress": entry.address, "Reason": reason, "LastUpdateTime": entry.created_at}


def _not_suppressed(given: Members) -> No:
    address = given["EmailAddress"][:320]
    return not_found(f"Email address {address} does not exist on your suppression list.", "EmailAddress")


# ---- what became of a message


async def insights(caller: Caller, given: Members) -> Members | No:
    """GetMessageInsights, from the events that came for the message."""
    text = given["MessageId"]
    try:
        found = await caller.mine.message(MessageId(text))
    except ValueError:
        found = None
    if found is None:
        return not_found(f"Message <{text[:128]}> does not exist, or is no longer kept.", "MessageId")
    return {
        "MessageId": text,
        "FromEmailAddress": found.sender,
        "Subject": found.subject,
        "EmailTags": [{"Name": name, "Value": value} for name, value in found.tags.items()],
        "Insights": [
            {
                "Destination": one.address,
                "Isp": provider_of(one.address.lower()),
                "Events": _events(found, one.address),
            }
            for one in found.recipients
        ],
    }


def _events(found: MessageView, address: str) -> list[Members]:
    return [
        {"Timestamp": entry.at, "Type": _EVENTS[entry.what], "Details": _details(entry)}
        for entry in found.timeline
        if entry.what in _EVENTS and (not entry.recipients or address in entry.recipients)
    ]


def _details(entry: TimelineEntry) -> Members | None:
    said: Mapping[str, str] = entry.detail or {}
    match entry.what:
        case "Bounce":
            shown = {"BounceType": said.get("bounce_type", "").upper(), "BounceSubType": said.get("bounce_subtype")}
            return {"Bounce": {**shown, "DiagnosticCode": said.get("diagnostic")}}
        case "Complaint":
            kinds = said.get("complaint_subtype"), said.get("feedback_type")
            return {"Complaint": {"ComplaintSubType": kinds[0], "ComplaintFeedbackType": kinds[1]}}
        case _:
            return None


OPERATIONS = {
    "GetAccount": Operation(Scope.READ, get_account),
    "PutSuppressedDestination": Operation(Scope.MANAGE, put_suppressed),
    "GetSuppressedDestination": Operation(Scope.READ, get_suppressed),
    "DeleteSuppressedDestination": Operation(Scope.MANAGE, delete_suppressed),
    "ListSuppressedDestinations": Operation(Scope.READ, list_suppressed),
    "GetMessageInsights": Operation(Scope.READ, insights),
}
