"""CloudWatch beside the local SES: metrics, Metrics Insights, alarms that judge by its clock, and what they tell."""

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.emulator.neighbours.alarms import ALARM, INSUFFICIENT, OK, Watched, evaluate
from tenantry.emulator.neighbours.insights import QueryError, read_query
from tenantry.emulator.neighbours.metrics import Bucket, Metric, Metrics
from tenantry.emulator.options import RecipientRule
from tests.e2e.running import until
from tests.emulator.neighbours.around import NOON, Around, around, refused

BOUNCES = (
    'SELECT MAX("Reputation.BounceRate") FROM SCHEMA("Mine", "ses:configuration-set")'
    ' GROUP BY "ses:configuration-set" ORDER BY MAX() DESC'
)
DATUM = {"MetricName": "x", "Value": 1.0}
SIMPLE = {
    "Namespace": "Mine", "MetricName": "Load", "Statistic": "Maximum", "Period": 60, "EvaluationPeriods": 1,
    "Threshold": 5.0, "ComparisonOperator": "GreaterThanThreshold",
}  # fmt: skip


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(NOON + seconds, UTC)


def put(watch: Any, value: float, name: str = "Load", **dimensions: str) -> None:
    rows = [
        {"Name": key.replace("_", "-").replace("ses-", "ses:", 1), "Value": each} for key, each in dimensions.items()
    ]
    watch.put_metric_data(Namespace="Mine", MetricData=[{"MetricName": name, "Value": value, "Dimensions": rows}])


def state(watch: Any, name: str) -> str:
    (found,) = watch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return str(found["StateValue"])


def minute(world: Around, watch: Any, name: str, wanted: str) -> None:
    """Let a minute pass, and wait until the alarm was looked at and is in this state."""
    world.hands.now += 60
    until(lambda: state(watch, name) == wanted)


def test_metrics_come_back_as_statistics(world: Around) -> None:
    """Values, arrays of values and sets of statistics add up within a period; a series is found by exact dimensions."""
    watch = world.client("cloudwatch")
    data: list[dict[str, Any]] = [
        {"MetricName": "Load", "Value": 4.0},
        {"MetricName": "Load", "Values": [1.0, 2.0], "Counts": [3.0, 1.0]},
        {"MetricName": "Load", "StatisticValues": {"SampleCount": 1, "Sum": 9, "Minimum": 9, "Maximum": 9}},
        {"MetricName": "Load", "Value": 100.0, "Dimensions": [{"Name": "Host", "Value": "a"}]},
        {"MetricName": "Load", "Value": 7.0, "Timestamp": at(-300)},
    ]
    watch.put_metric_data(Namespace="Mine", MetricData=data)
    names = ["SampleCount", "Sum", "Average", "Minimum", "Maximum"]
    asked = {"Namespace": "Mine", "MetricName": "Load", "Statistics": names, "Period": 60}
    found = watch.get_metric_statistics(StartTime=at(-60), EndTime=at(60), **asked)
    (point,) = found["Datapoints"]
    assert point["Timestamp"] == at(0)
    assert [point[name] for name in names] == [6.0, 18.0, 3.0, 1.0, 9.0]
    stat = {"Metric": {"Namespace": "Mine", "MetricName": "Load"}, "Period": 300, "Stat": "Sum"}
    query = [{"Id": "q", "MetricStat": stat}]
    (result,) = watch.get_metric_data(MetricDataQueries=query, StartTime=at(-600), EndTime=at(300))["MetricDataResults"]
    assert (result["Values"], result["Timestamps"]) == ([18.0, 7.0], [at(0), at(-300)])
    listed = watch.list_metrics(Namespace="Mine", Dimensions=[{"Name": "Host"}])["Metrics"]
    assert [each["Dimensions"] for each in listed] == [[{"Name": "Host", "Value": "a"}]]


def test_metrics_insights_groups_and_orders(world: Around) -> None:
    """One query yields the worst configuration sets first, each a series with its name as its label."""
    watch = world.client("cloudwatch")
    for name, rate in (("good", 0.01), ("bad", 0.2), ("worse", 0.3)):
        put(watch, rate, "Reputation.BounceRate", ses_configuration_set=name)
    put(watch, 0.9, "Reputation.BounceRate", ses_configuration_set="other", Host="x")
    query = [{"Id": "q", "Expression": f"{BOUNCES} LIMIT 2", "Period": 60}]
    found = watch.get_metric_data(MetricDataQueries=query, StartTime=at(0), EndTime=at(60))["MetricDataResults"]
    assert [(each["Label"], each["Values"]) for each in found] == [("worse", [0.3]), ("bad", [0.2])]


