"""Owns what CloudWatch tells of an alarm's change of state: the message to topics, and the event on the bus.

Leaves when that happens to `neighbours.cloudwatch_alarms`. The names of a contributor's members in the message to
topics are not documented with an example: the API's own names are used.
"""

import json
from datetime import UTC, datetime
from typing import Any

from tenantry.emulator.neighbours.alarms import Alarm, Contributor

DETAIL_TYPE = "CloudWatch Alarm State Change"
CONTRIBUTOR_DETAIL_TYPE = "CloudWatch Alarm Contributor State Change"
_REGIONS = {
    "us-east-1": "US East (N. Virginia)",
    "us-east-2": "US East (Ohio)",
    "us-west-2": "US West (Oregon)",
    "eu-west-1": "EU (Ireland)",
    "eu-central-1": "EU (Frankfurt)",
}


def subject(alarm: Alarm, state: str, region: str) -> str:
    """Return the subject of the message, cut to what SNS takes."""
    return f'{state}: "{alarm.name}" in {_REGIONS.get(region, region)}'[:100]


def message(
    alarm: Alarm, before: str, place: tuple[str, str], at: float, contributor: Contributor | None = None
) -> str:
    """Return the JSON text that topics get; `place` is account id and Region."""
    account, region = place
    given = alarm.given
    shown: dict[str, Any] = {
        "AlarmName": alarm.name,
        "AlarmDescription": given.get("AlarmDescription"),
        "AWSAccountId": account,
        "AlarmConfigurationUpdatedTimestamp": stamp(alarm.configured_at),
        "NewStateValue": alarm.state,
        "NewStateReason": alarm.reason,
        "StateChangeTime": stamp(at),
        "Region": _REGIONS.get(region, region),
        "AlarmArn": alarm.arn,
        "OldStateValue": before,
        "OKActions": given.get("OKActions", []),
        "AlarmActions": given.get("AlarmActions", []),
        "InsufficientDataActions": given.get("InsufficientDataActions", []),
        "Trigger": _trigger(alarm),
    }
    if contributor is not None:
        shown |= {
            "NewStateValue": "OK" if before == "ALARM" else "ALARM",
            "NewStateReason": contributor.reason,
            "AlarmContributorId": contributor.id,
            "AlarmContributorAttributes": dict(contributor.group),
        }
    return json.dumps(shown)


def event_detail(alarm: Alarm, before: tuple[str, str], at: float, contributor: Contributor | None = None) -> str:
    """Return the detail of the event on the bus; `before` is the state that it had, and why."""
    state, reason = alarm.state, alarm.reason
    if contributor is not None:
        state, reason = ("OK" if before[0] == "ALARM" else "ALARM"), contributor.reason
    shown: dict[str, Any] = {
        "alarmName": alarm.name,
        "state": {"value": state, "reason": reason, "timestamp": stamp(at)},
        "previousState": {"value": before[0], "reason": before[1], "timestamp": stamp(alarm.changed_at)},
        "configuration": {"description": alarm.given.get("AlarmDescription", "")},
    }
    if contributor is not None:
        shown["alarmContributor"] = {"id": contributor.id, "attributes": dict(contributor.group)}
    return json.dumps(shown)


def stamp(at: float) -> str:
    """Return a time as CloudWatch prints it."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment.isoformat(timespec='milliseconds')[:23]}+0000"


def _trigger(alarm: Alarm) -> dict[str, Any]:
    watched = alarm.watched
    shown: dict[str, Any] = {
        "Period": watched.period,
        "EvaluationPeriods": watched.periods,
        "DatapointsToAlarm": watched.points_to_alarm,
        "ComparisonOperator": watched.comparison,
        "Threshold": watched.threshold,
        "TreatMissingData": watched.missing,
        "EvaluateLowSampleCountPercentile": "",
    }
    if watched.query is not None:
        return {**shown, "Metrics": alarm.given.get("Metrics", [])}
    return {
        "MetricName": watched.metric,
        "Namespace": watched.namespace,
        "StatisticType": "Statistic",
        "Statistic": watched.statistic.upper(),
        "Unit": alarm.given.get("Unit"),
        "Dimensions": [{"value": value, "name": name} for name, value in watched.dimensions],
        **shown,
    }
