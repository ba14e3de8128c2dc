"""The events of the local SES, held to Amazon's documented and recorded examples."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tenantry.emulator import RecipientRule
from tests.emulator.worlds import World, world

DATA = Path(__file__).parent / "data"
EICAR = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


@pytest.fixture
def ses() -> Iterator[World]:
    with world(recipients=(RecipientRule("slow.example", defer=1.0, delay_seconds=0.05),)) as running:
        running.sender()
        yield running


def form(value: Any) -> Any:
    """The keys of a value, all the way down, with the types of what hangs on them."""
    match value:
        case dict():
            return {key: form(each) for key, each in value.items()}
        case list():
            forms = [form(each) for each in value]
            assert all(each == forms[0] for each in forms), "an array of one kind"
            return forms[:1]
        case _:
            return type(value).__name__


def comparable(event: dict[str, Any]) -> Any:
    """The form of an event; its tags are free by name, and are arrays of text."""
    tags = event["mail"].pop("tags")
    assert all(form(each) == ["str"] for each in tags.values())
    return form(event)


def documented(name: str) -> dict[str, Any]:
    return json.loads((DATA / f"documented-{name}.json").read_text())


@pytest.mark.parametrize(
    ("name", "recipient", "body"),
    [
        ("send", "someone@inbox.example", "Hello"),
        ("delivery", "success@simulator.amazonses.com", "Hello"),
        ("bounce", "bounce@simulator.amazonses.com", "Hello"),
        ("complaint", "complaint@simulator.amazonses.com", "Hello"),
        ("deliverydelay", "someone@slow.example", "Hello"),
        ("reject", "someone@inbox.example", EICAR),
    ],
)
def test_events_have_the_documented_form(ses: World, name: str, recipient: str, body: str) -> None:
    """For each type the keys and the types of values are exactly those of the developer guide's example."""
    example = documented(name)
    content = {"Simple": {"Subject": {"Data": "Hello"}, "Body": {"Text": {"Data": body}}}}
    message_id = ses.send(recipient, Content=content)
    events = ses.events(wait_seconds=2)
    while not any(event["eventType"] == example["eventType"] for event in events):
        events += ses.events(wait_seconds=2)
    event = next(each for each in events if each["eventType"] == example["eventType"])
    assert event["mail"]["messageId"] == message_id
    documented_tags = {tag for tag in example["mail"]["tags"] if tag.startswith("ses:")}
    assert documented_tags <= set(event["mail"]["tags"])
    assert comparable(event) == comparable(example)


def keys(value: Any) -> Any:
    """The keys of a value, all the way down."""
    if isinstance(value, dict):
        return {key: keys(each) for key, each in value.items()}
    return [keys(each) for each in value[:1]] if isinstance(value, list) else None


def test_notices_have_the_recorded_form(ses: World) -> None:
    """Send and Delivery come in the envelope, with the subject and the keys that SES was recorded to send."""
    recorded = json.loads((DATA / "recorded-send-and-delivery.json").read_text())
    ses.send(EmailTags=[{"Name": "custom-tag", "Value": "v"}], TenantName=None)
    ours = ses.notices(wait_seconds=2)
    theirs = recorded["test_ses_sns_topic_integration_send_email"][1:]
    assert len(ours) == len(theirs) == 2
    for mine, expected in zip(ours, theirs, strict=True):
        assert list(mine) == list(expected)
        assert mine["Subject"] == expected["Subject"]
        assert keys(json.loads(mine["Message"])) == keys(expected["Message"])


def test_tags_come_back_as_arrays(ses: World) -> None:
    """Tags given by parameter return in every event, with SES's own; the tenant's on bounces and complaints."""
    tags = [{"Name": "tenantry-message", "Value": "m1"}, {"Name": "tenantry-attempt", "Value": "a1"}]
    ses.send("bounce@simulator.amazonses.com", EmailTags=tags)
    send, bounce = ses.events(wait_seconds=2)
    own = {
        "tenantry-message": ["m1"],
        "tenantry-attempt": ["a1"],
        "ses:configuration-set": ["acme-set"],
        "ses:from-domain": ["acme.example"],
        "ses:caller-identity": ["AKIDEXAMPLE"],
        "ses:operation": ["SendEmail"],
        "ses:source-ip": ["127.0.0.1"],
    }
    assert send["mail"]["tags"] == own
    assert bounce["mail"]["tags"] == {**own, "ses:tenant-name": ["acme"]}


