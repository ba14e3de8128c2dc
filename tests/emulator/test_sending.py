"""SendEmail of the local SES: every check that real SES makes, with its code, and a refusal that changes nothing."""

from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from tests.emulator.worlds import World, world


@pytest.fixture
def ses() -> Iterator[World]:
    with world() as running:
        running.sender()
        yield running


def refused(ses: World, *to: str, **more: object) -> tuple[str, int, str]:
    """Send, expect a refusal that leaves no trace, and return its code, status and sentence."""
    before = ses.admin("state")["messages"]
    with pytest.raises(ClientError) as caught:
        ses.send(*to, **more)
    response = caught.value.response
    assert response["ResponseMetadata"]["RequestId"]
    assert response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-errortype"] == response["Error"]["Code"]
    assert ses.admin("state")["messages"] == before
    assert ses.kinds() == []
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


def test_mail_is_accepted_and_shown(ses: World) -> None:
    """An accepted message has an id in SES's form and is shown with what it was sent as."""
    message_id = ses.send("A <a@x.example>", EmailTags=[{"Name": "k", "Value": "v"}])
    assert message_id.startswith("0100")
    assert message_id.endswith("-000000")
    (message,) = ses.admin("messages?to=a@x.example")["messages"]
    assert message["message_id"] == message_id
    assert (message["tenant"], message["configuration_set"], message["tags"]) == ("acme", "acme-set", {"k": "v"})
    assert message["content"]["Simple"]["Subject"] == {"Data": "Hello"}


def test_unknown_tenant(ses: World) -> None:
    """A tenant that does not exist is not found."""
    assert refused(ses, TenantName="nobody")[:2] == ("NotFoundException", 404)


def test_association_gate(ses: World) -> None:
    """A set or an identity that is not the tenant's is forbidden, and every missing one is named."""
    ses.ses.create_tenant(TenantName="bravo")
    identity, configuration_set = ses.arn("identity", "acme.example"), ses.arn("configuration-set", "acme-set")
    code, status, sentence = refused(ses, TenantName="bravo")
    assert (code, status) == ("AccessDeniedException", 403)
    assert sentence == f"Tenant not associated with resources [{identity}, {configuration_set}]"
    ses.ses.create_tenant_resource_association(TenantName="bravo", ResourceArn=identity)
    assert refused(ses, TenantName="bravo")[2] == f"Tenant not associated with resources [{configuration_set}]"
    ses.ses.create_tenant_resource_association(TenantName="bravo", ResourceArn=configuration_set)
    assert ses.send(TenantName="bravo")


def test_a_tenants_mail_needs_a_set(ses: World) -> None:
    """Without a set in the call, the identity's default set is taken; without that the send is refused."""
    assert refused(ses, ConfigurationSetName=None)[:2] == ("BadRequestException", 400)
    ses.ses.put_email_identity_configuration_set_attributes(
        EmailIdentity="acme.example", ConfigurationSetName="acme-set"
    )
    assert ses.send(ConfigurationSetName=None)


def test_paused_tenant(ses: World) -> None:
    """A disabled tenant is rejected with its ARN, a reinstated one sends again, and others never notice."""
    arn = ses.ses.get_tenant(TenantName="acme")["Tenant"]["TenantArn"]
    entity = {"ReputationEntityType": "RESOURCE", "ReputationEntityReference": arn}
    ses.ses.update_reputation_entity_customer_managed_status(**entity, SendingStatus="DISABLED")
    assert refused(ses) == ("MessageRejected", 400, f"Sending disabled for {arn}")
    assert ses.send(TenantName=None)
    ses.events()
    ses.ses.update_reputation_entity_customer_managed_status(**entity, SendingStatus="REINSTATED")
    assert ses.send()


def test_paused_set_and_account(ses: World) -> None:
    """A paused set and a paused account answer SendingPausedException; a set that is missing is not found."""
    ses.ses.put_configuration_set_sending_options(ConfigurationSetName="acme-set", SendingEnabled=False)
    assert refused(ses)[:2] == ("SendingPausedException", 400)
    ses.ses.put_configuration_set_sending_options(ConfigurationSetName="acme-set", SendingEnabled=True)
    ses.ses.put_account_sending_attributes(SendingEnabled=False)
    assert refused(ses)[:2] == ("SendingPausedException", 400)
    ses.ses.put_account_sending_attributes(SendingEnabled=True)
    assert refused(ses, ConfigurationSetName="none", TenantName=None)[:2] == ("NotFoundException", 404)
    assert ses.send()


