"""Owns what the neighbours of one account in one Region share: names, ids, queues, and the way to other places.

Leaves what each service does to its own module.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tenantry.emulator.errors import SesError
from tenantry.emulator.neighbours.queue import Entry, Queue

Find = Callable[[str, str], "Place | None"]
TAGS_MAX = 50


@dataclass(slots=True)
class News:
    """How much ever happened in all places of a process: whoever sees a number grow looks again."""

    published: int = 0  # entries that were put into queues
    posted: int = 0  # deliveries of SNS over HTTP


class Place:
    """One account in one Region; `find(account id, Region)` leads to the other places of this process."""

    def __init__(
        self, account_id: str, region: str, random: Random, find: Find | None = None, news: News | None = None
    ) -> None:
        self.account_id = account_id
        self.region = region
        self.random = random
        self.queues: dict[str, Queue] = {}
        self.published = 0  # how much was ever put into a queue here
        self.news = news or News()
        self._find = find
        self._queue_prefix = self.arn("sqs", "")

    def came(self, number: int = 1) -> None:
        """Take note that something came into a queue, or may come back: long polls look anew."""
        self.published += number
        self.news.published += number

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource of this place."""
        return f"arn:aws:{service}:{self.region}:{self.account_id}:{resource}"

    def new_uuid(self) -> str:
        """Return a fresh id from the account's own random source."""
        digits = f"{self.random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def new_hex(self, digits: int) -> str:
        """Return that many hexadecimal digits."""
        return f"{self.random.getrandbits(4 * digits):0{digits}x}"

    def place_of(self, arn: str) -> "Place | None":
        """Return the place that an ARN names, or None if this process has none such."""
        parts = arn.split(":", 5)
        if len(parts) < 6:
            return None
        if (parts[4], parts[3]) == (self.account_id, self.region):
            return self
        return self._find(parts[4], parts[3]) if self._find else None

    def queue_at(self, arn: str) -> Queue | None:
        """Return the queue of an ARN, in this place or another, or None."""
        found = self._queue_and_place(arn)
        return found[0] if found else None

    def put(self, arn: str, entry: Entry) -> bool:
        """Put an entry into the queue of an ARN; False if there is no such queue."""
        found = self._queue_and_place(arn)
        if found is None:
            return False
        queue, place = found
        if delay := queue.settings.delay_seconds:
            queue.put_delayed(entry, entry.sent_at + delay)
        else:
            queue.put(entry)
        place.came()
        return True

    def _queue_and_place(self, arn: str) -> "tuple[Queue, Place] | None":
        if arn.startswith(self._queue_prefix):
            mine = self.queues.get(arn[len(self._queue_prefix) :])
            return (mine, self) if mine is not None else None
        parts = arn.split(":", 5)
        if len(parts) < 6 or parts[2] != "sqs":
            return None
        place = self.place_of(arn)
        queue = place.queues.get(parts[5]) if place else None
        return (queue, place) if queue is not None and place is not None else None


def refused(code: str, message: str, status: int = 400) -> SesError:
    """Return a service's own error, named as its model names it."""
    return SesError(code, message, status)


def json_object(text: str) -> dict[str, Any] | None:
    """Return a text read as a JSON object, or None if it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def page_of(names: list[str], token: str | None, size: int) -> tuple[list[str], str | None] | None:
    """Return one page of names in their order and the next page's token; None for a token that is not of ours."""
    if token is not None and not token.isdigit():
        return None
    start = int(token or 0)
    end = start + size
    return names[start:end], str(end) if end < len(names) else None
