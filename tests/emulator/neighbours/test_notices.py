"""SNS beside the local SES: topics, subscribers on queues and over HTTP, signatures checked as a subscriber does."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import pytest
from botocore.exceptions import ClientError
from cryptography.exceptions import InvalidSignature

from tests.e2e.running import until
from tests.emulator.neighbours.around import ACCOUNT, REGION, Around
from tests.emulator.neighbours.receiver import Receiver, receiver, verify


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def topic(world: Around, name: str = "news", **attributes: str) -> tuple[Any, str]:
    sns = world.client("sns")
    return sns, sns.create_topic(Name=name, Attributes=attributes)["TopicArn"]


def confirmed(sns: Any, arn: str, hook: Receiver, **attributes: str) -> str:
    """Subscribe the hook and follow the link that it gets; return the subscription."""
    made = sns.subscribe(
        TopicArn=arn, Protocol="http", Endpoint=hook.url, Attributes=attributes, ReturnSubscriptionArn=True
    )
    with urlopen(hook.notice(1)["SubscribeURL"], timeout=10) as answer:
        assert made["SubscriptionArn"] in answer.read().decode()
    return str(made["SubscriptionArn"])


def refused(call: Any, **params: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**params)
    return str(error.value.response["Error"]["Code"])


def test_topics_are_made_listed_tagged_and_deleted(world: Around) -> None:
    """A topic keeps its attributes and tags; making it twice is one topic; deleting it twice is no error."""
    sns, arn = topic(world, DisplayName="News")
    assert arn == f"arn:aws:sns:{REGION}:{ACCOUNT}:news"
    assert sns.create_topic(Name="news")["TopicArn"] == arn
    assert refused(sns.create_topic, Name="news", Attributes={"DisplayName": "Other"}) == "InvalidParameter"
    sns.set_topic_attributes(TopicArn=arn, AttributeName="SignatureVersion", AttributeValue="2")
    shown = sns.get_topic_attributes(TopicArn=arn)["Attributes"]
    assert (shown["DisplayName"], shown["SignatureVersion"], shown["Owner"]) == ("News", "2", ACCOUNT)
    sns.tag_resource(ResourceArn=arn, Tags=[{"Key": "team", "Value": "mail"}])
    assert sns.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "mail"}]
    sns.untag_resource(ResourceArn=arn, TagKeys=["team"])
    assert sns.list_tags_for_resource(ResourceArn=arn)["Tags"] == []
    assert arn in [each["TopicArn"] for each in sns.list_topics()["Topics"]]
    for _ in range(2):
        sns.delete_topic(TopicArn=arn)
    assert refused(sns.publish, TopicArn=arn, Message="x") == "NotFound"


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_queue_gets_signed_notices(world: Around, version: str) -> None:
    """A notice in a queue verifies with the certificate that the local SES serves, by either version; a changed one does not."""
    url, queue_arn = world.queue()
    sns, arn = topic(world, SignatureVersion=version)
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn)
    attributes = {"colour": {"DataType": "String", "StringValue": "red"}}
    sent = sns.publish(TopicArn=arn, Message="Grüße", Subject="Hello", MessageAttributes=attributes)
    (body,) = world.bodies(url)
    notice = json.loads(body)
    assert (notice["MessageId"], notice["Message"], notice["Subject"]) == (sent["MessageId"], "Grüße", "Hello")
    assert notice["MessageAttributes"] == {"colour": {"Type": "String", "Value": "red"}}
    assert notice["SignatureVersion"] == version
    verify(notice)
    with pytest.raises(InvalidSignature):
        verify({**notice, "Message": "forged"})


def test_an_http_endpoint_must_confirm_before_it_hears(world: Around, hook: Receiver) -> None:
    """The endpoint gets a signed token; only after its link was followed does it get what is published, signed too."""
    sns, arn = topic(world)
    assert sns.subscribe(TopicArn=arn, Protocol="http", Endpoint=hook.url)["SubscriptionArn"] == "pending confirmation"
    asked = hook.notice(1)
    assert hook.posts[0][0]["x-amz-sns-message-type"] == asked["Type"] == "SubscriptionConfirmation"
    verify(asked)
    sns.publish(TopicArn=arn, Message="too early")
    assert sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"][0]["SubscriptionArn"] == "PendingConfirmation"
    assert refused(sns.confirm_subscription, TopicArn=arn, Token="wrong") == "InvalidParameter"
    made = sns.confirm_subscription(TopicArn=arn, Token=asked["Token"])["SubscriptionArn"]
    sns.publish(TopicArn=arn, Message="now")
    notice = hook.notice(2)
    assert notice["Message"] == "now"
    verify(notice)
    assert hook.posts[1][0]["x-amz-sns-subscription-arn"] == made
    with urlopen(notice["UnsubscribeURL"], timeout=10) as answer:
        assert b"UnsubscribeResponse" in answer.read()
    goodbye = hook.notice(3)
    assert goodbye["Type"] == "UnsubscribeConfirmation"
    verify(goodbye)
    assert sns.list_subscriptions()["Subscriptions"][0]["Protocol"] == "sqs"  # the one that exists from the start


def test_raw_delivery_is_the_message_alone(world: Around, hook: Receiver) -> None:
    """With RawMessageDelivery an endpoint gets the message without envelope; a queue gets its attributes beside it."""
    url, queue_arn = world.queue()
    sns, arn = topic(world)
    confirmed(sns, arn, hook, RawMessageDelivery="true")
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn, Attributes={"RawMessageDelivery": "true"})
    attributes = {"colour": {"DataType": "String", "StringValue": "red"}}
    sns.publish(TopicArn=arn, Message='{"a": 1}', MessageAttributes=attributes)
    headers, body = hook.wait(2)[1]
    assert (headers["x-amz-sns-rawdelivery"], body) == ("true", '{"a": 1}')
    (message,) = world.client("sqs").receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    assert (message["Body"], message["MessageAttributes"]) == ('{"a": 1}', attributes)


def test_a_failing_endpoint_is_tried_again_and_then_given_up(world: Around, hook: Receiver) -> None:
    """Server errors are tried again after 20 s, three times at most; then the message goes to the dead-letter queue."""
    dead, dead_arn = world.queue("dead")
    sns, arn = topic(world)
    confirmed(sns, arn, hook, RedrivePolicy=json.dumps({"deadLetterTargetArn": dead_arn}))
    hook.statuses = [500, 429, 500, 503]
    sns.publish(TopicArn=arn, Message="hard to deliver")
    attempts = world.local.account.neighbours.sns.outbox.attempts
    for tries in range(1, 5):
        until(lambda: len(attempts) == 1 + tries)  # noqa: B023
        world.hands.now += 21
    (body,) = world.bodies(dead, wait_seconds=10)
    assert json.loads(body)["Message"] == "hard to deliver"
    assert len(hook.posts) == 5


def test_a_client_error_is_final_and_a_retry_may_succeed(world: Around, hook: Receiver) -> None:
    """A 404 is not tried again; a message refused once with 503 arrives by the retry, unchanged."""
    sns, arn = topic(world)
    confirmed(
        sns,
        arn,
        hook,
        DeliveryPolicy=json.dumps({"healthyRetryPolicy": {"numRetries": 2, "minDelayTarget": 1, "maxDelayTarget": 1}}),
    )
    hook.statuses = [404]
    sns.publish(TopicArn=arn, Message="gone")
    attempts = world.local.account.neighbours.sns.outbox.attempts
    until(lambda: len(attempts) == 2)
    hook.statuses = [503]
    sns.publish(TopicArn=arn, Message="stubborn")
    until(lambda: len(attempts) == 3)
    world.hands.now += 60
    assert hook.notice(4) == hook.notice(3)
    until(lambda: len(attempts) == 4)
    assert [(each.status, each.is_final) for each in attempts] == [(200, True), (404, True), (503, False), (200, True)]


def test_nothing_is_posted_beyond_the_loopback(world: Around) -> None:
    """An endpoint elsewhere is not called: the attempt fails, and says why."""
    sns, arn = topic(world)
    sns.subscribe(TopicArn=arn, Protocol="https", Endpoint="https://198.51.100.7/hook")
    attempts = world.local.account.neighbours.sns.outbox.attempts
    until(lambda: len(attempts) == 1)
    assert attempts[0].status is None
    assert "not a loopback address" in attempts[0].reason
    (shown,) = world.admin("deliveries")["deliveries"]
    assert (shown["message_type"], shown["number"], shown["is_final"]) == ("SubscriptionConfirmation", 1, False)


@pytest.mark.parametrize(
    ("policy", "scope", "heard"),
    [
        ({"kind": ["bounce"]}, "MessageAttributes", ["bounce 7"]),
        ({"kind": [{"anything-but": "bounce"}]}, "MessageAttributes", ["delivery 3"]),
        ({"count": [{"numeric": [">", 5]}]}, "MessageAttributes", ["bounce 7"]),
        ({"kind": [{"exists": False}]}, "MessageAttributes", ["nothing"]),
        ({"mail": {"tags": [{"prefix": "ac"}]}}, "MessageBody", ['{"mail": {"tags": ["acme"]}}']),
    ],
)
def test_filter_policies_choose(world: Around, policy: dict[str, Any], scope: str, heard: list[str]) -> None:
    """A subscriber hears of what its policy lets through, by attributes or by the body."""
    url, queue_arn = world.queue()
    sns, arn = topic(world)
    attributes = {"FilterPolicy": json.dumps(policy), "FilterPolicyScope": scope, "RawMessageDelivery": "true"}
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn, Attributes=attributes)
    for kind, count in (("bounce", "7"), ("delivery", "3")):
        marks = {"kind": {"DataType": "String", "StringValue": kind}}
        marks["count"] = {"DataType": "Number", "StringValue": count}
        sns.publish(TopicArn=arn, Message=f"{kind} {count}", MessageAttributes=marks)
    sns.publish(TopicArn=arn, Message="nothing", MessageAttributes={"x": {"DataType": "String", "StringValue": "y"}})
    sns.publish(
        TopicArn=arn,
        Message='{"mail": {"tags": ["acme"]}}',
        MessageAttributes={"kind": {"DataType": "String.Array", "StringValue": '["a"]'}},
    )
    heard = (
        heard
        if scope == "MessageBody" or "anything-but" not in json.dumps(policy)
        else [*heard, '{"mail": {"tags": ["acme"]}}']
    )
    assert world.bodies(url) == heard


def test_a_batch_is_published_row_by_row(world: Around) -> None:
    """Good rows are published, bad ones told; a batch that is wrong as a whole publishes nothing."""
    url, queue_arn = world.queue()
    sns, arn = topic(world)
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn, Attributes={"RawMessageDelivery": "true"})
    rows = [{"Id": "a", "Message": "one"}, {"Id": "b", "Message": "two", "Subject": "x" * 101}]
    rows.append({"Id": "c", "Message": json.dumps({"default": "three", "sqs": "drei"}), "MessageStructure": "json"})
    answer = sns.publish_batch(TopicArn=arn, PublishBatchRequestEntries=rows)
    assert [each["Id"] for each in answer["Successful"]] == ["a", "c"]
    assert [(each["Id"], each["SenderFault"]) for each in answer["Failed"]] == [("b", True)]
    assert world.bodies(url) == ["one", "drei"]
    twice = [{"Id": "a", "Message": "1"}, {"Id": "a", "Message": "2"}]
    assert refused(sns.publish_batch, TopicArn=arn, PublishBatchRequestEntries=twice) == "BatchEntryIdsNotDistinct"


@pytest.mark.parametrize(
    ("operation", "params", "code"),
    [
        ("create_topic", {"Name": "bad name"}, "InvalidParameter"),
        ("create_topic", {"Name": "t.fifo", "Attributes": {"FifoTopic": "true"}}, "UnsupportedOperation"),
        ("create_topic", {"Name": "t", "Attributes": {"SignatureVersion": "3"}}, "InvalidParameter"),
        ("publish", {"PhoneNumber": "+12065550100", "Message": "x"}, "UnsupportedOperation"),
        ("publish", {"TopicArn": "{arn}", "Message": ""}, "InvalidParameter"),
        ("publish", {"TopicArn": "{arn}", "Message": "x" * 262_145}, "InvalidParameter"),
        ("publish", {"TopicArn": "{arn}", "Message": "{}", "MessageStructure": "json"}, "InvalidParameter"),
        ("subscribe", {"TopicArn": "{arn}", "Protocol": "email", "Endpoint": "a@b.example"}, "UnsupportedOperation"),
        ("subscribe", {"TopicArn": "{arn}", "Protocol": "http", "Endpoint": "https://x"}, "InvalidParameter"),
        ("subscribe", {"TopicArn": "{arn}", "Protocol": "sqs", "Endpoint": "q"}, "InvalidParameter"),
        ("unsubscribe", {"SubscriptionArn": "{arn}:none"}, "NotFound"),
        ("get_topic_attributes", {"TopicArn": "arn:aws:sns:us-east-1:123456789012:none"}, "NotFound"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(world: Around, operation: str, params: dict[str, Any], code: str) -> None:
    """Wrong parameters have SNS's codes; what is not here is refused loudly."""
    sns, arn = topic(world)
    params = {name: each.replace("{arn}", arn) if isinstance(each, str) else each for name, each in params.items()}
    assert refused(getattr(sns, operation), **params) == code


