"""Owns the faults that a test orders: which call is delayed, cut, answered wrongly or never, and which event is lost.

Leaves doing them to `emulator.server` and `emulator.state`. What is drawn is drawn from the account's seed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from random import Random
from typing import Any, TypeVar


class CallFaultKind(StrEnum):
    """What may happen to a call; those named `after` happen once SES has done it, so the caller cannot know."""

    DELAY = "delay"  # the answer comes `seconds` later
    REFUSE = "refuse"  # `status` and `code` instead of doing it
    HANG = "hang"  # nothing is done and nothing answered for `seconds`, then the connection closes
    CUT = "cut"  # nothing is done, the connection closes at once
    REFUSE_AFTER = "refuse-after"  # done, and answered with `status` and `code`
    HANG_AFTER = "hang-after"  # done, and nothing answered for `seconds`, then the connection closes
    CUT_AFTER = "cut-after"  # done, and the connection closes after `at_byte` bytes of the answer
    WRONG_JSON_AFTER = "wrong-json-after"  # done, and answered 200 with a body that is no JSON


class EventFaultKind(StrEnum):
    """What may happen to an event on its way to a destination."""

    LOSE = "lose"
    DUPLICATE = "duplicate"
    DELAY = "delay"  # it arrives `seconds` later, so others overtake it


K = TypeVar("K", CallFaultKind, EventFaultKind)
_BEFORE = frozenset({CallFaultKind.REFUSE, CallFaultKind.HANG, CallFaultKind.CUT})
_ENDS = {500: "InternalFailure", 503: "ServiceUnavailable", 429: "TooManyRequestsException", 400: "BadRequestException"}
HANG_SECONDS = 3_600.0


@dataclass(slots=True)
class CallFault:
    """One order for calls: of which operation (a pattern, `Send*`), how often (`share` of them, `times` at most), what."""

    kind: CallFaultKind
    call: str = "*"
    times: int | None = None
    share: float = 1.0
    seconds: float = HANG_SECONDS
    at_byte: int = 0
    status: int = 500
    code: str = ""

    def __post_init__(self) -> None:
        self.kind = _kind_of(CallFaultKind, self.kind)
        _check(self)
        if (
            type(self.at_byte) is not int
            or type(self.status) is not int
            or self.at_byte < 0
            or not 400 <= self.status <= 599
        ):
            raise ValueError("at_byte is a whole number, 0 or more; status an error between 400 and 599")
        self.code = self.code or _ENDS.get(self.status, "InternalFailure")

    @property
    def is_before(self) -> bool:
        """Does it happen before SES would have done the call?"""
        return self.kind in _BEFORE


@dataclass(slots=True)
class EventFault:
    """One order for events: of which type (a pattern, as in `MatchingEventTypes`), how often, and what."""

    kind: EventFaultKind
    event: str = "*"
    times: int | None = None
    share: float = 1.0
    seconds: float = 60.0

    def __post_init__(self) -> None:
        self.kind = _kind_of(EventFaultKind, self.kind)
        _check(self)


class Faults:
    """The orders in force; the first that fits a call or an event is taken."""

    def __init__(self, random: Random) -> None:
        self.calls: list[CallFault] = []
        self.events: list[EventFault] = []
        self.is_feed_stopped = False
        self._random = random

    def for_call(self, operation: str) -> CallFault | None:
        """Return what shall happen to this call, and count it."""
        if not self.calls:  # as for nearly every call
            return None
        return next((each for each in self.calls if self._takes(each, each.call, operation)), None)

    def for_event(self, event: str) -> EventFault | None:
        """Return what shall happen to this event, and count it."""
        if not self.events:
            return None
        return next((each for each in self.events if self._takes(each, each.event, event)), None)

    def clear(self) -> None:
        """End all of them."""
        self.calls.clear()
        self.events.clear()
        self.is_feed_stopped = False

    def order(self, given: Mapping[str, Any]) -> None:
        """Take one order from JSON; ValueError says what is wrong.

        `{"call": "SendEmail", "kind": "cut-after", "times": 1}` or `{"event": "BOUNCE", "kind": "lose", "share": 0.1}`.
        """
        match "call" in given, "event" in given:
            case True, False:
                self.calls.append(CallFault(**_known(CallFault, given)))
            case False, True:
                self.events.append(EventFault(**_known(EventFault, given)))
            case _:
                raise ValueError('give either "call" (an operation, * for all) or "event" (an event type, * for all)')

    def shown(self) -> dict[str, Any]:
        """Return the orders as JSON shows them."""
        return {
            "calls": [asdict(each) for each in self.calls],
            "events": [asdict(each) for each in self.events],
            "feed_stopped": self.is_feed_stopped,
        }

    def _takes(self, fault: CallFault | EventFault, pattern: str, name: str) -> bool:
        if fault.times == 0 or not fnmatchcase(name, pattern):
            return False
        if fault.share < 1.0 and self._random.random() >= fault.share:
            return False
        if fault.times is not None:
            fault.times -= 1
        return True


def _known(kind: type[CallFault] | type[EventFault], given: Mapping[str, Any]) -> dict[str, Any]:
    names = [field.name for field in fields(kind)]
    if "kind" not in given:
        raise ValueError('give "kind": what shall happen')
    if unknown := given.keys() - set(names):
        raise ValueError(f"unknown setting {', '.join(sorted(unknown))}; known are {', '.join(names)}")
    return dict(given)


def _kind_of(kinds: type[K], given: Any) -> K:
    try:
        return kinds(given)
    except ValueError:
        raise ValueError(f"the kind {given!r} is none of {', '.join(kinds)}") from None


def _check(fault: CallFault | EventFault) -> None:
    """Raise ValueError for numbers that make no sense; JSON can hold anything."""
    numbers = (fault.share, fault.seconds, 0 if fault.times is None else fault.times)
    if any(isinstance(each, bool) or not isinstance(each, int | float) for each in numbers):
        raise ValueError("share, seconds and times are numbers")
    if not 0.0 <= fault.share <= 1.0 or fault.seconds < 0 or (fault.times or 0) < 0:
        raise ValueError("share lies between 0 and 1; seconds and times are not negative")
    if fault.times is not None and not isinstance(fault.times, int):
        raise ValueError("times is a whole number, or null for always")
