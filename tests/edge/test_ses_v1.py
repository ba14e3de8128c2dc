"""A tenant's virtual SES account over the v1 wire, with unmodified boto3, and the walls on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from botocore.exceptions import ClientError
from sqlalchemy import text

from tenantry.core.template import TemplateParts
from tenantry.edge.ses_v1_operations import OPERATIONS
from tests.edge.doorstep import MODEL_V1, doorstep, make_key
from tests.edge.sdk import Account, client

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGE = {"Subject": {"Data": "Hi"}, "Body": {"Text": {"Data": "Hello"}}}
TO_ANN = {"ToAddresses": ["ann@example.com"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def old(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Account]:
    """Acme's account, with a key of every scope."""
    async with doorstep(tmp_path_factory.mktemp("v1")) as doors:
        _, token = await make_key(doors, doors.acme, "send", "read", "manage")
        yield Account(doors, client(doors, token, "ses"))
        assert doors.bugs == []


def with_key(old: Account, token: str) -> Account:
    """Return the same with another key."""
    return old._replace(client=client(old.doors, token, "ses"))


async def test_mail_of_each_kind_is_taken(old: Account) -> None:
    """Fields, raw with an envelope of its own, and by a template: each is there as any other mail."""
    given = {
        "Source": "hello@acme.example",
        "Destination": TO_ANN,
        "Tags": [{"Name": "k", "Value": "v"}],
        "ConfigurationSetName": "marketing",
    }
    one = await old.shown(await old.call("send_email", **given, Message=MESSAGE))
    assert (one["stream"], one["subject"], one["tags"]) == ("marketing", "Hi", {"k": "v"})
    raw = {"Data": b"From: a@acme.example\r\nTo: b@example.com\r\nSubject: Raw\r\n\r\nHello\r\n"}
    two = await old.shown(await old.call("send_raw_email", RawMessage=raw, Destinations=["c@example.com"]))
    assert (two["subject"], [row["address"] for row in two["recipients"]]) == ("Raw", ["c@example.com"])
    assert [
        row["address"] for row in (await old.shown(await old.call("send_raw_email", RawMessage=raw)))["recipients"]
    ] == ["b@example.com"]
    await old.doors.store.of(old.doors.acme.tenant_id).add_template("hi", TemplateParts("Hi {{n}}", "x"))
    three = await old.call("send_templated_email", **given, Template="hi", TemplateData='{"n": "Ann"}')
    assert (await old.shown(three))["subject"] == "Hi Ann"


async def test_each_no_has_the_old_name(old: Account) -> None:
    """MessageRejected, ConfigurationSetDoesNotExist, TemplateDoesNotExist, InvalidParameterValue, AccessDenied."""
    given = {"Source": "hello@acme.example", "Destination": TO_ANN}
    code, words = await old.refused("send_email", **{**given, "Source": "x@other.example"}, Message=MESSAGE)
    assert code == "MessageRejected"
    assert words.startswith("Email address is not verified.")
    for named in ("nobodys", str(old.doors.other.marketing)):
        assert await old.refused("send_email", **given, Message=MESSAGE, ConfigurationSetName=named) == (
            "ConfigurationSetDoesNotExist",
            f"Configuration set <{named}> does not exist.",
        )
    unknown = await old.refused("send_templated_email", **given, Template="nobodys", TemplateData="{}")
    assert unknown == ("TemplateDoesNotExist", "Template <nobodys> does not exist.")
    bad = {**given, "Destination": {"ToAddresses": ["no address"]}}
    assert (await old.refused("send_email", **bad, Message=MESSAGE))[0] == "InvalidParameterValue"
    code, words = await old.refused("list_receipt_rule_sets")
    assert (code, words.endswith("is not authorized to perform: ses:ListReceiptRuleSets")) == ("AccessDenied", True)


