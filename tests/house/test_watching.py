"""What the pages for operators promise: every metric, alarm and finding is described, and nothing that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import yaml
from prometheus_client import CollectorRegistry

from tenantry.app.fleet_metrics import FLEET, FleetMetrics
from tenantry.app.health import Loops
from tenantry.app.metrics import LoopMetrics, Meter
from tenantry.core import diagnosis
from tenantry.core.finding import Check
from tenantry.core.tenant import StreamClass
from tenantry.ports import FleetStore
from tests import worlds
from tests.house.source import ROOT, expect_none

SUFFIXES = {"counter": "_total", "info": "_info"}
NAME = re.compile(r"\btenantry_\w+")


class Metric(NamedTuple):
    """A metric as a page or a program describes it."""

    name: str
    kind: str
    labels: tuple[str, ...]


class Alert(NamedTuple):
    """One rule of docs/alerts.yml."""

    name: str
    expr: str
    runbook: str
    summary: str
    severity: str


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def offered() -> set[Metric]:
    """Return every metric that a process with a cell and a loop shows."""
    clock, registry = worlds.FixedClock(), CollectorRegistry()
    Meter(registry, clock, "0.1").cell("main")
    loops = Loops(clock)
    loops.watch("main", "claim").done()
    LoopMetrics(registry, loops)
    FleetMetrics(registry, _Nobody(), clock)
    found = {
        Metric(
            family.name + SUFFIXES.get(family.type, ""),
            family.type,
            tuple(sorted({label for sample in family.samples for label in sample.labels} - {"le"})),
        )
        for family in registry.collect()
        if not family.name.startswith(("process_", "python_"))
    }
    return found | {Metric(name, "gauge", tuple(sorted(labels))) for name, (_, *labels) in FLEET.items()}


class _Nobody(FleetStore):
    """A fleet that is never asked."""


def documented() -> Iterator[Metric]:
    for name, kind, labels in re.findall(
        r"^\| `(tenantry_\w+)` \| (\w+) \| [^|]+ \| ([^|]+) \| [^|]+ \|$", page("metrics.md"), re.MULTILINE
    ):
        yield Metric(name, kind, tuple(sorted(re.findall(r"`(\w+)`", labels))))


def alerts() -> list[Alert]:
    """Read the rules, as Prometheus would, one by one."""
    groups = yaml.safe_load(page("alerts.yml"))["groups"]
    return [
        Alert(
            rule["alert"],
            " ".join(rule["expr"].split()),
            rule["annotations"]["runbook"],
            rule["annotations"]["summary"],
            rule["labels"]["severity"],
        )
        for group in groups
        for rule in group["rules"]
    ]


def entries() -> dict[str, str]:
    """Return the runbook's entries by their anchor."""
    parts = re.split(r"^### (.+)$", page("runbook.md"), flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-"): text
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_the_page_of_metrics_is_the_registry() -> None:
    """Each metric is described with its type and labels, and no metric is described that a process does not show."""
    described = list(documented())
    assert len(described) == len(set(described))
    expect_none(map(str, set(described) ^ offered()))


def test_every_label_is_described() -> None:
    """Whoever meets a label can look up what its values mean."""
    described = set(re.findall(r"^\| `(\w+)` \| [^|]+ \|$", page("metrics.md"), re.MULTILINE))
    assert described == {label for metric in offered() for label in metric.labels}


@pytest.mark.parametrize("check", Check)
def test_every_finding_has_its_entry(check: Check) -> None:
    """The name that doctor shows is a heading of the runbook."""
    assert f"\n### `{check}`\n" in page("runbook.md")


def test_no_entry_is_about_a_finding_that_is_gone() -> None:
    """What looks like a finding's name in the runbook is one."""
    expect_none(set(re.findall(r"^### `(\w+)`$", page("runbook.md"), re.MULTILINE)) - set(Check))


def test_every_entry_says_what_to_do() -> None:
    """Meaning, check and act, in this order, and nothing left empty."""
    for anchor, text in entries().items():
        told = re.findall(r"^- \*\*(\w+)\.\*\* (\S)", text, re.MULTILINE)
        assert [word for word, _ in told] == ["Means", "Check", "Do"], anchor


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_every_alarm_has_its_entry(alert: Alert) -> None:
    """The link in an alarm leads to an entry that shows the alarm with the very expression."""
    assert alert.name.startswith("Tenantry") and alert.summary and alert.severity in ("critical", "warning")
    path, _, anchor = alert.runbook.partition("#")
    assert path == "docs/runbook.md"
    assert f"Alarm `{alert.name}`: `{alert.expr}`" in entries()[anchor]


def test_no_entry_shows_an_alarm_that_is_gone() -> None:
    """Each alarm of the runbook is a rule."""
    assert sorted(re.findall(r"^Alarm `(\w+)`:", page("runbook.md"), re.MULTILINE)) == sorted(
        alert.name for alert in alerts()
    )


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alarm_asks_for_what_is_there(alert: Alert) -> None:
    """Each metric and each label in an expression is one that a process shows."""
    known = {metric.name: metric for metric in offered()}
    asked = (
        {name.removesuffix("_bucket") for name in NAME.findall(alert.expr)}
        if "quantile" in alert.expr
        else set(NAME.findall(alert.expr))
    )
    assert asked or alert.expr.startswith("up{")
    expect_none(asked - set(known))
    for name, matchers in re.findall(r"(tenantry_\w+)\{([^}]*)\}", alert.expr):
        expect_none(set(re.findall(r"(\w+)=", matchers)) - set(known[name].labels))
    by = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", alert.expr))))
    used = set(re.findall(r"\$labels\.(\w+)", alert.summary))
    labels = {label for name in asked for label in known[name].labels} | {"le", "instance", "job"}
    expect_none(by - labels)
    expect_none(used - (by or {"instance", "job"}))


def test_metrics_named_in_the_pages_exist() -> None:
    """A name of a metric anywhere in the pages is one that a process shows."""
    known = {metric.name for metric in offered()}
    known |= {f"{metric.name}_bucket" for metric in offered() if metric.kind == "histogram"}
    for name in ("runbook.md", "metrics.md"):
        expect_none(f"{name}: {one}" for one in NAME.findall(page(name)) if one not in known)


def test_alarms_and_doctor_agree() -> None:
    """Where both watch the same figure they use the same limit."""
    expr = {alert.name: alert.expr for alert in alerts()}
    mail, ads = StreamClass.TRANSACTIONAL, StreamClass.MARKETING
    for name, limit in (
        ("TenantryTransactionalMailWaits", diagnosis.WAIT_LIMIT[mail].total_seconds()),
        ("TenantryMarketingMailWaits", diagnosis.WAIT_LIMIT[ads].total_seconds()),
        ("TenantryHeldMailExpires", diagnosis.HOLD_LIMIT[ads].total_seconds()),
        ("TenantryClaimsOpen", diagnosis.CLAIM_LIMIT.total_seconds()),
        ("TenantryPauseNotAcknowledged", diagnosis.OPENING_LIMIT.total_seconds()),
        ("TenantryPauseNotFenced", diagnosis.FENCE_LIMIT.total_seconds()),
        ("TenantryFeedLag", diagnosis.LAG_SECONDS),
        ("TenantryCellUnread", diagnosis.READING_AGE.total_seconds()),
        ("TenantryQuotaNearlyUsed", diagnosis.QUOTA_SHARE),
        ("TenantryCellThrottled", diagnosis.THROTTLED_BELOW),
        ("TenantryClockDifference", diagnosis.CLOCK_WARNING_SECONDS),
        ("TenantryLongTransaction", diagnosis.LONG_TRANSACTION_SECONDS),
        ("TenantryConnectionsNearLimit", diagnosis.CONNECTION_SHARE),
        ("TenantryPartitionsMissing", diagnosis.PARTITIONS_AHEAD.total_seconds()),
        ("TenantryDiskNearlyFull", diagnosis.DISK_WARNING_BYTES),
    ):
        assert float(expr[name].split()[-1]) == limit, name
