"""Sending over the SES wire with unmodified boto3: what is taken, and that each "no" is SES's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.edge.doorstep import Doorstep, Reply, make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

OUTBOUND = "/v2/email/outbound-emails"
SIMPLE = {"Subject": {"Data": "Hi"}, "Body": {"Text": {"Data": "Hello"}}}


def raw(*headers: str, body: str = "Hello\r\n") -> dict:
    """Return Raw content with these header lines."""
    return {"Raw": {"Data": ("\r\n".join(headers) + "\r\n\r\n" + body).encode("utf-8", "surrogateescape")}}


async def post(doors: Doorstep, body: bytes, path: str = OUTBOUND, **headers: str) -> Reply:
    """Send a body as it is, signed by botocore."""
    request = AWSRequest(
        "POST", f"{doors.url}{path}", data=body, headers={"content-type": "application/json", **headers}
    )
    SigV4Auth(Credentials(doors.acme.key_id, doors.acme.secret), "ses", "eu-west-1").add_auth(request)
    async with doors.http.post(request.url, data=body, headers=dict(request.headers)) as response:
        return Reply(response.status, response.headers, await response.text())


async def test_simple_mail_is_taken_and_can_be_read_back(doors: Doorstep) -> None:
    """SendEmail by boto3 answers with our message id, and the message is there."""
    answer = await doors.send(
        Destination={"ToAddresses": ["Ann <ann@example.com>"], "BccAddresses": ["eve@example.com"]},
        Content={
            "Simple": {
                "Subject": {"Data": "Gr\u00fc\u00dfe", "Charset": "UTF-8"},
                "Body": {"Html": {"Data": "<p>Hello</p>"}},
                "Headers": [{"Name": "X-Order", "Value": "12"}],
                "Attachments": [{"FileName": "a.txt", "RawContent": b"x", "ContentDescription": "a file"}],
            }
        },
        ReplyToAddresses=["help@acme.example"],
        EmailTags=[{"Name": "campaign", "Value": "autumn"}],
        ConfigurationSetName="marketing",
        TenantName="acme",
    )
    assert answer["MessageId"].startswith("msg_")
    assert answer["ResponseMetadata"]["RequestId"].startswith("req-")
    shown = (await doors.call("GET", f"/v1/messages/{answer['MessageId']}")).json
    assert shown["stream"] == "marketing"
    assert shown["from"] == '"Acme" <hello@acme.example>'
    assert shown["subject"] == "Gr\u00fc\u00dfe"
    assert [(row["kind"], row["address"]) for row in shown["recipients"]] == [
        ("to", "ann@example.com"),
        ("bcc", "eve@example.com"),
    ]
    assert shown["tags"] == {"campaign": "autumn"}


async def test_raw_mail_is_read_from_its_header(doors: Doorstep) -> None:
    """Sender, recipients, stream and tags of raw mail are taken from its header where no parameter gives them."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Bcc"], mail["Subject"] = (
        "A <a@acme.example>",
        "b@example.com",
        "c@example.com",
        "Hi",
    )
    mail["X-SES-CONFIGURATION-SET"], mail["X-SES-MESSAGE-TAGS"] = "marketing", "k=v, k2=v2"
    mail["X-SES-TENANT"] = "acme"
    mail.set_content("Hello")
    content = {"Raw": {"Data": mail.as_bytes()}}
    answer = await doors.send(FromEmailAddress=None, Destination=None, Content=content)
    shown = (await doors.call("GET", f"/v1/messages/{answer['MessageId']}")).json
    assert (shown["stream"], shown["tags"]) == ("marketing", {"k": "v", "k2": "v2"})
    assert [(row["kind"], row["address"]) for row in shown["recipients"]] == [
        ("to", "b@example.com"),
        ("bcc", "c@example.com"),
    ]


async def test_parameters_win_over_the_header_of_raw_mail(doors: Doorstep) -> None:
    """Destination and ConfigurationSetName, where given, are what counts."""
    content = raw("From: a@acme.example", "To: x@example.com", "Subject: Hi", "X-SES-CONFIGURATION-SET: marketing")
    answer = await doors.send(
        FromEmailAddress=None,
        Destination={"ToAddresses": ["y@example.com"]},
        Content=content,
        ConfigurationSetName="transactional",
    )
    shown = (await doors.call("GET", f"/v1/messages/{answer['MessageId']}")).json
    assert shown["stream"] == "transactional"
    assert [row["address"] for row in shown["recipients"]] == ["y@example.com"]


