"""Owns EventBridge's default bus: rules, targets, and the events of callers, of SES and of its tenants that pass them.

Leaves the matching to `neighbours.pattern` and a target's text to `neighbours.event_text`. Other buses, schedules and
targets that are neither queue nor topic are refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import unsupported
from tenantry.emulator.neighbours.event_text import Event, target_fault, target_text
from tenantry.emulator.neighbours.pattern import matches, pattern_fault
from tenantry.emulator.neighbours.place import TAGS_MAX, Place, json_object, page_of, refused
from tenantry.emulator.neighbours.queue import Entry
from tenantry.emulator.neighbours.sns import Sns

BUS = "default"
RULES_MAX = 300
TARGETS_MAX = 5
PAGE = 100
ENTRY_SIZE_MAX = 1_048_576


@dataclass(slots=True)
class Rule:
    """A rule of the default bus."""

    name: str
    arn: str
    text: str
    pattern: dict[str, Any]
    is_enabled: bool
    state: str
    description: str | None
    role_arn: str | None
    tags: dict[str, str]
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)


class Events:
    """The event bus of one place."""

    def __init__(self, place: Place, sns: Sns) -> None:
        self.place = place
        self._sns = sns
        self.rules: dict[str, Rule] = {}

    def put_rule(self, params: Params, call: Call) -> Result:
        name, tags = params["Name"], {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}
        self._check_bus(params)
        if params.get("ScheduleExpression"):
            raise unsupported("EventBridge schedules; rules with an event pattern are here")
        text = params.get("EventPattern", "")
        if not text:
            raise refused("ValidationException", "Parameter(s) EventPattern or ScheduleExpression must be specified.")
        pattern = _pattern(text)
        before = self.rules.get(name)
        if before is None and len(self.rules) >= RULES_MAX:
            raise refused("LimitExceededException", "The requested resource exceeds the maximum number allowed.")
        if len(tags) > TAGS_MAX:
            raise refused("ValidationException", "Too many tags.")
        state = params.get("State", "ENABLED")
        self.rules[name] = Rule(
            name=name,
            arn=self.place.arn("events", f"rule/{name}"),
            text=text,
            pattern=pattern,
            is_enabled=state != "DISABLED",
            state=state,
            description=params.get("Description"),
            role_arn=params.get("RoleArn"),
            tags=before.tags if before else tags,  # an update ignores tags
            targets=before.targets if before else {},
        )
        return {"RuleArn": self.rules[name].arn}

    def describe_rule(self, params: Params, call: Call) -> Result:
        return _shown(self._rule(params))

    def list_rules(self, params: Params, call: Call) -> Result:
        self._check_bus(params)
        prefix = params.get("NamePrefix", "")
        names, token = _page([name for name in self.rules if name.startswith(prefix)], params)
        return {"Rules": [_shown(self.rules[name]) for name in names], "NextToken": token}

    def enable_rule(self, params: Params, call: Call) -> Result:
        rule = self._rule(params)
        rule.is_enabled, rule.state = True, "ENABLED"
        return None

    def disable_rule(self, params: Params, call: Call) -> Result:
        rule = self._rule(params)
        rule.is_enabled, rule.state = False, "DISABLED"
        return None

    def delete_rule(self, params: Params, call: Call) -> Result:
        self._check_bus(params)
        rule = self.rules.get(params["Name"])
        if rule is not None and rule.targets:
            raise refused("ValidationException", "Rule can't be deleted since it has targets.")
        self.rules.pop(params["Name"], None)
        return None

    def put_targets(self, params: Params, call: Call) -> Result:
        rule = self._rule(params, "Rule")
        ids = {target["Id"] for target in params["Targets"]}
        if len(rule.targets.keys() | ids) > TARGETS_MAX:
            raise refused("LimitExceededException", f"A rule has at most {TARGETS_MAX} targets.")
        for target in params["Targets"]:
            self._check_target(target)
        rule.targets |= {target["Id"]: dict(target) for target in params["Targets"]}
        return {"FailedEntryCount": 0, "FailedEntries": []}

    def remove_targets(self, params: Params, call: Call) -> Result:
        rule = self._rule(params, "Rule")
        failed = []
        for name in params["Ids"]:
            if rule.targets.pop(name, None) is None:
                message = f"Rule {rule.name} does not have a target with the Id {name}."
                failed.append({"TargetId": name, "ErrorCode": "ResourceNotFoundException", "ErrorMessage": message})
        return {"FailedEntryCount": len(failed), "FailedEntries": failed}

    def list_targets_by_rule(self, params: Params, call: Call) -> Result:
        rule = self._rule(params, "Rule")
        ids, token = _page(list(rule.targets), params)
        return {"Targets": [rule.targets[name] for name in ids], "NextToken": token}

    def list_rule_names_by_target(self, params: Params, call: Call) -> Result:
        self._check_bus(params)
        arn = params["TargetArn"]
        rules = [each for each in self.rules.values() if any(one["Arn"] == arn for one in each.targets.values())]
        names, token = _page([rule.name for rule in rules], params)
        return {"RuleNames": names, "NextToken": token}

    def put_events(self, params: Params, call: Call) -> Result:
        if params.get("EndpointId"):
            raise unsupported("EventBridge's global endpoints")
        results = [self._put(entry, call) for entry in params["Entries"]]
        return {"FailedEntryCount": sum("ErrorCode" in each for each in results), "Entries": results}

    def test_event_pattern(self, params: Params, call: Call) -> Result:
        event = json_object(params["Event"])
        if event is None or {"id", "detail-type", "source", "account", "time", "region", "resources"} - event.keys():
            raise refused("ValidationException", "Parameter Event is not valid. Reason: it lacks fields of an event.")
        return {"Result": matches(_pattern(params["EventPattern"]), event)}

    def describe_event_bus(self, params: Params, call: Call) -> Result:
        self._check_bus({"EventBusName": params.get("Name", BUS)})
        return self._bus()

    def list_event_buses(self, params: Params, call: Call) -> Result:
        return {"EventBuses": [self._bus()] if BUS.startswith(params.get("NamePrefix", "")) else []}

    def tag_resource(self, params: Params, call: Call) -> Result:
        rule = self._by_arn(params)
        rule.tags |= {tag["Key"]: tag["Value"] for tag in params["Tags"]}
        return None

    def untag_resource(self, params: Params, call: Call) -> Result:
        rule = self._by_arn(params)
        for key in params["TagKeys"]:
            rule.tags.pop(key, None)
        return None

    def list_tags_for_resource(self, params: Params, call: Call) -> Result:
        return {"Tags": [{"Key": key, "Value": value} for key, value in self._by_arn(params).tags.items()]}

    def tell(
        self,
        detail_type: str,
        at: float,
        render: Callable[[], str],
        resources: Sequence[str] = (),
        source: str = "aws.ses",
    ) -> None:
        """Put an event of an AWS service on the bus; its detail is rendered only if some rule is there to see it."""
        if any(rule.is_enabled and rule.targets for rule in self.rules.values()):
            self._spread(self._event(detail_type, source, resources, render(), at))

    def _put(self, entry: Mapping[str, Any], call: Call) -> dict[str, str]:
        source, kind, detail = (entry.get(name, "") for name in ("Source", "DetailType", "Detail"))
        bus = entry.get("EventBusName", BUS)
        if not (source and kind and detail):
            missing = next(n for n, v in (("Source", source), ("DetailType", kind), ("Detail", detail)) if not v)
            return _failed(
                "InvalidArgument", f"Parameter {missing} is not valid. Reason: {missing} is a required argument."
            )
        if source.startswith("aws."):
            return _failed("NotAuthorizedForSourceException", "Not authorized for the source.")
        if bus not in (BUS, self.place.arn("events", f"event-bus/{BUS}")):
            raise unsupported("other event buses than the default one")
        if json_object(detail) is None:
            return _failed("MalformedDetail", "Detail is malformed.")
        if sum(len(text.encode()) for text in (source, kind, detail, *entry.get("Resources", ()))) > ENTRY_SIZE_MAX:
            return _failed("InvalidArgument", "Total size of the entry is over the limit.")
        at = entry["Time"].timestamp() if "Time" in entry else call.now
        event = self._event(kind, source, entry.get("Resources", ()), detail, at)
        self._spread(event)
        return {"EventId": event.id}

    def _event(self, kind: str, source: str, resources: Sequence[str], detail: str, at: float) -> Event:
        return Event(
            self.place.new_uuid(), kind, source, self.place.account_id, at, self.place.region, list(resources), detail
        )

    def _spread(self, event: Event) -> None:
        for rule in self.rules.values():
            if rule.is_enabled and rule.targets and matches(rule.pattern, event.value):
                for target in rule.targets.values():
                    self._hand(rule, target, event)

    def _hand(self, rule: Rule, target: Mapping[str, Any], event: Event) -> None:
        arn, text = target["Arn"], target_text(target, event, rule.arn)
        if arn.split(":")[2] == "sns":
            is_there = self._sns.tell(arn, event.at, lambda: text)
        else:
            group = target.get("SqsParameters", {}).get("MessageGroupId")
            entry = Entry(
                self.place.new_uuid(), event.at, lambda: text, system={"MessageGroupId": group} if group else None
            )
            is_there = self.place.put(arn, entry)
        if not is_there and (dead := target.get("DeadLetterConfig", {}).get("Arn")):
            self.place.put(dead, Entry(self.place.new_uuid(), event.at, lambda: text))

    def _check_target(self, target: Mapping[str, Any]) -> None:
        parts = target["Arn"].split(":")
        if len(parts) < 6 or parts[0] != "arn":
            raise refused("ValidationException", f"Parameter {target['Arn']} is not valid. Reason: no ARN of a target.")
        if parts[2] not in ("sqs", "sns") or parts[5].endswith(".fifo"):
            raise unsupported(f"EventBridge targets such as {target['Arn']}; standard queues and topics are here")
        if fault := target_fault(target):
            raise refused("ValidationException", fault)

    def _check_bus(self, params: Params) -> None:
        name = params.get("EventBusName", BUS)
        if name not in (BUS, self.place.arn("events", f"event-bus/{BUS}")):
            raise refused("ResourceNotFoundException", f"Event bus {name} does not exist.")

    def _rule(self, params: Params, key: str = "Name") -> Rule:
        self._check_bus(params)
        if found := self.rules.get(params[key]):
            return found
        raise refused("ResourceNotFoundException", f"Rule {params[key]} does not exist on EventBus {BUS}.")

    def _by_arn(self, params: Params) -> Rule:
        arn = params["ResourceARN"]
        found = self.rules.get(arn.rpartition("rule/")[2])
        if found is None or found.arn != arn:
            raise refused("ResourceNotFoundException", f"Resource {arn} does not exist.")
        return found

    def _bus(self) -> dict[str, str]:
        return {"Name": BUS, "Arn": self.place.arn("events", f"event-bus/{BUS}")}


def _pattern(text: str) -> dict[str, Any]:
    pattern = json_object(text)
    if pattern is None:
        raise refused("InvalidEventPatternException", "Event pattern is not valid. Reason: Filter is not an object")
    if fault := pattern_fault(pattern):
        raise refused("InvalidEventPatternException", f"Event pattern is not valid. Reason: {fault}")
    return pattern


def _page(names: list[str], params: Params) -> tuple[list[str], str | None]:
    page = page_of(names, params.get("NextToken"), params.get("Limit", PAGE))
    if page is None:
        raise refused("ValidationException", "Parameter NextToken is not valid.")
    return page


def _failed(code: str, message: str) -> dict[str, str]:
    return {"ErrorCode": code, "ErrorMessage": message}


def _shown(rule: Rule) -> dict[str, Any]:
    return {
        "Name": rule.name,
        "Arn": rule.arn,
        "EventPattern": rule.text,
        "State": rule.state,
        "Description": rule.description,
        "RoleArn": rule.role_arn,
        "EventBusName": BUS,
    }
