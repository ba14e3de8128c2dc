"""The server side of the AWS protocols, held to boto3: what it sends is understood, what we answer it understands."""

import json
from collections.abc import Iterator
from random import Random

import pytest
from botocore.exceptions import ClientError

from tenantry.wire.aws import GENERATIONS, Service, WireError, encode_error
from tests.wire.generated import Wiretap, model, structure

SES, SQS = Service(model("sesv2"), "sesv2"), Service(model("sqs"), "sqs")


@pytest.fixture(scope="module")
def ses() -> Iterator[Wiretap]:
    tap = Wiretap("sesv2")
    yield tap
    tap.client.close()


@pytest.fixture(scope="module")
def sqs() -> Iterator[Wiretap]:
    tap = Wiretap("sqs")
    yield tap
    tap.client.close()


def refusal(operation: str, body: object, **more: object) -> WireError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    result = SES.decode(operation, raw, **more)
    assert isinstance(result, WireError), result
    return result


def test_every_operation_of_ses_has_a_route() -> None:
    """All 116 operations of SES v2 are reached, two of them by two routes."""
    assert len(SES.operation_names) == 116
    routes = SES.routes()
    assert {name for _, _, name in routes} == set(SES.operation_names)
    assert len(routes) == 116 + 2


def test_no_route_is_ambiguous() -> None:
    """No two templates with the same method differ only in the names of their labels."""
    shapes = [
        (method, tuple("{}" if "{" in part else part for part in uri.split("/"))) for method, uri, _ in SES.routes()
    ]
    assert len(shapes) == len(set(shapes))


@pytest.mark.parametrize("operation", SES.operation_names)
def test_what_boto3_sends_is_read_back(ses: Wiretap, operation: str) -> None:
    """Route and parameters of each operation come out as they went into boto3, ARNs and odd characters too."""
    random = Random(operation)
    shape = SES.model.operation_model(operation).input_shape
    for _ in range(5):
        params = structure(shape, random, 0)
        ses.call(operation, params)
        method, path, query, body = ses.sent
        route = SES.route(method, path, query)
        assert route is not None
        assert route[0] == operation
        assert SES.decode(operation, body, route[1], query) == params


@pytest.mark.parametrize("operation", SES.operation_names)
def test_what_we_answer_boto3_reads(ses: Wiretap, operation: str) -> None:
    """A result of each operation, encoded by us, is what boto3 gives to its caller."""
    random = Random(operation)
    shape, inputs = (getattr(SES.model.operation_model(operation), name) for name in ("output_shape", "input_shape"))
    for _ in range(5):
        result = structure(shape, random, 0)
        ses.answer = (200, {}, SES.encode(operation, result))
        assert ses.call(operation, structure(inputs, random, 0)) == result
    ses.answer = (200, {}, b"{}")


@pytest.mark.parametrize(
    "operation", ["ReceiveMessage", "DeleteMessage", "DeleteMessageBatch", "GetQueueUrl", "ListQueues"]
)
def test_json_protocol_is_read_by_its_target(sqs: Wiretap, operation: str) -> None:
    """SQS calls are found by X-Amz-Target and read back as they went in."""
    params = structure(SQS.model.operation_model(operation).input_shape, Random(operation), 0)
    sqs.call(operation, params)
    target = sqs.request.headers["X-Amz-Target"]
    target = target.decode() if isinstance(target, bytes) else target
    assert SQS.target(target) == operation
    assert SQS.decode(operation, sqs.sent[3]) == params


@pytest.mark.parametrize("operation", GENERATIONS)
def test_both_generations_of_the_list_calls_are_known(operation: str) -> None:
    """SDKs that GET the two List calls are served like those that POST them, paging included."""
    (get, get_path), (post, post_path) = GENERATIONS[operation]
    assert SES.route(get, get_path) == SES.route(post, post_path) == (operation, {})
    assert SES.decode(operation, b"", {}, "PageSize=7&NextToken=t") == {"PageSize": 7, "NextToken": "t"}
    assert SES.decode(operation, b'{"PageSize": 7, "NextToken": "t"}') == {"PageSize": 7, "NextToken": "t"}


def test_an_older_model_gets_the_newer_route_too() -> None:
    """With a botocore that still GETs the List calls, a newer SDK's POST finds its operation."""
    old = model("sesv2")
    old["operations"]["ListEmailIdentities"]["http"] = {"method": "GET", "requestUri": "/v2/email/identities"}
    assert Service(old).route("POST", "/v2/email/list-identities") == ("ListEmailIdentities", {})


def test_labels_are_decoded_once_and_after_the_split() -> None:
    """An ARN is one label although it has slashes, and a percent sign that was meant stays."""
    path = "/v2/email/reputation/entities/RESOURCE/arn%3Aaws%3Ases%3A%3Atenant%2Fa%2F%252F/policy"
    assert SES.route("PUT", path) == (
        "UpdateReputationEntityPolicy",
        {"ReputationEntityType": "RESOURCE", "ReputationEntityReference": "arn:aws:ses::tenant/a/%2F"},
    )


@pytest.mark.parametrize(
    "path", ["/", "/v2/email/nothing", "/v2/email/identities/", "/v2/email/identities/%ff", "/v2/email"]
)
def test_what_is_no_operation_has_no_route(path: str) -> None:
    """Unknown paths, empty labels and labels that are not UTF-8 are no operation."""
    assert SES.route("GET", path) is None


