"""The management operations of the local SES, called by an unmodified boto3."""

import base64
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.emulator.worlds import EVENT_TYPES, World, world


@pytest.fixture
def ses() -> Iterator[World]:
    with world() as running:
        yield running


def code_of(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = caught.value.response
    assert response["ResponseMetadata"]["RequestId"]
    assert response["Error"]["Message"]
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_tenant_lives_and_dies(ses: World) -> None:
    """A tenant is made once, read, listed with its status, filtered by name, and gone after deletion."""
    made = ses.ses.create_tenant(TenantName="acme", Tags=[{"Key": "unit", "Value": "emea"}])
    assert made["TenantArn"] == ses.arn("tenant", f"acme/{made['TenantId']}")
    assert made["TenantId"].startswith("tn-")
    with pytest.raises(ses.ses.exceptions.AlreadyExistsException):
        ses.ses.create_tenant(TenantName="acme")
    ses.ses.create_tenant(TenantName="bravo")
    tenant = ses.ses.get_tenant(TenantName="acme")["Tenant"]
    assert tenant["SendingStatus"] == "ENABLED"
    assert tenant["Tags"] == [{"Key": "unit", "Value": "emea"}]
    listed = ses.ses.list_tenants(Filter={"TENANT_NAME_CONTAINS": "rav"})["Tenants"]
    assert [each["TenantName"] for each in listed] == ["bravo"]
    ses.ses.delete_tenant(TenantName="acme")
    with pytest.raises(ses.ses.exceptions.NotFoundException):
        ses.ses.get_tenant(TenantName="acme")


@pytest.mark.parametrize("name", ["a b", "x" * 65, "ä", "a/b"])
def test_tenant_names_are_as_strict_as_ses(ses: World, name: str) -> None:
    """Names with other characters or above 64 are refused."""
    with pytest.raises(ses.ses.exceptions.BadRequestException):
        ses.ses.create_tenant(TenantName=name)


def test_half_a_suppression_pair_is_refused(ses: World) -> None:
    """Suppression needs reasons and scope together; the pair is kept."""
    with pytest.raises(ses.ses.exceptions.BadRequestException):
        ses.ses.create_tenant(TenantName="a", SuppressionAttributes={"SuppressionScope": "TENANT"})
    pair = {"SuppressionScope": "TENANT", "SuppressedReasons": ["BOUNCE"]}
    ses.ses.create_tenant(TenantName="a", SuppressionAttributes=pair)
    assert ses.ses.get_tenant(TenantName="a")["Tenant"]["SuppressionAttributes"] == pair


def test_lists_are_paged(ses: World) -> None:
    """boto3's paginator walks all pages, each entry once; a made-up token is refused."""
    names = [f"t{number:02}" for number in range(7)]
    for name in names:
        ses.ses.create_tenant(TenantName=name)
    pages = list(ses.ses.get_paginator("list_tenants").paginate(PaginationConfig={"PageSize": 3}))
    assert [len(each["Tenants"]) for each in pages] == [3, 3, 1]
    assert [tenant["TenantName"] for each in pages for tenant in each["Tenants"]] == names
    with pytest.raises(ses.ses.exceptions.BadRequestException):
        ses.ses.list_tenants(NextToken="\u00e9")


def test_associations(ses: World) -> None:
    """A resource is associated once, seen from both sides, kept from deletion, and let go without complaint."""
    ses.sender()
    identity = ses.arn("identity", "acme.example")
    with pytest.raises(ses.ses.exceptions.AlreadyExistsException):
        ses.ses.create_tenant_resource_association(TenantName="acme", ResourceArn=identity)
    with pytest.raises(ses.ses.exceptions.NotFoundException):
        ses.ses.create_tenant_resource_association(TenantName="acme", ResourceArn=ses.arn("identity", "other.example"))
    types = {each["ResourceType"] for each in ses.ses.list_tenant_resources(TenantName="acme")["TenantResources"]}
    assert types == {"EMAIL_IDENTITY", "CONFIGURATION_SET"}
    one = ses.ses.list_tenant_resources(TenantName="acme", Filter={"RESOURCE_TYPE": "EMAIL_IDENTITY"})
    assert [each["ResourceArn"] for each in one["TenantResources"]] == [identity]
    (row,) = ses.ses.list_resource_tenants(ResourceArn=identity)["ResourceTenants"]
    assert row["TenantName"] == "acme"
    assert row["AssociatedTimestamp"]
    with pytest.raises(ses.ses.exceptions.BadRequestException):
        ses.ses.delete_email_identity(EmailIdentity="acme.example")
    with pytest.raises(ses.ses.exceptions.BadRequestException):
        ses.ses.delete_configuration_set(ConfigurationSetName="acme-set")
    for _ in range(2):
        ses.ses.delete_tenant_resource_association(TenantName="acme", ResourceArn=identity)
    ses.ses.delete_email_identity(EmailIdentity="acme.example")


def test_configuration_set(ses: World) -> None:
    """Each option group is kept as it was put; the set is listed, and not found once deleted."""
    client, name = ses.ses, {"ConfigurationSetName": "s"}
    client.create_dedicated_ip_pool(PoolName="gold")
    client.create_configuration_set(**name, Tags=[{"Key": "k", "Value": "v"}])
    with pytest.raises(client.exceptions.AlreadyExistsException):
        client.create_configuration_set(**name)
    with pytest.raises(client.exceptions.NotFoundException):
        client.put_configuration_set_delivery_options(**name, SendingPoolName="none")
    client.put_configuration_set_delivery_options(**name, SendingPoolName="gold", TlsPolicy="REQUIRE")
    client.put_configuration_set_reputation_options(**name, ReputationMetricsEnabled=True)
    client.put_configuration_set_suppression_options(**name, SuppressedReasons=["BOUNCE"])
    client.put_configuration_set_tracking_options(**name, CustomRedirectDomain="t.acme.example", HttpsPolicy="REQUIRE")
    client.put_configuration_set_sending_options(**name, SendingEnabled=False)
    found = client.get_configuration_set(**name)
    assert found["DeliveryOptions"] == {"SendingPoolName": "gold", "TlsPolicy": "REQUIRE"}
    assert found["ReputationOptions"] == {"ReputationMetricsEnabled": True}
    assert found["SuppressionOptions"] == {"SuppressedReasons": ["BOUNCE"]}
    assert found["TrackingOptions"] == {"CustomRedirectDomain": "t.acme.example", "HttpsPolicy": "REQUIRE"}
    assert found["SendingOptions"] == {"SendingEnabled": False}
    assert found["Tags"] == [{"Key": "k", "Value": "v"}]
    assert client.list_configuration_sets()["ConfigurationSets"] == ["s"]
    assert client.list_configuration_sets(Filter={"CONFIGURATION_SET_NAME_CONTAINS": "x"})["ConfigurationSets"] == []
    with pytest.raises(client.exceptions.BadRequestException):
        client.delete_dedicated_ip_pool(PoolName="gold")
    client.delete_configuration_set(**name)
    with pytest.raises(client.exceptions.NotFoundException):
        client.get_configuration_set(**name)


def test_a_new_set_may_send_and_a_paused_one_may_be_made(ses: World) -> None:
    """Sending is on unless the creation says otherwise."""
    ses.ses.create_configuration_set(ConfigurationSetName="on")
    ses.ses.create_configuration_set(ConfigurationSetName="off", SendingOptions={"SendingEnabled": False})
    states = [ses.ses.get_configuration_set(ConfigurationSetName=name)["SendingOptions"] for name in ("on", "off")]
    assert [each["SendingEnabled"] for each in states] == [True, False]


def test_event_destinations(ses: World) -> None:
    """A destination is made once for a topic that exists, greets it in plain text, changes, and goes."""
    client, place = ses.ses, {"ConfigurationSetName": "s", "EventDestinationName": "feed"}
    client.create_configuration_set(ConfigurationSetName="s")
    topic = {"TopicArn": ses.local.account.options.topic_arn}
    whole = {"Enabled": True, "MatchingEventTypes": EVENT_TYPES, "SnsDestination": topic}
    client.create_configuration_set_event_destination(**place, EventDestination=whole)
    (greeting,) = ses.notices()
    assert greeting["Message"] == "Successfully validated SNS topic for Amazon SES event publishing."
    assert "Subject" not in greeting
    with pytest.raises(client.exceptions.AlreadyExistsException):
        client.create_configuration_set_event_destination(**place, EventDestination=whole)
    with pytest.raises(client.exceptions.BadRequestException, match="not found"):
        client.create_configuration_set_event_destination(
            ConfigurationSetName="s",
            EventDestinationName="b",
            EventDestination={**whole, "SnsDestination": {"TopicArn": topic["TopicArn"] + "x"}},
        )
    client.update_configuration_set_event_destination(**place, EventDestination={**whole, "Enabled": False})
    (found,) = client.get_configuration_set_event_destinations(ConfigurationSetName="s")["EventDestinations"]
    assert found == {"Name": "feed", **whole, "Enabled": False}
    client.delete_configuration_set_event_destination(**place)
    with pytest.raises(client.exceptions.NotFoundException):
        client.delete_configuration_set_event_destination(**place)


def test_other_targets_are_refused_loudly(ses: World) -> None:
    """A destination that would never tell anything is not accepted."""
    ses.ses.create_configuration_set(ConfigurationSetName="s")
    destination = {"Enabled": True, "MatchingEventTypes": ["SEND"], "PinpointDestination": {"ApplicationArn": "arn"}}
    with pytest.raises(ses.ses.exceptions.BadRequestException, match="Pinpoint"):
        ses.ses.create_configuration_set_event_destination(
            ConfigurationSetName="s", EventDestinationName="app", EventDestination=destination
        )


def test_domain_identity_with_easy_dkim(ses: World) -> None:
    """A domain gets three tokens and their zone, and verifies by itself."""
    made = ses.ses.create_email_identity(EmailIdentity="Acme.example", Tags=[{"Key": "k", "Value": "v"}])
    assert made["IdentityType"] == "DOMAIN"
    assert len(made["DkimAttributes"]["Tokens"]) == 3
    found = ses.ses.get_email_identity(EmailIdentity="acme.example")
    assert found["VerificationStatus"] == "SUCCESS"
    assert found["VerifiedForSendingStatus"]
    assert found["DkimAttributes"]["SigningAttributesOrigin"] == "AWS_SES"
    assert found["DkimAttributes"]["SigningHostedZone"]
    assert found["DkimAttributes"]["Status"] == "SUCCESS"
    assert found["Tags"] == [{"Key": "k", "Value": "v"}]
    with pytest.raises(ses.ses.exceptions.AlreadyExistsException):
        ses.ses.create_email_identity(EmailIdentity="acme.example")
    (row,) = ses.ses.list_email_identities()["EmailIdentities"]
    assert row["IdentityName"] == "acme.example"
    assert row["SendingEnabled"]


def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    text = key.private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption())
    return base64.b64encode(text).decode()


