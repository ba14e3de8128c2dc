"""A tenant's virtual SES account over the v2 wire, with unmodified boto3: each operation, and each "no" in SES's words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import text

from tests import worlds
from tests.edge.doorstep import doorstep, make_key
from tests.edge.sdk import Account, client
from tests.edge.test_ses_wire import post

pytestmark = pytest.mark.asyncio(loop_scope="module")

WELCOME = {"Subject": "Hi {{name}}", "Text": "Hello {{name}}", "Html": "<p>{{name}}</p>"}
TO_ANN = {"ToAddresses": ["ann@example.com"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def account(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Account]:
    """Acme's account, with a key of every scope that a tenant can have."""
    async with doorstep(tmp_path_factory.mktemp("desk")) as doors:
        _, token = await make_key(doors, doors.acme, "send", "read", "manage")
        yield Account(doors, client(doors, token))
        assert doors.bugs == []


async def test_a_template_is_kept_changed_listed_rendered_and_removed(account: Account) -> None:
    """The life of a template, and SES's words where there is none, or one already."""
    await account.call(
        "create_email_template",
        TemplateName="welcome",
        TemplateContent=WELCOME,
        Tags=[{"Key": "team", "Value": "growth"}],
    )
    again = await account.refused("create_email_template", TemplateName="welcome", TemplateContent=WELCOME)
    assert again[0] == "AlreadyExistsException"
    shown = await account.call("get_email_template", TemplateName="welcome")
    assert (shown["TemplateContent"], shown["Tags"]) == (WELCOME, [{"Key": "team", "Value": "growth"}])
    changed = {"Subject": "Hallo {{name}}", "Text": "Servus {{name}}"}
    await account.call("update_email_template", TemplateName="welcome", TemplateContent=changed)
    assert (await account.call("get_email_template", TemplateName="welcome"))["TemplateContent"] == changed
    rendered = await account.call("test_render_email_template", TemplateName="welcome", TemplateData='{"name": "Ann"}')
    assert "Subject: Hallo Ann\r\n" in rendered["RenderedTemplate"]
    assert "Servus Ann" in rendered["RenderedTemplate"]
    missing = await account.refused("test_render_email_template", TemplateName="welcome", TemplateData="{}")
    assert missing == ("BadRequestException", "Attribute 'name' is not present in the rendering data.")
    for name in ("a", "b"):
        await account.call("create_email_template", TemplateName=name, TemplateContent=WELCOME)
    first = await account.call("list_email_templates", PageSize=2)
    rest = await account.call("list_email_templates", PageSize=2, NextToken=first["NextToken"])
    names = [row["TemplateName"] for page in (first, rest) for row in page["TemplatesMetadata"]]
    assert names == ["a", "b", "welcome"]
    assert "NextToken" not in rest
    await account.call("delete_email_template", TemplateName="welcome")
    gone = ("NotFoundException", "Template <welcome> does not exist.")
    assert await account.refused("get_email_template", TemplateName="welcome") == gone
    assert await account.refused("delete_email_template", TemplateName="welcome") == gone
    assert await account.refused("update_email_template", TemplateName="welcome", TemplateContent=WELCOME) == gone


async def test_mail_is_sent_by_a_template_that_is_named_or_written_out(account: Account) -> None:
    """The mail that is handed over is the rendered one; what cannot be rendered is refused, and nothing is accepted."""
    await account.call("create_email_template", TemplateName="order", TemplateContent=WELCOME)
    common = {"FromEmailAddress": "hello@acme.example", "Destination": TO_ANN}
    for template in ({"TemplateName": "order"}, {"TemplateContent": WELCOME}):
        content = {"Template": {**template, "TemplateData": '{"name": "Ann"}'}}
        sent = await account.call("send_email", **common, Content=content, ConfigurationSetName="marketing")
        shown = (await account.doors.call("GET", f"/v1/messages/{sent['MessageId']}")).json
        assert (shown["subject"], shown["stream"]) == ("Hi Ann", "marketing")
        kept = await content_of(account, sent["MessageId"])
        assert kept["Simple"]["Body"]["Html"]["Data"] == "<p>Ann</p>"
    bad = {"Template": {"TemplateName": "order", "TemplateData": "{}"}}
    assert (await account.refused("send_email", **common, Content=bad))[0] == "BadRequestException"
    unknown = {"Template": {"TemplateName": "nobodys", "TemplateData": "{}"}}
    assert await account.refused("send_email", **common, Content=unknown) == (
        "NotFoundException",
        "Template <nobodys> does not exist.",
    )
    foreign = {**common, "FromEmailAddress": "hello@other.example"}
    good = {"Template": {"TemplateName": "order", "TemplateData": '{"name": "Ann"}'}}
    code, words = await account.refused("send_email", **foreign, Content=good)
    assert code == "MessageRejected"
    assert words.startswith("Email address is not verified.")
    assert (await account.refused("send_email", **common, Content=good, TenantName="other"))[0] == "NotFoundException"


