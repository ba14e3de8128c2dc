"""Owns the SQS operations on queues: create, find, attributes, tags, policies, dead letters, purge and delete.

Leaves messages to `neighbours.sqs`. FIFO queues are refused: nothing here keeps order within a group.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import unsupported
from tenantry.emulator.neighbours.place import TAGS_MAX, Place, json_object, page_of, refused
from tenantry.emulator.neighbours.queue import Queue, Redrive

VISIBILITY_MAX_SECONDS = 43_200
DELAY_MAX_SECONDS = 900
WAIT_MAX_SECONDS = 20
PURGE_PAUSE_SECONDS = 60.0
LIST_MAX = 1_000
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_RANGES = {
    "VisibilityTimeout": (0, VISIBILITY_MAX_SECONDS, 30),
    "DelaySeconds": (0, DELAY_MAX_SECONDS, 0),
    "MaximumMessageSize": (1_024, 1_048_576, 1_048_576),
    "MessageRetentionPeriod": (60, 1_209_600, 345_600),
    "ReceiveMessageWaitTimeSeconds": (0, WAIT_MAX_SECONDS, 0),
    "KmsDataKeyReusePeriodSeconds": (60, 86_400, 300),
}
_TEXTS = frozenset({"Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId", "SqsManagedSseEnabled"})
_FIFO = frozenset({"FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"})
_DEFAULTS = {name: str(default) for name, (_, _, default) in _RANGES.items() if not name.startswith("Kms")}


@dataclass(slots=True)
class Described:
    """What a queue was told about itself, as the API shows it."""

    attributes: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    changed_at: float = 0.0
    purged_at: float = -PURGE_PAUSE_SECONDS
    moves: list[dict[str, Any]] = field(default_factory=list)


class Queues:
    """The queues of one place."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.described: dict[str, Described] = {}

    def create_queue(self, params: Params, call: Call) -> Result:
        name, attributes = params["QueueName"], params.get("Attributes", {})
        if name.endswith(".fifo") or attributes.keys() & _FIFO:
            raise unsupported("FIFO queues; only standard ones are here")
        if not _NAME.fullmatch(name):
            message = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
            raise refused("InvalidParameterValue", message)
        if found := self.place.queues.get(name):
            mine = {**_DEFAULTS, **self._of(found).attributes}
            for key, value in attributes.items():
                if mine.get(key) != value:
                    message = f"A queue already exists with the same name and a different value for attribute {key}"
                    raise refused("QueueNameExists", message)
            return {"QueueUrl": self._url(found, call)}
        tags = params.get("tags", {})
        _check_tags(tags)
        made = Queue(name, call.now)
        described = Described(tags=dict(tags), changed_at=call.now)
        self._set(made, described, attributes)
        self.place.queues[name], self.described[name] = made, described
        return {"QueueUrl": self._url(made, call)}

    def get_queue_url(self, params: Params, call: Call) -> Result:
        if params.get("QueueOwnerAWSAccountId", self.place.account_id) != self.place.account_id:
            raise refused("QueueDoesNotExist", "The specified queue does not exist or you do not have access to it.")
        return {"QueueUrl": self._url(self._named(params["QueueName"]), call)}

    def list_queues(self, params: Params, call: Call) -> Result:
        prefix = params.get("QueueNamePrefix", "")
        names = [name for name in self.place.queues if name.startswith(prefix)]
        page = page_of(names, params.get("NextToken"), params.get("MaxResults", LIST_MAX))
        if page is None:
            raise refused("InvalidParameterValue", "Invalid NextToken")
        urls = [self._url(self.place.queues[name], call) for name in page[0]]
        return {"QueueUrls": urls, "NextToken": page[1] if "MaxResults" in params else None}

    def delete_queue(self, params: Params, call: Call) -> Result:
        queue = self.queue(params)
        del self.place.queues[queue.name]
        self.described.pop(queue.name, None)
        return None

    def purge_queue(self, params: Params, call: Call) -> Result:
        queue = self.queue(params)
        described = self._of(queue)
        if call.now - described.purged_at < PURGE_PAUSE_SECONDS:
            message = f"Only one PurgeQueue operation on {queue.name} is allowed every 60 seconds."
            raise refused("PurgeQueueInProgress", message, 403)
        described.purged_at = call.now
        queue.purge()
        return None

    def get_queue_attributes(self, params: Params, call: Call) -> Result:
        queue, wanted = self.queue(params), set(params.get("AttributeNames", ()))
        described = self._of(queue)
        visible, flying = queue.depth(call.now)
        known = {
            **_DEFAULTS,
            "SqsManagedSseEnabled": "true",
            **described.attributes,
            "QueueArn": self.place.arn("sqs", queue.name),
            "ApproximateNumberOfMessages": str(visible),
            "ApproximateNumberOfMessagesNotVisible": str(flying),
            "ApproximateNumberOfMessagesDelayed": str(queue.delayed(call.now)),
            "CreatedTimestamp": str(int(queue.created_at)),
            "LastModifiedTimestamp": str(int(described.changed_at or queue.created_at)),
        }
        for name in wanted - known.keys() - {"All"} - _TEXTS - _RANGES.keys() - _FIFO:
            raise refused("InvalidAttributeName", f"Unknown Attribute {name}.")
        shown = {name: value for name, value in known.items() if "All" in wanted or name in wanted}
        return {"Attributes": shown} if shown else {}

    def set_queue_attributes(self, params: Params, call: Call) -> Result:
        queue = self.queue(params)
        described = self._of(queue)
        self._set(queue, described, params["Attributes"])
        described.changed_at = call.now
        return None

    def tag_queue(self, params: Params, call: Call) -> Result:
        described = self._of(self.queue(params))
        _check_tags({**described.tags, **params["Tags"]})
        described.tags.update(params["Tags"])
        return None

    def untag_queue(self, params: Params, call: Call) -> Result:
        described = self._of(self.queue(params))
        for key in params["TagKeys"]:
            described.tags.pop(key, None)
        return None

    def list_queue_tags(self, params: Params, call: Call) -> Result:
        tags = self._of(self.queue(params)).tags
        return {"Tags": dict(tags)} if tags else {}

    def list_dead_letter_source_queues(self, params: Params, call: Call) -> Result:
        target = self.queue(params)
        sources = [each for each in self.place.queues.values() if _target_of(each) is target]
        return {"queueUrls": [self._url(each, call) for each in sources]}

    def start_message_move_task(self, params: Params, call: Call) -> Result:
        source = self._by_arn(params["SourceArn"])
        wanted = params.get("DestinationArn")
        sources = [each for each in self.place.queues.values() if _target_of(each) is source]
        if not sources:
            raise refused("ResourceNotFoundException", "The source queue is no dead-letter queue of a queue.", 404)
        if wanted is None and len(sources) > 1:
            raise unsupported("a move back to several source queues; name a DestinationArn")
        moved = source.move_all(self._by_arn(wanted) if wanted else sources[0], call.now)
        self.place.came(moved)
        handle = self.place.new_uuid()
        self._of(source).moves.insert(
            0,
            {
                "Status": "COMPLETED",
                "SourceArn": params["SourceArn"],
                "DestinationArn": wanted,
                "ApproximateNumberOfMessagesMoved": moved,
                "ApproximateNumberOfMessagesToMove": moved,
                "StartedTimestamp": int(call.now * 1000),
            },
        )
        return {"TaskHandle": handle}

    def list_message_move_tasks(self, params: Params, call: Call) -> Result:
        return {"Results": self._of(self._by_arn(params["SourceArn"])).moves[: params.get("MaxResults", 1)]}

    def queue(self, params: Params) -> Queue:
        """Return the queue that a call is about, or raise QueueDoesNotExist."""
        return self._named(params["QueueUrl"].rpartition("/")[2])

    def queue_of(self, params: Params) -> Queue | None:
        """Return the queue that a call is about, or None."""
        return self.place.queues.get(str(params.get("QueueUrl", "")).rpartition("/")[2])

    def _named(self, name: str) -> Queue:
        if found := self.place.queues.get(name):
            return found
        raise refused("QueueDoesNotExist", "The specified queue does not exist.")

    def _by_arn(self, arn: str) -> Queue:
        found = self.place.queue_at(arn)
        if found is None or self.place.place_of(arn) is not self.place:
            raise refused(
                "ResourceNotFoundException", "The resource that you specified for the SourceArn doesn't exist.", 404
            )
        return found

    def _of(self, queue: Queue) -> Described:
        return self.described.setdefault(queue.name, Described())  # the first queue is there before any call

    def _url(self, queue: Queue, call: Call) -> str:
        return f"{call.endpoint}/{self.place.account_id}/{queue.name}"

    def _set(self, queue: Queue, described: Described, attributes: Mapping[str, str]) -> None:
        """Check all attributes, then let them hold."""
        for name, text in attributes.items():
            if name in _FIFO:
                raise unsupported("FIFO queues; only standard ones are here")
            if name in _RANGES:
                low, high, _ = _RANGES[name]
                if not (text.isdigit() and low <= int(text) <= high):
                    raise refused("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
            elif name not in _TEXTS:
                raise refused("InvalidAttributeName", f"Unknown Attribute {name}.")
            elif name.endswith("Policy") and text and json_object(text) is None:
                raise refused("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
        redrive = queue.settings.redrive
        if "RedrivePolicy" in attributes:
            redrive = self._redrive(queue, attributes["RedrivePolicy"])
        for name, text in attributes.items():
            if text or name in _RANGES:
                described.attributes[name] = text
            else:
                described.attributes.pop(name, None)  # an empty policy takes it away
        settings, now = queue.settings, {**_DEFAULTS, **described.attributes}
        settings.visibility_seconds = float(now["VisibilityTimeout"])
        settings.delay_seconds = float(now["DelaySeconds"])
        settings.retention_seconds = float(now["MessageRetentionPeriod"])
        settings.wait_seconds = float(now["ReceiveMessageWaitTimeSeconds"])
        settings.size_max = int(now["MaximumMessageSize"])
        settings.redrive = redrive

    def _redrive(self, queue: Queue, text: str) -> Redrive | None:
        if not text:
            return None
        policy = json.loads(text)
        target = self.place.queue_at(str(policy.get("deadLetterTargetArn", "")))
        most = str(policy.get("maxReceiveCount", ""))
        if target is None or target is queue:
            raise refused(
                "InvalidParameterValue",
                f"Value {text} for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist.",
            )
        if not (most.isdigit() and 1 <= int(most) <= 1_000):
            raise refused(
                "InvalidParameterValue",
                f"Value {text} for parameter RedrivePolicy is invalid. Reason: Invalid value for maxReceiveCount.",
            )
        return Redrive(target, int(most))


def _target_of(queue: Queue) -> Queue | None:
    return queue.settings.redrive.target if queue.settings.redrive else None


def _check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > TAGS_MAX:
        raise refused("InvalidParameterValue", f"Too many tags added for queue: at most {TAGS_MAX}.")