@pytest.mark.parametrize(
    "sender", ["a@acme.example", "A <x+y@ACME.example>", "a@news.acme.example", "a@b.c.acme.example"]
)
def test_a_verified_domain_covers_its_addresses_and_sub_domains(ses: World, sender: str) -> None:
    """Each address of the domain and below it may send."""
    assert ses.send(FromEmailAddress=sender)


@pytest.mark.parametrize("sender", ["a@other.example", "a@notacme.example", "a@example", "acme.example@evil.example"])
def test_other_senders_are_not_verified(ses: World, sender: str) -> None:
    """A domain that only looks alike is rejected, naming address and region."""
    code, status, sentence = refused(ses, FromEmailAddress=sender, TenantName=None)
    assert (code, status) == ("MessageRejected", 400)
    assert sentence.startswith("Email address is not verified.")
    assert f"US-EAST-1: {sender}" in sentence


def test_sending_waits_for_verification() -> None:
    """An identity that is pending or failed sends nothing; the moment it is verified it sends."""
    with world(verify_identities=False) as ses:
        ses.sender()
        assert refused(ses)[0] == "MessageRejected"
        ses.admin("identities/acme.example", {"status": "SUCCESS"})
        assert ses.send()
        ses.events()
        ses.admin("identities/acme.example", {"status": "FAILED"})
        assert refused(ses)[0] == "MessageRejected"


def test_sandbox_reaches_only_verified_recipients() -> None:
    """In the sandbox recipients must be verified too, but for the simulator's."""
    with world(sandbox=True) as ses:
        ses.sender()
        assert not ses.ses.get_account()["ProductionAccessEnabled"]
        assert ses.send("me@acme.example", "success@simulator.amazonses.com")
        ses.events()
        assert refused(ses, "you@other.example")[2].endswith("you@other.example")


def test_fifty_recipients_and_no_more(ses: World) -> None:
    """The 51st recipient is one too many, whatever its kind."""
    many = [f"u{number}@x.example" for number in range(48)]
    destination = {"ToAddresses": many, "CcAddresses": ["c@x.example"], "BccAddresses": ["b@x.example"]}
    assert ses.send(Destination=destination)
    ses.events()
    destination["BccAddresses"].append("b2@x.example")
    assert refused(ses, Destination=destination)[:2] == ("BadRequestException", 400)


def test_rate_counts_recipients() -> None:
    """A second's worth of recipients passes, the next one is told 429; no message of it is kept."""
    with world(max_send_rate=20.0) as ses:
        ses.sender()
        assert ses.send(*(f"u{number}@x.example" for number in range(20)))
        ses.events()
        code, status, sentence = refused(ses, *(f"u{number}@x.example" for number in range(20)))
        assert (code, status, sentence) == ("TooManyRequestsException", 429, "Maximum sending rate exceeded.")


def test_daily_quota() -> None:
    """The day's quota counts recipients, but not the simulator's."""
    with world(max_24_hour_send=3.0) as ses:
        ses.sender()
        assert ses.send("a@x.example", "b@x.example")
        ses.events()
        assert refused(ses, "a@x.example", "b@x.example") == (
            "ThrottlingException",
            400,
            "Daily message quota exceeded.",
        )
        assert ses.send("success@simulator.amazonses.com", "ooto@simulator.amazonses.com")
        assert ses.send("c@x.example")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"Content": {"Template": {"TemplateName": "t"}}}, "NotFoundException"),
        ({"ListManagementOptions": {"ContactListName": "l"}}, "NotFoundException"),
        ({"Content": {}}, "BadRequestException"),
        ({"Content": {"Template": {}}}, "BadRequestException"),
        ({"Content": {"Simple": {"Subject": {"Data": "s"}, "Body": {}}}}, "BadRequestException"),
        ({"Destination": {}}, "BadRequestException"),
        ({"Destination": {"ToAddresses": ["nobody"]}}, "BadRequestException"),
        ({"Destination": {"ToAddresses": ["a@x.example\r\nBcc: b@x.example"]}}, "BadRequestException"),
        ({"FromEmailAddress": None}, "BadRequestException"),
        ({"EmailTags": [{"Name": "a:b", "Value": "v"}]}, "BadRequestException"),
        ({"EmailTags": [{"Name": "a", "Value": "ü"}]}, "BadRequestException"),
    ],
)
def test_what_cannot_be_sent_is_refused(ses: World, more: dict[str, object], code: str) -> None:
    """Templates and lists that there are not are named; missing or broken parts are the caller's fault."""
    assert refused(ses, **more)[0] == code