def test_identity_with_own_dkim_key(ses: World) -> None:
    """BYODKIM shows its selector as token and EXTERNAL as origin; switching to Easy DKIM gives three tokens."""
    own = {"DomainSigningSelector": "tnt1", "DomainSigningPrivateKey": private_key()}
    made = ses.ses.create_email_identity(EmailIdentity="acme.example", DkimSigningAttributes=own)
    assert made["DkimAttributes"]["Tokens"] == ["tnt1"]
    assert made["DkimAttributes"]["SigningAttributesOrigin"] == "EXTERNAL"
    easy = ses.ses.put_email_identity_dkim_signing_attributes(
        EmailIdentity="acme.example", SigningAttributesOrigin="AWS_SES"
    )
    assert len(easy["DkimTokens"]) == 3
    back = ses.ses.put_email_identity_dkim_signing_attributes(
        EmailIdentity="acme.example",
        SigningAttributesOrigin="EXTERNAL",
        SigningAttributes={**own, "DomainSigningSelector": "tnt2"},
    )
    assert back["DkimTokens"] == ["tnt2"]


def test_mail_from_and_default_set(ses: World) -> None:
    """MAIL FROM must be a sub-domain; the default set must exist, and both are shown."""
    ses.ses.create_email_identity(EmailIdentity="acme.example")
    ses.ses.create_configuration_set(ConfigurationSetName="s")
    with pytest.raises(ses.ses.exceptions.BadRequestException):
        ses.ses.put_email_identity_mail_from_attributes(EmailIdentity="acme.example", MailFromDomain="m.other.example")
    ses.ses.put_email_identity_mail_from_attributes(EmailIdentity="acme.example", MailFromDomain="m.acme.example")
    ses.ses.put_email_identity_configuration_set_attributes(EmailIdentity="acme.example", ConfigurationSetName="s")
    with pytest.raises(ses.ses.exceptions.NotFoundException):
        ses.ses.put_email_identity_configuration_set_attributes(EmailIdentity="acme.example", ConfigurationSetName="x")
    found = ses.ses.get_email_identity(EmailIdentity="acme.example")
    assert found["MailFromAttributes"]["MailFromDomain"] == "m.acme.example"
    assert found["MailFromAttributes"]["MailFromDomainStatus"] == "SUCCESS"
    assert found["ConfigurationSetName"] == "s"


