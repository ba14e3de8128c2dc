"""Owns the SQS operations on messages: send, receive, hide, delete, one by one and in batches.

Leaves queues themselves (create, attributes, dead letters) to `neighbours.sqs_queues` and long polling to the server.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import SesError
from tenantry.emulator.neighbours.messages import attributes_fault, attributes_md5, body_fault, size_of
from tenantry.emulator.neighbours.place import refused
from tenantry.emulator.neighbours.queue import Entry, Queue
from tenantry.emulator.neighbours.sqs_queues import DELAY_MAX_SECONDS, VISIBILITY_MAX_SECONDS, WAIT_MAX_SECONDS, Queues

RECEIVE_MAX = 10
BATCH_MAX = 10
BATCH_SIZE_MAX = 1_048_576
_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
_GROUP = re.compile(r"[!-~]{1,128}")
Rows = Sequence[Params]


class Sqs(Queues):
    """The message queue service of one place."""

    def send_message(self, params: Params, call: Call) -> Result:
        queue = self.queue(params)
        made = self._made(queue, params, call)
        self._put(queue, made, params)
        return _receipt_of(made)

    def send_message_batch(self, params: Params, call: Call) -> Result:
        queue, rows = self.queue(params), params["Entries"]
        size = sum(size_of(row["MessageBody"], row.get("MessageAttributes", {})) for row in rows)
        if size > BATCH_SIZE_MAX:
            raise refused("BatchRequestTooLong", f"Batch requests cannot be longer than {BATCH_SIZE_MAX} bytes.")

        def send(row: Params) -> dict[str, Any]:
            made = self._made(queue, row, call)
            self._put(queue, made, row)
            return _receipt_of(made)

        return _batch(rows, send)

    def receive_message(self, params: Params, call: Call) -> Result:
        queue = self.queue(params)
        count = _within(params, "MaxNumberOfMessages", 1, RECEIVE_MAX, 1)
        _within(params, "WaitTimeSeconds", 0, WAIT_MAX_SECONDS, 0)
        visibility = _within(params, "VisibilityTimeout", 0, VISIBILITY_MAX_SECONDS, -1)
        entries = queue.receive(call.now, count, None if visibility < 0 else visibility)
        if not entries:
            return {}
        wanted = {*params.get("AttributeNames", ()), *params.get("MessageSystemAttributeNames", ())}
        named = params.get("MessageAttributeNames", ())
        return {"Messages": [_shown(entry, wanted, named) for entry in entries]}

    def wait_of(self, params: Params) -> float:
        """Return for how many seconds a receive that finds nothing waits."""
        queue = self.queue(params)
        wait: float = params.get("WaitTimeSeconds", queue.settings.wait_seconds)
        return wait

    def change_message_visibility(self, params: Params, call: Call) -> Result:
        self._hide(self.queue(params), params, call)
        return None

    def change_message_visibility_batch(self, params: Params, call: Call) -> Result:
        queue = self.queue(params)
        return _batch(params["Entries"], lambda row: self._hide(queue, row, call))

    def delete_message(self, params: Params, call: Call) -> Result:
        _delete(self.queue(params), params)
        return None

    def delete_message_batch(self, params: Params, call: Call) -> Result:
        queue = self.queue(params)
        return _batch(params["Entries"], lambda row: _delete(queue, row))

    def _made(self, queue: Queue, params: Params, call: Call) -> Entry:
        body, attributes = params["MessageBody"], params.get("MessageAttributes") or {}
        for name in ("MessageDeduplicationId",):
            if name in params:
                raise refused(
                    "InvalidParameterValue", f"Value {params[name]} for parameter {name} is invalid: no FIFO queue."
                )
        if fault := body_fault(body):
            raise refused("MissingParameter" if not body else "InvalidMessageContents", fault)
        if fault := attributes_fault(attributes):
            raise refused("InvalidParameterValue", fault)
        if size_of(body, attributes) > queue.settings.size_max:
            raise refused(
                "InvalidParameterValue",
                f"One or more parameters are invalid. Reason: Message must be shorter than {queue.settings.size_max} bytes.",
            )
        system = {name: each.get("StringValue", "") for name, each in params.get("MessageSystemAttributes", {}).items()}
        system["SenderId"] = call.key_id
        if group := params.get("MessageGroupId"):  # on a standard queue: SQS's fair queues
            if not _GROUP.fullmatch(group):
                raise refused("InvalidParameterValue", f"Value {group[:128]} for parameter MessageGroupId is invalid.")
            system["MessageGroupId"] = group
        return Entry(self.place.new_uuid(), call.now, lambda: body, attributes=attributes, system=system)

    def _put(self, queue: Queue, made: Entry, params: Params) -> None:
        delay = _within(params, "DelaySeconds", 0, DELAY_MAX_SECONDS, int(queue.settings.delay_seconds))
        if delay:
            queue.put_delayed(made, made.sent_at + delay)
        else:
            queue.put(made)
        self.place.came()

    def _hide(self, queue: Queue, params: Params, call: Call) -> None:
        seconds = _within(params, "VisibilityTimeout", 0, VISIBILITY_MAX_SECONDS, 0)
        done = queue.hide(params["ReceiptHandle"], call.now + seconds)
        if done is None:
            raise refused("ReceiptHandleIsInvalid", "The receipt handle is not one of this queue.", 404)
        if not done:
            raise refused("MessageNotInflight", "The message is not in flight by this receipt handle.")
        self.place.came()  # a long poll must look anew at when something comes back


def _delete(queue: Queue, params: Params) -> None:
    if not queue.delete(params["ReceiptHandle"]):
        raise refused("ReceiptHandleIsInvalid", "The receipt handle is not one of this queue.", 404)


def _batch(rows: Rows, do: Callable[[Params], dict[str, Any] | None]) -> Result:
    """Do each row on its own and tell which ones failed; a batch that is wrong as a whole does nothing."""
    if not rows:
        raise refused("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(rows) > BATCH_MAX:
        raise refused(
            "TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are {BATCH_MAX}. You have sent {len(rows)}.",
        )
    ids = [row["Id"] for row in rows]
    if any(not _ENTRY_ID.fullmatch(each) for each in ids):
        raise refused(
            "InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, hyphens and underscores."
        )
    if len(set(ids)) < len(ids):
        raise refused("BatchEntryIdsNotDistinct", "Two entries of the batch have the same Id.")
    result: dict[str, Any] = {"Successful": []}
    for row in rows:
        try:
            result["Successful"].append({"Id": row["Id"], **(do(row) or {})})
        except SesError as refusal:
            fault = {"Id": row["Id"], "SenderFault": True, "Code": refusal.code, "Message": refusal.message}
            result.setdefault("Failed", []).append(fault)
    return result


def _receipt_of(entry: Entry) -> dict[str, Any]:
    shown: dict[str, Any] = {"MessageId": entry.id, "MD5OfMessageBody": entry.md5}
    if entry.attributes:
        shown["MD5OfMessageAttributes"] = attributes_md5(entry.attributes)
    if entry.system and (trace := entry.system.get("AWSTraceHeader")):
        shown["MD5OfMessageSystemAttributes"] = attributes_md5(
            {"AWSTraceHeader": {"DataType": "String", "StringValue": trace}}
        )
    return shown


def _within(params: Params, name: str, low: int, high: int, default: int) -> int:
    value: int | None = params.get(name)
    if value is None:
        return default
    if not low <= value <= high:
        raise refused(
            "InvalidParameterValue",
            f"Value {value} for parameter {name} is invalid. Reason: Must be between {low} and {high}, if provided.",
        )
    return value


def _shown(entry: Entry, wanted: set[str], named: Sequence[str]) -> dict[str, Any]:
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
            **(entry.system or {}),
        }
        shown["Attributes"] = {name: each for name, each in attributes.items() if "All" in wanted or name in wanted}
    if named and entry.attributes:
        chosen = {name: each for name, each in entry.attributes.items() if _is_named(name, named)}
        if chosen:
            shown["MessageAttributes"] = chosen
            shown["MD5OfMessageAttributes"] = attributes_md5(chosen)
    return shown


def _is_named(name: str, named: Sequence[str]) -> bool:
    return any(each in ("All", ".*", name) or (each.endswith(".*") and name.startswith(each[:-1])) for each in named)
