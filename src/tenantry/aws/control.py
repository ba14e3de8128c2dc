"""Owns the control plane of SES v2: each change as its call, each object as a resource, SES's errors as the port's.

Leaves the call rate and every retry to flow.provision; boto3 makes one attempt, in a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import boto3
from botocore.config import Config

from tenantry.aws.attempt import Exists, Missing, call
from tenantry.aws.resources import (
    destination_resource,
    identity_resource,
    made_identity,
    set_resource,
    tags_of,
    tenant_resource,
)
from tenantry.core.plan import FOR_SENDING, SENDING, TAG, Change, Resource, ResourceKind, is_ours
from tenantry.ports import AccountReading, ControlBusy, ControlRefused

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_sesv2.literals import EventTypeType, ScalingModeType, SuppressionListReasonType, TlsPolicyType
    from mypy_boto3_sesv2.type_defs import DkimSigningAttributesTypeDef, EventDestinationDefinitionTypeDef

UNLIMITED = -1.0
PAGE = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell is in AWS, and the topic that its events go to."""

    account: str
    region: str
    topic_arn: str
    partition: str = "aws"

    def arn(self, suffix: str) -> str:
        """Return the ARN of an SES resource by its end."""
        return f"arn:{self.partition}:ses:{self.region}:{self.account}:{suffix}"


def control_client(session: boto3.Session, region: str, endpoint_url: str | None = None) -> SESV2Client:
    """Make the client of a control plane; it never tries twice, since the caller counts calls."""
    config = Config(retries={"total_max_attempts": 1, "mode": "standard"}, connect_timeout=5, read_timeout=20)
    return session.client("sesv2", region_name=region, endpoint_url=endpoint_url, config=config)