def test_an_alarm_goes_off_and_back_and_tells_a_topic(world: Around) -> None:
    """A value above the threshold for a minute makes ALARM, one below OK; the topic and the bus hear of each change."""
    watch, (url, queue_arn) = world.client("cloudwatch"), world.queue()
    sns, events = world.client("sns"), world.client("events")
    topic_arn = sns.create_topic(Name="ops")["TopicArn"]
    sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue_arn)
    second = world.queue("second")
    events.put_rule(Name="alarms", EventPattern='{"source": ["aws.cloudwatch"]}')
    events.put_targets(Rule="alarms", Targets=[{"Id": "q", "Arn": second[1]}])
    watch.put_metric_alarm(AlarmName="load", AlarmActions=[topic_arn], OKActions=[topic_arn], **SIMPLE)
    assert state(watch, "load") == INSUFFICIENT
    put(watch, 6.0)
    minute(world, watch, "load", ALARM)
    put(watch, 1.0)
    minute(world, watch, "load", OK)
    notices = [json.loads(body) for body in world.bodies(url)]
    assert [each["Subject"] for each in notices] == [
        'ALARM: "load" in US East (N. Virginia)',
        'OK: "load" in US East (N. Virginia)',
    ]
    message = json.loads(notices[0]["Message"])
    assert (message["OldStateValue"], message["NewStateValue"]) == (INSUFFICIENT, ALARM)
    assert message["Trigger"]["MetricName"] == "Load"
    assert "[6.0]" in message["NewStateReason"]
    on_bus = [json.loads(body) for body in world.bodies(second[0])]
    assert [each["detail"]["state"]["value"] for each in on_bus] == [ALARM, OK]
    assert {each["detail-type"] for each in on_bus} == {"CloudWatch Alarm State Change"}
    history = watch.describe_alarm_history(AlarmName="load", HistoryItemType="StateUpdate")["AlarmHistoryItems"]
    assert [each["HistorySummary"] for each in history] == [
        "Alarm updated from ALARM to OK",
        "Alarm updated from INSUFFICIENT_DATA to ALARM",
    ]
    world.hands.now += 180  # two periods more than asked for are looked at, as CloudWatch does
    minute(world, watch, "load", INSUFFICIENT)


def test_a_fleet_alarm_names_the_sets_that_breach(world: Around) -> None:
    """One alarm watches every configuration set: who breaches is a contributor, told by name, until it no longer does."""
    watch, (url, queue_arn) = world.client("cloudwatch"), world.queue()
    sns = world.client("sns")
    topic_arn = sns.create_topic(Name="ops")["TopicArn"]
    sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue_arn, Attributes={"RawMessageDelivery": "true"})
    watch.put_metric_alarm(
        AlarmName="fleet",
        Metrics=[{"Id": "q", "Expression": BOUNCES, "Period": 60}],
        EvaluationPeriods=1,
        Threshold=0.05,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        AlarmActions=[topic_arn],
    )
    for name, rate in (("good", 0.01), ("bad", 0.2), ("worse", 0.3)):
        put(watch, rate, "Reputation.BounceRate", ses_configuration_set=name)
    minute(world, watch, "fleet", ALARM)
    found = watch.describe_alarm_contributors(AlarmName="fleet")["AlarmContributors"]
    assert [each["ContributorAttributes"]["ses:configuration-set"] for each in found] == ["worse", "bad"]
    told = [json.loads(body) for body in world.bodies(url)]
    named = [
        each["AlarmContributorAttributes"]["ses:configuration-set"] for each in told if "AlarmContributorId" in each
    ]
    assert (named, len(told)) == (["worse", "bad"], 3)
    put(watch, 0.01, "Reputation.BounceRate", ses_configuration_set="worse")
    put(watch, 0.3, "Reputation.BounceRate", ses_configuration_set="bad")
    world.hands.now += 60
    until(lambda: len(watch.describe_alarm_contributors(AlarmName="fleet")["AlarmContributors"]) == 1)
    assert state(watch, "fleet") == ALARM


