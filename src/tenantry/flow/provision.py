"""Owns making SES what the store wants, one control call at a time within the cell's budget, the most urgent first.

Leaves what differs to core.plan and the calls to the control adapter; what it forgets in a crash costs time only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf

from tenantry.core.claim import NAME_PREFIX
from tenantry.core.ids import CellId, StreamId
from tenantry.core.pause import Author
from tenantry.core.plan import DOUBT, FOR_SENDING, SENDING, Change, Resource, ResourceKind, Urgency, plan
from tenantry.ports import Clock, Control, ControlBusy, ControlRefused, Store

SURVEY_SECONDS = 0.5  # how long one comparison of everything may be worked from
FOUND_OFF = "SES has sending switched off for its configuration set, and nobody here did that: end it when you know why"
URGENT = frozenset({Urgency.PAUSE, Urgency.UNPAUSE})
Key = tuple[ResourceKind, str]
ChangeKey = tuple[ResourceKind, str, tuple[str, ...], bool]


class Pace:
    """The cell's budget of control calls: SES throttles every action but sending at one call a second."""

    def __init__(self, clock: Clock, calls_per_second: float = 1.0) -> None:
        """Allow the first call at once."""
        self.clock = clock
        self._gap = 1 / calls_per_second
        self._next = -inf

    async def ready(self) -> None:
        """Wait until a call may be made, without taking it: what is most urgent is decided afterwards."""
        while (left := self._next - self.clock.monotonic()) > 0:
            await self.clock.sleep(left)

    def spend(self, calls: int = 1) -> None:
        """Take calls."""
        self._next = max(self._next, self.clock.monotonic()) + calls * self._gap

    def rest(self, seconds: float) -> None:
        """Make no call for a while: SES is throttling."""
        self._next = max(self._next, self.clock.monotonic() + seconds)


@dataclass(frozen=True, slots=True)
class Provisioning:
    """The waits of provision, in seconds.

    poll: between two looks at an identity that cannot send yet. refresh: between two looks at what nothing is known to
    be wrong with. busy: after a throttle. refused, refused_max: after the first and after many refusals of a change.
    """

    poll: float = 60.0
    refresh: float = 60.0
    busy: float = 5.0
    refused: float = 5.0
    refused_max: float = 900.0


@dataclass(frozen=True, slots=True)
class Refused:
    """A change that SES said no to, in its words; it is left alone until then, or until it is another change."""

    change: Change
    words: str
    times: int
    until: float


