"""Reading a parcel of the event queue: events become reports, chatter is harmless, and nothing is ever raised."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.claim import ATTEMPT_TAG, MESSAGE_TAG
from tenantry.core.event import Fact, Report
from tenantry.flow.report import Chatter, read_report
from tenantry.wire.ses_event import EventError

MESSAGE, ATTEMPT = "msg_" + "1" * 32, "att_" + "2" * 32
NOTICE = {
    "Type": "Notification",
    "MessageId": "notice-1",
    "TopicArn": "arn:aws:sns:us-east-1:123456789012:events",
    "Timestamp": "2026-11-24T12:00:02.000Z",
}
BOUNCE = {
    "bounceType": "Permanent",
    "bounceSubType": "General",
    "bouncedRecipients": [{"emailAddress": "Ann <Ann@There.example>", "diagnosticCode": "550 no"}],
    "timestamp": "2026-11-24T12:00:01.000Z",
    "feedbackId": "feedback-1",
}


def event(kind: str = "Bounce", about: object = BOUNCE, tags: object = None) -> dict[str, object]:
    return {
        "eventType": kind,
        "mail": {
            "timestamp": "2026-11-24T12:00:00.000Z",
            "source": "hello@acme.example",
            "messageId": "ses-1",
            "destination": ["ann@there.example"],
            "tags": {MESSAGE_TAG: [MESSAGE], ATTEMPT_TAG: [ATTEMPT]} if tags is None else tags,
        },
        kind.lower(): about,
    }


def parcel(message: object) -> str:
    text = message if isinstance(message, str) else json.dumps(message)
    return json.dumps({**NOTICE, "Message": text})


def read(message: object) -> Report:
    found = read_report(parcel(message))
    assert isinstance(found, Report), found
    return found


def test_a_hard_bounce_counts_suppresses_and_names_its_mail() -> None:
    """What ingest needs is there: fact, bare lower-case address, our ids, and words for the timeline."""
    found = read(event())
    assert (found.fact, found.counts, found.suppresses) == (Fact.BOUNCED, True, True)
    assert found.recipients == ("ann@there.example",)
    assert (found.message_id, found.attempt_id, found.ses_id) == (MESSAGE, ATTEMPT, "ses-1")
    assert found.detail["diagnostic"] == "550 no"


@pytest.mark.parametrize(
    ("kind", "subtype", "counts"),
    [
        ("Permanent", "NoEmail", True),
        ("Permanent", "Suppressed", True),
        ("Permanent", "OnAccountSuppressionList", False),
        ("Permanent", "SomethingNew", False),
        ("Transient", "MailboxFull", False),
        ("Undetermined", "Undetermined", False),
    ],
)
def test_only_what_ses_counts_is_held_against_a_sender(kind: str, subtype: str, counts: bool) -> None:
    """Echoes of a list, soft bounces and words that are not known yet harm nobody."""
    found = read(event(about={**BOUNCE, "bounceType": kind, "bounceSubType": subtype}))
    assert (found.counts, found.suppresses) == (counts, counts)


@pytest.mark.parametrize(
    "tags", [{}, {MESSAGE_TAG: []}, {MESSAGE_TAG: ["ten_1"]}, {MESSAGE_TAG: ["x"], ATTEMPT_TAG: [""]}]
)
def test_tags_that_are_not_ours_name_nothing(tags: object) -> None:
    """A report with strange tags is read without an owner; the SES id may still find one."""
    found = read(event(tags=tags))
    assert (found.message_id, found.attempt_id) == (None, None)


def test_the_same_event_has_the_same_digest_whatever_carried_it() -> None:
    """A redelivery, or a second notice around the same event, is the same event; another is not."""
    found = read_report(json.dumps({**NOTICE, "MessageId": "another", "Message": json.dumps(event())}))
    assert isinstance(found, Report)
    assert found.digest == read(event()).digest
    assert found.digest != read(event(about={**BOUNCE, "feedbackId": "feedback-2"})).digest


def test_chatter_is_no_poison() -> None:
    """SES's test notice is not an event, and is meant not to be."""
    assert isinstance(read_report(parcel("Successfully validated SNS topic for Amazon SES event publishing.")), Chatter)


@pytest.mark.parametrize(
    "message", ['{"eventType": "Bounce", "mail": {"messa', '{"deep": ' + "[" * 100_000 + "]" * 100_000 + "}"]
)
def test_a_broken_event_is_kept(message: str) -> None:
    """What was to be an event but cannot be read is no chatter: it is an error, for quarantine."""
    assert isinstance(read_report(parcel(message)), EventError)


def test_an_event_deeper_than_the_quick_reader_goes_is_read() -> None:
    """How deep a part lies that nobody looks at is no reason to lose an event."""
    deep = json.loads("[" * 500 + "]" * 500)
    assert read({**event(), "more": deep}).digest == read(event()).digest


@pytest.mark.parametrize("bad", ["\ud800", "\\ud800", "\\\\ud800"])
def test_half_a_character_is_an_error_however_it_is_written(bad: str) -> None:
    """As itself, escaped in the notice, or escaped in the event: it could not be kept."""
    body = parcel(event()).replace("ses-1", f"ses{bad}")
    assert isinstance(read_report(body), EventError)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(max_size=60) | json_values.map(json.dumps))
def test_no_parcel_raises(body: str) -> None:
    """Whatever lies in the queue, reading it gives a report, chatter, or the reason why not."""
    assert isinstance(read_report(body), Report | Chatter | EventError)
    assert isinstance(read_report(parcel(body)), Report | Chatter | EventError)


@given(st.sampled_from(["mail", "bounce", "eventType"]), json_values, st.sampled_from([None, "tags", "messageId"]))
def test_no_damaged_event_raises(part: str, value: object, inner: str | None) -> None:
    """An event with any part replaced by anything is a report or an error, never an exception."""
    damaged = event()
    target = damaged["mail"] if inner and part == "mail" and isinstance(damaged["mail"], dict) else damaged
    target[inner if target is not damaged and inner else part] = value
    assert isinstance(read_report(parcel(damaged)), Report | Chatter | EventError)