def test_a_state_set_by_hand_acts_and_is_undone_by_the_next_look(world: Around) -> None:
    """SetAlarmState runs the actions, unless they are switched off; the next evaluation decides anew."""
    watch, (url, queue_arn) = world.client("cloudwatch"), world.queue()
    sns = world.client("sns")
    topic_arn = sns.create_topic(Name="ops")["TopicArn"]
    sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue_arn)
    alarm = {**SIMPLE, "TreatMissingData": "notBreaching", "AlarmActions": [topic_arn]}
    watch.put_metric_alarm(AlarmName="load", Tags=[{"Key": "a", "Value": "b"}], **alarm)
    watch.set_alarm_state(AlarmName="load", StateValue="ALARM", StateReason="a drill")
    assert state(watch, "load") == ALARM
    assert len(world.bodies(url)) == 1
    minute(world, watch, "load", OK)
    watch.disable_alarm_actions(AlarmNames=["load"])
    watch.set_alarm_state(AlarmName="load", StateValue="ALARM", StateReason="a quiet drill")
    assert world.bodies(url) == []
    arn = watch.describe_alarms(StateValue="ALARM")["MetricAlarms"][0]["AlarmArn"]
    assert watch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    watch.delete_alarms(AlarmNames=["load"])
    assert watch.describe_alarms()["MetricAlarms"] == []
    assert refused(watch.delete_alarms, AlarmNames=["load"]) == "ResourceNotFound"