class BotoControl:
    """The port Control, on boto3."""

    def __init__(self, client: SESV2Client, place: Place, unseal: Callable[[bytes], bytes]) -> None:
        """unseal: opens the DKIM keys that the store sealed."""
        self._ses = client
        self._place = place
        self._unseal = unseal

    async def account(self) -> AccountReading:
        answer = await call(self._ses.get_account)
        quota = answer["SendQuota"]
        return AccountReading(
            rate_per_second=quota["MaxSendRate"],
            quota_24h=quota.get("Max24HourSend", UNLIMITED),
            sent_24h=quota["SentLast24Hours"],
            sending_enabled=answer["SendingEnabled"],
            enforcement=answer["EnforcementStatus"],
        )

    async def apply(self, change: Change) -> Resource | None:
        if change.delete:
            await self._delete(change.resource)
            return None
        if change.there is None:
            return await self._create(change.resource)
        try:
            return await self._update(change, change.there)
        except Missing:
            return None

    # ---- what is missing

    async def _create(self, wanted: Resource) -> Resource:
        makers: Mapping[ResourceKind, Callable[[Resource], Awaitable[Resource]]] = {
            ResourceKind.POOL: self._create_pool,
            ResourceKind.CONFIGURATION_SET: self._create_set,
            ResourceKind.EVENT_DESTINATION: self._create_destination,
            ResourceKind.IDENTITY: self._create_identity,
            ResourceKind.TENANT: self._create_tenant,
            ResourceKind.ASSOCIATION: self._create_association,
        }
        try:
            return await makers[wanted.kind](wanted)
        except Exists as error:
            return await self._take_over(wanted, str(error))

    async def _take_over(self, wanted: Resource, words: str) -> Resource:
        """Return what is there as it is, when it is ours: a crash came between the call and the mirror."""
        there = await self.look(wanted)
        if there is None:
            raise ControlBusy(words)
        owner = f"{TAG}tenantry-tenant"
        if not is_ours(there) or there.attributes.get(owner) != wanted.attributes.get(owner):
            raise ControlRefused(f"{words} It was not made for this tenant, so it is left alone.")
        return there

    async def _create_pool(self, wanted: Resource) -> Resource:
        mode: ScalingModeType = "MANAGED" if wanted.attributes["scaling_mode"] == "MANAGED" else "STANDARD"
        await call(lambda: self._ses.create_dedicated_ip_pool(PoolName=wanted.name, ScalingMode=mode))
        return wanted

    async def _create_set(self, wanted: Resource) -> Resource:
        has = wanted.attributes
        await call(
            lambda: self._ses.create_configuration_set(
                ConfigurationSetName=wanted.name,
                DeliveryOptions={"SendingPoolName": has["pool"], "TlsPolicy": _tls(has)},
                ReputationOptions={"ReputationMetricsEnabled": has["reputation_metrics"] == "true"},
                SendingOptions={"SendingEnabled": has[SENDING] == "true"},
                SuppressionOptions={"SuppressionScope": "TENANT", "SuppressedReasons": _reasons(has)},
                Tags=tags_of(has),
            )
        )
        return wanted

    async def _create_destination(self, wanted: Resource) -> Resource:
        set_name, _, name = wanted.name.partition("/")
        await call(
            lambda: self._ses.create_configuration_set_event_destination(
                ConfigurationSetName=set_name, EventDestinationName=name, EventDestination=self._destination(wanted)
            )
        )
        return wanted

    async def _create_identity(self, wanted: Resource) -> Resource:
        keys = self._dkim(wanted)
        tags = tags_of(wanted.attributes)
        if keys is None:
            answer = await call(lambda: self._ses.create_email_identity(EmailIdentity=wanted.name, Tags=tags))
        else:
            answer = await call(
                lambda: self._ses.create_email_identity(
                    EmailIdentity=wanted.name, Tags=tags, DkimSigningAttributes=keys
                )
            )
        return made_identity(wanted, answer)

    async def _create_tenant(self, wanted: Resource) -> Resource:
        has = wanted.attributes
        answer = await call(
            lambda: self._ses.create_tenant(
                TenantName=wanted.name,
                Tags=tags_of(has),
                SuppressionAttributes={"SuppressionScope": "TENANT", "SuppressedReasons": _reasons(has)},
            )
        )
        return replace(wanted, observed={"arn": answer["TenantArn"], "status": answer.get("SendingStatus", "")})

    async def _create_association(self, wanted: Resource) -> Resource:
        tenant, _, suffix = wanted.name.partition("/")
        try:
            await call(
                lambda: self._ses.create_tenant_resource_association(
                    TenantName=tenant, ResourceArn=self._place.arn(suffix)
                )
            )
        except Exists:
            return wanted  # SES was seen to answer 200 to a repetition, and this
        return wanted

    # ---- what differs

    async def _update(self, change: Change, there: Resource) -> Resource:
        wanted, has, name = change.resource, change.resource.attributes, change.resource.name
        tags = [each for each in change.differs if each.startswith(TAG)]
        if tags:
            await self._retag(change, there, tags)
            return change.result
        match wanted.kind, change.differs[0]:
            case ResourceKind.CONFIGURATION_SET, attribute:
                await self._update_set(wanted, attribute)
            case ResourceKind.TENANT, _:
                await call(
                    lambda: self._ses.put_tenant_suppression_attributes(
                        TenantName=name, SuppressionScope="TENANT", SuppressedReasons=_reasons(has)
                    )
                )
            case ResourceKind.EVENT_DESTINATION, _:
                set_name, _, destination = name.partition("/")
                await call(
                    lambda: self._ses.update_configuration_set_event_destination(
                        ConfigurationSetName=set_name,
                        EventDestinationName=destination,
                        EventDestination=self._destination(wanted),
                    )
                )
            case ResourceKind.IDENTITY, _:
                return await self._update_dkim(change)
            case ResourceKind.POOL, _:
                await call(
                    lambda: self._ses.put_dedicated_ip_pool_scaling_attributes(PoolName=name, ScalingMode="MANAGED")
                )
            case _:
                raise ControlRefused(f"An association has nothing to change: {name}")
        return change.result

    async def _retag(self, change: Change, there: Resource, names: list[str]) -> None:
        arn = self._arn(there)
        if names[0] in change.resource.attributes:
            await call(lambda: self._ses.tag_resource(ResourceArn=arn, Tags=tags_of(change.resource.attributes, names)))
        else:
            keys = [name.removeprefix(TAG) for name in names]
            await call(lambda: self._ses.untag_resource(ResourceArn=arn, TagKeys=keys))

    async def _update_set(self, wanted: Resource, attribute: str) -> None:
        has, name = wanted.attributes, wanted.name
        if attribute == SENDING:
            on = has[SENDING] == "true"
            await call(
                lambda: self._ses.put_configuration_set_sending_options(ConfigurationSetName=name, SendingEnabled=on)
            )
        elif attribute == "reputation_metrics":
            await call(
                lambda: self._ses.put_configuration_set_reputation_options(
                    ConfigurationSetName=name, ReputationMetricsEnabled=has["reputation_metrics"] == "true"
                )
            )
        elif attribute in {"pool", "tls"}:
            await call(
                lambda: self._ses.put_configuration_set_delivery_options(
                    ConfigurationSetName=name, SendingPoolName=has["pool"], TlsPolicy=_tls(has)
                )
            )
        else:
            await call(
                lambda: self._ses.put_configuration_set_suppression_options(
                    ConfigurationSetName=name, SuppressionScope="TENANT", SuppressedReasons=_reasons(has)
                )
            )

    async def _update_dkim(self, change: Change) -> Resource:
        wanted, keys = change.resource, self._dkim(change.resource)
        put = self._ses.put_email_identity_dkim_signing_attributes
        if keys is None:
            answer = await call(lambda: put(EmailIdentity=wanted.name, SigningAttributesOrigin="AWS_SES"))
        else:
            answer = await call(
                lambda: put(EmailIdentity=wanted.name, SigningAttributesOrigin="EXTERNAL", SigningAttributes=keys)
            )
        observed = {FOR_SENDING: "false", "verification": "PENDING", "dkim": answer.get("DkimStatus", "")}
        observed |= {"tokens": " ".join(answer.get("DkimTokens", [])), "zone": answer.get("SigningHostedZone") or ""}
        return replace(change.result, observed=observed)  # SES checks again: the next look tells

    # ---- what is no longer wanted

    async def _delete(self, resource: Resource) -> None:
        name, (parent, _, child) = resource.name, resource.name.partition("/")
        calls: Mapping[ResourceKind, Callable[[], object]] = {
            ResourceKind.POOL: lambda: self._ses.delete_dedicated_ip_pool(PoolName=name),
            ResourceKind.CONFIGURATION_SET: lambda: self._ses.delete_configuration_set(ConfigurationSetName=name),
            ResourceKind.EVENT_DESTINATION: lambda: self._ses.delete_configuration_set_event_destination(
                ConfigurationSetName=parent, EventDestinationName=child
            ),
            ResourceKind.IDENTITY: lambda: self._ses.delete_email_identity(EmailIdentity=name),
            ResourceKind.TENANT: lambda: self._ses.delete_tenant(TenantName=name),
            ResourceKind.ASSOCIATION: lambda: self._ses.delete_tenant_resource_association(
                TenantName=parent, ResourceArn=self._place.arn(child)
            ),
        }
        try:
            await call(calls[resource.kind])
        except Missing:
            return

    # ---- what is there

    async def look(self, resource: Resource) -> Resource | None:
        readers: Mapping[ResourceKind, Callable[[Resource], Awaitable[Resource | None]]] = {
            ResourceKind.POOL: self._look_at_pool,
            ResourceKind.CONFIGURATION_SET: self._look_at_set,
            ResourceKind.EVENT_DESTINATION: self._look_at_destination,
            ResourceKind.IDENTITY: self._look_at_identity,
            ResourceKind.TENANT: self._look_at_tenant,
            ResourceKind.ASSOCIATION: self._look_at_association,
        }
        try:
            return await readers[resource.kind](resource)
        except Missing:
            return None

    async def _look_at_pool(self, asked: Resource) -> Resource:
        answer = await call(lambda: self._ses.get_dedicated_ip_pool(PoolName=asked.name))
        mode = answer["DedicatedIpPool"]["ScalingMode"]
        return Resource(ResourceKind.POOL, asked.name, {"scaling_mode": mode}, {})

    async def _look_at_set(self, asked: Resource) -> Resource:
        return set_resource(await call(lambda: self._ses.get_configuration_set(ConfigurationSetName=asked.name)))

    async def _look_at_destination(self, asked: Resource) -> Resource | None:
        parent, _, child = asked.name.partition("/")
        answer = await call(lambda: self._ses.get_configuration_set_event_destinations(ConfigurationSetName=parent))
        found = (each for each in answer.get("EventDestinations", []) if each["Name"] == child)
        return next((destination_resource(asked.name, each, self._place.topic_arn) for each in found), None)

    async def _look_at_identity(self, asked: Resource) -> Resource:
        return identity_resource(asked.name, await call(lambda: self._ses.get_email_identity(EmailIdentity=asked.name)))

    async def _look_at_tenant(self, asked: Resource) -> Resource:
        return tenant_resource((await call(lambda: self._ses.get_tenant(TenantName=asked.name)))["Tenant"])

    async def _look_at_association(self, asked: Resource) -> Resource | None:
        tenant, _, suffix = asked.name.partition("/")
        arn = self._place.arn(suffix)
        token: str | None = ""
        while token is not None:
            found, token = await self._resources(tenant, token)
            if arn in found:
                return Resource(ResourceKind.ASSOCIATION, asked.name, {}, {})
        return None

    async def _resources(self, tenant: str, token: str) -> tuple[set[str], str | None]:
        listing = self._ses.list_tenant_resources
        answer = await call(
            lambda: (
                listing(TenantName=tenant, PageSize=PAGE, NextToken=token)
                if token
                else listing(TenantName=tenant, PageSize=PAGE)
            )
        )
        return {each["ResourceArn"] for each in answer.get("TenantResources", [])}, answer.get("NextToken")

    # ---- forms

    def _arn(self, there: Resource) -> str:
        kinds = {ResourceKind.CONFIGURATION_SET: "configuration-set", ResourceKind.IDENTITY: "identity"}
        return there.observed.get("arn") or self._place.arn(f"{kinds[there.kind]}/{there.name}")

    def _destination(self, wanted: Resource) -> EventDestinationDefinitionTypeDef:
        kinds = cast("list[EventTypeType]", wanted.attributes["events"].split())
        return {
            "Enabled": wanted.attributes["enabled"] == "true",
            "MatchingEventTypes": kinds,
            "SnsDestination": {"TopicArn": self._place.topic_arn},
        }

    def _dkim(self, wanted: Resource) -> DkimSigningAttributesTypeDef | None:
        if wanted.attributes.get("dkim") != "EXTERNAL":
            return None
        private = self._unseal(wanted.observed["sealed_key"].encode()).decode()
        return {"DomainSigningSelector": wanted.attributes["selector"], "DomainSigningPrivateKey": private}


def _tls(has: Mapping[str, str]) -> TlsPolicyType:
    return "REQUIRE" if has["tls"] == "REQUIRE" else "OPTIONAL"


def _reasons(has: Mapping[str, str]) -> list[SuppressionListReasonType]:
    reasons: tuple[SuppressionListReasonType, ...] = ("BOUNCE", "COMPLAINT")
    return [reason for reason in reasons if reason in has["suppression_reasons"].split()]