async def content_of(account: Account, message: str) -> dict:
    """Return the content that will be handed over."""
    async with account.doors.store.reading() as step:
        digits = message.partition("_")[2]
        return json.loads(
            await step.conn.scalar(text("SELECT body FROM content WHERE message_id = :id"), {"id": digits})
        )


async def test_each_entry_of_a_bulk_call_is_a_message_or_a_no_of_its_own(account: Account) -> None:
    """Results stand in the order of entries; data, tags and headers of an entry replace the common ones."""
    template = {"TemplateContent": WELCOME, "TemplateData": '{"name": "friend"}'}
    entries = [
        {"Destination": {"ToAddresses": ["a@example.com"]}},
        {
            "Destination": {"ToAddresses": ["b@example.com"]},
            "ReplacementTags": [{"Name": "k", "Value": "own"}],
            "ReplacementHeaders": [{"Name": "X-Own", "Value": "1"}],
            "ReplacementEmailContent": {"ReplacementTemplate": {"ReplacementTemplateData": '{"name": "Bob"}'}},
        },
        {"Destination": {"ToAddresses": ["not an address"]}},
        {
            "Destination": {"ToAddresses": ["c@example.com"]},
            "ReplacementEmailContent": {"ReplacementTemplate": {"ReplacementTemplateData": "[]"}},
        },
    ]
    common = {
        "FromEmailAddress": "hello@acme.example",
        "DefaultContent": {"Template": template},
        "DefaultEmailTags": [{"Name": "k", "Value": "common"}],
    }
    rows = (await account.call("send_bulk_email", **common, BulkEmailEntries=entries))["BulkEmailEntryResults"]
    assert [row["Status"] for row in rows] == ["SUCCESS", "SUCCESS", "INVALID_PARAMETER", "INVALID_PARAMETER"]
    assert all(row.get("MessageId") or row["Error"] for row in rows)
    shown = [(await account.doors.call("GET", f"/v1/messages/{row['MessageId']}")).json for row in rows[:2]]
    assert [(one["subject"], one["tags"]) for one in shown] == [
        ("Hi friend", {"k": "common"}),
        ("Hi Bob", {"k": "own"}),
    ]
    assert (await content_of(account, rows[1]["MessageId"]))["Simple"]["Headers"] == [{"Name": "X-Own", "Value": "1"}]
    wrong = {**common, "FromEmailAddress": "hello@other.example"}
    (row,) = (await account.call("send_bulk_email", **wrong, BulkEmailEntries=entries[:1]))["BulkEmailEntryResults"]
    assert row["Status"] == "MESSAGE_REJECTED"
    lost = {**common, "ConfigurationSetName": "nobodys"}
    (row,) = (await account.call("send_bulk_email", **lost, BulkEmailEntries=entries[:1]))["BulkEmailEntryResults"]
    assert (row["Status"], row["Error"]) == (
        "CONFIGURATION_SET_NOT_FOUND",
        "Configuration set <nobodys> does not exist.",
    )
    assert (await account.refused("send_bulk_email", **common, BulkEmailEntries=entries[:1] * 51))[
        0
    ] == "BadRequestException"


async def test_a_retry_of_a_bulk_call_sends_nothing_twice(account: Account) -> None:
    """The SDK's own retry carries the invocation id of the first try: the same message ids come back."""
    given = {
        "FromEmailAddress": "hello@acme.example",
        "DefaultContent": {"Template": {"TemplateContent": WELCOME, "TemplateData": '{"name": "you"}'}},
        "BulkEmailEntries": [{"Destination": {"ToAddresses": [f"{name}@example.com"]}} for name in "ab"],
    }
    body, name = json.dumps(given).encode(), {"amz-sdk-invocation-id": "1-2-3"}
    replies = [await post(account.doors, body, "/v2/email/outbound-bulk-emails", **name) for _ in range(2)]
    answers = [reply.json["BulkEmailEntryResults"] for reply in replies]
    assert answers[0] == answers[1]
    assert len({row["MessageId"] for row in answers[0]}) == 2


