"""Owns the deliveries of SNS over HTTP: what waits for its time, and when a failed one is tried again, or no more.

Leaves the POST itself to `neighbours.post`: this is a state machine that is told the time and each outcome.
"""

import heapq
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

from tenantry.emulator.neighbours.place import json_object

WAITING_MAX = 100_000
KEPT = 1_000


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and after how long a delivery is tried again; SNS's defaults (SNS guide: message delivery retries)."""

    retries: int = 3
    delay_min_seconds: float = 20.0
    delay_max_seconds: float = 20.0

    def delay(self, retry: int) -> float:
        """Return the seconds before this retry, counted from 1: linear from the least to the most."""
        share = (retry - 1) / (self.retries - 1) if self.retries > 1 else 0.0
        return self.delay_min_seconds + share * (self.delay_max_seconds - self.delay_min_seconds)


def retry_policy(text: str | None) -> RetryPolicy | None:
    """Read a DeliveryPolicy of a topic or a subscription; None if there is none or it is not one."""
    policy = json_object(text) if text else None
    if policy is None:
        return None
    of_topic = policy.get("http")
    given = (
        of_topic.get("defaultHealthyRetryPolicy") if isinstance(of_topic, dict) else policy.get("healthyRetryPolicy")
    )
    if not isinstance(given, dict):
        return RetryPolicy() if policy.keys() & {"http", "throttlePolicy", "requestPolicy"} else None
    low, high = given.get("minDelayTarget", 20), given.get("maxDelayTarget", 20)
    retries = given.get("numRetries", 3)
    if not all(type(each) is int for each in (retries, low, high)):
        return None
    return RetryPolicy(retries, low, high) if 0 <= retries <= 100 and 1 <= low <= high <= 3_600 else None


@dataclass(slots=True)
class Delivery:
    """One message on its way to one endpoint; `tries` counts the POSTs that were made."""

    due: float
    url: str
    headers: Mapping[str, str]
    body: str
    subscription_arn: str
    policy: RetryPolicy
    dead_letter_arn: str | None = None
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one POST came to; `status` is None when there was no answer."""

    at: float
    url: str
    subscription_arn: str
    message_type: str
    number: int
    status: int | None
    reason: str
    is_final: bool


@dataclass(slots=True)
class Outbox:
    """The deliveries of one place, in the order of their time, and the latest attempts."""

    attempts: deque[Attempt] = field(default_factory=lambda: deque(maxlen=KEPT))
    dropped: int = 0
    _waiting: list[tuple[float, int, Delivery]] = field(default_factory=list)
    _order: "count[int]" = field(default_factory=count)

    def add(self, delivery: Delivery) -> None:
        """Have a delivery made when it is due; beyond a hundred thousand the newest are dropped and counted."""
        if len(self._waiting) >= WAITING_MAX:
            self.dropped += 1
            return
        heapq.heappush(self._waiting, (delivery.due, next(self._order), delivery))

    def next_due(self) -> float | None:
        """Return when the next delivery is due, or None."""
        return self._waiting[0][0] if self._waiting else None

    def take(self, now: float, most: int) -> list[Delivery]:
        """Take up to this many deliveries whose time has come; each must be settled."""
        taken: list[Delivery] = []
        while self._waiting and self._waiting[0][0] <= now and len(taken) < most:
            taken.append(heapq.heappop(self._waiting)[2])
        return taken

    def settle(self, delivery: Delivery, status: int | None, reason: str, now: float) -> bool:
        """Note an outcome and plan the retry that follows; True if the delivery failed for good."""
        delivery.tries += 1
        is_done = status is not None and 200 <= status < 300
        # A client error but 429 is permanent to SNS; everything else may pass.
        is_permanent = status is not None and 400 <= status < 500 and status != 429
        is_final = is_done or is_permanent or delivery.tries > delivery.policy.retries
        kind = delivery.headers.get("x-amz-sns-message-type", "")
        self.attempts.append(
            Attempt(now, delivery.url, delivery.subscription_arn, kind, delivery.tries, status, reason, is_final)
        )
        if not is_final:
            delivery.due = now + delivery.policy.delay(delivery.tries)
            self.add(delivery)
        return is_final and not is_done
