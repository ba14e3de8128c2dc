"""The server side of the query protocol, held to botocore's own serializer and parser of it."""

from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from tenantry.wire.aws import WireError
from tenantry.wire.aws_query import QueryService, sqs_query_model
from tests.wire import generated


def as_query(service: str) -> dict[str, Any]:
    """Return a service's model as an SDK of the query generation has it."""
    found = generated.model(service)
    if service == "sqs":
        return sqs_query_model(found)
    return {**found, "metadata": {**found["metadata"], "protocol": "query", "protocols": ["query"]}}


MODELS = {name: as_query(name) for name in ("sns", "sts", "sqs", "cloudwatch")}
CODECS = {name: QueryService(found, name) for name, found in MODELS.items()}
_DIGITS = {r"^(\+[0-9]{8,}|[0-9]{0,9})$", "^[0-9]+$", r"[\d]*"}


def _sample(pattern: str) -> str:
    """Return a text that fits one of these services' patterns."""
    if pattern == "^[A-Za-z]{2}$":
        return "de"
    if pattern in _DIGITS:
        return "123456"
    if pattern.startswith("(SampleCount"):
        return "Maximum"
    return (
        "arn:aws:x:y:123456789012:z"
        if pattern.startswith("arn:") or "a-zA-Z0-9-]+:[" in pattern
        else "some-text-of-20-chars"
    )


for _model in MODELS.values():
    for _shape in _model["shapes"].values():
        if "pattern" in _shape:
            generated.SAMPLES.setdefault(_shape["pattern"], _sample(_shape["pattern"]))
OPERATIONS = [(name, each) for name, codec in CODECS.items() for each in codec.operation_names]
SAMPLED = [(name, each) for name, each in OPERATIONS if name in ("sns", "sqs") or each in (
    "AssumeRole", "GetCallerIdentity", "PutMetricData", "PutMetricAlarm", "GetMetricData", "GetMetricStatistics",
    "DescribeAlarms", "ListMetrics", "SetAlarmState", "DescribeAlarmContributors",
)]  # fmt: skip


def sayable(value: Any) -> Any:
    """Return a value without its empty structures, which the protocol sends as nothing."""
    if isinstance(value, dict):
        return {name: sayable(each) for name, each in value.items() if each not in ({}, [{}])}
    return [sayable(each) for each in value if each != {}] if isinstance(value, list) else value


def read(service: str, **fields: str) -> tuple[str, dict[str, Any]] | WireError:
    return CODECS[service].read(urlencode({name.replace("__", "."): each for name, each in fields.items()}).encode())


@pytest.mark.parametrize(("service", "operation"), SAMPLED)
def test_what_an_sdk_sends_is_read_back(service: str, operation: str) -> None:
    """Parameters come out as they went into botocore's serializer, nested lists and maps too."""
    random, model = Random(operation), ServiceModel(MODELS[service], service).operation_model(operation)
    for _ in range(5):
        params = sayable(generated.structure(model.input_shape, random, 0) if model.input_shape else {})
        params.pop("EvaluationWindow", None)  # a union, which may end up empty here and is refused then
        sent = create_serializer("query").serialize_to_request(params, model)
        body = sent["body"] if isinstance(sent["body"], bytes | str) else urlencode(sent["body"])
        form = body if isinstance(body, bytes) else body.encode()
        assert CODECS[service].read(form) == (operation, params)


@pytest.mark.parametrize(("service", "operation"), SAMPLED)
def test_what_we_answer_an_sdk_reads(service: str, operation: str) -> None:
    """A result, encoded by us, is what botocore's parser of the protocol gives to its caller."""
    random, model = Random(operation), ServiceModel(MODELS[service], service).operation_model(operation)
    for _ in range(5):
        result = generated.structure(model.output_shape, random, 0) if model.output_shape else {}
        body = CODECS[service].encode(operation, result, "some-id")
        parsed = create_parser("query").parse({"status_code": 200, "headers": {}, "body": body}, model.output_shape)
        assert parsed.pop("ResponseMetadata")["RequestId"] == "some-id"
        assert parsed == result


