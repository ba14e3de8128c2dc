"""Owns the CloudWatch operations on metrics: put data, get statistics and data (Metrics Insights too), list.

Leaves alarms to `neighbours.cloudwatch_alarms`. Refused: percentiles, metric math, resolutions below a minute.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import unsupported
from tenantry.emulator.neighbours.cloudwatch_alarms import Alarms
from tenantry.emulator.neighbours.insights import QueryError, is_query, read_query, run
from tenantry.emulator.neighbours.metrics import MINUTE, STATISTICS, Bucket, Metric, over, sorted_dimensions
from tenantry.emulator.neighbours.place import page_of, refused

DATA_MAX = 1_000
VALUES_MAX = 150
DIMENSIONS_MAX = 30
POINTS_MAX = 1_440
QUERIES_MAX = 500
LIST_MAX = 500
PAST_SECONDS, FUTURE_SECONDS = 14 * 86_400.0, 2 * 3_600.0
RECENT_SECONDS = 3 * 3_600


class CloudWatch(Alarms):
    """The metrics and alarms of one place."""

    def put_metric_data(self, params: Params, call: Call) -> Result:
        namespace, data = params["Namespace"], params.get("MetricData", [])
        if params.get("EntityMetricData"):
            raise unsupported("EntityMetricData in PutMetricData")
        if namespace.startswith("AWS/"):
            message = f"The value {namespace} for parameter Namespace is invalid: AWS/ is reserved."
            raise refused("InvalidParameterValueException", message)
        if len(data) > DATA_MAX:
            raise refused("InvalidParameterValueException", f"MetricData holds more than {DATA_MAX} entries.")
        made = [(datum, _bucket(datum, call.now)) for datum in data]
        for datum, bucket in made:
            at = datum["Timestamp"].timestamp() if "Timestamp" in datum else call.now
            metric = Metric(namespace, datum["MetricName"], sorted_dimensions(datum.get("Dimensions", ())))
            self.measure(metric, at, bucket, datum.get("Unit", "None"))
        self.wake(call.now)
        return None

    def measure(self, metric: Metric, at: float, bucket: Bucket, unit: str = "None") -> None:
        """Add to a metric, as SES does for its own; raise LimitExceeded when there are too many series. Then `wake` alarms."""
        if not self.metrics.add(metric, at, bucket, unit):
            raise refused("LimitExceededFault", "This local CloudWatch keeps no more metrics.")

    def get_metric_statistics(self, params: Params, call: Call) -> Result:
        if params.get("ExtendedStatistics"):
            raise unsupported("percentiles")
        wanted = params.get("Statistics", [])
        if not wanted:
            message = "Must specify either Statistics or ExtendedStatistics"
            raise refused("InvalidParameterCombinationException", message)
        period = _period(params["Period"])
        start, end = _range(params)
        if (end - start) / period > POINTS_MAX:
            message = f"You have requested more than {POINTS_MAX} datapoints; narrow the time or widen the period."
            raise refused("InvalidParameterCombinationException", message)
        start = start // period * period
        found = self.metrics.one(
            params["Namespace"], params["MetricName"], sorted_dimensions(params.get("Dimensions", ()))
        )
        buckets = over([found] if found else [], start, end, period)
        unit = found.unit if found else "None"
        if params.get("Unit", unit) != unit:
            buckets = {}
        points = [
            {"Timestamp": _time(at), "Unit": unit, **{name: bucket.statistic(name) for name in wanted}}
            for at, bucket in buckets.items()
        ]
        return {"Label": params["MetricName"], "Datapoints": points}

    def get_metric_data(self, params: Params, call: Call) -> Result:
        queries = params["MetricDataQueries"]
        if len(queries) > QUERIES_MAX:
            raise refused("ValidationException", f"At most {QUERIES_MAX} queries fit one call.")
        if len({query["Id"] for query in queries}) < len(queries):
            raise refused("ValidationException", "The values for parameter id in MetricDataQueries are not unique.")
        start, end = _range(params)
        is_oldest_first = params.get("ScanBy") == "TimestampAscending"
        results: list[dict[str, Any]] = []
        for query in queries:
            if query.get("ReturnData", True):
                results += self._results(query, start, end, is_oldest_first)
        return {"MetricDataResults": results, "Messages": []}

    def list_metrics(self, params: Params, call: Call) -> Result:
        filters = params.get("Dimensions", ())
        since = call.now - RECENT_SECONDS if params.get("RecentlyActive") else 0
        shown = [
            {"Namespace": namespace, "MetricName": name, "Dimensions": _listed(series.dimensions)}
            for namespace, name, series in self.metrics.all()
            if params.get("Namespace") in (None, namespace)
            and params.get("MetricName") in (None, name)
            and series.newest >= since
            and all(_has(dict(series.dimensions), each) for each in filters)
        ]
        page = page_of([str(index) for index in range(len(shown))], params.get("NextToken"), LIST_MAX)
        if page is None:
            raise refused("InvalidParameterValueException", "The value for parameter NextToken is invalid.")
        return {"Metrics": [shown[int(index)] for index in page[0]], "NextToken": page[1]}

    def _results(self, query: Params, start: int, end: int, is_oldest_first: bool) -> list[dict[str, Any]]:
        if ("MetricStat" in query) == ("Expression" in query):
            raise refused("ValidationException", "Exactly one of MetricStat and Expression must be given.")
        if "MetricStat" in query:
            stat = query["MetricStat"]
            metric, period = stat["Metric"], _period(stat["Period"])
            if stat["Stat"] not in STATISTICS:
                raise unsupported(f"the statistic {stat['Stat']}; known are {', '.join(STATISTICS)}")
            found = self.metrics.one(
                metric["Namespace"], metric["MetricName"], sorted_dimensions(metric.get("Dimensions", ()))
            )
            buckets = over([found] if found else [], start // period * period, end, period)
            values = {at: bucket.statistic(stat["Stat"]) for at, bucket in buckets.items()}
            return [_result(query, query.get("Label", metric["MetricName"]), values, is_oldest_first)]
        if not is_query(query["Expression"]):
            raise unsupported("metric math; Metrics Insights queries (SELECT ...) are here")
        period = _period(query.get("Period", MINUTE))
        try:
            rows, _ = run(read_query(query["Expression"]), self.metrics, start // period * period, end, period)
        except QueryError as error:
            raise refused("ValidationException", f"Error in expression '{query['Id']}': {error}") from None
        return [
            _result(query, row.label or query.get("Label", query["Id"]), row.values, is_oldest_first) for row in rows
        ]


def _bucket(datum: Params, now: float) -> Bucket:
    """Return what a datum says was measured, or refuse it."""
    given = [name for name in ("Value", "StatisticValues", "Values") if name in datum]
    if len(given) != 1:
        message = "The parameters Value, Values and StatisticValues exclude each other, and one must be given."
        raise refused("InvalidParameterCombinationException", message)
    if datum.get("StorageResolution", MINUTE) != MINUTE:
        raise unsupported("metrics of high resolution")
    if len(datum.get("Dimensions", ())) > DIMENSIONS_MAX:
        raise refused("InvalidParameterValueException", f"A metric has at most {DIMENSIONS_MAX} dimensions.")
    at = datum["Timestamp"].timestamp() if "Timestamp" in datum else now
    if not now - PAST_SECONDS <= at <= now + FUTURE_SECONDS:
        message = "The Timestamp must lie between two weeks before and two hours after now."
        raise refused("InvalidParameterValueException", message)
    if "StatisticValues" in datum:
        stats = datum["StatisticValues"]
        return Bucket(stats["SampleCount"], stats["Sum"], stats["Minimum"], stats["Maximum"])
    values: Sequence[float] = datum.get("Values", [datum.get("Value", 0.0)])
    counts: Sequence[float] = datum.get("Counts", [1.0] * len(values))
    if len(counts) != len(values) or not 1 <= len(values) <= VALUES_MAX:
        message = f"Values and Counts must be of one length, 1 to {VALUES_MAX}."
        raise refused("InvalidParameterValueException", message)
    if not all(abs(value) <= 2.0**360 for value in values):
        raise refused("InvalidParameterValueException", "A value is out of range.")
    total = sum(value * number for value, number in zip(values, counts, strict=True))
    return Bucket(sum(counts), total, min(values), max(values))


def _period(period: int) -> int:
    if period < MINUTE:
        raise unsupported("periods below a minute")
    if period % MINUTE:
        raise refused("InvalidParameterValueException", "The parameter Period must be a multiple of 60.")
    return period


def _range(params: Params) -> tuple[int, int]:
    start, end = (int(params[name].timestamp()) for name in ("StartTime", "EndTime"))
    if start >= end:
        message = "The parameter StartTime must be less than the parameter EndTime."
        raise refused("InvalidParameterValueException", message)
    return start, end


def _result(query: Params, label: str, values: Mapping[int, float], is_oldest_first: bool) -> dict[str, Any]:
    order = sorted(values, reverse=not is_oldest_first)
    return {
        "Id": query["Id"],
        "Label": label,
        "Timestamps": [_time(at) for at in order],
        "Values": [values[at] for at in order],
        "StatusCode": "Complete",
    }


def _has(dimensions: Mapping[str, str], wanted: Params) -> bool:
    return wanted["Name"] in dimensions and wanted.get("Value") in (None, dimensions[wanted["Name"]])


def _listed(dimensions: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in dimensions]


def _time(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)
