"""Owns the event queue: receiving from SQS and acknowledging, in its JSON protocol; leaves what events say to ingest."""

from __future__ import annotations

import json
from collections.abc import Sequence

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
        self._wait_seconds = wait_seconds
        self._hidden_seconds = hidden_seconds

    async def receive(self) -> Sequence[Parcel]:
        """See ports.Feed; raises FeedUnavailable."""
        found = await self._call(
            "ReceiveMessage",
            {
                "QueueUrl": self._queue_url,
                "MaxNumberOfMessages": BATCH,
                "WaitTimeSeconds": self._wait_seconds,
                "VisibilityTimeout": self._hidden_seconds,
            },
        )
        messages = found.get("Messages") or []
        try:
            return [Parcel(str(one["Body"]), str(one["ReceiptHandle"])) for one in messages]  # type: ignore[attr-defined]
        except (TypeError, KeyError) as error:
            raise FeedUnavailable(f"ReceiveMessage: not an answer of SQS: {messages!r:.200}") from error

    async def acknowledge(self, parcels: Sequence[Parcel]) -> None:
        """See ports.Feed; what SQS does not delete comes again, harmlessly."""
        for start in range(0, len(parcels), BATCH):
            entries = [
                {"Id": str(number), "ReceiptHandle": parcel.receipt}
                for number, parcel in enumerate(parcels[start : start + BATCH])
            ]
            await self._call("DeleteMessageBatch", {"QueueUrl": self._queue_url, "Entries": entries})

    async def _call(self, operation: str, parameters: dict[str, object]) -> dict[str, object]:
        try:
            answer = await self._client.post(
                "/", json.dumps(parameters).encode(), CONTENT_TYPE, {"x-amz-target": f"AmazonSQS.{operation}"}
            )
        except OSError as error:  # HttpClient's errors among them
            raise FeedUnavailable(f"{operation}: {type(error).__name__}: {error}") from error
        if answer.status != 200:
            raise FeedUnavailable(f"{operation}: {answer.status} {answer.error_type or ''} {answer.body[:200]!r}")
        try:
            found = json.loads(answer.body or b"{}")
        except ValueError as error:
            raise FeedUnavailable(f"{operation}: not an answer of SQS: {answer.body[:200]!r}") from error
        return found if isinstance(found, dict) else {}
