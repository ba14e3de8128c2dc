"""SQS beside the local SES, asked by unmodified boto3 over a socket."""

import json
import threading
from hashlib import md5
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from tests.emulator.neighbours.around import ACCOUNT, REGION, Around, refused

TEXT = {"DataType": "String", "StringValue": "red"}
SIGNED = {"Authorization": f"AWS4-HMAC-SHA256 Credential=AKID/20260101/{REGION}/sqs/aws4_request, Signature=x"}


def test_a_message_comes_back_as_it_was_sent(world: Around) -> None:
    """Body, attributes and checksums are those that the sender had; the receiver asks for what it wants to see."""
    sqs, (url, _) = world.client("sqs"), world.queue()
    binary = {"DataType": "Binary", "BinaryValue": b"\x00\xff"}
    number = {"DataType": "Number.int", "StringValue": "7"}
    attributes = {"colour": TEXT, "blob": binary, "count": number}
    sent = sqs.send_message(QueueUrl=url, MessageBody="Grüße", MessageAttributes=attributes, MessageGroupId="acme")
    assert sent["MD5OfMessageBody"] == md5("Grüße".encode()).hexdigest()
    (plain,) = sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)["Messages"]
    assert plain.keys() == {"MessageId", "ReceiptHandle", "MD5OfBody", "Body"}
    (full,) = sqs.receive_message(
        QueueUrl=url, VisibilityTimeout=0, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"]
    )["Messages"]
    assert (full["MessageId"], full["Body"]) == (sent["MessageId"], "Grüße")
    assert full["MessageAttributes"] == attributes
    assert full["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert full["Attributes"]["MessageGroupId"] == "acme"
    assert full["Attributes"]["ApproximateReceiveCount"] == "2"
    (some,) = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["col.*", "colour"])["Messages"]
    assert some["MessageAttributes"] == {"colour": TEXT}


def test_the_checksum_of_attributes_is_amazons() -> None:
    """The checksum of a known example (worked out by hand by SQS's rule) is reproduced."""
    from tenantry.emulator.neighbours.messages import attributes_md5

    parts = [b"colour", b"String"]
    text = b"".join(len(each).to_bytes(4, "big") + each for each in parts)
    text += b"\x01" + len(b"red").to_bytes(4, "big") + b"red"
    assert attributes_md5({"colour": TEXT}) == md5(text).hexdigest()


def test_a_queue_is_what_its_attributes_say(world: Around) -> None:
    """Attributes given at the start or later are shown and hold: visibility, delay, and the wait of a receive."""
    sqs, (url, arn) = world.client("sqs"), world.queue(VisibilityTimeout="5", DelaySeconds="10")
    shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (shown["QueueArn"], shown["VisibilityTimeout"], shown["DelaySeconds"]) == (arn, "5", "10")
    sqs.send_message(QueueUrl=url, MessageBody="later")
    delayed = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessagesDelayed"])
    assert delayed["Attributes"] == {"ApproximateNumberOfMessagesDelayed": "1"}
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    world.hands.now += 10
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "later"
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    world.hands.now += 5
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "later"
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "0", "MessageRetentionPeriod": "60"})
    sqs.send_message(QueueUrl=url, MessageBody="short-lived")
    world.hands.now += 61
    assert "Messages" not in sqs.receive_message(QueueUrl=url)


def test_visibility_can_be_changed_while_in_flight(world: Around) -> None:
    """Zero brings a message back at once, more keeps it away; an old receipt changes nothing."""
    sqs, (url, _) = world.client("sqs"), world.queue()
    sqs.send_message(QueueUrl=url, MessageBody="one")
    (first,) = sqs.receive_message(QueueUrl=url)["Messages"]
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=100)
    world.hands.now += 50
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0)
    (second,) = sqs.receive_message(QueueUrl=url)["Messages"]
    old = {"QueueUrl": url, "ReceiptHandle": first["ReceiptHandle"], "VisibilityTimeout": 0}
    assert refused(sqs.change_message_visibility, **old) == "AWS.SimpleQueueService.MessageNotInflight"
    rows = [{"Id": "a", "ReceiptHandle": second["ReceiptHandle"], "VisibilityTimeout": 0}]
    rows.append({"Id": "b", "ReceiptHandle": "nonsense", "VisibilityTimeout": 0})
    answer = sqs.change_message_visibility_batch(QueueUrl=url, Entries=rows)
    assert [each["Id"] for each in answer["Successful"]] == ["a"]
    assert [(each["Id"], each["Code"]) for each in answer["Failed"]] == [("b", "ReceiptHandleIsInvalid")]
    assert len(sqs.receive_message(QueueUrl=url)["Messages"]) == 1


def test_a_long_poll_ends_when_something_is_sent(world: Around) -> None:
    """A receive that waits (by its own word or the queue's) gets what is sent meanwhile."""
    url, _ = world.queue(ReceiveMessageWaitTimeSeconds="20")
    found: list[Any] = []
    waiting = threading.Thread(
        target=lambda: found.append(world.client("sqs").receive_message(QueueUrl=url).get("Messages"))
    )
    waiting.start()
    world.client("sqs").send_message(QueueUrl=url, MessageBody="at last")
    waiting.join(15)
    assert found[0][0]["Body"] == "at last"


