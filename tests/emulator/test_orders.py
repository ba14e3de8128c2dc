"""What a test orders of the local SES: faults of calls and events, and the time. Seen by an unmodified SDK."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from tests.emulator.worlds import World, world


@pytest.fixture
def ses() -> Iterator[World]:
    with world() as made:
        made.sender()
        made.ses = impatient(made)
        yield made


def impatient(made: World) -> Any:
    """Return an SDK client that tries once and waits a second."""
    once = Config(retries={"total_max_attempts": 1}, read_timeout=1)
    keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret"}
    return boto3.client("sesv2", endpoint_url=made.local.url, region_name="us-east-1", config=once, **keys)


def order(ses: World, path: str, given: dict[str, Any] | None = None, method: str = "POST") -> Any:
    body = None if given is None else json.dumps(given).encode()
    with urlopen(Request(f"{ses.local.url}/_local/{path}", body, method=method), timeout=10) as answer:
        return json.load(answer)


def sent(ses: World) -> int:
    return int(order(ses, "state", method="GET")["messages"])


@pytest.mark.parametrize(
    ("fault", "error", "done"),
    [
        ({"kind": "refuse", "status": 503}, ClientError, 0),
        ({"kind": "refuse", "status": 429}, ClientError, 0),
        ({"kind": "refuse-after", "status": 500}, ClientError, 1),
        ({"kind": "cut"}, ConnectionClosedError, 0),
        ({"kind": "cut-after"}, ConnectionClosedError, 1),
        ({"kind": "cut-after", "at_byte": 10}, ConnectionClosedError, 1),
        ({"kind": "hang"}, ReadTimeoutError, 0),
        ({"kind": "hang-after"}, ReadTimeoutError, 1),
        ({"kind": "wrong-json-after"}, Exception, 1),
    ],
)
def test_a_fault_befalls_a_call_once(ses: World, fault: dict[str, Any], error: type[Exception], done: int) -> None:
    """The caller sees the error that was ordered, SES has done the call or not as ordered, and the next call is well."""
    order(ses, "faults", {"call": "SendEmail", "times": 1, **fault})
    with pytest.raises(error):
        ses.send()
    assert sent(ses) == done
    ses.send()
    assert sent(ses) == done + 1


def test_an_answer_can_be_late(ses: World) -> None:
    """A delayed call is answered, later."""
    order(ses, "faults", {"call": "Send*", "kind": "delay", "seconds": 0.2, "times": 1})
    assert ses.send()


def test_events_are_lost_doubled_and_late_as_ordered(ses: World) -> None:
    """What the queue brings is what was ordered, per event type."""
    order(ses, "faults", {"event": "SEND", "kind": "lose", "times": 1})
    order(ses, "faults", {"event": "DELIVERY", "kind": "duplicate", "times": 1})
    ses.send()
    assert [each["eventType"] for each in ses.events()] == ["Delivery", "Delivery"]
    order(ses, "faults", method="DELETE")
    order(ses, "clock", {"stopped": True})
    order(ses, "faults", {"event": "SEND", "kind": "delay", "seconds": 60})
    ses.send()
    assert [each["eventType"] for each in ses.events()] == ["Delivery"]
    order(ses, "clock", {"advance": 61})
    assert [each["eventType"] for each in ses.events()] == ["Send"]


def test_a_stopped_feed_brings_everything_later(ses: World) -> None:
    """Nothing arrives while the feed is stopped; when it flows again all of it comes, in its order."""
    order(ses, "feed", {"stopped": True})
    ses.send()
    assert ses.events() == []
    order(ses, "feed", {"stopped": False})
    assert [each["eventType"] for each in ses.events()] == ["Send", "Delivery"]


def test_a_virtual_day_passes_at_once(ses: World) -> None:
    """Time that is moved rolls SES's own windows: what was sent a day ago no longer counts against the quota."""
    order(ses, "clock", {"stopped": True})
    ses.send()
    assert ses.ses.get_account()["SendQuota"]["SentLast24Hours"] == 1
    before = order(ses, "clock", method="GET")["now"]
    assert order(ses, "clock", {"advance": 90_000})["now"] == pytest.approx(before + 90_000)
    assert ses.ses.get_account()["SendQuota"]["SentLast24Hours"] == 0


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("faults", {}),
        ("faults", {"kind": "cut"}),
        ("faults", {"call": "*", "event": "*", "kind": "cut"}),
        ("faults", {"call": "*", "kind": "explode"}),
        ("faults", {"call": "*", "kind": "cut", "share": 2}),
        ("faults", {"call": "*", "kind": "cut", "times": -1}),
        ("faults", {"call": "*", "kind": "refuse", "status": 200}),
        ("faults", {"call": "*", "kind": "cut", "colour": "red"}),
        ("feed", {"stopped": "yes"}),
        ("clock", {}),
        ("clock", {"advance": -1}),
        ("clock", {"advance": 1e300}),
        ("clock", {"advance": "a day"}),
    ],
)
def test_an_order_that_makes_no_sense_changes_nothing(ses: World, path: str, given: dict[str, Any]) -> None:
    """The admin API says what is wrong with an order."""
    with pytest.raises(HTTPError) as refused:
        order(ses, path, given)
    with refused.value:
        assert refused.value.code == 400
        assert json.load(refused.value)["error"]
    assert order(ses, "faults", method="GET") == {"calls": [], "events": [], "feed_stopped": False}
    assert ses.send()