def test_ses_events_go_through_topics_to_both_kinds_of_subscribers(world: Around, hook: Receiver) -> None:
    """An event destination on a topic tells a queue and an endpoint of the same event, signed."""
    url, queue_arn = world.queue()
    sns, arn = topic(world, "ses")
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn)
    confirmed(sns, arn, hook)
    ses = world.client("sesv2")
    ses.create_email_identity(EmailIdentity="acme.example")
    ses.create_configuration_set(ConfigurationSetName="set")
    destination = {"Enabled": True, "MatchingEventTypes": ["BOUNCE"], "SnsDestination": {"TopicArn": arn}}
    ses.create_configuration_set_event_destination(
        ConfigurationSetName="set", EventDestinationName="feed", EventDestination=destination
    )
    ses.send_email(
        FromEmailAddress="a@acme.example",
        Destination={"ToAddresses": ["bounce@simulator.amazonses.com"]},
        Content={"Simple": {"Subject": {"Data": "x"}, "Body": {"Text": {"Data": "x"}}}},
        ConfigurationSetName="set",
    )
    test, event = (json.loads(body) for body in world.bodies(url))
    assert "Successfully validated SNS topic" in test["Message"]
    assert json.loads(event["Message"])["eventType"] == "Bounce"
    verify(event)
    posted = [json.loads(body) for _, body in hook.wait(3)]  # side by side, so in any order
    (same,) = [each for each in posted if each["MessageId"] == event["MessageId"]]
    assert same["Message"] == event["Message"]
    verify(same)