def test_common_headers_tell_what_was_written(ses: World) -> None:
    """Cc and Reply-To show in the headers, Bcc only as a destination."""
    destination = {"ToAddresses": ["a@x.example"], "CcAddresses": ["b@x.example"], "BccAddresses": ["c@x.example"]}
    ses.send(Destination=destination, ReplyToAddresses=["r@acme.example"])
    mail = ses.events(wait_seconds=2)[0]["mail"]
    assert mail["destination"] == ["a@x.example", "b@x.example", "c@x.example"]
    assert mail["commonHeaders"]["cc"] == ["b@x.example"]
    assert mail["commonHeaders"]["replyTo"] == ["r@acme.example"]
    assert "c@x.example" not in json.dumps(mail["headers"])


def test_large_headers_are_truncated(ses: World) -> None:
    """Above 10 kB of headers the list is cut and says so."""
    simple = {"Subject": {"Data": "x"}, "Body": {"Text": {"Data": "x"}}}
    simple["Headers"] = [{"Name": f"X-{n}", "Value": "v" * 900} for n in range(15)]
    ses.send(Content={"Simple": simple})
    mail = ses.events(wait_seconds=2)[0]["mail"]
    assert mail["headersTruncated"]
    assert len(mail["headers"]) < 5 + 15


def test_raw_mail(ses: World) -> None:
    """Raw mail without a destination goes to its headers' addresses; X-SES headers choose set, tenant and tags."""
    raw = (
        b"From: Acme <news@acme.example>\r\nTo: a@x.example, B <b@x.example>\r\nCc: c@x.example\r\nBcc: d@x.example\r\n"
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-SES-CONFIGURATION-SET: acme-set\r\nX-SES-TENANT: acme\r\n"
        b"X-SES-MESSAGE-TAGS: k=v, k2=v2\r\n\r\nHello\r\n"
    )
    ses.ses.send_email(Content={"Raw": {"Data": raw}})
    send = ses.events(wait_seconds=2)[0]
    assert send["mail"]["destination"] == ["a@x.example", "b@x.example", "c@x.example", "d@x.example"]
    assert send["mail"]["commonHeaders"]["subject"] == "Grüße"
    assert send["mail"]["tags"]["k2"] == ["v2"]
    (message,) = ses.admin("messages?tenant=acme")["messages"]
    assert base64.b64decode(message["content"]["Raw"]["Data"]) == raw


def test_parameters_win_over_raw_headers(ses: World) -> None:
    """What the call says about recipients, set and tags beats the headers of raw mail."""
    ses.ses.create_configuration_set(ConfigurationSetName="other")
    raw = (
        b"From: news@acme.example\nTo: a@x.example\nX-SES-CONFIGURATION-SET: other\n"
        b"X-SES-MESSAGE-TAGS: k=header\n\nHello\n"
    )
    ses.send("z@x.example", Content={"Raw": {"Data": raw}}, EmailTags=[{"Name": "k", "Value": "call"}])
    send = ses.events(wait_seconds=2)[0]
    assert send["mail"]["destination"] == ["z@x.example"]
    assert send["mail"]["tags"]["k"] == ["call"]
    assert send["mail"]["tags"]["ses:configuration-set"] == ["acme-set"]


def test_only_matching_enabled_destinations_hear(ses: World) -> None:
    """A set without destination, a disabled one and one for other types stay silent."""
    topic = {"TopicArn": ses.local.account.options.topic_arn}
    for name, enabled, kinds in (("off", False, ["SEND"]), ("bounces", True, ["BOUNCE"]), ("bare", False, [])):
        ses.ses.create_configuration_set(ConfigurationSetName=name)
        if kinds:
            ses.ses.create_configuration_set_event_destination(
                ConfigurationSetName=name,
                EventDestinationName="d",
                EventDestination={"Enabled": enabled, "MatchingEventTypes": kinds, "SnsDestination": topic},
            )
        ses.events()
        ses.send("bounce@simulator.amazonses.com", ConfigurationSetName=name, TenantName=None)
        assert ses.kinds() == (["Bounce"] if name == "bounces" else [])