HELD = "Email address is not verified. The following identities failed the check in region EU-CENTRAL-1: "
REFUSED: dict[str, tuple[dict, str, str, str]] = {
    "a foreign From": ({"FromEmailAddress": "a@other.example"}, "MessageRejected", "author_not_yours", HELD + "a@other.example"),
    "a foreign feedback address": (
        {"FeedbackForwardingEmailAddress": "a@other.example"}, "MessageRejected", "author_not_yours", HELD + "a@other.example",
    ),
    "a foreign From in raw mail": (
        {"Content": raw("From: a@other.example", "To: b@example.com")}, "MessageRejected", "author_not_yours", HELD,
    ),
    "a foreign second author in one From": (
        {"Content": raw("From: a@acme.example, b@other.example", "To: b@example.com")},
        "MessageRejected", "author_not_yours", HELD + "b@other.example",
    ),
    "two Froms": (
        {"Content": raw("From: a@acme.example", "From: b@other.example", "To: b@example.com")},
        "BadRequestException", "invalid_header", "",
    ),
    "Sender only": (
        {"FromEmailAddress": None, "Content": raw("Sender: a@acme.example", "To: b@example.com")},
        "BadRequestException", "invalid_header", "Give a From header.",
    ),
    "a foreign Sender": (
        {"Content": raw("From: a@acme.example", "Sender: b@other.example")}, "MessageRejected", "author_not_yours", HELD,
    ),
    "a foreign Return-Path": (
        {"Content": raw("From: a@acme.example", "Return-Path: <b@other.example>")},
        "MessageRejected", "author_not_yours", HELD + "b@other.example",
    ),
    "a bare CR in the header": (
        {"Content": raw("From: a@acme.example\rFrom: b@other.example")}, "BadRequestException", "invalid_header", "",
    ),
    "NUL in the header": ({"Content": raw("From: a@acme.example", "X: \0")}, "BadRequestException", "invalid_header", ""),
    "an unknown stream": (
        {"ConfigurationSetName": "news"}, "NotFoundException", "unknown_stream", "Configuration set <news> does not exist.",
    ),
    "another tenant's name": ({"TenantName": "other"}, "NotFoundException", "not_found", "Tenant other does not exist."),
    "another tenant's name in a header": (
        {"Content": raw("From: a@acme.example", "X-SES-TENANT: other")}, "NotFoundException", "not_found", "",
    ),
    "51 recipients": (
        {"Destination": {"ToAddresses": [f"a{n}@example.com" for n in range(51)]}},
        "BadRequestException", "too_many_recipients", "",
    ),
    "no recipient": ({"Destination": None}, "BadRequestException", "no_recipients", ""),
    "a template that is not there": (
        {"Content": {"Template": {"TemplateName": "x"}}}, "NotFoundException", "not_found", "Template <x> does not exist.",
    ),
    "a template beside other content": (
        {"Content": {"Simple": SIMPLE, "Template": {"TemplateName": "x"}}}, "BadRequestException", "invalid_field", "",
    ),
    "nothing as content": ({"Content": {}}, "BadRequestException", "invalid_field", ""),
    "an endpoint's ARN": (
        {"FromEmailAddressIdentityArn": "arn:aws:ses:us-east-1:1:identity/x"}, "BadRequestException", "unsupported", "",
    ),
    "a tag of ours": ({"EmailTags": [{"Name": "tenantry-x", "Value": "1"}]}, "BadRequestException", "invalid_tag", ""),
    "a tag of SES": ({"EmailTags": [{"Name": "ses:x", "Value": "1"}]}, "BadRequestException", "invalid_tag", ""),
    "a line break in the subject": (
        {"Content": {"Simple": {**SIMPLE, "Subject": {"Data": "a\r\nBcc: b@example.com"}}}},
        "BadRequestException", "invalid_header", "",
    ),
    "a line break in a header": (
        {"Content": {"Simple": {**SIMPLE, "Headers": [{"Name": "X-A", "Value": "a\nb"}]}}},
        "BadRequestException", "invalid_header", "Remove the control character",
    ),
    "a second author by header": (
        {"Content": {"Simple": {**SIMPLE, "Headers": [{"Name": "Sender", "Value": "b@other.example"}]}}},
        "BadRequestException", "invalid_header", "",
    ),
    "a header given twice": (
        {"Content": {"Simple": {**SIMPLE, "Headers": [{"Name": "X-A", "Value": "1"}, {"Name": "x-a", "Value": "2"}]}}},
        "BadRequestException", "invalid_header", "",
    ),
    "a line break in a description": (
        {"Content": {"Simple": {**SIMPLE, "Attachments": [
            {"FileName": "a", "RawContent": b"", "ContentDescription": "a\nb"}]}}},
        "BadRequestException", "invalid_header", "",
    ),
    "a line break in a recipient": (
        {"Destination": {"CcAddresses": ["a@example.com\r\nX: y"]}}, "BadRequestException", "invalid_address", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_a_bad_call_is_refused_in_the_words_of_ses(doors: Doorstep, case: str) -> None:
    """boto3 sees SES's error type; our own code is in a header; no message comes of it."""
    parameters, kind, code, words = REFUSED[case]
    before = await doors.rows()
    with pytest.raises(ClientError) as refused:
        await doors.send(**parameters)
    response = refused.value.response
    assert response["Error"]["Code"] == kind, response
    assert response["Error"]["Message"].startswith(words)
    headers = response["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-tenantry-code"] == code
    assert headers["x-amzn-errortype"] == kind
    assert response["ResponseMetadata"]["RequestId"].startswith("req-")
    assert await doors.rows() == before
    assert not doors.bugs


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b"{", "SerializationException", "malformed"),
        (b"[]", "SerializationException", "malformed"),
        (b'{"Content": {"Simple": "\\ud800"}}', "SerializationException", "malformed"),
        (b"\xff", "SerializationException", "malformed"),
        (b"{}", "BadRequestException", "invalid_field"),
        (b'{"Content": {"Raw": {"Data": "*"}}}', "BadRequestException", "invalid_field"),
        (b'{"Content": {"Simple": {"Subject": {"Data": 5}}}}', "BadRequestException", "invalid_field"),
    ],
)
async def test_a_body_that_no_sdk_would_send_is_refused(doors: Doorstep, body: bytes, kind: str, code: str) -> None:
    """A signed body that is not of the documented shape has a code and a field too."""
    reply = await post(doors, body)
    assert (reply.status, reply.headers["x-amzn-errortype"], reply.headers["x-tenantry-code"]) == (400, kind, code)
    assert reply.headers["x-tenantry-field"]
    assert reply.json["__type"] == kind
    assert reply.json["message"]


