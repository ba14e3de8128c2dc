"""Owns CloudWatch's Metrics Insights: reading a query, and the series that it yields, grouped and in order.

Leaves the data to `neighbours.metrics`. Grammar: SELECT f(metric) FROM namespace | SCHEMA(...) [WHERE ...] [GROUP BY ...]
[ORDER BY f() [ASC | DESC]] [LIMIT n] (CloudWatch guide: Metrics Insights query components and syntax).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tenantry.emulator.neighbours.metrics import Bucket, Metrics, Series, over

SERIES_MAX = 500
FUNCTIONS = {"AVG": "Average", "COUNT": "SampleCount", "MAX": "Maximum", "MIN": "Minimum", "SUM": "Sum"}
_TOKEN = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|(!=|[(),=])|([A-Za-z0-9_./:*-]+))""")
_MARKS = frozenset({"(", ")", ",", "=", "!="})


class QueryError(ValueError):
    """A query that Metrics Insights would not take, and why."""


@dataclass(frozen=True, slots=True)
class Query:
    """A Metrics Insights query; `labels` of None: any dimensions; `where` pairs a label with (is equal, value)."""

    function: str
    metric: str
    namespace: str
    labels: tuple[str, ...] | None
    where: tuple[tuple[str, bool, str], ...]
    group_by: tuple[str, ...]
    order_by: str | None
    is_descending: bool
    limit: int


@dataclass(frozen=True, slots=True)
class Grouped:
    """One series of an answer: the values of its labels, and a value for each period that has data."""

    group: tuple[tuple[str, str], ...]
    values: dict[int, float]

    @property
    def label(self) -> str:
        """The label as CloudWatch shows it."""
        return " ".join(value for _, value in self.group)


def is_query(text: str) -> bool:
    """Is this expression a Metrics Insights query (rather than metric math)?"""
    return text.lstrip()[:6].upper() == "SELECT"


def read_query(text: str) -> Query:
    """Read a query; QueryError says what is wrong."""
    return _Reader(text).query()


def run(query: Query, metrics: Metrics, start: int, end: int, period: int) -> tuple[list[Grouped], bool]:
    """Return the series of a query over periods counted from start, and whether more matched than it may return."""
    groups: dict[tuple[tuple[str, str], ...], list[Series]] = {}
    for series in metrics.named(query.namespace, query.metric):
        if (group := _group_of(query, dict(series.dimensions))) is not None:
            groups.setdefault(group, []).append(series)
    found = []
    for group, members in groups.items():
        buckets = over(members, start, end, period)
        if buckets:
            found.append((_rank(query, buckets), Grouped(group, _values(query, buckets))))
    if query.order_by:
        found.sort(key=lambda each: each[0], reverse=query.is_descending)
    return [each for _, each in found[: query.limit]], len(found) > query.limit


def _group_of(query: Query, dimensions: dict[str, str]) -> tuple[tuple[str, str], ...] | None:
    if query.labels is not None and dimensions.keys() != set(query.labels):
        return None
    if any((dimensions.get(label) == value) != is_equal for label, is_equal, value in query.where):
        return None
    if any(label not in dimensions for label in query.group_by):
        return None
    return tuple((label, dimensions[label]) for label in query.group_by)


def _values(query: Query, buckets: dict[int, Bucket]) -> dict[int, float]:
    return {at: bucket.statistic(FUNCTIONS[query.function]) for at, bucket in sorted(buckets.items())}


def _rank(query: Query, buckets: dict[int, Bucket]) -> float:
    whole = Bucket()
    for bucket in buckets.values():
        whole.add(bucket)
    return whole.statistic(FUNCTIONS[query.order_by or query.function])


class _Reader:
    """Reads one query word by word; quoted words are never keywords."""

    def __init__(self, text: str) -> None:
        self._words = list(_words(text))
        self._at = 0

    def query(self) -> Query:
        self._keyword("SELECT")
        function, metric = self._call()
        if not metric:
            raise QueryError("the function in SELECT needs a metric")
        self._keyword("FROM")
        namespace, labels = self._source()
        where = self._where() if self._is("WHERE") else ()
        group_by: tuple[str, ...] = ()
        if self._is("GROUP"):
            self._keyword("BY")
            group_by = self._names()
        order_by, is_descending = None, False
        if self._is("ORDER"):
            self._keyword("BY")
            order_by, inner = self._call()
            if inner:
                raise QueryError("the function in ORDER BY takes no metric")
            is_descending = self._is("DESC")
            if not is_descending:
                self._is("ASC")
        limit = SERIES_MAX
        if self._is("LIMIT"):
            number = self._name()
            if not number.isdigit() or not 1 <= int(number) <= SERIES_MAX:
                raise QueryError(f"LIMIT must be 1 to {SERIES_MAX}")
            limit = int(number)
        if self._at < len(self._words):
            raise QueryError(f"unexpected {self._words[self._at][0]!r}")
        return Query(function, metric, namespace, labels, where, group_by, order_by, is_descending, limit)

    def _call(self) -> tuple[str, str]:
        function = self._name().upper()
        if function not in FUNCTIONS:
            raise QueryError(f"{function} is no function; known are {', '.join(FUNCTIONS)}")
        self._mark("(")
        metric = "" if self._next_is(")") else self._name()
        self._mark(")")
        return function, metric

    def _source(self) -> tuple[str, tuple[str, ...] | None]:
        if not self._is("SCHEMA"):
            return self._name(), None
        self._mark("(")
        namespace, *labels = self._names()
        self._mark(")")
        return namespace, tuple(labels)

    def _where(self) -> tuple[tuple[str, bool, str], ...]:
        found = []
        while True:
            label, sign = self._name(), self._take()
            if sign not in (("=", False), ("!=", False)):
                raise QueryError("WHERE compares with = or !=")
            found.append((label, sign[0] == "=", self._name()))
            if not self._is("AND"):
                return tuple(found)

    def _names(self) -> tuple[str, ...]:
        names = [self._name()]
        while self._next_is(","):
            self._mark(",")
            names.append(self._name())
        return tuple(names)

    def _take(self) -> tuple[str, bool]:
        if self._at >= len(self._words):
            raise QueryError("the query ends too early")
        self._at += 1
        return self._words[self._at - 1]

    def _name(self) -> str:
        word, is_quoted = self._take()
        if not is_quoted and word in _MARKS:
            raise QueryError(f"expected a name, found {word!r}")
        return word

    def _next_is(self, mark: str) -> bool:
        return self._at < len(self._words) and self._words[self._at] == (mark, False)

    def _mark(self, mark: str) -> None:
        if self._take() != (mark, False):
            raise QueryError(f"expected {mark!r}")

    def _is(self, keyword: str) -> bool:
        """Take the keyword if it is next."""
        if self._at < len(self._words):
            word, is_quoted = self._words[self._at]
            if not is_quoted and word.upper() == keyword:
                self._at += 1
                return True
        return False

    def _keyword(self, keyword: str) -> None:
        if not self._is(keyword):
            raise QueryError(f"expected {keyword}")


def _words(text: str) -> Iterator[tuple[str, bool]]:
    at, text = 0, text.rstrip().rstrip(";")
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise QueryError(f"cannot read {text[at : at + 20]!r}")
        double, single, mark, word = found.groups()
        quoted = double if double is not None else single
        yield (re.sub(r"\\(.)", r"\1", quoted), True) if quoted is not None else (mark or word, False)
        at = found.end()
