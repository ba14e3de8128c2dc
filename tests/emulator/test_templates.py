"""Templates, bulk mail, list management and suppression of the local SES, called by an unmodified boto3."""

from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError

from tenantry.wire.handlebars import RenderingError, parse
from tests.emulator.worlds import EVENT_TYPES, World, world

HELLO = {"Subject": "Hello {{name}}", "Text": "{{#if vip}}Dear{{else}}Hi{{/if}} {{name}}", "Html": "<b>{{name}}</b>"}


@pytest.fixture
def ses() -> Iterator[World]:
    with world() as made:
        made.sender()
        feed = {"Enabled": True, "MatchingEventTypes": [*EVENT_TYPES, "RENDERING_FAILURE", "SUBSCRIPTION"]}
        feed["SnsDestination"] = {"TopicArn": made.local.account.options.topic_arn}
        made.ses.update_configuration_set_event_destination(
            ConfigurationSetName="acme-set", EventDestinationName="feed", EventDestination=feed
        )
        yield made


def hello(ses: World) -> None:
    ses.ses.create_email_template(TemplateName="hello", TemplateContent=HELLO)
    ses.ses.create_tenant_resource_association(TenantName="acme", ResourceArn=ses.arn("template", "hello"))


def by_template(data: str, **more: Any) -> dict[str, Any]:
    return {"Content": {"Template": {"TemplateName": "hello", "TemplateData": data, **more}}}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{{name.first}} {{ name.first }}", "Ada Ada"),
        ("{{#each rows}}{{n}}@{{@index}} {{/each}}", "1@0 2@1 "),
        ("{{#each words}}{{this}}{{#unless @last}}, {{/unless}}{{/each}}", "a, b"),
        ("{{#if no}}a{{else if gone}}b{{else if words}}c{{else}}d{{/if}}", "c"),
        ('{{#* inline "x"}}[{{name.first}}]{{/inline}}{{> x}}{{>x}}', "[Ada][Ada]"),
        ("{{#with name}}{{first}}{{../words.[1]}}{{/with}}", "Adab"),
        ("{{! a }}{{!-- {{b}} --}}{{{html}}}{{html}}", "<i><i>"),
        ("{{#each gone}}x{{else}}none{{/each}} {{ never closed", "none {{ never closed"),
    ],
)
def test_templates_speak_seses_handlebars(text: str, shown: str) -> None:
    """Values, conditions, lists and inline partials are filled in; nothing is escaped."""
    data = {"name": {"first": "Ada"}, "rows": [{"n": 1}, {"n": 2}], "words": ["a", "b"], "no": False, "html": "<i>"}
    assert parse(text).render(data) == shown


@pytest.mark.parametrize(
    "text",
    ["{{gone}}", "{{#if a}}", "{{/if}}", "{{> gone}}", "{{foo bar}}", '{{#* inline "x"}}{{> x}}{{/inline}}{{> x}}',
     "{{#if a}}" * 9_999, "{{#each a}}{{#each ../a}}{{#each ../../a}}x{{/each}}{{/each}}{{/each}}", "{{else}}"],
)  # fmt: skip
def test_templates_that_cannot_be_rendered_say_why(text: str) -> None:
    """Missing values, broken blocks and templates without end raise one error, soon."""
    with pytest.raises(RenderingError):
        parse(text).render({"a": list(range(3_000))})


def test_a_template_is_sent_filled_in(ses: World) -> None:
    """A named or inline template arrives as ordinary mail; a tenant needs the template associated with it."""
    ses.ses.create_email_template(TemplateName="hello", TemplateContent=HELLO)
    with pytest.raises(ClientError, match="template/hello") as caught:
        ses.send(**by_template('{"name": "Ada"}'))
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    ses.ses.create_tenant_resource_association(TenantName="acme", ResourceArn=ses.arn("template", "hello"))
    named = ses.send(**by_template('{"name": "Ada", "vip": true}'))
    inline = ses.send(Content={"Template": {"TemplateContent": HELLO, "TemplateData": '{"name": "Bob"}'}})
    first, second = (ses.admin(f"messages?message_id={each}")["messages"][0] for each in (named, inline))
    assert (first["subject"], first["content"]["Simple"]["Body"]["Text"]["Data"]) == ("Hello Ada", "Dear Ada")
    assert second["content"]["Simple"]["Body"]["Html"]["Data"] == "<b>Bob</b>"
    tried = ses.ses.test_render_email_template(TemplateName="hello", TemplateData='{"name": "Eve"}')
    assert "Hello Eve" in tried["RenderedTemplate"]
    with pytest.raises(ses.ses.exceptions.BadRequestException, match="name"):
        ses.ses.test_render_email_template(TemplateName="hello", TemplateData="{}")