async def test_identities_are_made_shown_and_given_a_stream(account: Account) -> None:
    """Tokens are in the answer once provision has them; mail that names no stream goes by the identity's own."""
    task = asyncio.create_task(
        account.call(
            "create_email_identity", EmailIdentity="Mail.Acme.example", ConfigurationSetName="marketing", Tags=[]
        )
    )
    mine = account.doors.store.of(account.doors.acme.tenant_id)
    while await mine.identity("mail.acme.example") is None:
        await asyncio.sleep(0.01)
    async with account.doors.store.step() as step:  # as provision does
        await step.conn.execute(
            text("UPDATE identity SET tokens = :tokens WHERE name = 'mail.acme.example'"),
            {"tokens": '["t1","t2","t3"]'},
        )
    made = await task
    assert made["IdentityType"] == "DOMAIN"
    assert made["DkimAttributes"]["Tokens"] == ["t1", "t2", "t3"]
    assert made["DkimAttributes"]["SigningHostedZone"] == "dkim.amazonses.com"
    assert not made["VerifiedForSendingStatus"]
    shown = await account.call("get_email_identity", EmailIdentity="mail.acme.example")
    assert (shown["VerificationStatus"], shown["ConfigurationSetName"]) == ("PENDING", "marketing")
    for name in ("mail.acme.example", "sub.other.example"):  # its own, and what lies in another's
        assert (await account.refused("create_email_identity", EmailIdentity=name))[0] == "AlreadyExistsException"
    await worlds.verify(account.doors.store)
    plain = {"Simple": {"Subject": {"Data": "Hi"}, "Body": {"Text": {"Data": "Hello"}}}}

    async def stream_of(sender: str) -> str:
        sent = await account.call("send_email", FromEmailAddress=sender, Destination=TO_ANN, Content=plain)
        return (await account.doors.call("GET", f"/v1/messages/{sent['MessageId']}")).json["stream"]

    assert await stream_of("x@mail.acme.example") == "marketing"
    assert await stream_of("x@acme.example") == "transactional"
    await account.call("put_email_identity_configuration_set_attributes", EmailIdentity="mail.acme.example")
    assert await stream_of("x@mail.acme.example") == "transactional"
    await account.call("put_email_identity_dkim_attributes", EmailIdentity="mail.acme.example", SigningEnabled=True)
    rows = (await account.call("list_email_identities"))["EmailIdentities"]
    assert [(row["IdentityName"], row["SendingEnabled"]) for row in rows] == [
        ("acme.example", True),
        ("mail.acme.example", True),
    ]
    first = await account.call("list_email_identities", PageSize=1)
    assert first["NextToken"]
    assert (await account.refused("list_email_identities", NextToken="x"))[0] in (
        "InvalidNextTokenException",
        "BadRequestException",
    )


async def test_configuration_sets_are_streams_by_their_own_names(account: Account) -> None:
    """A paused stream shows as a set that does not send; an id of ours is no name of a set."""
    assert (await account.call("list_configuration_sets"))["ConfigurationSets"] == ["marketing", "transactional"]
    shown = await account.call("get_configuration_set", ConfigurationSetName="marketing")
    assert shown["SendingOptions"]["SendingEnabled"]
    stream = str(account.doors.acme.marketing)
    assert (await account.refused("get_configuration_set", ConfigurationSetName=stream))[0] == "NotFoundException"
    opened = await account.doors.operate("POST", "/v1/pauses", {"scope": stream, "reason": "a look"})
    shown = await account.call("get_configuration_set", ConfigurationSetName="marketing")
    assert not shown["SendingOptions"]["SendingEnabled"]
    await account.doors.operate("POST", f"/v1/pauses/{opened.json['id']}/end", {"reason": "done"})


async def test_the_account_is_the_tenants_own(account: Account) -> None:
    """Its quota and what it sent itself; a pause of the tenant shows as an account that does not send."""
    before = (await account.call("get_account"))["SendQuota"]["SentLast24Hours"]
    await worlds.accepted(account.doors.store, account.doors.other, 2)
    await worlds.accepted(account.doors.store, account.doors.acme, 3)
    shown = await account.call("get_account")
    assert shown["SendQuota"] == {"Max24HourSend": -1.0, "MaxSendRate": 1000.0, "SentLast24Hours": before + 3}
    assert (shown["SendingEnabled"], shown["EnforcementStatus"]) == (True, "HEALTHY")
    scope = str(account.doors.acme.tenant_id)
    await account.doors.operate("POST", "/v1/pauses", {"scope": scope, "reason": "a look"})
    shown = await account.call("get_account")
    assert (shown["SendingEnabled"], shown["EnforcementStatus"]) == (False, "SHUTDOWN")