@pytest.mark.parametrize(
    ("local_part", "kinds", "bounce"),
    [
        ("success", ["Send", "Delivery"], None),
        ("ooto", ["Send", "Delivery"], None),
        ("complaint", ["Send", "Delivery", "Complaint"], None),
        ("bounce", ["Send", "Bounce"], ("Permanent", "General")),
        ("suppressionlist", ["Send", "Bounce"], ("Permanent", "Suppressed")),
        ("bounce+any-label", ["Send", "Bounce"], ("Permanent", "General")),
        ("Success+label", ["Send", "Delivery"], None),
    ],
)
def test_mailbox_simulator(ses: World, local_part: str, kinds: list[str], bounce: tuple[str, str] | None) -> None:
    """Each simulator address does what SES documents, with labels and in any case of letters."""
    ses.send(f"{local_part}@simulator.amazonses.com")
    events = ses.events(wait_seconds=2)
    assert [event["eventType"] for event in events] == kinds
    if bounce:
        assert (events[1]["bounce"]["bounceType"], events[1]["bounce"]["bounceSubType"]) == bounce


def test_simulated_bounces_of_one_message_are_merged(ses: World) -> None:
    """Two bouncing recipients of one message come in one event, the delivered third in its own."""
    ses.send("bounce+1@simulator.amazonses.com", "bounce+2@simulator.amazonses.com", "success@simulator.amazonses.com")
    events = {event["eventType"]: event for event in ses.events(wait_seconds=2)}
    bounced = [each["emailAddress"] for each in events["Bounce"]["bounce"]["bouncedRecipients"]]
    assert bounced == ["bounce+1@simulator.amazonses.com", "bounce+2@simulator.amazonses.com"]
    assert events["Delivery"]["delivery"]["recipients"] == ["success@simulator.amazonses.com"]


def test_scripted_domains() -> None:
    """Fractions of a domain's recipients bounce and complain, by the seed; other domains follow the rule of *."""
    rules = (RecipientRule("rotten.example", bounce=0.3, complaint=0.1), RecipientRule("*", soft_bounce=1.0))
    runs = []
    for seed in (5, 5, 6):
        with world(recipients=rules, seed=seed) as ses:
            ses.sender()
            for batch in range(8):
                ses.send(*(f"u{batch}-{n}@Rotten.example" for n in range(50)))
            outcomes = [kind for each in ses.admin("messages")["messages"] for kind in each["outcomes"].values()]
            runs.append(outcomes)
            ses.events()
            ses.send("a@elsewhere.example")
            soft = ses.events()[1]["bounce"]
            assert (soft["bounceType"], soft["bounceSubType"]) == ("Transient", "General")
    assert runs[0] == runs[1] != runs[2]
    assert 80 <= runs[0].count("bounced") <= 160
    assert 10 <= runs[0].count("complained") <= 50


def test_delayed_events_come_when_due() -> None:
    """An event with a delay is not there before its time, and carries its own time."""
    with world(recipients=(RecipientRule("late.example", bounce=1.0, delay_seconds=0.3),)) as ses:
        ses.sender()
        ses.send("a@late.example")
        assert ses.kinds() == ["Send"]
        (bounce,) = ses.events(wait_seconds=3)
        assert bounce["eventType"] == "Bounce"
        assert bounce["bounce"]["timestamp"] > bounce["mail"]["timestamp"]


@pytest.mark.parametrize("subject", [b"a\xff\xe9b", b"=?unicode-escape?Q?=5Cud800?="])
def test_no_header_costs_an_event(ses: World, subject: bytes) -> None:
    """A raw mail whose subject is no text is told of all the same."""
    raw = b"From: news@acme.example\r\nTo: a@inbox.example\r\nSubject: " + subject + b"\r\n\r\nHello"
    ses.send("a@inbox.example", Content={"Raw": {"Data": raw}})
    assert ses.kinds() == ["Send", "Delivery"]
