"""Reading SES reports, held to Amazon's documented and recorded ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantry.wire.ses_event import EventError, RecipientReport, SesEvent, parse_event

DATA = Path(__file__).parent / "data"
DOCUMENTED = sorted(DATA.glob("documented-*.json"))


def sample(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DATA / f"documented-{name}.json").read_text())
    return document


def recorded() -> Iterator[dict[str, Any]]:
    """Yield the recorded events, with the times that the recording left out."""
    for notices in json.loads((DATA / "recorded-send-and-delivery.json").read_text()).values():
        for notice in notices:
            if isinstance(event := notice["Message"], dict):
                event["mail"]["timestamp"] = "2026-01-31T10:00:00.123Z"
                event.get("delivery", {})["timestamp"] = "2026-01-31T10:00:01.456Z"
                yield event


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: path.stem)
def test_every_documented_event_is_read(path: Path) -> None:
    """Each event that Amazon documents gives its type, message, time, set and recipients."""
    document = json.loads(path.read_text())
    event = parse_event(document)
    assert event.kind == document["eventType"]
    assert event.message_id == document["mail"]["messageId"]
    assert event.at.tzinfo is UTC
    assert event.tags["ses:configuration-set"] == ("ConfigSet",)
    assert event.recipients
    assert {recipient.address for recipient in event.recipients} == set(document["mail"]["destination"])
    assert len(event.digest) == 32


def test_the_documented_types_are_all_there() -> None:
    """The samples hold all ten types, so that none goes untested."""
    assert len({sample(path.stem.removeprefix("documented-"))["eventType"] for path in DOCUMENTED}) == 10


def test_every_recorded_event_is_read() -> None:
    """What the real service sent is read too."""
    events = [parse_event(event) for event in recorded()]
    assert {event.kind for event in events} == {"Send", "Delivery"}
    assert all(event.tags["custom-tag"] == ("tag-value",) for event in events)
    delivered = next(event for event in events if event.kind == "Delivery")
    assert delivered.smtp_response
    assert delivered.smtp_response.startswith("250 2.0.0 OK")
    assert delivered.at == datetime(2026, 1, 31, 10, 0, 1, 456_000, UTC)


def test_a_bounce_is_read_whole() -> None:
    """A bounce names its type, subtype, feedback id, and what the receiver said of whom."""
    event = parse_event(sample("bounce"))
    assert (event.bounce_type, event.bounce_subtype) == ("Permanent", "General")
    assert event.feedback_id == "01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000"
    assert event.reporting_mta == "dsn; mta.example.com"
    assert event.recipients == (
        RecipientReport("recipient@example.com", "5.1.1", "failed", "smtp; 550 5.1.1 user unknown"),
    )
    assert event.at == datetime(2017, 8, 5, 0, 41, 2, 669_000, UTC)


def test_a_complaint_is_read_whole() -> None:
    """A complaint names its feedback type, and its subtype where SES gives one."""
    document = sample("complaint")
    assert parse_event(document).complaint_feedback_type == "abuse"
    assert parse_event(document).complaint_subtype is None
    document["complaint"]["complaintSubType"] = "OnTenantSuppressionList"
    assert parse_event(document).complaint_subtype == "OnTenantSuppressionList"


def test_a_delay_is_read_whole() -> None:
    """A delay says of each recipient what the receiver answered."""
    (recipient,) = parse_event(sample("deliverydelay")).recipients
    assert (recipient.status, recipient.diagnostic) == ("4.4.1", "smtp; 421 4.4.1 Unable to connect to remote host")


def test_legacy_feedback_reads_like_the_event() -> None:
    """A bounce by identity notification is the same report as by event publishing, and is counted once."""
    event, legacy = sample("bounce"), sample("bounce")
    legacy["notificationType"] = legacy.pop("eventType")
    del legacy["mail"]["tags"]
    assert parse_event(legacy).digest == parse_event(event).digest
    assert parse_event(legacy).tags == {}


@pytest.mark.parametrize("kind", ["Quarantine", "X", "Sent To Moon"])
def test_unknown_types_are_kept(kind: str) -> None:
    """An event type that SES adds later is read, with the mail's recipients."""
    document = sample("send")
    document["eventType"] = kind
    event = parse_event(document)
    assert (event.kind, event.recipients) == (kind, (RecipientReport("recipient@example.com"),))


def test_unknown_subtypes_are_kept() -> None:
    """A subtype that SES adds later stays as SES says it."""
    document = sample("bounce")
    document["bounce"] |= {"bounceType": "Later", "bounceSubType": "Newer", "more": [1, {"a": None}]}
    assert (parse_event(document).bounce_type, parse_event(document).bounce_subtype) == ("Later", "Newer")


def test_recipients_are_addresses() -> None:
    """A display name that the sender gave is not part of the recipient's address."""
    document = sample("send")
    document["mail"]["destination"] = ["Ann <Ann@example.com>", "<b@example.com>", " c@example.com "]
    assert [r.address for r in parse_event(document).recipients] == [
        "Ann@example.com",
        "b@example.com",
        "c@example.com",
    ]


def digest_after(change: Any) -> bytes:
    document = sample("bounce")
    document["bounce"]["bouncedRecipients"].append({"emailAddress": "Second@example.com"})
    change(document)
    return parse_event(document).digest