@pytest.mark.parametrize("name", ["acme", "@acme.example", "a b.example", "acme..example", ""])
def test_what_is_no_domain_or_address_is_no_identity(ses: World, name: str) -> None:
    """Names that DNS could not hold are refused."""
    with pytest.raises(ClientError):
        ses.ses.create_email_identity(EmailIdentity=name or " ")


def test_identities_wait_when_told_to() -> None:
    """Without automatic verification an identity stays pending until the admin API decides."""
    with world(verify_identities=False) as ses:
        ses.ses.create_email_identity(EmailIdentity="acme.example")
        for status in ("PENDING", "FAILED", "SUCCESS"):
            if status != "PENDING":
                ses.admin("identities/acme.example", {"status": status})
            found = ses.ses.get_email_identity(EmailIdentity="acme.example")
            assert found["VerificationStatus"] == found["DkimAttributes"]["Status"] == status
            assert found["VerifiedForSendingStatus"] == (status == "SUCCESS")


def test_pools_and_their_addresses(ses: World) -> None:
    """A standard pool comes with two warmed addresses, a managed one with none; names are taken once."""
    ses.ses.create_dedicated_ip_pool(PoolName="gold")
    ses.ses.create_dedicated_ip_pool(PoolName="auto", ScalingMode="MANAGED")
    with pytest.raises(ses.ses.exceptions.AlreadyExistsException):
        ses.ses.create_dedicated_ip_pool(PoolName="gold")
    assert ses.ses.get_dedicated_ip_pool(PoolName="auto")["DedicatedIpPool"]["ScalingMode"] == "MANAGED"
    assert ses.ses.list_dedicated_ip_pools()["DedicatedIpPools"] == ["auto", "gold"]
    ips = ses.ses.get_dedicated_ips(PoolName="gold")["DedicatedIps"]
    assert [(each["WarmupStatus"], each["WarmupPercentage"]) for each in ips] == [("DONE", 100)] * 2
    assert ses.ses.get_dedicated_ips(PoolName="auto")["DedicatedIps"] == []
    ses.ses.delete_dedicated_ip_pool(PoolName="gold")
    with pytest.raises(ses.ses.exceptions.NotFoundException):
        ses.ses.get_dedicated_ips(PoolName="gold")


