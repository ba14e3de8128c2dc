"""Owns the event queue: receiving from SQS and acknowledging, in its JSON protocol; leaves what events say to ingest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

from pydantic_core import from_json

from tenantry.aws.signed import SignedClient
from tenantry.ports import FeedUnavailable, Parcel

CONTENT_TYPE = "application/x-amz-json-1.0"
BATCH = 10  # SQS's own limit of one call


class SqsFeed:
    """Implements ports.Feed for one cell's queue; may be used by several readers at once."""

    def __init__(self, client: SignedClient, queue_url: str, wait_seconds: int, hidden_seconds: int = 60) -> None:
        """Read this queue; wait_seconds is the long poll, hidden_seconds how long an unacknowledged event stays away."""
        self._client = client
        self._queue_url = queue_url
        self._receive = _json(
            {
                "QueueUrl": queue_url,
                "MaxNumberOfMessages": BATCH,
                "WaitTimeSeconds": wait_seconds,
                "VisibilityTimeout": hidden_seconds,
            }
        )

    async def receive(self) -> Sequence[Parcel]:
        """See ports.Feed; raises FeedUnavailable."""
        answer = await self._call("ReceiveMessage", self._receive)
        try:
            found = _read(answer) if answer else {}
            return [Parcel(str(one["Body"]), str(one["ReceiptHandle"])) for one in found.get("Messages") or ()]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FeedUnavailable(f"ReceiveMessage: not an answer of SQS: {answer[:200]!r}") from error

    async def acknowledge(self, parcels: Sequence[Parcel]) -> None:
        """See ports.Feed; what SQS does not delete comes again, harmlessly."""
        for start in range(0, len(parcels), BATCH):
            entries = [
                {"Id": str(number), "ReceiptHandle": parcel.receipt}
                for number, parcel in enumerate(parcels[start : start + BATCH])
            ]
            await self._call("DeleteMessageBatch", _json({"QueueUrl": self._queue_url, "Entries": entries}))

    async def _call(self, operation: str, parameters: bytes) -> bytes:
        try:
            answer = await self._client.post("/", parameters, CONTENT_TYPE, {"x-amz-target": f"AmazonSQS.{operation}"})
        except OSError as error:  # HttpClient's errors among them
            raise FeedUnavailable(f"{operation}: {type(error).__name__}: {error}") from error
        if answer.status != 200:
            raise FeedUnavailable(f"{operation}: {answer.status} {answer.error_type or ''} {answer.body[:200]!r}")
        return answer.body


def _json(parameters: dict[str, object]) -> bytes:
    return json.dumps(parameters).encode()


def _read(answer: bytes) -> dict[str, list[dict[str, object]]]:
    """Read an answer; half a surrogate pair is its event's fault and no reason to lose the nine others."""
    try:
        found = from_json(answer)
    except ValueError:
        found = json.loads(answer)
    return cast("dict[str, list[dict[str, object]]]", found)
