"""What the services around SES answer, and that the rest is refused by its name."""

from pathlib import Path
from random import Random

import pytest

from tenantry.emulator import Options
from tenantry.emulator.calls import Call
from tenantry.emulator.neighbours.codecs import INVALID, QUERY_SERVICES, Asked, model_of
from tenantry.emulator.neighbours.services import Neighbours

NOW = 1_800_000_000.0
NAMES = {
    "sqs": "SQS", "sns": "SNS", "events": "EventBridge", "cloudwatch": "CloudWatch", "sts": "STS",
    "service-quotas": "Service Quotas", "support": "Support", "organizations": "Organizations",
}  # fmt: skip
NEAR = Neighbours(Options(), Random(0), NOW)


def test_the_table_of_the_neighbours_operations_is_true() -> None:
    """docs/local-ses.md lists for each service the operations that are answered, and how many there are."""
    rows = ["| service | of | operations that are answered |", "|---|---|---|"]
    for service in INVALID:
        names = sorted(model_of(service)["operations"])
        done = [name for name in names if NEAR.does(service, name)]
        rows.append(f"| {NAMES[service]} | {len(done)} of {len(names)} | {', '.join(done)} |")
    wanted = "\n".join(rows)
    assert wanted in Path("docs/local-ses.md").read_text(), f"the table in docs/local-ses.md must be:\n{wanted}"


@pytest.mark.parametrize("service", INVALID)
def test_an_operation_that_is_not_here_is_refused_by_name(service: str) -> None:
    """No test turns green on a call that did nothing."""
    missing = [name for name in model_of(service)["operations"] if not NEAR.does(service, name)]
    assert missing
    for name in missing:
        answer = NEAR.call(Asked(service, name, {}, service in QUERY_SERVICES), Call(NOW), "id")
        assert answer.status >= 400
        assert name in answer.body.decode()