def test_sqs_has_its_documented_field_names() -> None:
    """The names that the query protocol of SQS has in its API reference, which no model of today knows."""
    assert read(
        "sqs",
        Action="CreateQueue",
        QueueName="q",
        Attribute__1__Name="VisibilityTimeout",
        Attribute__1__Value="40",
        Tag__1__Key="a",
        Tag__1__Value="b",
    ) == ("CreateQueue", {"QueueName": "q", "Attributes": {"VisibilityTimeout": "40"}, "tags": {"a": "b"}})
    assert read(
        "sqs",
        Action="SendMessageBatch",
        QueueUrl="http://x/1/q",
        SendMessageBatchRequestEntry__2__Id="two",
        SendMessageBatchRequestEntry__2__MessageBody="b",
        SendMessageBatchRequestEntry__1__Id="one",
        SendMessageBatchRequestEntry__1__MessageBody="a",
        SendMessageBatchRequestEntry__1__MessageAttribute__1__Name="n",
        SendMessageBatchRequestEntry__1__MessageAttribute__1__Value__DataType="String",
        SendMessageBatchRequestEntry__1__MessageAttribute__1__Value__StringValue="v",
    ) == (
        "SendMessageBatch",
        {
            "QueueUrl": "http://x/1/q",
            "Entries": [
                {
                    "Id": "one",
                    "MessageBody": "a",
                    "MessageAttributes": {"n": {"DataType": "String", "StringValue": "v"}},
                },
                {"Id": "two", "MessageBody": "b"},
            ],
        },
    )
    body = CODECS["sqs"].encode("GetQueueAttributes", {"Attributes": {"DelaySeconds": "0"}}, "id").decode()
    assert "<Attribute><Name>DelaySeconds</Name><Value>0</Value></Attribute>" in body


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "InvalidAction"),
        ({"Action": "Nothing"}, "InvalidAction"),
        ({"Action": "CreateQueue"}, "ValidationError"),
        ({"Action": "ReceiveMessage", "QueueUrl": "u", "WaitTimeSeconds": "soon"}, "ValidationError"),
        ({"Action": "CreateQueue", "QueueName" + "__x" * 30: "q"}, "ValidationError"),
    ],
)
def test_a_form_that_asks_for_nothing_is_refused(fields: dict[str, str], code: str) -> None:
    """Unknown actions, missing members, text where a number belongs and bottomless nesting are errors in words."""
    found = read("sqs", **fields)
    assert isinstance(found, WireError)
    assert (found.code, found.status) == (code, 400)


@pytest.mark.parametrize("form", [b"\xff", b"Action=%ff", b"&".join(b"a%d=1" % i for i in range(20_000))])
def test_bytes_that_are_no_form_are_refused(form: bytes) -> None:
    """What is no UTF-8, or far too many fields, ends in an error."""
    found = CODECS["sns"].read(form)
    assert isinstance(found, WireError)
    assert found.code == "MalformedQueryString"


def test_errors_have_the_protocols_own_codes() -> None:
    """A modelled exception is told by its query code, its status and whose fault it is."""
    status, headers, body = CODECS["sqs"].encode_error(WireError("QueueDoesNotExist", "no <queue>"), "some-id")
    parsed = create_parser("query").parse({"status_code": status, "headers": headers, "body": body}, None)
    assert parsed["Error"] == {
        "Type": "Sender",
        "Code": "AWS.SimpleQueueService.NonExistentQueue",
        "Message": "no <queue>",
    }
    assert status == 400
    assert CODECS["sns"].encode_error(WireError("NotFoundException", ""), "")[0] == 404


def test_text_that_xml_cannot_carry_does_not_break_the_answer() -> None:
    """A control character becomes the replacement character; the document stays one."""
    body = CODECS["sns"].encode("GetTopicAttributes", {"Attributes": {"DisplayName": "a\x00b\r\n<c>"}}, "id")
    shape = ServiceModel(MODELS["sns"], "sns").operation_model("GetTopicAttributes").output_shape
    parsed = create_parser("query").parse({"status_code": 200, "headers": {}, "body": body}, shape)
    assert parsed["Attributes"] == {"DisplayName": "a\ufffdb\r\n<c>"}