async def test_mail_too_large_for_ses_is_refused(doors: Doorstep) -> None:
    """More than the doors read is refused before it is read."""
    huge = {"Raw": {"Data": b"From: a@acme.example\r\n\r\n" + b"x\r\n" * 11_000_000}}
    with pytest.raises(ClientError) as refused:
        await doors.send(Content=huge)
    assert refused.value.response["Error"]["Code"] == "BadRequestException"


async def test_a_large_mail_is_taken(doors: Doorstep) -> None:
    """A body that is verified and decoded off the loop comes to the same answer."""
    large = raw("From: a@acme.example", body="x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 9000)
    assert (await doors.send(Content=large))["MessageId"].startswith("msg_")


# ---- who calls


async def code_of(doors: Doorstep, client: object) -> tuple[str, str]:
    """Send and return the error's type and our own code."""
    with pytest.raises(ClientError) as refused:
        await doors.send(client)
    response = refused.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 403
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPHeaders"]["x-tenantry-code"]


async def test_a_wrong_signature_is_refused(doors: Doorstep) -> None:
    """A request that is signed with another secret is not believed."""
    assert await code_of(doors, doors.ses(secret="x" * 40)) == ("InvalidSignatureException", "bad_signature")


async def test_an_unknown_key_is_refused(doors: Doorstep) -> None:
    """An access key id that we did not give out is no key."""
    client = boto3.client(
        "sesv2",
        endpoint_url=doors.url,
        region_name="us-east-1",
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key="x",
    )
    assert await code_of(doors, client) == ("UnrecognizedClientException", "unauthenticated")


@pytest.mark.parametrize("minutes", [-6, 6])
async def test_a_clock_that_is_wrong_is_refused(doors: Doorstep, minutes: int) -> None:
    """A signature from more than five minutes before or after is not believed."""
    doors.clock.shift += timedelta(minutes=minutes)
    try:
        assert await code_of(doors, doors.ses()) == ("InvalidSignatureException", "clock_skew")
    finally:
        doors.clock.shift -= timedelta(minutes=minutes)


async def test_a_clock_that_is_four_minutes_off_is_good_enough(doors: Doorstep) -> None:
    """The clocks of a caller and of ours may differ a little."""
    doors.clock.shift += timedelta(minutes=4)
    try:
        assert (await doors.send())["MessageId"]
    finally:
        doors.clock.shift -= timedelta(minutes=4)


async def test_a_revoked_key_is_refused(doors: Doorstep) -> None:
    """A key pair that was revoked is told so only in our own code; SES's words are those of an unknown key."""
    key_id, token = await make_key(doors, doors.acme, "send")
    client = boto3.client(
        "sesv2",
        endpoint_url=doors.url,
        region_name="us-east-1",
        aws_access_key_id=key_id,
        aws_secret_access_key=token.partition(".")[2],
    )
    assert (await doors.send(client))["MessageId"]
    await doors.operate("DELETE", f"/v1/keys/{key_id}")
    doors.clock.shift += timedelta(seconds=1.1)
    assert await code_of(doors, client) == ("UnrecognizedClientException", "key_revoked")


async def test_a_request_without_a_signature_is_refused(doors: Doorstep) -> None:
    """Nobody is let in without a key, and the answer has SES's shape."""
    async with doors.http.post(f"{doors.url}{OUTBOUND}", data=b"{}") as response:
        assert response.status == 403
        assert response.headers["x-amzn-errortype"] == "MissingAuthenticationTokenException"
        assert (await response.json())["message"]


async def test_a_changed_body_is_refused(doors: Doorstep) -> None:
    """The signature covers the body."""
    body = json.dumps({"Content": {"Simple": SIMPLE}}).encode()
    request = AWSRequest("POST", f"{doors.url}{OUTBOUND}", data=body, headers={"content-type": "application/json"})
    SigV4Auth(Credentials(doors.acme.key_id, doors.acme.secret), "ses", "eu-west-1").add_auth(request)
    async with doors.http.post(request.url, data=body + b" ", headers=dict(request.headers)) as response:
        assert response.headers["x-tenantry-code"] == "bad_signature"


# ---- retries, other operations


async def test_an_sdks_retry_gives_the_first_message(doors: Doorstep) -> None:
    """The same invocation id and body make one message; another body under the id is another call."""
    body = {"FromEmailAddress": "a@acme.example", "Destination": {"ToAddresses": ["b@example.com"]}}
    first, other = (
        json.dumps({**body, "Content": {"Simple": {**SIMPLE, "Subject": {"Data": word}}}}).encode()
        for word in ("a", "b")
    )
    made = [await post(doors, each, **{"amz-sdk-invocation-id": "7-8-9"}) for each in (first, first, other)]
    ids = [reply.json["MessageId"] for reply in made]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.create_contact_list(ContactListName="x"),
        lambda client: client.create_email_template(TemplateName="x", TemplateContent={"Subject": "x"}),
        lambda client: client.list_tenants(),
        lambda client: client.put_configuration_set_sending_options(ConfigurationSetName="x", SendingEnabled=True),
    ],
)
async def test_other_operations_are_denied(doors: Doorstep, call: Callable[[object], object]) -> None:
    """What the door does not do, or not for this key's scopes, it refuses loudly, with the operation's name."""
    with pytest.raises(ClientError) as refused:
        await asyncio.to_thread(call, doors.ses())
    response = refused.value.response
    assert response["Error"]["Code"] == "AccessDeniedException"
    assert "is not authorized to perform: ses:" in response["Error"]["Message"]
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize("path", ["/v2/email/nothing", "/v2/email", "/v2/email/outbound-emails/x"])
async def test_a_path_that_ses_does_not_have_is_an_unknown_operation(doors: Doorstep, path: str) -> None:
    """What is no operation of SES v2 answers as SES does."""
    reply = await post(doors, b"{}", path)
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (404, "UnknownOperationException")


async def test_a_key_without_the_scope_is_denied(doors: Doorstep) -> None:
    """A key that may only read cannot send."""
    key_id, token = await make_key(doors, doors.acme, "read")
    client = boto3.client(
        "sesv2",
        endpoint_url=doors.url,
        region_name="us-east-1",
        aws_access_key_id=key_id,
        aws_secret_access_key=token.partition(".")[2],
    )
    assert await code_of(doors, client) == ("AccessDeniedException", "forbidden")
