"""Owns the SQS operations on the event queue.

Leaves the queue itself to `emulator.sqs` and long polling to the server.
"""

from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import SesError
from tenantry.emulator.options import Options
from tenantry.emulator.sqs import VISIBILITY_SECONDS, Entry, Queue

RECEIVE_MAX = 10
BATCH_MAX = 10
VISIBILITY_MAX_SECONDS = 43_200
WAIT_MAX_SECONDS = 20


class QueueOperations:
    """Receive and delete messages; look up queues."""

    options: Options
    queues: dict[str, Queue]

    def receive_message(self, params: Params, call: Call) -> Result:
        queue = self._queue(params)
        count = _within(params, "MaxNumberOfMessages", 1, RECEIVE_MAX, 1)
        visibility = _within(params, "VisibilityTimeout", 0, VISIBILITY_MAX_SECONDS, int(VISIBILITY_SECONDS))
        _within(params, "WaitTimeSeconds", 0, WAIT_MAX_SECONDS, 0)
        entries = queue.receive(call.now, count, visibility)
        wanted = {*params.get("AttributeNames", ()), *params.get("MessageSystemAttributeNames", ())}
        messages = [_shown(entry, wanted) for entry in entries]
        return {"Messages": messages} if messages else {}

    def delete_message(self, params: Params, call: Call) -> Result:
        if not self._queue(params).delete(params["ReceiptHandle"]):
            raise SesError("ReceiptHandleIsInvalid", "The receipt handle is not one of this queue.", 404)
        return None

    def delete_message_batch(self, params: Params, call: Call) -> Result:
        queue, entries = self._queue(params), params["Entries"]
        if not entries:
            raise SesError("EmptyBatchRequest", "The batch has no entries.")
        if len(entries) > BATCH_MAX:
            raise SesError("TooManyEntriesInBatchRequest", f"A batch has at most {BATCH_MAX} entries.")
        if len({entry["Id"] for entry in entries}) < len(entries):
            raise SesError("BatchEntryIdsNotDistinct", "Two entries of the batch have the same Id.")
        result: dict[str, Any] = {"Successful": []}
        for entry in entries:
            if queue.delete(entry["ReceiptHandle"]):
                result["Successful"].append({"Id": entry["Id"]})
            else:
                fault = {"Id": entry["Id"], "SenderFault": True, "Code": "ReceiptHandleIsInvalid"}
                result.setdefault("Failed", []).append(fault)
        return result

    def get_queue_url(self, params: Params, call: Call) -> Result:
        return {"QueueUrl": self._url(self._named(params["QueueName"]), call)}

    def list_queues(self, params: Params, call: Call) -> Result:
        prefix = params.get("QueueNamePrefix", "")
        return {"QueueUrls": [self._url(each, call) for name, each in self.queues.items() if name.startswith(prefix)]}

    def get_queue_attributes(self, params: Params, call: Call) -> Result:
        queue = self._queue(params)
        visible, flying = queue.depth(call.now)
        known = {
            "QueueArn": f"arn:aws:sqs:{self.options.region}:{self.options.account_id}:{queue.name}",
            "ApproximateNumberOfMessages": str(visible),
            "ApproximateNumberOfMessagesNotVisible": str(flying),
            "ApproximateNumberOfMessagesDelayed": "0",
            "VisibilityTimeout": str(int(VISIBILITY_SECONDS)),
            "CreatedTimestamp": str(int(queue.created_at)),
        }
        wanted = set(params.get("AttributeNames", ()))
        return {"Attributes": {name: value for name, value in known.items() if "All" in wanted or name in wanted}}

    def queue_of(self, params: Params) -> Queue | None:
        """Return the queue that a call is about, or None."""
        return self.queues.get(str(params.get("QueueUrl", "")).rpartition("/")[2])

    def _queue(self, params: Params) -> Queue:
        return self._named(params["QueueUrl"].rpartition("/")[2])

    def _named(self, name: str) -> Queue:
        if found := self.queues.get(name):
            return found
        raise SesError("QueueDoesNotExist", "The specified queue does not exist.")

    def _url(self, queue: Queue, call: Call) -> str:
        return f"{call.endpoint}/{self.options.account_id}/{queue.name}"


def _within(params: Params, name: str, low: int, high: int, default: int) -> int:
    value: int = params.get(name, default)
    if not low <= value <= high:
        raise SesError("InvalidParameterValue", f"Value {value} for parameter {name} is invalid: {low} to {high}.")
    return value


def _shown(entry: Entry, wanted: set[str]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "MessageId": entry.id,
        "ReceiptHandle": entry.receipt,
        "MD5OfBody": entry.md5,
        "Body": entry.body,
    }
    if wanted:
        attributes = {
            "SentTimestamp": str(int(entry.sent_at * 1000)),
            "ApproximateReceiveCount": str(entry.receives),
            "ApproximateFirstReceiveTimestamp": str(int(entry.first_received_at * 1000)),
            "SenderId": "SNS",
        }
        shown["Attributes"] = {name: each for name, each in attributes.items() if "All" in wanted or name in wanted}
    return shown