async def test_the_account_and_identities_are_the_tenants_own(old: Account) -> None:
    """Nothing of another tenant is listed; its identities are left out like those that nobody has."""
    quota = await old.call("get_send_quota")
    assert (quota["Max24HourSend"], quota["MaxSendRate"]) == (-1.0, 1000.0)
    assert (await old.call("get_account_sending_enabled"))["Enabled"]
    assert (await old.call("get_send_statistics"))["SendDataPoints"] == []
    names = ["acme.example", "other.example", "nobody.example"]
    asked = (await old.call("get_identity_verification_attributes", Identities=names))["VerificationAttributes"]
    assert {name: row["VerificationStatus"] for name, row in asked.items()} == {"acme.example": "Success"}
    assert set((await old.call("get_identity_dkim_attributes", Identities=names))["DkimAttributes"]) == {"acme.example"}
    task = asyncio.create_task(old.call("verify_domain_dkim", Domain="new.example"))
    mine = old.doors.store.of(old.doors.acme.tenant_id)
    while await mine.identity("new.example") is None:
        await asyncio.sleep(0.01)
    async with old.doors.store.step() as step:  # as provision does
        await step.conn.execute(text("UPDATE identity SET tokens = '[\"t1\"]' WHERE name = 'new.example'"))
    assert (await task)["DkimTokens"] == ["t1"]
    assert (await old.call("verify_domain_identity", Domain="new.example"))["VerificationToken"]
    await old.call("verify_email_identity", EmailAddress="ann@new.example")
    assert (await old.call("list_identities"))["Identities"] == ["acme.example", "ann@new.example", "new.example"]
    assert (await old.call("list_identities", IdentityType="EmailAddress"))["Identities"] == ["ann@new.example"]
    assert (await old.refused("verify_domain_identity", Domain="sub.other.example"))[0] == "InvalidParameterValue"


async def test_who_cannot_be_believed_is_told_so_in_xml(old: Account) -> None:
    """A wrong secret, a clock that is more than five minutes off, a key that nobody has."""
    key = str(old.doors.acme.key_id)
    assert (await with_key(old, f"{key}.wrong").refused("get_send_quota"))[0] == "SignatureDoesNotMatch"
    assert (await with_key(old, f"key_{'f' * 32}.x").refused("get_send_quota"))[0] == "InvalidClientTokenId"
    old.doors.clock.shift += timedelta(seconds=310)
    try:
        assert (await old.refused("get_send_quota"))[0] == "SignatureDoesNotMatch"
    finally:
        old.doors.clock.shift -= timedelta(seconds=310)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
async def test_each_operation_lets_in_exactly_its_scope(old: Account, name: str) -> None:
    """Every scope alone, and the operator's key, which has no virtual account."""
    method = "".join("_" + char.lower() if char.isupper() else char for char in name).lstrip("_")
    assert name in MODEL_V1["operations"]
    keys = [(scope, (await make_key(old.doors, old.doors.acme, scope))[1]) for scope in ("send", "read", "manage")]
    for scope, token in (*keys, ("operate", old.doors.operator)):
        given = GIVEN.get(name, {})
        try:
            await with_key(old, token).call(method, **given)
            code = ""
        except ClientError as error:
            code = error.response["Error"]["Code"]
        assert (code == "AccessDenied") == (scope != OPERATIONS[name].scope), f"{scope}: {code}"


GIVEN: dict[str, dict] = {
    "SendEmail": {"Source": "x@other.example", "Destination": TO_ANN, "Message": MESSAGE},
    "SendRawEmail": {"RawMessage": {"Data": b"x"}},
    "SendTemplatedEmail": {"Source": "x@acme.example", "Destination": TO_ANN, "Template": "x", "TemplateData": "{}"},
    "VerifyDomainIdentity": {"Domain": "a@@b"},
    "VerifyDomainDkim": {"Domain": "a@@b"},
    "VerifyEmailIdentity": {"EmailAddress": "a@@b"},
    "GetIdentityVerificationAttributes": {"Identities": []},
    "GetIdentityDkimAttributes": {"Identities": []},
}
