"""Owns the CloudWatch operations on alarms, their evaluation every minute, and whom a change of state is told.

Leaves the judgement to `neighbours.alarms` and metrics to `neighbours.cloudwatch`. Actions go to topics; others are refused.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import unsupported
from tenantry.emulator.neighbours.alarm_config import read_alarm
from tenantry.emulator.neighbours.alarm_notice import (
    CONTRIBUTOR_DETAIL_TYPE,
    DETAIL_TYPE,
    event_detail,
    message,
    subject,
)
from tenantry.emulator.neighbours.alarms import (
    ALARM,
    CONTRIBUTORS_SHOWN,
    OK,
    Alarm,
    Contributor,
    Evaluation,
    Group,
    Judgement,
    evaluate,
)
from tenantry.emulator.neighbours.events import Events
from tenantry.emulator.neighbours.metrics import MINUTE, Metrics
from tenantry.emulator.neighbours.place import TAGS_MAX, Place, page_of, refused
from tenantry.emulator.neighbours.sns import Sns

ALARMS_MAX = 20_000
PAGE = 50
DELETE_MAX = 100
ACTIONS = {OK: "OKActions", ALARM: "AlarmActions", "INSUFFICIENT_DATA": "InsufficientDataActions"}


class Alarms:
    """The alarms of one place."""

    def __init__(self, place: Place, sns: Sns, events: Events) -> None:
        self.place = place
        self.metrics = Metrics()
        self._sns = sns
        self._events = events
        self.alarms: dict[str, Alarm] = {}
        self._next_at: float | None = None

    def put_metric_alarm(self, params: Params, call: Call) -> Result:
        name = params["AlarmName"]
        given, watched, tags = read_alarm(params)
        before = self.alarms.get(name)
        if before is None and len(self.alarms) >= ALARMS_MAX:
            raise refused("LimitExceededFault", f"There are {ALARMS_MAX} alarms already.")
        if before is not None:  # the state stays, everything else is written over; tags are not
            before.given, before.watched, before.configured_at = given, watched, call.now
            alarm = before
        else:
            arn = f"arn:aws:cloudwatch:{self.place.region}:{self.place.account_id}:alarm:{name}"
            alarm = Alarm(name, arn, given, watched, call.now, tags, updated_at=call.now, changed_at=call.now)
            self.alarms[name] = alarm
        word = "updated" if before else "created"
        self._remember(alarm, call.now, "ConfigurationUpdate", f'Alarm "{name}" {word}', data={"type": word.title()})
        alarm.is_awake = True
        self.wake(call.now)
        return None

    def describe_alarms(self, params: Params, call: Call) -> Result:
        if params.get("AlarmNames") and params.get("AlarmNamePrefix"):
            raise refused("ValidationException", "AlarmNames and AlarmNamePrefix exclude each other.")
        if "MetricAlarm" not in params.get("AlarmTypes", ["MetricAlarm"]):
            return {"MetricAlarms": [], "CompositeAlarms": []}
        names = set(params.get("AlarmNames", ())) or None
        found = [
            alarm.name
            for alarm in self.alarms.values()
            if (names is None or alarm.name in names)
            and alarm.name.startswith(params.get("AlarmNamePrefix", ""))
            and params.get("StateValue") in (None, alarm.state)
            and any(each.startswith(params.get("ActionPrefix", "")) for each in _actions(alarm) or [""])
        ]
        page = page_of(sorted(found), params.get("NextToken"), params.get("MaxRecords", PAGE))
        if page is None:
            raise refused("InvalidNextToken", "The next token is not valid.")
        shown = [_shown(self.alarms[name]) for name in page[0]]
        return {"MetricAlarms": shown, "CompositeAlarms": [], "NextToken": page[1]}

    def describe_alarms_for_metric(self, params: Params, call: Call) -> Result:
        dimensions = tuple(sorted((each["Name"], each["Value"]) for each in params.get("Dimensions", ())))
        wanted = (params["Namespace"], params["MetricName"], dimensions)
        found = [
            each
            for each in self.alarms.values()
            if each.watched.query is None
            and (each.watched.namespace, each.watched.metric, each.watched.dimensions) == wanted
            and params.get("Statistic") in (None, each.watched.statistic)
            and params.get("Period") in (None, each.watched.period)
        ]
        return {"MetricAlarms": [_shown(each) for each in found]}

    def describe_alarm_contributors(self, params: Params, call: Call) -> Result:
        alarm = self._alarm(params["AlarmName"])
        if not alarm.watched.is_fleet:
            raise refused("ValidationException", f"The alarm {alarm.name} has no contributors.")
        shown = [
            {
                "ContributorId": each.id,
                "ContributorAttributes": dict(each.group),
                "StateReason": each.reason[:1_023],
                "StateTransitionedTimestamp": each.since,
            }
            for each in list(alarm.contributors.values())[:CONTRIBUTORS_SHOWN]
        ]
        return {"AlarmContributors": shown}

    def describe_alarm_history(self, params: Params, call: Call) -> Result:
        name, kind = params.get("AlarmName"), params.get("HistoryItemType")
        start, end = (params[each].timestamp() if each in params else None for each in ("StartDate", "EndDate"))
        found = [
            item
            for alarm in self.alarms.values()
            if name in (None, alarm.name)
            for item in alarm.history
            if kind in (None, item["HistoryItemType"])
            and (start is None or item["Timestamp"] >= start)
            and (end is None or item["Timestamp"] <= end)
            and params.get("AlarmContributorId") in (None, item.get("AlarmContributorId"))
        ]
        found.sort(key=lambda item: item["Timestamp"], reverse=params.get("ScanBy") != "TimestampAscending")
        page = page_of(
            [str(index) for index in range(len(found))], params.get("NextToken"), params.get("MaxRecords", PAGE)
        )
        if page is None:
            raise refused("InvalidNextToken", "The next token is not valid.")
        return {"AlarmHistoryItems": [found[int(index)] for index in page[0]], "NextToken": page[1]}

    def delete_alarms(self, params: Params, call: Call) -> Result:
        names = params["AlarmNames"]
        if len(names) > DELETE_MAX:
            raise refused("ValidationException", f"At most {DELETE_MAX} alarms are deleted by one call.")
        if len(names) == 1:
            self._alarm(names[0])
        for name in names:
            self.alarms.pop(name, None)
        return None

    def set_alarm_state(self, params: Params, call: Call) -> Result:
        alarm = self._alarm(params["AlarmName"])
        alarm.reason_data = params.get("StateReasonData")
        self._change(alarm, params["StateValue"], params["StateReason"], call.now)
        alarm.is_awake = True
        self.wake(call.now)  # the next evaluation may undo it, as AWS says
        return None

    def enable_alarm_actions(self, params: Params, call: Call) -> Result:
        return self._switch(params, is_on=True)

    def disable_alarm_actions(self, params: Params, call: Call) -> Result:
        return self._switch(params, is_on=False)

    def tag_resource(self, params: Params, call: Call) -> Result:
        alarm = self._by_arn(params)
        tags = {**alarm.tags, **{tag["Key"]: tag["Value"] for tag in params["Tags"]}}
        if len(tags) > TAGS_MAX:
            raise refused("InvalidParameterValueException", f"A resource has at most {TAGS_MAX} tags.")
        alarm.tags = tags
        return None

    def untag_resource(self, params: Params, call: Call) -> Result:
        alarm = self._by_arn(params)
        for key in params["TagKeys"]:
            alarm.tags.pop(key, None)
        return None

    def list_tags_for_resource(self, params: Params, call: Call) -> Result:
        return {"Tags": [{"Key": key, "Value": value} for key, value in self._by_arn(params).tags.items()]}

    def next_due(self) -> float | None:
        """Return when alarms must be looked at next, or None while nothing could change one."""
        return self._next_at

    def wake(self, now: float) -> None:
        """Have alarms looked at again at the next full minute: data came, or one was changed."""
        self._wake_all()
        if self.alarms and self._next_at is None:
            self._next_at = (int(now) // MINUTE + 1) * MINUTE

    def _wake_all(self) -> None:
        for alarm in self.alarms.values():
            alarm.is_awake = True

    def evaluate_due(self, now: float) -> None:
        """Evaluate every alarm for each full minute that has come since the last time."""
        while self._next_at is not None and self._next_at <= now:
            at = self._next_at
            last = now // MINUTE * MINUTE
            awake = [alarm for alarm in self.alarms.values() if alarm.is_awake]
            for alarm in awake:
                self._evaluate(alarm, at)
            if any(alarm.is_awake for alarm in awake):
                self._next_at = at + MINUTE
            elif at < last:  # the clock jumped: what came meanwhile is newer than what was looked at
                self._next_at = last
                self._wake_all()
            else:
                self._next_at = None

    def _evaluate(self, alarm: Alarm, at: float) -> None:
        found = evaluate(alarm.watched, self.metrics, at)
        alarm.updated_at, alarm.is_partial = at, found.is_partial
        if alarm.watched.is_fleet:
            self._contribute(alarm, found, at)
        judged = found.whole
        if judged.state is not None and judged.state != alarm.state:
            alarm.reason_data = _reason_data(alarm, judged, at)
            self._change(alarm, judged.state, judged.reason, at)
        elif judged.state is not None:
            alarm.reason = judged.reason
        alarm.is_awake = found.has_data

    def _contribute(self, alarm: Alarm, found: Evaluation, at: float) -> None:
        """Move series into ALARM and out of it; a series that the query no longer returns is OK."""
        for group, judged in found.series.items():
            if judged.state == ALARM and group not in alarm.contributors:
                made = Contributor(_contributor_id(group), group, judged.reason, at)
                alarm.contributors[group] = made
                self._tell_contributor(alarm, made, OK, at)
            elif judged.state == ALARM:
                alarm.contributors[group].reason = judged.reason
        for group in list(alarm.contributors):
            judged_now = found.series.get(group)
            if judged_now is None or judged_now.state == OK:
                gone = alarm.contributors.pop(group)
                gone.reason = judged_now.reason if judged_now else "The query no longer returns this time series."
                self._tell_contributor(alarm, gone, ALARM, at)

    def _change(self, alarm: Alarm, state: str, reason: str, at: float) -> None:
        before, why = alarm.state, alarm.reason
        alarm.state, alarm.reason, alarm.updated_at = state, reason, at
        if state == before:
            return
        data = {"oldState": {"stateValue": before}, "newState": {"stateValue": state, "stateReason": reason}}
        self._remember(alarm, at, "StateUpdate", f"Alarm updated from {before} to {state}", data=data)
        self._events.tell(
            DETAIL_TYPE, at, lambda: event_detail(alarm, (before, why), at), [alarm.arn], source="aws.cloudwatch"
        )
        alarm.changed_at = at
        self._act(alarm, state, at, message(alarm, before, (self.place.account_id, self.place.region), at))

    def _tell_contributor(self, alarm: Alarm, contributor: Contributor, before: str, at: float) -> None:
        state = ALARM if before == OK else OK
        data = {
            "oldState": {"stateValue": before},
            "newState": {"stateValue": state, "stateReason": contributor.reason},
        }
        summary = f"Alarm contributor updated from {before} to {state}"
        self._remember(alarm, at, "AlarmContributorStateUpdate", summary, data=data, contributor=contributor)
        self._events.tell(
            CONTRIBUTOR_DETAIL_TYPE,
            at,
            lambda: event_detail(alarm, (before, ""), at, contributor),
            [alarm.arn],
            source="aws.cloudwatch",
        )
        self._act(alarm, state, at, message(alarm, before, (self.place.account_id, self.place.region), at, contributor))

    def _act(self, alarm: Alarm, state: str, at: float, text: str) -> None:
        if not alarm.given.get("ActionsEnabled", True):
            return
        for arn in alarm.given.get(ACTIONS[state], ()):
            done = self._sns.tell(arn, at, lambda: text, subject(alarm, state, self.place.region))
            word, state_word = ("Successfully executed", "Succeeded") if done else ("Failed to execute", "Failed")
            self._remember(alarm, at, "Action", f"{word} action {arn}", data={"actionState": state_word})

    def _remember(
        self,
        alarm: Alarm,
        at: float,
        kind: str,
        summary: str,
        *,
        data: Mapping[str, Any],
        contributor: Contributor | None = None,
    ) -> None:
        item: dict[str, Any] = {
            "AlarmName": alarm.name,
            "AlarmType": "MetricAlarm",
            "Timestamp": at,
            "HistoryItemType": kind,
            "HistorySummary": summary,
            "HistoryData": json.dumps({"version": "1.0", **data})[:4_095],
        }
        if contributor is not None:
            item |= {
                "AlarmContributorId": contributor.id,
                "AlarmContributorAttributes": dict(contributor.group),
            }
        alarm.history.append(item)

    def _switch(self, params: Params, *, is_on: bool) -> Result:
        for name in params["AlarmNames"]:
            if alarm := self.alarms.get(name):
                alarm.given["ActionsEnabled"] = is_on
        return None

    def _alarm(self, name: str) -> Alarm:
        if found := self.alarms.get(name):
            return found
        raise refused("ResourceNotFound", f"There is no alarm {name}.", 404)

    def _by_arn(self, params: Params) -> Alarm:
        arn = params["ResourceARN"]
        if ":alarm:" not in arn:
            raise unsupported("tags of other CloudWatch resources than alarms")
        found = self.alarms.get(arn.partition(":alarm:")[2])
        if found is None or found.arn != arn:
            raise refused("ResourceNotFoundException", f"There is no {arn}.", 404)
        return found


def _actions(alarm: Alarm) -> list[str]:
    return [arn for kind in ACTIONS.values() for arn in alarm.given.get(kind, ())]


def _contributor_id(group: Group) -> str:
    return hashlib.sha256(repr(group).encode()).hexdigest()[:16]


def _reason_data(alarm: Alarm, judged: Judgement, at: float) -> str:
    watched = alarm.watched
    values: Iterable[float] = (value for _, value in judged.points)
    return json.dumps(
        {
            "version": "1.0",
            "queryDate": at,
            "statistic": watched.statistic,
            "period": watched.period,
            "recentDatapoints": list(values),
            "threshold": watched.threshold,
        }
    )


def _shown(alarm: Alarm) -> dict[str, Any]:
    return {
        **alarm.given,
        "AlarmName": alarm.name,
        "AlarmArn": alarm.arn,
        "AlarmConfigurationUpdatedTimestamp": alarm.configured_at,
        "StateValue": alarm.state,
        "StateReason": alarm.reason[:1_023],
        "StateReasonData": alarm.reason_data,
        "StateUpdatedTimestamp": alarm.updated_at,
        "StateTransitionedTimestamp": alarm.changed_at,
        "EvaluationState": "PARTIAL_DATA" if alarm.is_partial else None,
    }
