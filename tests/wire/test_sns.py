"""SNS notices: built, parsed and signed text, held to what the real service sent and documents."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.wire.sns import Envelope, Malformed, Notice, build, parse, signed_text

RECORDED = Path(__file__).parents[1] / "emulator" / "data" / "recorded-send-and-delivery.json"
ENVELOPE = Envelope("arn:aws:sns:eu-west-1:123456789012:t", "id-1", "2026-01-01T00:00:00.000Z", "Subject")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_message_survives_its_envelope(message: str) -> None:
    """Whatever is put into a notice comes out of it."""
    notice = parse(build(message, ENVELOPE))
    assert isinstance(notice, Notice)
    assert (notice.message, notice.topic_arn, notice.message_id) == (message, ENVELOPE.topic_arn, "id-1")


def test_an_event_is_read_as_an_object() -> None:
    """A message that is a JSON object comes as one."""
    notice = parse(build('{"eventType": "Send"}', ENVELOPE))
    assert isinstance(notice, Notice)
    assert notice.event == {"eventType": "Send"}


@pytest.mark.parametrize(
    "message", ["Successfully validated SNS topic for Amazon SES event publishing.", "[1]", "{", "null"]
)
def test_plain_text_is_no_error(message: str) -> None:
    """The test message of a new destination, or anything that is no object, is a notice without an event."""
    notice = parse(build(message, ENVELOPE))
    assert isinstance(notice, Notice)
    assert notice.event is None
    assert notice.message == message


@pytest.mark.parametrize("body", ["", "x", "[]", "{}", b"\xff", '{"Type": "Other"}', '{"Type": "Notification"}',
                                  '{"Type": ["Notification"]}', "[" * 100_000,
                                  build("\ud800", ENVELOPE), build('{"a": "\\ud800"}', ENVELOPE)])  # fmt: skip
def test_what_is_no_notice_says_why(body: str | bytes) -> None:
    """Poison on the queue is a value with a reason, never an exception."""
    result = parse(body)
    assert isinstance(result, Malformed)
    assert result.reason


def test_members_are_those_of_recorded_notices() -> None:
    """Our notice has the members, in the order, that the real service sent."""
    test, event, *_ = json.loads(RECORDED.read_text())["test_ses_sns_topic_integration_send_email"]
    assert list(json.loads(build("m", ENVELOPE))) == list(event)
    plain = Envelope(ENVELOPE.topic_arn, "id-1", ENVELOPE.timestamp)
    assert list(json.loads(build("m", plain))) == list(test)


def test_the_signed_text_is_the_documented_one() -> None:
    """The guide's order of lines: names and values in turn, Subject only where there is one."""
    notice = json.loads(build("Hello\nthere", ENVELOPE))
    text = (
        "Message\nHello\nthere\nMessageId\nid-1\nSubject\nSubject\nTimestamp\n2026-01-01T00:00:00.000Z\n"
        "TopicArn\narn:aws:sns:eu-west-1:123456789012:t\nType\nNotification\n"
    )
    assert signed_text(notice).decode() == text
    del notice["Subject"]
    assert signed_text(notice).decode() == text.replace("Subject\nSubject\n", "")


def test_a_confirmation_is_signed_with_its_url_and_token() -> None:
    """Confirmations sign SubscribeURL and Token, and no Subject."""
    names = ("Token", "Type", "SubscribeURL", "Message", "MessageId", "Timestamp", "TopicArn", "Subject")
    notice = {name: name.lower() for name in names} | {"Type": "SubscriptionConfirmation"}
    lines = signed_text(notice).decode().splitlines()[::2]
    assert lines == ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
