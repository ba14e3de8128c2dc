"""Owns the record of every call and every accepted message, bounded, for the admin API.

Leaves their form as JSON to `emulator.admin`.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenantry.emulator.events import Sent


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
        self.messages: deque[MessageRecord] = deque(maxlen=records_max)
        self.calls_total = 0
        self.messages_total = 0
        self._contents: OrderedDict[str, tuple[Mapping[str, Any], list[EventRecord], MessageRecord]] = OrderedDict()
        self._contents_max = contents_max

    def add_call(self, record: CallRecord) -> None:
        """Append a call."""
        self.calls.append(record)
        self.calls_total += 1

    def add_message(self, record: MessageRecord, content: Mapping[str, Any]) -> None:
        """Append an accepted message with its SES Content."""
        self.messages.append(record)
        self.messages_total += 1
        if self._contents_max:
            if len(self._contents) >= self._contents_max:
                self._contents.popitem(last=False)
            self._contents[record.message_id] = (content, [], record)

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
        return kept[0] if kept else None