def test_a_missing_value_is_a_rendering_failure(ses: World) -> None:
    """SES accepts the call, sends nothing, and tells of it in one event."""
    hello(ses)
    message_id = ses.send(**by_template("{}"))
    (event,) = ses.events()
    assert event["eventType"] == "Rendering Failure"
    assert event["mail"]["messageId"] == message_id
    assert event["failure"]["templateName"] == "hello"
    assert "name" in event["failure"]["errorMessage"]


def test_bulk_mail_tells_entry_by_entry(ses: World) -> None:
    """Each entry has its own data, headers, tags and status; one that is wrong stops no other."""
    hello(ses)
    entries = [
        {
            "Destination": {"ToAddresses": [f"{name}@inbox.example"]},
            "ReplacementEmailContent": {"ReplacementTemplate": {"ReplacementTemplateData": f'{{"name": "{name}"}}'}},
            "ReplacementHeaders": [{"Name": "X-Who", "Value": name}],
            "ReplacementTags": [{"Name": "who", "Value": name}],
        }
        for name in ("ada", "bob")
    ]
    entries.append({"Destination": {"ToAddresses": ["nobody"]}})
    ask = {
        "FromEmailAddress": "news@acme.example",
        "DefaultContent": {"Template": {"TemplateName": "hello", "TemplateData": '{"name": "you", "vip": true}'}},
        "DefaultEmailTags": [{"Name": "kind", "Value": "bulk"}],
        "ConfigurationSetName": "acme-set",
        "TenantName": "acme",
        "BulkEmailEntries": entries,
    }
    results = ses.ses.send_bulk_email(**ask)["BulkEmailEntryResults"]
    assert [each["Status"] for each in results] == ["SUCCESS", "SUCCESS", "INVALID_PARAMETER"]
    (bob,) = ses.admin(f"messages?message_id={results[1]['MessageId']}")["messages"]
    assert (bob["subject"], bob["tags"]) == ("Hello bob", {"kind": "bulk", "who": "bob"})
    ses.ses.put_configuration_set_sending_options(ConfigurationSetName="acme-set", SendingEnabled=False)
    paused = ses.ses.send_bulk_email(**{**ask, "BulkEmailEntries": entries[:1]})["BulkEmailEntryResults"]
    assert [each["Status"] for each in paused] == ["CONFIGURATION_SET_SENDING_PAUSED"]
    ask["BulkEmailEntries"] = entries[:1]
    lost = ses.ses.send_bulk_email(**{**ask, "DefaultContent": {"Template": {"TemplateName": "no"}}})
    assert [each["Status"] for each in lost["BulkEmailEntryResults"]] == ["TEMPLATE_NOT_FOUND"]
    arn = ses.ses.get_tenant(TenantName="acme")["Tenant"]["TenantArn"]
    ses.ses.update_reputation_entity_customer_managed_status(
        ReputationEntityType="RESOURCE", ReputationEntityReference=arn, SendingStatus="DISABLED"
    )
    with pytest.raises(ses.ses.exceptions.MessageRejected, match="Sending disabled"):
        ses.ses.send_bulk_email(**ask)


def test_a_contact_leaves_by_its_link(ses: World) -> None:
    """Mail to contacts has SES's headers and link; who leaves is told of, gets nothing more, and others still do."""
    topic = {"TopicName": "news", "DisplayName": "News", "DefaultSubscriptionStatus": "OPT_IN"}
    ses.ses.create_contact_list(ContactListName="people", Topics=[topic])
    ses.ses.create_contact(ContactListName="people", EmailAddress="ada@inbox.example")
    options = {"ListManagementOptions": {"ContactListName": "people", "TopicName": "news"}}
    body = {"Text": {"Data": "Leave: {{amazonSESUnsubscribeUrl}}"}}
    content = {"Simple": {"Subject": {"Data": "s"}, "Body": body}}
    ses.send("ada@inbox.example", Content=content, **options)
    sent, _delivered = ses.events()
    headers = {each["name"]: each["value"] for each in sent["mail"]["headers"]}
    url = headers["List-Unsubscribe"].strip("<>")
    (kept,) = ses.admin("messages?to=ada@inbox.example")["messages"]
    assert kept["content"]["Simple"]["Body"]["Text"]["Data"] == f"Leave: {url}"
    with urlopen(Request(url, b"List-Unsubscribe=One-Click"), timeout=5) as answer:
        assert answer.status == 200
    (left,) = ses.events()
    assert left["eventType"] == "Subscription"
    assert left["subscription"]["newTopicPreferences"]["topicSubscriptionStatus"] == [
        {"topicName": "news", "subscriptionStatus": "OptOut"}
    ]
    contact = ses.ses.get_contact(ContactListName="people", EmailAddress="ada@inbox.example")
    assert contact["TopicPreferences"] == [{"TopicName": "news", "SubscriptionStatus": "OPT_OUT"}]
    ses.send("ada@inbox.example", Content=content, **options)
    assert ses.events()[-1]["bounce"]["bounceSubType"] == "UnsubscribedRecipient"
    ses.send("bob@inbox.example", Content=content, **options)
    assert ses.kinds() == ["Send", "Delivery"]


