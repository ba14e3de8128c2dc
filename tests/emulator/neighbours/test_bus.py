"""EventBridge beside the local SES: rules, targets, and what SES puts on the bus."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.emulator.neighbours.pattern import matches, pattern_fault
from tenantry.emulator.neighbours.ses_events import STATUS_DISABLED, status_detail
from tests.emulator.neighbours.around import ACCOUNT, REGION, Around, refused

MAIL = {"Simple": {"Subject": {"Data": "x"}, "Body": {"Text": {"Data": "x"}}}}


def rule(world: Around, pattern: dict[str, Any], **target: Any) -> tuple[Any, str]:
    """Make a rule with one queue as its target; return the client and the queue's URL."""
    events, (url, arn) = world.client("events"), world.queue()
    events.put_rule(Name="r", EventPattern=json.dumps(pattern))
    answer = events.put_targets(Rule="r", Targets=[{"Id": "t", "Arn": arn, **target}])
    assert answer["FailedEntryCount"] == 0
    return events, url


def test_events_that_fit_a_rule_reach_its_target(world: Around) -> None:
    """An event of a caller arrives whole if it fits, and not if it does not; bad entries fail one by one."""
    events, url = rule(world, {"source": ["my.app"], "detail": {"kind": ["a"]}})
    entries: list[dict[str, Any]] = [
        {"Source": "my.app", "DetailType": "Thing", "Detail": '{"kind": "a"}', "Resources": ["arn:aws:x:::y"]},
        {"Source": "my.app", "DetailType": "Thing", "Detail": '{"kind": "b"}'},
        {"Source": "my.app", "DetailType": "Thing", "Detail": "no json"},
        {"Source": "aws.ses", "DetailType": "Thing", "Detail": "{}"},
        {"Source": "my.app", "Detail": "{}"},
    ]
    answer = events.put_events(Entries=entries)
    assert answer["FailedEntryCount"] == 3
    codes = [each.get("ErrorCode") for each in answer["Entries"]]
    assert codes == [None, None, "MalformedDetail", "NotAuthorizedForSourceException", "InvalidArgument"]
    (body,) = world.bodies(url)
    assert json.loads(body) == {
        "version": "0",
        "id": answer["Entries"][0]["EventId"],
        "detail-type": "Thing",
        "source": "my.app",
        "account": ACCOUNT,
        "time": "2026-06-01T12:00:00Z",
        "region": REGION,
        "resources": ["arn:aws:x:::y"],
        "detail": {"kind": "a"},
    }


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ({"Input": '{"fixed": 1}'}, '{"fixed": 1}'),
        ({"InputPath": "$.detail.list[1]"}, '{"a":2}'),
        (
            {
                "InputTransformer": {
                    "InputPathsMap": {"name": "$.detail.name", "list": "$.detail.list"},
                    "InputTemplate": '{"who": "is <name>", "all": <list>}',
                }
            },
            '{"who": "is \\"Bob\\"", "all": [1,{"a":2}]}',
        ),
    ],
)
def test_a_target_gets_what_it_asked_for(world: Around, target: dict[str, Any], text: str) -> None:
    """A constant, a part, or a text made of parts replaces the event."""
    events, url = rule(world, {"source": ["my.app"]}, **target)
    detail = json.dumps({"name": '"Bob"', "list": [1, {"a": 2}]})
    events.put_events(Entries=[{"Source": "my.app", "DetailType": "T", "Detail": detail}])
    assert world.bodies(url) == [text]