@pytest.mark.parametrize(
    ("operation", "params", "code"),
    [
        ("put_metric_data", {"Namespace": "AWS/SES", "MetricData": [DATUM]}, "InvalidParameterValue"),
        ("put_metric_data", {"Namespace": "M", "MetricData": [{"MetricName": "x"}]}, "InvalidParameterCombination"),
        ("put_metric_data", {"Namespace": "M", "MetricData": [{**DATUM, "Timestamp": at(-2e6)}]}, "InvalidParameterValue"),
        ("put_metric_data", {"Namespace": "M", "MetricData": [{**DATUM, "StorageResolution": 1}]}, "UnsupportedOperation"),
        ("put_metric_alarm", {"AlarmName": "a"}, "MissingParameter"),
        ("put_metric_alarm", {"AlarmName": "a", **SIMPLE, "ExtendedStatistic": "p99"}, "UnsupportedOperation"),
        ("put_metric_alarm", {"AlarmName": "a", **SIMPLE, "DatapointsToAlarm": 2}, "ValidationError"),
        ("put_metric_alarm", {"AlarmName": "a", **SIMPLE, "OKActions": ["arn:aws:lambda:x:1:f:f"]}, "UnsupportedOperation"),
        ("put_metric_alarm", {"AlarmName": "a", "Metrics": [{"Id": "q", "Expression": "SELECT 1"}], "EvaluationPeriods": 1,
         "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold"}, "ValidationError"),
        ("put_composite_alarm", {"AlarmName": "a", "AlarmRule": "TRUE"}, "UnsupportedOperation"),
        ("describe_alarm_contributors", {"AlarmName": "none"}, "ResourceNotFound"),
        ("set_alarm_state", {"AlarmName": "none", "StateValue": "OK", "StateReason": "x"}, "ResourceNotFound"),
        ("put_dashboard", {"DashboardName": "d", "DashboardBody": "{}"}, "UnsupportedOperation"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(world: Around, operation: str, params: dict[str, Any], code: str) -> None:
    """Wrong parameters have CloudWatch's codes; what is not here is refused loudly."""
    assert refused(getattr(world.client("cloudwatch"), operation), **params) == code


def watched(periods: int, points: int, missing: str) -> Watched:
    return Watched(
        namespace="N", metric="m", dimensions=(), statistic="Maximum", query=None, period=60, periods=periods,
        points_to_alarm=points, threshold=1.0, comparison="GreaterThanThreshold", missing=missing,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("points", "missing", "breaching", "not_breaching", "ignore"),
    [
        ("0-X-X", OK, OK, OK, OK),
        ("0----", OK, OK, OK, OK),
        ("-----", INSUFFICIENT, ALARM, OK, None),
        ("0XX-X", ALARM, ALARM, ALARM, ALARM),
        ("--X--", ALARM, ALARM, OK, None),
    ],
)
def test_missing_points_are_treated_as_documented(
    points: str, missing: str, breaching: str, not_breaching: str, ignore: str | None
) -> None:
    """The table of the guide for 3 of 3 datapoints, in all four treatments (X breaches, 0 does not, - is missing)."""
    metrics = Metrics()
    for index, mark in enumerate(points):
        if mark != "-":
            value = 2.0 if mark == "X" else 0.0
            metrics.add(Metric("N", "m"), NOON - 60 * (len(points) - index), Bucket(1, value, value, value))
    wanted = {"missing": missing, "breaching": breaching, "notBreaching": not_breaching, "ignore": ignore}
    found = {each: evaluate(watched(3, 3, each), metrics, NOON).whole.state for each in wanted}
    assert found == wanted


def test_an_alarm_asks_for_m_out_of_n() -> None:
    """Two bad points of the last three are enough when two are asked for, and not when three are."""
    metrics = Metrics()
    for index, value in enumerate((2.0, 0.0, 2.0)):
        metrics.add(Metric("N", "m"), NOON - 60 * (3 - index), Bucket(1, value, value, value))
    assert evaluate(watched(3, 2, "missing"), metrics, NOON).whole.state == ALARM
    assert evaluate(watched(3, 3, "missing"), metrics, NOON).whole.state == OK


def test_a_series_forgets_what_is_older_than_it_may_be() -> None:
    """A series that is fed for longer than fifteen days stays as large as fifteen days."""
    metrics = Metrics()
    for day_minute in range(21_700):
        metrics.add(Metric("N", "m"), NOON + 60 * day_minute, Bucket(1, 1, 1, 1))
    series = metrics.one("N", "m", ())
    assert series is not None
    assert len(series.minutes) == 21_600
    assert min(series.minutes) == NOON + 60 * 100


WORDS = st.sampled_from([*BOUNCES.split(), "(", ")", ",", "=", "'x'", "LIMIT", "5", "WHERE"])


@given(st.text(max_size=40) | st.lists(WORDS, max_size=14).map(" ".join))
def test_no_query_breaks_its_reader(text: str) -> None:
    """Whatever is given as a query is read, or refused by its own error and no other."""
    with contextlib.suppress(QueryError):
        read_query(text)


def test_a_query_is_read_with_all_its_parts() -> None:
    """Quoted names, WHERE, GROUP BY, ORDER BY and LIMIT mean what the guide says."""
    query = read_query(
        """select avg("a.b") from SCHEMA("AWS/SES", x, "y z") WHERE x = 'v' AND "y z" != 'w' GROUP BY x ORDER BY SUM() LIMIT 7"""
    )
    assert (query.function, query.metric, query.namespace, query.labels) == ("AVG", "a.b", "AWS/SES", ("x", "y z"))
    assert query.where == (("x", True, "v"), ("y z", False, "w"))
    assert (query.group_by, query.order_by, query.is_descending, query.limit) == (("x",), "SUM", False, 7)


def test_ses_publishes_its_reputation_and_an_alarm_on_it_goes_off() -> None:
    """Hard bounces make SES's own metrics: of the account, of the set that asks for it, and of the tenant."""
    rules = (RecipientRule("rotten.example", bounce=1.0),)
    with around(still=True, recipients=rules) as world:
        watch, ses = world.client("cloudwatch"), world.client("sesv2")
        ses.create_email_identity(EmailIdentity="acme.example")
        tenant = ses.create_tenant(TenantName="acme")
        for name, is_watched in (("seen", True), ("unseen", False)):
            ses.create_configuration_set(
                ConfigurationSetName=name, ReputationOptions={"ReputationMetricsEnabled": is_watched}
            )
            resources = (f"configuration-set/{name}", "identity/acme.example")
            for each in resources[: 2 if is_watched else 1]:
                arn = f"arn:aws:ses:us-east-1:123456789012:{each}"
                ses.create_tenant_resource_association(TenantName="acme", ResourceArn=arn)
            for domain in ("good", "good", "good", "rotten"):
                ses.send_email(
                    FromEmailAddress="a@acme.example",
                    Destination={"ToAddresses": [f"{name}@{domain}.example"]},
                    Content={"Simple": {"Subject": {"Data": "x"}, "Body": {"Text": {"Data": "x"}}}},
                    ConfigurationSetName=name,
                    TenantName="acme",
                )
        watch.put_metric_alarm(
            AlarmName="account", Namespace="AWS/SES", MetricName="Reputation.BounceRate", Statistic="Maximum", Period=300,
            EvaluationPeriods=1, Threshold=0.1, ComparisonOperator="GreaterThanThreshold", TreatMissingData="ignore",
        )  # fmt: skip
        world.hands.now += 301
        until(lambda: state(watch, "account") == ALARM)
        shown = {
            tuple(sorted(row["Value"] for row in each["Dimensions"])): each["MetricName"]
            for each in watch.list_metrics(Namespace="AWS/SES")["Metrics"]
            if "Bounce" in each["MetricName"]
        }
        ids = tuple(sorted(("acme", tenant["TenantId"])))
        assert shown == {(): "Reputation.BounceRate", ("seen",): "Reputation.BounceRate", ids: "Bounces"}
        asked = {
            "Namespace": "AWS/SES",
            "MetricName": "Reputation.BounceRate",
            "Period": 300,
            "Statistics": ["Maximum"],
        }
        (point,) = watch.get_metric_statistics(StartTime=at(0), EndTime=at(600), **asked)["Datapoints"]
        assert point["Maximum"] == 0.25