def test_the_set_overrides_the_tenant_and_the_tenant_the_account() -> None:
    """A hard bounce is written to the list that the scope picks, for the reasons that count, and kept back there alone."""
    rules = {"recipients": ["gone.example:bounce=1"]}
    with world() as ses:
        ses.sender()
        ses.admin("options", rules)

        def bounce(address: str, **more: Any) -> str:
            ses.send(address, **more)
            sub_type: str = ses.events()[-1]["bounce"]["bounceSubType"]
            return sub_type

        assert [bounce("a@gone.example") for _ in range(2)] == ["General", "OnAccountSuppressionList"]
        found = ses.ses.get_suppressed_destination(EmailAddress="a@gone.example")["SuppressedDestination"]
        assert (found["Reason"], "MessageId" in found["Attributes"]) == ("BOUNCE", True)
        pair = {"SuppressionScope": "TENANT", "SuppressedReasons": ["BOUNCE"]}
        ses.ses.put_tenant_suppression_attributes(TenantName="acme", **pair)
        assert [bounce("a@gone.example") for _ in range(2)] == ["General", "OnTenantSuppressionList"]
        listed = ses.ses.list_suppressed_destinations(TenantName="acme")["SuppressedDestinationSummaries"]
        assert [each["EmailAddress"] for each in listed] == ["a@gone.example"]
        assert bounce("a@gone.example", TenantName=None) == "OnAccountSuppressionList"
        ses.ses.put_configuration_set_suppression_options(ConfigurationSetName="acme-set", SuppressedReasons=[])
        assert bounce("b@gone.example") == "General"
        assert bounce("b@gone.example") == "Suppressed"  # a tenant's hard bounces are on the list of all accounts too
        ses.ses.delete_suppressed_destination(EmailAddress="a@gone.example")
        with pytest.raises(ses.ses.exceptions.NotFoundException):
            ses.ses.get_suppressed_destination(EmailAddress="a@gone.example")


def test_addresses_that_are_likely_wrong_are_kept_back(ses: World) -> None:
    """With validation on, an address below the threshold is no mail but a bounce of its own kind."""
    ses.ses.put_configuration_set_suppression_options(
        ConfigurationSetName="acme-set",
        ValidationOptions={
            "ConditionThreshold": {
                "ConditionThresholdEnabled": "ENABLED",
                "OverallConfidenceThreshold": {"ConfidenceVerdictThreshold": "HIGH"},
            }
        },
    )
    ses.send("x@gone.invalid")
    assert ses.events()[-1]["bounce"]["bounceSubType"] == "EmailValidationSuppressed"
    ses.send("ada@inbox.example")
    assert ses.kinds() == ["Send", "Delivery"]
    verdict = ses.ses.get_email_address_insights(EmailAddress="sales@mailinator.com")["MailboxValidation"]
    assert verdict["Evaluations"]["IsDisposable"]["ConfidenceVerdict"] == "HIGH"
    assert verdict["Evaluations"]["IsRoleAddress"]["ConfidenceVerdict"] == "HIGH"


def test_custom_verification_mail(ses: World) -> None:
    """The mail goes to an address that is not verified, which then waits to be."""
    ses.ses.create_custom_verification_email_template(
        TemplateName="welcome",
        FromEmailAddress="news@acme.example",
        TemplateSubject="Please confirm",
        TemplateContent="<p>Hello</p>",
        SuccessRedirectionURL="https://acme.example/yes",
        FailureRedirectionURL="https://acme.example/no",
    )
    sent = ses.ses.send_custom_verification_email(EmailAddress="new@customer.example", TemplateName="welcome")
    assert ses.admin(f"messages?message_id={sent['MessageId']}")["messages"][0]["subject"] == "Please confirm"
    assert ses.ses.get_email_identity(EmailIdentity="new@customer.example")["VerificationStatus"] == "PENDING"


def test_another_accounts_identity_needs_its_policy(ses: World) -> None:
    """An account sends from another's identity once that one's policy names it, and not before."""
    other = ses.client("sesv2", key_id="210987654321")
    other.create_email_identity(EmailIdentity="owner.example")
    arn = "arn:aws:ses:us-east-1:210987654321:identity/owner.example"
    ask = {"FromEmailAddress": "x@owner.example", "FromEmailAddressIdentityArn": arn, "TenantName": None}
    with pytest.raises(ClientError, match="AccessDenied"):
        ses.send(**ask)
    policy = '{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "ses:SendEmail"}]}'
    other.create_email_identity_policy(EmailIdentity="owner.example", PolicyName="let", Policy=policy)
    assert ses.send(**ask)
    assert "owner.example" not in ses.local.account.identities