def test_reputation_entity(ses: World) -> None:
    """A tenant starts with the standard policy; its status and policy are set by its ARN and shown everywhere."""
    arn = ses.ses.create_tenant(TenantName="acme")["TenantArn"]
    ses.ses.create_tenant(TenantName="bravo")
    place = {"ReputationEntityType": "RESOURCE", "ReputationEntityReference": arn}
    policy = "arn:aws:ses:us-east-1:aws:reputation-policy"
    assert (
        ses.ses.get_reputation_entity(**place)["ReputationEntity"]["ReputationManagementPolicy"] == f"{policy}/standard"
    )
    ses.ses.update_reputation_entity_policy(**place, ReputationEntityPolicy=f"{policy}/strict")
    with pytest.raises(ses.ses.exceptions.BadRequestException):
        ses.ses.update_reputation_entity_policy(**place, ReputationEntityPolicy=f"{policy}/harsh")
    ses.ses.update_reputation_entity_customer_managed_status(**place, SendingStatus="DISABLED")
    (entity,) = ses.ses.list_reputation_entities(Filter={"SENDING_STATUS": "DISABLED"})["ReputationEntities"]
    assert entity["ReputationEntityReference"] == arn
    assert entity["ReputationManagementPolicy"] == f"{policy}/strict"
    assert (entity["CustomerManagedStatus"]["Status"], entity["AwsSesManagedStatus"]["Status"]) == (
        "DISABLED",
        "ENABLED",
    )
    assert (
        entity["SendingStatusAggregate"]
        == ses.ses.get_tenant(TenantName="acme")["Tenant"]["SendingStatus"]
        == "DISABLED"
    )
    ses.ses.update_reputation_entity_customer_managed_status(**place, SendingStatus="REINSTATED")
    assert ses.ses.get_tenant(TenantName="acme")["Tenant"]["SendingStatus"] == "REINSTATED"
    assert [each["TenantName"] for each in ses.ses.list_tenants(Filter={"SENDING_STATUS": "ENABLED"})["Tenants"]] == [
        "bravo"
    ]


