"""Owns how SES's answers read as resources with flat attributes; leaves the calls to control.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tenantry.core.plan import CELL_TOPIC, EVENT_TYPES, FOR_SENDING, SENDING, TAG, Resource, ResourceKind

if TYPE_CHECKING:
    from mypy_boto3_sesv2.type_defs import (
        CreateEmailIdentityResponseTypeDef,
        EventDestinationTypeDef,
        GetConfigurationSetResponseTypeDef,
        GetEmailIdentityResponseTypeDef,
        TagTypeDef,
        TenantTypeDef,
    )


def flag(value: bool) -> str:
    """Write a boolean as an attribute."""
    return "true" if value else "false"


def tags_of(attributes: Mapping[str, str], only: Iterable[str] | None = None) -> list[TagTypeDef]:
    """Return the tags among attributes (or among these of them) as SES takes them."""
    names = attributes if only is None else only
    return [{"Key": name.removeprefix(TAG), "Value": attributes[name]} for name in names if name.startswith(TAG)]


def _tags(tags: Sequence[TagTypeDef]) -> dict[str, str]:
    return {f"{TAG}{tag['Key']}": tag["Value"] for tag in tags}


def set_resource(answer: GetConfigurationSetResponseTypeDef) -> Resource:
    """Read a configuration set."""
    suppression, delivery = answer.get("SuppressionOptions", {}), answer.get("DeliveryOptions", {})
    attributes = {
        SENDING: flag(answer.get("SendingOptions", {}).get("SendingEnabled", True)),
        "reputation_metrics": flag(answer.get("ReputationOptions", {}).get("ReputationMetricsEnabled", False)),
        "pool": delivery.get("SendingPoolName", ""),
        "tls": delivery.get("TlsPolicy", "OPTIONAL"),
        "suppression_scope": suppression.get("SuppressionScope", ""),
        "suppression_reasons": " ".join(sorted(suppression.get("SuppressedReasons", []))),
    }
    tags = _tags(answer.get("Tags", []))
    return Resource(ResourceKind.CONFIGURATION_SET, answer["ConfigurationSetName"], attributes | tags, {})


def tenant_resource(answer: TenantTypeDef) -> Resource:
    """Read an SES tenant."""
    suppression = answer.get("SuppressionAttributes") or {}
    attributes = {
        "suppression_scope": suppression.get("SuppressionScope", ""),
        "suppression_reasons": " ".join(sorted(suppression.get("SuppressedReasons", []))),
    }
    observed = {"arn": answer["TenantArn"], "status": answer.get("SendingStatus", "")}
    return Resource(ResourceKind.TENANT, answer["TenantName"], attributes | _tags(answer.get("Tags", [])), observed)


def destination_resource(name: str, answer: EventDestinationTypeDef, topic_arn: str) -> Resource:
    """Read an event destination; its target is the cell's topic or something that should not be."""
    there = set(map(str, answer["MatchingEventTypes"]))
    known = EVENT_TYPES.split()
    topic = answer.get("SnsDestination", {}).get("TopicArn", "")
    attributes = {
        "events": " ".join([*(kind for kind in known if kind in there), *sorted(there.difference(known))]),
        "enabled": flag(answer.get("Enabled", False)),
        "target": CELL_TOPIC if topic == topic_arn else topic,
    }
    return Resource(ResourceKind.EVENT_DESTINATION, name, attributes, {})


def identity_resource(name: str, answer: GetEmailIdentityResponseTypeDef) -> Resource:
    """Read an identity; of a DKIM key of our own SES shows the selector alone."""
    dkim = answer.get("DkimAttributes", {})
    origin, tokens = dkim.get("SigningAttributesOrigin", "AWS_SES"), dkim.get("Tokens", [])
    attributes = {} if "@" in name else {"dkim": str(origin)}
    if origin == "EXTERNAL" and tokens:
        attributes["selector"] = tokens[0]
    observed = {
        FOR_SENDING: flag(answer.get("VerifiedForSendingStatus", False)),
        "verification": answer.get("VerificationStatus", ""),
        "dkim": dkim.get("Status", ""),
        "zone": dkim.get("SigningHostedZone", ""),
        "tokens": " ".join(tokens),
        "error": answer.get("VerificationInfo", {}).get("ErrorType", ""),
    }
    return Resource(ResourceKind.IDENTITY, name, attributes | _tags(answer.get("Tags", [])), observed)


def made_identity(wanted: Resource, answer: CreateEmailIdentityResponseTypeDef) -> Resource:
    """Read the answer to an identity's creation, which says less than a look at it."""
    dkim = answer.get("DkimAttributes", {})
    observed = {
        FOR_SENDING: flag(answer.get("VerifiedForSendingStatus", False)),
        "verification": "SUCCESS" if answer.get("VerifiedForSendingStatus") else "PENDING",
        "dkim": dkim.get("Status", ""),
        "zone": dkim.get("SigningHostedZone", ""),
        "tokens": " ".join(dkim.get("Tokens", [])),
    }
    return Resource(ResourceKind.IDENTITY, wanted.name, dict(wanted.attributes), observed)