def test_rules_are_listed_described_stopped_and_deleted(world: Around) -> None:
    """A stopped rule lets nothing through; a rule with targets cannot be deleted; one without can, twice."""
    events, url = rule(world, {"source": ["my.app"]})
    arn = f"arn:aws:events:{REGION}:{ACCOUNT}:rule/r"
    assert events.describe_rule(Name="r")["Arn"] == arn
    assert [each["Name"] for each in events.list_rules(NamePrefix="r")["Rules"]] == ["r"]
    assert events.list_targets_by_rule(Rule="r")["Targets"][0]["Id"] == "t"
    assert events.list_rule_names_by_target(TargetArn=f"arn:aws:sqs:{REGION}:{ACCOUNT}:inbox")["RuleNames"] == ["r"]
    events.tag_resource(ResourceARN=arn, Tags=[{"Key": "a", "Value": "b"}])
    assert events.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    events.disable_rule(Name="r")
    events.put_events(Entries=[{"Source": "my.app", "DetailType": "T", "Detail": "{}"}])
    assert world.bodies(url) == []
    events.enable_rule(Name="r")
    assert refused(events.delete_rule, Name="r") == "ValidationException"
    assert events.remove_targets(Rule="r", Ids=["t", "none"])["FailedEntries"][0]["TargetId"] == "none"
    for _ in range(2):
        events.delete_rule(Name="r")
    assert refused(events.describe_rule, Name="r") == "ResourceNotFoundException"
    assert [each["Name"] for each in events.list_event_buses()["EventBuses"]] == ["default"]