@dataclass(slots=True)
class Course:
    """What provision remembers of one cell between calls; losing it costs time only."""

    pace: Pace
    waits: Provisioning = field(default_factory=Provisioning)
    refused: dict[ChangeKey, Refused] = field(default_factory=dict)
    looked: dict[Key, float] = field(default_factory=dict)
    refreshed_at: float = -inf
    looked_last: bool = False


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a pass did: changes made, looks taken, changes that remain, and those that SES refused in it."""

    changes_made: int = 0
    looks: int = 0
    remaining: int = 0
    failed: tuple[Refused, ...] = ()
    busy: bool = False


@dataclass(frozen=True, slots=True)
class _Next:
    """The one call to make now: a change, or a look at a resource."""

    change: Change | None
    look: Resource | None
    remaining: int
    later: tuple[Change, ...] = ()  # what comes after the change, as far as this plan goes


async def reconcile(store: Store, control: Control, cell: CellId, course: Course) -> Reconciled:
    """Make SES what the store wants, until nothing that can be done now is left; silent when nothing differs.

    Everything is read again before each call, or after SURVEY_SECONDS where more calls than that are granted, so that a
    pause opened meanwhile is the next one. Each change is written to the mirror before the next is made; a crash between
    both repeats one idempotent call.
    """
    made, looks, failed = 0, 0, list[Refused]()
    async with store.step() as step:
        await step.note_progress(cell)  # what is true already needs no call: a pause of streams that SES has not, say
    while True:
        await course.pace.ready()
        due = await _next(store, cell, course)
        course.looked_last = due.look is not None
        try:
            if due.change:
                done, refused = await _apply_some(store, control, cell, course, due)
                failed += [refused] if refused else []
                made += done
            elif due.look:
                looks += await _look(store, control, cell, course, due.look)
            else:
                return Reconciled(made, looks, due.remaining, tuple(failed))
        except ControlBusy:
            course.pace.rest(course.waits.busy)
            return Reconciled(made, looks, due.remaining, tuple(failed), busy=True)


async def _apply_some(
    store: Store, control: Control, cell: CellId, course: Course, due: _Next
) -> tuple[int, Refused | None]:
    """Make the change that is due, and those after it in the same plan as long as the plan is fresh and none is refused."""
    assert due.change is not None
    made, change = 0, due.change
    later = iter(due.later)
    fresh_until = course.pace.clock.monotonic() + SURVEY_SECONDS
    try:
        while True:
            refused = await _apply(store, control, cell, course, change)
            if refused or change.urgency in URGENT:
                return made + (refused is None), refused
            made += 1
            await course.pace.ready()
            following = next(later, None)
            if following is None or course.pace.clock.monotonic() >= fresh_until:
                return made, None
            change = following
    finally:
        async with store.step() as step:
            await step.note_progress(cell)


async def _next(store: Store, cell: CellId, course: Course) -> _Next:
    async with store.reading() as step:
        desired, mirror = await step.desired(cell), await step.mirror(cell)
        recovering = await step.recovering(cell)
    changes = plan(desired, mirror)
    now = course.pace.clock.monotonic()
    open_all = [change for change in changes if _may_try(course, change, now)]
    open_now = open_all[0] if open_all else None
    poll = _pollable(course, mirror, now)
    if poll and not (open_now and (open_now.urgency in URGENT or course.looked_last)):
        return _Next(None, poll, len(changes))  # at most every second call, so that waiting for DNS starves nobody
    look = None if open_now else _refreshable(course, mirror, now - course.waits.refresh)
    if recovering and not open_now:  # the mirror is old: each thing is looked at once, at once
        look = _longest_unseen(course, mirror, -inf) or look
    return _Next(open_now, look, len(changes), tuple(open_all[1:]))


def _may_try(course: Course, change: Change, now: float) -> bool:
    refused = course.refused.get(change.key)
    return refused is None or refused.until <= now or refused.change.resource != change.resource


def _pollable(course: Course, mirror: Sequence[Resource], now: float) -> Resource | None:
    """Return the identity that cannot send yet and was not looked at for longest, if it is due: SES tells nobody."""
    pending = [one for one in mirror if one.kind is ResourceKind.IDENTITY and one.observed.get(FOR_SENDING) != "true"]
    return _longest_unseen(course, pending, now - course.waits.poll)


def _refreshable(course: Course, mirror: Sequence[Resource], before: float) -> Resource | None:
    return None if course.refreshed_at > before else _longest_unseen(course, mirror, before)


def _longest_unseen(course: Course, resources: Sequence[Resource], before: float) -> Resource | None:
    found = min(resources, key=lambda one: course.looked.get(one.key, -inf), default=None)
    return found if found and course.looked.get(found.key, -inf) <= before else None


async def _apply(store: Store, control: Control, cell: CellId, course: Course, change: Change) -> Refused | None:
    course.pace.spend()
    if change.there and change.urgency in URGENT:
        await _doubt(store, cell, change.there)
    try:
        there = await control.apply(change)
    except ControlRefused as error:
        return _refuse(course, change, str(error))
    course.refused.pop(change.key, None)
    async with store.step() as step:
        await step.set_mirror(cell, [there] if there else [], [] if there else [change.resource])
    return None


async def _doubt(store: Store, cell: CellId, there: Resource) -> None:
    """Write down that a set may send or not: when no answer comes, no pause is taken for fenced, or over, on old news."""
    async with store.step() as step:
        await step.set_mirror(cell, [replace(there, attributes={**there.attributes, SENDING: DOUBT})], [])


def _refuse(course: Course, change: Change, words: str) -> Refused:
    now, before = course.pace.clock.monotonic(), course.refused.get(change.key)
    times = before.times + 1 if before and before.change.resource == change.resource else 1
    longest = course.waits.busy if change.urgency in URGENT else course.waits.refused_max
    refused = Refused(change, words, times, now + min(course.waits.refused * 2 ** min(times - 1, 30), longest))
    course.refused[change.key] = refused
    return refused


async def _look(store: Store, control: Control, cell: CellId, course: Course, resource: Resource) -> int:
    course.pace.spend()
    now = course.pace.clock.monotonic()
    course.looked[resource.key] = course.refreshed_at = now
    try:
        await _write(store, cell, resource, await control.look(resource))
    except ControlRefused:
        return 0  # the mirror stays as it was; the next look is due in its time
    return 1


async def _write(store: Store, cell: CellId, asked: Resource, there: Resource | None) -> None:
    """Write down what SES has now, and what that makes true; a set that somebody else switched off stays off."""
    async with store.step(lock=cell) as step:
        await step.set_mirror(cell, [there] if there else [], [] if there else [asked])
        if there and asked.attributes.get(SENDING) == "true" and there.attributes.get(SENDING) == "false":
            scope = ("stream", StreamId(f"{StreamId.prefix}_{asked.name.removeprefix(NAME_PREFIX)}"))
            await step.open_pause(scope, Author.OPERATOR, FOUND_OFF, None)
        await step.note_progress(cell)
