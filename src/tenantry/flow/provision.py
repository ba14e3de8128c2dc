"""Owns making SES what the store wants, one control call at a time within the cell's budget, the most urgent first.

Leaves what differs to the store's survey and core.plan, the calls to the control adapter; what it forgets in a crash
costs time only. However many tenants there are, a look at what differs takes the same few: those that a pause stops,
those with something left to do, and every few seconds the next ones of all (ADR 0016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf

from tenantry.core.claim import NAME_PREFIX
from tenantry.core.ids import CellId, StreamId
from tenantry.core.pause import Author
from tenantry.core.plan import DOUBT, FOR_SENDING, SENDING, Change, Resource, ResourceKind, Urgency
from tenantry.ports import Clock, Control, ControlBusy, ControlRefused, Places, Store, Survey

SURVEY_SECONDS = 0.5  # how long one comparison may be worked from
PORTION = 50  # tenants compared at a time, of each kind
WALK_SECONDS = 4.0  # between two portions of the walk over all: 1 % of a core, and 100,000 tenants in four hours
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
    looked: dict[Key, float] = field(default_factory=dict)  # when, at what cannot send yet
    refreshed_at: float = -inf
    refreshed: Key | None = None  # the last object that was looked at in its turn; None: the first one is next
    all_looked: bool = False  # whether each has had its turn
    looked_last: bool = False
    places: Places = field(default_factory=Places)
    portion: int = PORTION
    walked_at: float = -inf

    def look_again(self) -> None:
        """Begin the round of looks anew: what was seen of SES may be old."""
        self.looked.clear()
        self.refreshed, self.all_looked = None, False


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

    What differs is read again before each call, or after SURVEY_SECONDS where more calls than that are granted, so that a
    pause opened meanwhile is the next one. Each change is written to the mirror before the next is made; a crash between
    both repeats one idempotent call.
    """
    made, looks, failed = 0, 0, list[Refused]()
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
    tried: list[Change] = []
    later = iter(due.later)
    fresh_until = course.pace.clock.monotonic() + SURVEY_SECONDS
    try:
        while True:
            tried.append(change)
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
            await step.note_progress(cell, await step.tenants_of(cell, [one.resource for one in tried]))


async def _next(store: Store, cell: CellId, course: Course) -> _Next:
    now = course.pace.clock.monotonic()
    walk = course.walked_at <= now - WALK_SECONDS
    async with store.reading() as step:
        seen = await step.survey(cell, course.places, course.portion, walk=walk)
        recovering = await step.recovering(cell) and not course.all_looked
        turn = course.refreshed_at <= now - course.waits.refresh or recovering
        oldest = (await step.next_seen(cell, course.refreshed)) if turn else None
    if seen.unnoted or seen.still:
        async with store.step() as step:  # what is true already needs no call: a pause of streams that SES has not, say
            await step.note_progress(cell, seen.unnoted, seen.still)
    open_all = [change for change in seen.changes if _may_try(course, change, now)]
    _go_on(course, seen, open_all, walked_at=now if walk else course.walked_at)
    open_now = open_all[0] if open_all else None
    poll = _pollable(course, seen.pending, now)
    if poll and not (open_now and (open_now.urgency in URGENT or course.looked_last)):
        return _Next(None, poll, len(seen.changes))  # at most every second call, so that waiting for DNS starves nobody
    if turn and oldest is None:
        course.refreshed, course.all_looked = None, True
    return _Next(open_now, None if open_now else oldest, len(seen.changes), tuple(open_all[1:]))


def _go_on(course: Course, seen: Survey, open_all: Sequence[Change], *, walked_at: float) -> None:
    """Go on in each list where nothing of its portion can be done now; what can be done is looked for there again."""
    before, after = course.places, seen.after
    urgent = any(one.urgency in URGENT for one in open_all)
    surplus = any(one.delete for one in open_all)
    if not surplus:
        course.walked_at = walked_at
    course.places = Places(
        pause=before.pause if urgent else after.pause,
        wide=before.wide if urgent else after.wide,
        tenant=before.tenant if open_all else after.tenant,
        identity=before.identity if _pollable(course, seen.pending, course.pace.clock.monotonic()) else after.identity,
        walk=before.walk if surplus else after.walk,
        seen=before.seen if surplus else after.seen,
    )


def _may_try(course: Course, change: Change, now: float) -> bool:
    refused = course.refused.get(change.key)
    return refused is None or refused.until <= now or refused.change.resource != change.resource


def _pollable(course: Course, pending: Sequence[Resource], now: float) -> Resource | None:
    """Return the identity that cannot send yet and was not looked at for longest, if it is due: SES tells nobody."""
    return _longest_unseen(course, pending, now - course.waits.poll)


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
    course.refreshed_at = course.pace.clock.monotonic()
    if resource.observed.get(FOR_SENDING) != "true" and resource.kind is ResourceKind.IDENTITY:
        course.looked[resource.key] = course.refreshed_at
    else:
        course.looked.pop(resource.key, None)
        course.refreshed = resource.key
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
        await step.note_progress(cell, await step.tenants_of(cell, [asked]))