@pytest.mark.parametrize(
    ("operation", "params", "code"),
    [
        ("put_rule", {"Name": "x", "EventPattern": "{}"}, "InvalidEventPatternException"),
        ("put_rule", {"Name": "x", "EventPattern": '{"source": "a"}'}, "InvalidEventPatternException"),
        ("put_rule", {"Name": "x", "EventPattern": '{"source": [{"like": "a"}]}'}, "InvalidEventPatternException"),
        ("put_rule", {"Name": "x", "ScheduleExpression": "rate(1 day)"}, "UnsupportedOperation"),
        ("put_rule", {"Name": "bad name", "EventPattern": '{"source": ["a"]}'}, "ValidationException"),
        ("put_rule", {"Name": "x", "EventPattern": '{"source": ["a"]}', "EventBusName": "other"}, "ResourceNotFoundException"),
        ("put_targets", {"Rule": "r", "Targets": [{"Id": "f", "Arn": "arn:aws:lambda:x:1:function:f"}]}, "UnsupportedOperation"),
        ("put_targets", {"Rule": "none", "Targets": [{"Id": "f", "Arn": "arn:aws:sqs:x:1:q"}]}, "ResourceNotFoundException"),
        ("create_event_bus", {"Name": "mine"}, "UnsupportedOperation"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(world: Around, operation: str, params: dict[str, Any], code: str) -> None:
    """Wrong rules and targets have EventBridge's codes; what is not here is refused loudly."""
    events, _ = rule(world, {"source": ["my.app"]})
    assert refused(getattr(events, operation), **params) == code


def test_ses_puts_its_message_events_on_the_bus(world: Around) -> None:
    """An EventBridge destination makes events with SES's detail-types, which rules to queues and topics see."""
    events, url = rule(world, {"source": ["aws.ses"], "detail-type": [{"prefix": "Email "}]})
    sns, second = world.client("sns"), world.queue("second")
    topic_arn = sns.create_topic(Name="t")["TopicArn"]
    sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=second[1], Attributes={"RawMessageDelivery": "true"})
    events.put_targets(Rule="r", Targets=[{"Id": "topic", "Arn": topic_arn}])
    ses = world.client("sesv2")
    ses.create_email_identity(EmailIdentity="acme.example")
    ses.create_configuration_set(ConfigurationSetName="set")
    bus = {"EventBusArn": f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default"}
    destination = {"Enabled": True, "MatchingEventTypes": ["SEND", "BOUNCE"], "EventBridgeDestination": bus}
    ses.create_configuration_set_event_destination(
        ConfigurationSetName="set", EventDestinationName="bus", EventDestination=destination
    )
    to = {"ToAddresses": ["bounce@simulator.amazonses.com"]}
    sent = ses.send_email(FromEmailAddress="a@acme.example", Destination=to, Content=MAIL, ConfigurationSetName="set")
    found = [json.loads(body) for body in world.bodies(url)]
    assert [each["detail-type"] for each in found] == ["Email Sent", "Email Bounced"]
    assert {each["detail"]["mail"]["messageId"] for each in found} == {sent["MessageId"]}
    assert [json.loads(body)["id"] for body in world.bodies(second[0])] == [each["id"] for each in found]


def test_a_tenants_status_is_told_as_ses_tells_it(world: Around) -> None:
    """The event of a stopped tenant names it, its cause and origin, and its time as an array."""
    _, url = rule(world, {"source": ["aws.ses"], "detail": {"data": {"origin": ["AWS_MANAGED"]}}})
    arn = f"arn:aws:ses:{REGION}:{ACCOUNT}:tenant/acme/tn-1"
    detail = status_detail("DISABLED", "too many bounces", "AWS_MANAGED", world.hands.now + 0.25)
    world.local.account.neighbours.announce(STATUS_DISABLED, detail, arn, world.hands.now)
    (body,) = world.bodies(url)
    event = json.loads(body)
    assert (event["detail-type"], event["resources"]) == ("Sending Status Disabled", [arn])
    assert event["detail"]["data"]["record"] == {
        "status": "DISABLED",
        "cause": "too many bounces",
        "lastUpdatedTimestamp": [2026, 6, 1, 12, 0, 0, 250_000_000],
    }


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ("a", "a", "A"),
        (1, 1, "1"),
        (True, True, 1),
        (None, None, ""),
        ({"prefix": "ab"}, "abc", "cab"),
        ({"prefix": {"equals-ignore-case": "AB"}}, "abc", "cab"),
        ({"suffix": ".com"}, "x.com", ".comx"),
        ({"equals-ignore-case": "Ab"}, "aB", "abc"),
        ({"anything-but": ["a", "b"]}, "c", "a"),
        ({"anything-but": {"prefix": "a"}}, "ba", "ab"),
        ({"anything-but": 3}, 4, 3),
        ({"numeric": [">", 0, "<=", 5]}, 5, 0),
        ({"cidr": "10.0.0.0/24"}, "10.0.0.255", "10.0.1.0"),
        ({"wildcard": "a*c*e"}, "abcde", "abcd"),
        ({"wildcard": r"a\*b"}, "a*b", "axb"),
        ({"exists": True}, "", None),
    ],
)  # fmt: skip
def test_each_operator_matches(condition: Any, yes: Any, no: Any) -> None:
    """Every operator of the guide says yes and no as the guide does; a missing field fits only its absence."""
    pattern = {"field": [condition]}
    assert pattern_fault(pattern) is None
    assert matches(pattern, {"field": yes})
    assert matches(pattern, {"field": ["zzz", yes]})
    assert not matches(pattern, {} if condition == {"exists": True} else {"field": no})
    assert matches({"field": [{"exists": False}]}, {"other": 1})


def test_alternatives_and_nested_lists_match() -> None:
    """`$or` needs one of its patterns; an object in a list is looked into."""
    pattern = {"$or": [{"a": [1]}, {"b": {"c": ["x"]}}]}
    assert matches(pattern, {"a": 1})
    assert matches(pattern, {"b": [{"c": "y"}, {"c": "x"}]})
    assert not matches(pattern, {"a": 2, "b": {"c": "y"}})


KEYS = st.sampled_from(
    ["a", "$or", "prefix", "suffix", "numeric", "exists", "anything-but", "cidr", "wildcard", "equals-ignore-case"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(pattern=JSON, event=st.dictionaries(st.sampled_from(["a", "$or", "prefix"]), JSON, max_size=3))
def test_no_pattern_breaks_the_matcher(pattern: Any, event: dict[str, Any]) -> None:
    """A pattern either has a fault that is told, or matches any event without an error."""
    if pattern_fault(pattern) is None:
        assert matches(pattern, event) in (True, False)