def test_the_digest_is_the_reports_content() -> None:
    """Order, case and the transport leave the digest; message, type, recipient and feedback id change it."""
    original = digest_after(lambda d: None)
    assert digest_after(lambda d: d["bounce"]["bouncedRecipients"].reverse()) == original
    assert (
        digest_after(lambda d: d["bounce"]["bouncedRecipients"][1].update(emailAddress="second@EXAMPLE.com"))
        == original
    )
    assert digest_after(lambda d: d["mail"].update(headersTruncated=True, tags={})) == original
    assert digest_after(lambda d: d["bounce"].update(timestamp="2018-08-05T00:41:02.669Z")) == original
    changed = {
        digest_after(lambda d: d["mail"].update(messageId="other")),
        digest_after(lambda d: d.update(eventType="Complaint", complaint=sample("complaint")["complaint"])),
        digest_after(lambda d: d["bounce"]["bouncedRecipients"].pop()),
        digest_after(lambda d: d["bounce"].update(feedbackId="other")),
    }
    assert len(changed | {original}) == 5


def test_without_a_feedback_id_the_time_tells_reports_apart() -> None:
    """Two deliveries at different times are two reports, and one time written in two ways is one."""
    digests = []
    for timestamp in ("2016-10-19T23:21:04.133Z", "2016-10-19T23:21:05.133Z", "2016-10-20T01:21:04.133+02:00"):
        document = sample("delivery")
        document["delivery"]["timestamp"] = timestamp
        digests.append(parse_event(document).digest)
    assert digests[0] == digests[2] != digests[1]


@pytest.mark.parametrize("bad", ["\x00", "\ud800"])
def test_text_that_cannot_be_kept(bad: str) -> None:
    """NUL or half a character is an error in an identifier, and is replaced in a receiver's own words."""
    for path in (["mail", "messageId"], ["eventType"], ["bounce", "feedbackId"], ["bounce", "bounceSubType"]):
        document: Any = sample("bounce")
        target = document
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] += bad
        with pytest.raises(EventError):
            parse_event(document)
    for tags in ({f"a{bad}": ["b"]}, {"a": [f"b{bad}"]}):
        document = sample("bounce")
        document["mail"]["tags"] = tags
        with pytest.raises(EventError):
            parse_event(document)
    document = sample("bounce")
    document["bounce"]["bouncedRecipients"][0]["diagnosticCode"] = f"550 {bad}" + "x" * 10_000
    diagnostic = parse_event(document).recipients[0].diagnostic
    assert diagnostic
    assert diagnostic.startswith("550 \ufffdx")
    assert len(diagnostic) == 2_048


@pytest.mark.parametrize(
    ("tags", "good"),
    [
        ({"a": ["", "x\n", "é"], "b": []}, True),  # not printable, and yet fit
        ({f"t{number}": ["v" * 1_024] for number in range(3)}, True),
        ({"": ["b"]}, False),
        ({"a": ["b" * 1_025]}, False),
        ({"a": "b"}, False),
        ({"a": [1]}, False),
        ({"a": [["b"]]}, False),
    ],
)
def test_tags_are_texts_of_some_length(tags: object, good: bool) -> None:
    """A tag has a name and a list of texts, each of at most 1,024 characters, however many there are."""
    document = sample("send")
    document["mail"]["tags"] = tags
    if good:
        assert parse_event(document).tags == {name: tuple(values) for name, values in document["mail"]["tags"].items()}
        return
    with pytest.raises(EventError):
        parse_event(document)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "Successfully validated SNS topic for Amazon SES event publishing.",
        {},
        {"eventType": "Send"},
        {"eventType": "", "mail": {"messageId": "m", "timestamp": "2026-01-01T00:00:00Z"}},
        {"eventType": "Send", "mail": {"messageId": "m"}},
        {"eventType": "Send", "mail": {"messageId": "m", "timestamp": 1_767_225_600}},
        {"eventType": "Send", "mail": {"messageId": "m", "timestamp": "2026-01-01T00:00:00"}},
        {"eventType": "Send", "mail": {"messageId": "m", "timestamp": "0001-01-01T00:00:00+23:00"}},
        {"eventType": "Send", "mail": {"messageId": "m", "timestamp": "yesterday"}},
        {"eventType": "Bounce", "mail": {"messageId": "m", "timestamp": "2026-01-01T00:00:00Z"}},
        {"eventType": "Bounce", "bounce": {"bouncedRecipients": []}, "mail": sample("bounce")["mail"]},
        {"eventType": "Delivery", "delivery": {"recipients": [{}]}, "mail": sample("bounce")["mail"]},
        {"eventType": "Delivery", "delivery": {"recipients": ["<>"]}, "mail": sample("bounce")["mail"]},
    ],
)
def test_a_broken_report_is_an_event_error(document: object) -> None:
    """What cannot be read raises EventError with a sentence, for quarantine."""
    with pytest.raises(EventError, match=r"\.$"):
        parse_event(document)


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(), max_size=5),
        st.sampled_from(["\x00", "\ud800", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59-23:00", "a@example.com"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)  # fmt: skip


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each (container, key) below a JSON value."""
    keys = node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in list(keys):
        yield node, key
        yield from places(node[key])


def strings(node: Any) -> Iterator[str]:
    """Yield each text below a value."""
    if isinstance(node, str):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ():
        yield from strings(inner)


@settings(max_examples=500)
@given(st.data())
def test_no_broken_part_raises_anything_else(data: st.DataObject) -> None:
    """Any JSON put anywhere in a good report gives an event or an EventError, and what is read can be stored."""
    path = data.draw(st.sampled_from(DOCUMENTED))
    document = deepcopy(json.loads(path.read_text()))
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(list(places(document))))
        if data.draw(st.booleans()):
            container[key] = data.draw(JSON)
        else:
            del container[key]
        if not document:
            break
    try:
        event = parse_event(document)
    except EventError:
        return
    assert isinstance(event, SesEvent)
    texts = list(strings([asdict(event), sorted(event.tags)]))
    assert event.message_id in texts
    assert not any("\x00" in text for text in texts)
    "".join(texts).encode()