@pytest.mark.parametrize(
    ("operation", "body", "field"),
    [
        ("SendEmail", {}, "Content"),
        ("SendEmail", {"Content": {"Simple": {"Body": {}}}}, "Content.Simple.Subject"),
        ("SendEmail", {"Content": {"Raw": {"Data": "not base64!"}}}, "Content.Raw.Data"),
        ("SendEmail", {"Content": [], "TenantName": "a"}, "Content"),
        ("SendEmail", {"Content": {}, "TenantName": ""}, "TenantName"),
        ("SendEmail", {"Content": {}, "TenantName": 3}, "TenantName"),
        ("SendEmail", {"Content": {}, "Destination": {"ToAddresses": "a@b"}}, "Destination.ToAddresses"),
        ("SendEmail", {"Content": {}, "EmailTags": [{"Name": "a", "Value": "b"}, {"Name": "c"}]}, "EmailTags.1.Value"),
        ("SendEmail", {"Content": {"Simple": {"Subject": {"Data": "s"}, "Body": {}, "Headers": [
            {"Name": "X-A:", "Value": "v"}]}}}, "Content.Simple.Headers.0.Name"),
        ("SendEmail", {"Content": {"Simple": {"Subject": {"Data": "s"}, "Body": {}, "Headers": [
            {"Name": "X", "Value": "v"}] * 16}}}, "Content.Simple.Headers"),
        ("CreateTenant", {"TenantName": "a", "SuppressionAttributes": {"SuppressionScope": "ALL"}},
         "SuppressionAttributes.SuppressionScope"),
        ("CreateConfigurationSet", {"ConfigurationSetName": "a", "DeliveryOptions": {"MaxDeliverySeconds": 1}},
         "DeliveryOptions.MaxDeliverySeconds"),
        ("CreateConfigurationSet", {"ConfigurationSetName": "a", "SendingOptions": {"SendingEnabled": "yes"}},
         "SendingOptions.SendingEnabled"),
        ("CreateConfigurationSet", {"ConfigurationSetName": "a", "ReputationOptions": {"LastFreshStart": "soon"}},
         "ReputationOptions.LastFreshStart"),
        ("CreateConfigurationSet", {"ConfigurationSetName": "a", "MessageSecurityOptions": {"SigningScheme": {}}},
         "MessageSecurityOptions.SigningScheme"),
    ],
)  # fmt: skip
def test_what_the_model_forbids_is_refused_by_name(operation: str, body: object, field: str) -> None:
    """Missing, mistyped, too short, too long, out of range, outside the enum or pattern: AWS's code and the field."""
    error = refusal(operation, body)
    assert (error.code, error.status, error.field) == ("BadRequestException", 400, field)
    assert error.message.startswith("1 validation error detected: ")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff{}",
        b'{"a": NaN}',
        b'{"TenantName": "\\ud800"}',
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    """Broken JSON, other values, half a surrogate pair and nesting without end are an answer, not a crash."""
    assert refusal("GetTenant", body).code == "SerializationException"


def test_unknown_members_and_nulls_are_dropped() -> None:
    """What a newer SDK adds does no harm, and null means absent, as with AWS."""
    assert SES.decode("GetTenant", b'{"TenantName": "a", "Later": 1}') == {"TenantName": "a"}
    assert refusal("GetTenant", {"TenantName": None}).field == "TenantName"


def test_a_pair_of_surrogates_is_a_character() -> None:
    """The escaped form of an emoji is read, only halves are refused."""
    assert SES.decode("GetTenant", b'{"TenantName": "\\ud83d\\ude00"}') == {"TenantName": "😀"}


def test_a_body_cannot_stand_for_a_label() -> None:
    """A label of the path wins over a member of the same name in the body."""
    given = SES.decode("GetConfigurationSet", b'{"ConfigurationSetName": "other"}', {"ConfigurationSetName": "mine"})
    assert given == {"ConfigurationSetName": "mine"}


def test_a_result_outside_the_model_is_a_bug() -> None:
    """An answer with a member that SES does not have is not sent."""
    with pytest.raises(KeyError):
        SES.encode("GetAccount", {"Invented": 1})


@pytest.mark.parametrize("text", ["plain", '\u00e9 \U0001f600 \n\x00"', "half \ud800"])
def test_any_text_can_be_answered(text: str) -> None:
    """Whatever a text holds, half a character included, the answer is UTF-8 and gives it back."""
    answer = SQS.encode("ReceiveMessage", {"Messages": [{"Body": text}]})
    assert json.loads(answer.decode())["Messages"][0]["Body"] == text


@pytest.mark.parametrize("code", ["NotFoundException", "TooManyRequestsException", "AccessDeniedException"])
def test_errors_carry_what_each_sdk_looks_for(ses: Wiretap, code: str) -> None:
    """The type is in header and body, the request id in the header; boto3 raises its class where it is modelled."""
    status, headers, body = encode_error(code, "No.", SES.status_of(code), "req-1")
    assert headers["x-amzn-errortype"] == code
    assert headers["x-amzn-requestid"] == "req-1"
    ses.answer = (status, headers, body)
    with pytest.raises(ClientError) as caught:
        ses.call("GetTenant", {"TenantName": "a"})
    ses.answer = (200, {}, b"{}")
    assert caught.value.response["Error"] == {"Code": code, "Message": "No."}
    assert caught.value.response["ResponseMetadata"]["RequestId"] == "req-1"


def test_statuses_come_from_the_model() -> None:
    """The status of each modelled error is the model's."""
    assert [SES.status_of(code) for code in ("NotFoundException", "TooManyRequestsException", "ConflictException")] == [
        404,
        429,
        409,
    ]
