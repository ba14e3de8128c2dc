"""Owns the record of every call and every accepted message, bounded, for the admin API.

Leaves their form as JSON to `emulator.admin`, and where large contents lie to `emulator.spill`.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Any

from tenantry.emulator.spill import Packed, Spill

if TYPE_CHECKING:
    from tenantry.emulator.events import Sent

OTHER_CALLS_MAX = 10_000
JUST = 200  # calls that may have ended since one that a fault befalls was answered


@dataclass(slots=True)
class CallRecord:
    """One call as it arrived and was answered; `at` is epoch seconds with microseconds."""

    at: float
    operation: str
    status: int
    key_id: str
    request_id: str
    error: str | None = None
    detail: Mapping[str, Any] | None = None
    service: str = "ses"
    body_sha256: bytes = b""  # of the body as it came
    body_bytes: int = 0
    fault: str | None = None  # what was ordered to befall it; `status` is what the service said, 0 if it was not asked

    def with_body(self, body: bytes) -> "CallRecord":
        """Return it with what is kept of the call's body."""
        self.body_sha256, self.body_bytes = sha256(body).digest(), len(body)
        return self


@dataclass(slots=True)
class MessageRecord:
    """One accepted message, without its content; `outcomes` pairs each recipient with its fate."""

    message_id: str
    at: float
    source: str
    to: list[str]
    cc: list[str]
    bcc: list[str]
    subject: str | None
    configuration_set: str | None
    tenant: str | None
    tags: Mapping[str, str]
    outcomes: list[tuple[str, str]]


@dataclass(slots=True)
class EventRecord:
    """One event of a message: when it is due (epoch seconds), its kind as in MatchingEventTypes, how its JSON is made.

    `sent` has what destinations may want besides: tags, automatic tags, headers, tenant.
    """

    at: float
    kind: str
    render: Callable[[], str]
    sent: "Sent | None" = None
    link_tags: Mapping[str, Sequence[str]] | None = None


class Ledger:
    """The latest calls and messages; contents and events are kept for fewer messages, because they are large."""

    def __init__(self, records_max: int, contents_max: int) -> None:
        self.calls: deque[CallRecord] = deque(maxlen=records_max)
        self.other_calls: deque[CallRecord] = deque(maxlen=OTHER_CALLS_MAX)  # of the services around SES
        self.messages: deque[MessageRecord] = deque(maxlen=records_max)
        self.calls_total = 0
        self.messages_total = 0
        self.bounds = (records_max, contents_max)
        self._contents: OrderedDict[str, tuple[Packed, list[EventRecord], MessageRecord]] = OrderedDict()
        self._contents_max = contents_max
        self._spill = Spill()

    def add(self, record: CallRecord) -> None:
        """Append a call; those of the services around SES have a place of their own, or polls would drown the rest."""
        if record.service != "ses":
            self.other_calls.append(record)
            return
        self.calls.append(record)
        self.calls_total += 1

    def struck(self, request_id: str, fault: str) -> None:
        """Note what befell a call that was just answered."""
        for calls in (self.calls, self.other_calls):
            for record in islice(reversed(calls), JUST):
                if record.request_id == request_id:
                    record.fault = fault
                    return

    def add_message(self, record: MessageRecord, content: Mapping[str, Any] | None) -> None:
        """Append an accepted message with its SES Content, if it is still had."""
        self.messages.append(record)
        self.messages_total += 1
        if self._contents_max and content is not None:
            if len(self._contents) >= self._contents_max:
                _, (packed, _, _) = self._contents.popitem(last=False)
                self._spill.forget(packed)
            self._contents[record.message_id] = (self._spill.pack(content), [], record)

    def add_event(self, message_id: str, event: EventRecord) -> None:
        """Note what happens to a message, now or later, as long as its content is kept."""
        if kept := self._contents.get(message_id):
            kept[1].append(event)

    def events(self, message_id: str, now: float) -> list[EventRecord]:
        """Return what has happened to a message until now, in its order."""
        kept = self._contents.get(message_id)
        return sorted((each for each in kept[1] if each.at <= now), key=lambda each: each.at) if kept else []

    def message(self, message_id: str) -> MessageRecord | None:
        """Return a message's record as long as its content is kept."""
        kept = self._contents.get(message_id)
        return kept[2] if kept else None

    def content(self, message_id: str) -> Mapping[str, Any] | None:
        """Return a message's SES Content, or None if it is no longer kept."""
        kept = self._contents.get(message_id)
        return self._spill.unpack(kept[0]) if kept else None

    def latest(self, number: int) -> list[tuple[MessageRecord, Mapping[str, Any] | None]]:
        """Return that many messages, the oldest first, with the contents that are still kept."""
        newest = list(islice(reversed(self.messages), number))
        return [(each, self.content(each.message_id)) for each in reversed(newest)]
