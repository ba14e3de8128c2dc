"""Owns what a recipient's facts amount to, and which fact a report of SES states.

Leaves decoding reports to the wire and storing facts to the store.
"""

from __future__ import annotations

from tenantry.core.event import Fact

PRECEDENCE = (
    Fact.QUEUED,
    Fact.EXPIRED,  # our own endings stand below SES's word: an unknown attempt may turn out to have been handed
    Fact.CANCELLED,
    Fact.REFUSED,
    Fact.SUPPRESSED,
    Fact.HANDED,
    Fact.DELAYED,
    Fact.BOUNCED_SOFT,  # an out-of-office reply may follow a delivery and must not undo it
    Fact.DELIVERED,
    Fact.BOUNCED,  # a receiver may accept first and bounce minutes later
    Fact.REJECTED,
    Fact.COMPLAINED,
)
"""Lowest first. Opened and clicked are no standing of their own: they prove delivery."""

_PROVES_DELIVERY = Fact.DELIVERED | Fact.OPENED | Fact.CLICKED
_HIGHEST_FIRST = tuple(
    (int(_PROVES_DELIVERY if fact is Fact.DELIVERED else fact), fact) for fact in reversed(PRECEDENCE)
)

_BY_KIND = {
    "Send": Fact.HANDED,
    "Delivery": Fact.DELIVERED,
    "Reject": Fact.REJECTED,
    "Rendering Failure": Fact.REJECTED,
    "DeliveryDelay": Fact.DELAYED,
    "Open": Fact.OPENED,
    "Click": Fact.CLICKED,
}

_COUNTED = frozenset({"General", "NoEmail", "Suppressed"})  # Suppressed: SES's global list, which SES counts
_NOT_COMPLAINTS = frozenset({"not-spam"})
_ECHOES = frozenset({"OnAccountSuppressionList", "OnTenantSuppressionList"})


def standing(facts: Fact) -> Fact:
    """Return the one fact that a recipient's history amounts to, whatever its order and repetitions."""
    bits = int(facts)
    for mask, fact in _HIGHEST_FIRST:
        if bits & mask:
            return fact
    return Fact.QUEUED


def fact_of(kind: str, bounce_type: str | None = None, feedback_type: str | None = None) -> Fact:
    """Return the fact that a report states, NONE for a kind that says nothing about a recipient or is not known yet.

    kind: SES's eventType. An unknown bounce type is soft: only what SES calls permanent may harm a sender. A complaint
    of feedback type not-spam is somebody taking a mail out of the spam folder.
    """
    if kind == "Bounce":
        return Fact.BOUNCED if bounce_type == "Permanent" else Fact.BOUNCED_SOFT
    if kind == "Complaint":
        return Fact.NONE if feedback_type in _NOT_COMPLAINTS else Fact.COMPLAINED
    return _BY_KIND.get(kind, Fact.NONE)


def counts_as_bounce(bounce_type: str, subtype: str) -> bool:
    """Tell whether SES counts this bounce against its sender: hard ones, but for echoes of a known suppression."""
    return bounce_type == "Permanent" and subtype in _COUNTED


def counts_as_complaint(feedback_type: str | None, subtype: str | None) -> bool:
    """Tell whether a complaint counts against its sender: not for not-spam, nor for mail that a list kept back."""
    return feedback_type not in _NOT_COMPLAINTS and subtype not in _ECHOES


def suppresses_bounce(bounce_type: str, subtype: str) -> bool:
    """Tell whether a bounce forbids its tenant to mail the address again: not an echo, opt-out or subtype not known."""
    return counts_as_bounce(bounce_type, subtype)
