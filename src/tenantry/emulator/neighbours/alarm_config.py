"""Owns the reading of PutMetricAlarm: which alarms are possible here, which are wrong, and which are refused loudly.

Leaves what follows from an alarm to `neighbours.alarms`.
"""

from typing import Any

from tenantry.emulator.calls import Params
from tenantry.emulator.errors import unsupported
from tenantry.emulator.neighbours.alarms import Watched
from tenantry.emulator.neighbours.insights import Query, QueryError, is_query, read_query
from tenantry.emulator.neighbours.metrics import MINUTE, STATISTICS, sorted_dimensions
from tenantry.emulator.neighbours.place import refused

ACTIONS_MAX = 5
ELSEWHERE = (
    "ExtendedStatistic", "EvaluateLowSampleCountPercentile", "ThresholdMetricId", "EvaluationCriteria",
    "EvaluationInterval", "EvaluationWindow", "WarmUpConfiguration",
)  # fmt: skip
_SIMPLE = ("MetricName", "Namespace", "Statistic", "Dimensions", "Period", "Unit")
_COMPARISONS = (
    "GreaterThanOrEqualToThreshold", "GreaterThanThreshold", "LessThanThreshold", "LessThanOrEqualToThreshold",
)  # fmt: skip
_MISSING = ("breaching", "notBreaching", "ignore", "missing")


def read_alarm(params: Params) -> tuple[dict[str, Any], Watched, dict[str, str]]:
    """Return an alarm's configuration as the API shows it, what it watches, and its tags; or refuse it."""
    for name in ELSEWHERE:
        if name in params:
            raise unsupported(f"{name} in PutMetricAlarm")
    for name in ("EvaluationPeriods", "Threshold", "ComparisonOperator"):
        if name not in params:
            raise refused("MissingRequiredParameterException", f"The parameter {name} is required.")
    _check_actions(params)
    source = _of_query(params) if "Metrics" in params else _of_metric(params)
    periods = params["EvaluationPeriods"]
    points = params.get("DatapointsToAlarm", periods)
    if not 1 <= points <= periods:
        raise refused("ValidationException", "DatapointsToAlarm must be between 1 and EvaluationPeriods.")
    if source["period"] * periods > 86_400 * (7 if source["period"] >= 3_600 else 1):
        raise refused("ValidationException", "Metrics cannot be checked across so long a time.")
    comparison, missing = params["ComparisonOperator"], params.get("TreatMissingData", "missing")
    if comparison not in _COMPARISONS:
        raise unsupported(f"alarms of the kind {comparison}: there is no anomaly detection here")
    if missing not in _MISSING:
        raise refused("ValidationException", f"Option {missing} is not supported for TreatMissingData.")
    watched = Watched(
        **source,
        periods=periods,
        points_to_alarm=points,
        threshold=params["Threshold"],
        comparison=comparison,
        missing=missing,
    )
    tags = {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}
    given = {name: value for name, value in params.items() if name not in ("AlarmName", "Tags")}
    lists = {name: given.get(name, []) for name in ("OKActions", "AlarmActions", "InsufficientDataActions")}
    return {"ActionsEnabled": True, **given, **lists, "Dimensions": given.get("Dimensions", [])}, watched, tags


def _check_actions(params: Params) -> None:
    for name in ("OKActions", "AlarmActions", "InsufficientDataActions"):
        actions = params.get(name, [])
        if len(actions) > ACTIONS_MAX:
            raise refused("ValidationException", f"{name} has more than {ACTIONS_MAX} actions.")
        for arn in actions:
            if not arn.startswith("arn:") or arn.count(":") < 5:
                raise refused("ValidationException", f"Invalid arn syntax: {arn}")
            if not arn.startswith("arn:aws:sns:"):
                raise unsupported(f"alarm actions such as {arn}; SNS topics are here")


def _of_metric(params: Params) -> dict[str, Any]:
    for name in ("MetricName", "Namespace", "Statistic", "Period"):
        if name not in params:
            raise refused("MissingRequiredParameterException", f"The parameter {name} is required.")
    return {
        "namespace": params["Namespace"],
        "metric": params["MetricName"],
        "dimensions": sorted_dimensions(params.get("Dimensions", ())),
        "statistic": params["Statistic"],
        "query": None,
        "period": _period(params["Period"]),
    }


def _of_query(params: Params) -> dict[str, Any]:
    if any(name in params for name in _SIMPLE):
        raise refused("InvalidParameterCombinationException", "Metrics and a single metric exclude each other.")
    returned = [each for each in params["Metrics"] if each.get("ReturnData", True)]
    if len(returned) != 1:
        raise refused("ValidationException", "Exactly one element of the metrics list should return data.")
    if len(params["Metrics"]) > 1:
        raise unsupported("metric math in alarms; one metric or one Metrics Insights query is here")
    (row,) = returned
    if stat := row.get("MetricStat"):
        metric = stat["Metric"]
        if stat["Stat"] not in STATISTICS:
            raise unsupported(f"the statistic {stat['Stat']}; known are {', '.join(STATISTICS)}")
        return {
            "namespace": metric.get("Namespace", ""),
            "metric": metric.get("MetricName", ""),
            "dimensions": sorted_dimensions(metric.get("Dimensions", ())),
            "statistic": stat["Stat"],
            "query": None,
            "period": _period(stat["Period"]),
        }
    return {
        "namespace": "",
        "metric": "",
        "dimensions": (),
        "statistic": "Maximum",
        "query": _query(row),
        "period": _period(row.get("Period", MINUTE)),
    }


def _query(row: Params) -> Query:
    text = row.get("Expression", "")
    if not is_query(text):
        raise unsupported("metric math in alarms; one metric or one Metrics Insights query is here")
    try:
        return read_query(text)
    except QueryError as error:
        raise refused("ValidationException", f"Error in expression '{row['Id']}': {error}") from None


def _period(seconds: int) -> int:
    if seconds < MINUTE:
        raise unsupported("alarms with periods below a minute")
    if seconds % MINUTE:
        raise refused("ValidationException", "Period must be 10, 20, 30 or a multiple of 60.")
    return seconds