def test_what_is_received_too_often_becomes_a_dead_letter(world: Around) -> None:
    """After two receives without a delete the third moves the message to the dead-letter queue; it can be moved back."""
    sqs, (dead, dead_arn) = world.client("sqs"), world.queue("dead")
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
    url, _ = world.queue(RedrivePolicy=policy, VisibilityTimeout="1")
    sqs.send_message(QueueUrl=url, MessageBody="poison")
    for _ in range(2):
        assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "poison"
        world.hands.now += 2
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]
    sqs.start_message_move_task(SourceArn=dead_arn)
    assert sqs.list_message_move_tasks(SourceArn=dead_arn)["Results"][0]["ApproximateNumberOfMessagesMoved"] == 1
    assert "Messages" not in sqs.receive_message(QueueUrl=dead)
    assert world.bodies(url) == ["poison"]


def test_queues_are_listed_tagged_purged_and_deleted(world: Around) -> None:
    """Names are found by prefix and page; tags stay; a purge empties, but only once a minute; what is deleted is gone."""
    sqs = world.client("sqs")
    url = sqs.create_queue(QueueName="a-1", tags={"team": "mail"})["QueueUrl"]
    for name in ("a-2", "a-3"):
        world.queue(name)
    page = sqs.list_queues(QueueNamePrefix="a-", MaxResults=2)
    rest = sqs.list_queues(QueueNamePrefix="a-", MaxResults=2, NextToken=page["NextToken"])
    assert [each.rpartition("/")[2] for each in page["QueueUrls"] + rest["QueueUrls"]] == ["a-1", "a-2", "a-3"]
    sqs.tag_queue(QueueUrl=url, Tags={"cost": "7"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["team"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"cost": "7"}
    sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "x"}, {"Id": "2", "MessageBody": "y"}])
    sqs.purge_queue(QueueUrl=url)
    assert world.bodies(url) == []
    assert refused(sqs.purge_queue, QueueUrl=url) == "AWS.SimpleQueueService.PurgeQueueInProgress"
    assert sqs.get_queue_url(QueueName="a-1")["QueueUrl"] == url
    sqs.delete_queue(QueueUrl=url)
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.get_queue_url(QueueName="a-1")


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"QueueName": "bad name"}, "InvalidParameterValue"),
        ({"QueueName": "x" * 81}, "InvalidParameterValue"),
        ({"QueueName": "q", "Attributes": {"VisibilityTimeout": "43201"}}, "InvalidAttributeValue"),
        ({"QueueName": "q", "Attributes": {"Nonsense": "1"}}, "InvalidAttributeName"),
        ({"QueueName": "q", "Attributes": {"Policy": "no json"}}, "InvalidAttributeValue"),
        ({"QueueName": "q", "Attributes": {"RedrivePolicy": '{"maxReceiveCount": 1}'}}, "InvalidParameterValue"),
        ({"QueueName": "q.fifo", "Attributes": {"FifoQueue": "true"}}, "AWS.SimpleQueueService.UnsupportedOperation"),
        ({"QueueName": "inbox", "Attributes": {"DelaySeconds": "3"}}, "QueueAlreadyExists"),
    ],
)
def test_queues_that_cannot_be_are_refused(world: Around, params: dict[str, Any], code: str) -> None:
    """Wrong names and attributes have SQS's codes; FIFO is refused loudly; a second creation must say the same."""
    world.queue()
    assert refused(world.client("sqs").create_queue, **params) == code


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"MessageBody": ""}, "MissingParameter"),
        ({"MessageBody": "a\x00"}, "InvalidMessageContents"),
        ({"MessageBody": "x" * 1_025}, "InvalidParameterValue"),
        ({"MessageBody": "x", "DelaySeconds": 901}, "InvalidParameterValue"),
        ({"MessageBody": "x", "MessageDeduplicationId": "d"}, "InvalidParameterValue"),
        ({"MessageBody": "x", "MessageAttributes": {"AWS.x": TEXT}}, "InvalidParameterValue"),
        (
            {"MessageBody": "x", "MessageAttributes": {"n": {"DataType": "Number", "StringValue": "x"}}},
            "InvalidParameterValue",
        ),
    ],
)
def test_messages_that_cannot_be_are_refused(world: Around, params: dict[str, Any], code: str) -> None:
    """Empty, unspeakable, too long and ill-formed messages have SQS's codes, and nothing is queued."""
    url, _ = world.queue(MaximumMessageSize="1024")
    assert refused(world.client("sqs").send_message, QueueUrl=url, **params) == code
    assert world.bodies(url) == []


def test_an_older_sdk_is_served_in_the_query_protocol(world: Around) -> None:
    """Forms are answered in XML; the queue may be named by the path alone, as SDKs before 2023 did."""

    def ask(path: str, **fields: str) -> str:
        form = urlencode({**fields, "Version": "2012-11-05"}).encode()
        headers = {**SIGNED, "Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        with urlopen(Request(f"{world.local.url}{path}", form, headers), timeout=10) as answer:
            return str(answer.read().decode())

    assert f"/{ACCOUNT}/old</QueueUrl>" in ask("/", Action="CreateQueue", QueueName="old")
    ask(f"/{ACCOUNT}/old", Action="SendMessage", MessageBody="a <b>")
    answer = ask(f"/{ACCOUNT}/old", Action="ReceiveMessage", WaitTimeSeconds="1", MaxNumberOfMessages="10")
    assert "<Body>a &lt;b&gt;</Body>" in answer
    assert "<Message>" not in ask(f"/{ACCOUNT}/old", Action="ReceiveMessage", WaitTimeSeconds="0")