async def test_suppression_is_put_shown_listed_and_taken_off(account: Account) -> None:
    """As SES has it, whatever the case of an address; a tenant's other reasons are told as COMPLAINT."""
    for name in "abc":
        await account.call("put_suppressed_destination", EmailAddress=f"{name.upper()}@sup.example", Reason="BOUNCE")
    await account.call("put_suppressed_destination", EmailAddress="c@sup.example", Reason="COMPLAINT")
    found = (await account.call("get_suppressed_destination", EmailAddress="a@SUP.example"))["SuppressedDestination"]
    assert (found["EmailAddress"], found["Reason"]) == ("a@sup.example", "BOUNCE")
    first = await account.call("list_suppressed_destinations", PageSize=2)
    rest = await account.call("list_suppressed_destinations", PageSize=2, NextToken=first["NextToken"])
    rows = [*first["SuppressedDestinationSummaries"], *rest["SuppressedDestinationSummaries"]]
    assert [row["EmailAddress"] for row in rows] == ["a@sup.example", "b@sup.example", "c@sup.example"]
    told = await account.call("list_suppressed_destinations", Reasons=["COMPLAINT"])
    assert [row["EmailAddress"] for row in told["SuppressedDestinationSummaries"]] == ["c@sup.example"]
    await account.call("delete_suppressed_destination", EmailAddress="A@sup.example")
    gone = ("NotFoundException", "Email address a@sup.example does not exist on your suppression list.")
    for operation in ("get_suppressed_destination", "delete_suppressed_destination"):
        assert await account.refused(operation, EmailAddress="a@sup.example") == gone
    bad = await account.refused("list_suppressed_destinations", NextToken="not made here")
    assert bad[0] in ("InvalidNextTokenException", "BadRequestException")
    assert (await account.refused("put_suppressed_destination", EmailAddress="x", Reason="BOUNCE"))[
        0
    ] == "BadRequestException"


async def test_insights_tell_what_became_of_a_message(account: Account) -> None:
    """Recipient by recipient, from the events that came; nothing came yet for a message that waits."""
    (one,) = await worlds.accepted(account.doors.store, account.doors.acme, 1)
    shown = await account.call("get_message_insights", MessageId=str(one.id))
    assert [(row["Destination"], row["Events"]) for row in shown["Insights"]] == [("p0@there.example", [])]
    for name in ("x", f"msg_{'f' * 32}"):
        assert (await account.refused("get_message_insights", MessageId=name))[0] == "NotFoundException"


async def test_tags_are_put_on_what_exists_in_the_own_account(account: Account) -> None:
    """By ARN of the tenant's virtual account; a resource that is not there, or another account's, is not found."""
    tenant = await account.doors.store.of(account.doors.acme.tenant_id).tenant()
    assert tenant is not None
    prefix = f"arn:aws:ses:eu-central-1:{tenant.account}:"
    for resource in ("identity/acme.example", "configuration-set/marketing"):
        await account.call("tag_resource", ResourceArn=prefix + resource, Tags=[{"Key": "k", "Value": "v"}])
        shown = await account.call("list_tags_for_resource", ResourceArn=prefix + resource)
        assert shown["Tags"] == [{"Key": "k", "Value": "v"}]
        await account.call("untag_resource", ResourceArn=prefix + resource, TagKeys=["k"])
        assert (await account.call("list_tags_for_resource", ResourceArn=prefix + resource))["Tags"] == []
    other = await account.doors.store.of(account.doors.other.tenant_id).tenant()
    assert other is not None
    for named in (
        f"{prefix}identity/other.example",
        f"arn:aws:ses:eu-central-1:{other.account}:identity/other.example",
        "x",
    ):
        assert (await account.refused("list_tags_for_resource", ResourceArn=named))[0] == "NotFoundException"
    reserved = [{"Key": "tenantry-tenant", "Value": "x"}]
    refused = await account.refused("tag_resource", ResourceArn=f"{prefix}identity/acme.example", Tags=reserved)
    assert refused[0] == "BadRequestException"


async def test_an_operation_needs_its_scope(account: Account) -> None:
    """A key that lacks it is told so as IAM does, for what there is and for what there is not."""
    _, token = await make_key(account.doors, account.doors.acme, "send")
    sender = replace_client(account, token)
    for operation, given in (
        ("get_email_template", {"TemplateName": "nobodys"}),
        ("create_email_template", {"TemplateName": "x", "TemplateContent": WELCOME}),
        ("get_account", {}),
    ):
        code, words = await sender.refused(operation, **given)
        assert code == "AccessDeniedException"
        assert "is not authorized to perform: ses:" in words


def replace_client(account: Account, token: str) -> Account:
    """Return the account as another key sees it."""
    return account._replace(client=client(account.doors, token))