def test_tags_on_every_kind(ses: World) -> None:
    """Tenants, sets, identities and pools are tagged, untagged and listed by ARN; nothing else is."""
    ses.sender()
    ses.ses.create_dedicated_ip_pool(PoolName="gold")
    arns = [ses.ses.get_tenant(TenantName="acme")["Tenant"]["TenantArn"]]
    arns += [
        ses.arn("identity", "acme.example"),
        ses.arn("configuration-set", "acme-set"),
        ses.arn("dedicated-ip-pool", "gold"),
    ]
    for arn in arns:
        ses.ses.tag_resource(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
        ses.ses.untag_resource(ResourceArn=arn, TagKeys=["a", "c"])
        assert ses.ses.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    with pytest.raises(ses.ses.exceptions.NotFoundException):
        ses.ses.tag_resource(ResourceArn=ses.arn("identity", "acme-set"), Tags=[{"Key": "a", "Value": "1"}])


def test_account_shows_quota_and_can_be_paused() -> None:
    """GetAccount tells the granted quota and what was used of it; the account's switch is kept."""
    with world(max_send_rate=25.0, max_24_hour_send=1000.0) as ses:
        ses.sender()
        ses.send("a@inbox.example", "b@inbox.example", "success@simulator.amazonses.com")
        account = ses.ses.get_account()
        assert account["SendQuota"] == {"Max24HourSend": 1000.0, "MaxSendRate": 25.0, "SentLast24Hours": 2.0}
        assert account["EnforcementStatus"] == "HEALTHY"
        assert account["ProductionAccessEnabled"]
        ses.ses.put_account_sending_attributes(SendingEnabled=False)
        assert not ses.ses.get_account()["SendingEnabled"]


def test_what_is_not_done_is_refused_by_name(ses: World) -> None:
    """An operation that the local SES lacks answers with its name and an error, never with success."""
    with pytest.raises(ClientError, match="GetDomainDeliverabilityCampaign") as caught:
        ses.ses.get_domain_deliverability_campaign(CampaignId="c-1")
    assert code_of(caught) == ("UnsupportedOperation", 400)


def test_management_calls_are_throttled_like_sess() -> None:
    """By default one management call a second, the next is told TooManyRequestsException with status 429."""
    with world(control_rate_per_second=1.0) as ses:
        ses.ses.get_account()
        with pytest.raises(ses.ses.exceptions.TooManyRequestsException) as caught:
            ses.ses.get_account()
        assert code_of(caught) == ("TooManyRequestsException", 429)


def test_same_seed_same_names() -> None:
    """Everything random comes from the seed: ids and tokens repeat with it."""
    made = []
    for seed in (1, 1, 2):
        with world(seed=seed) as ses:
            made.append(ses.ses.create_tenant(TenantName="a")["TenantId"])
    assert made[0] == made[1] != made[2]
