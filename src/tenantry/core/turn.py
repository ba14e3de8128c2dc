"""Owns the fair turn: which waiting messages of a cell start now.

Leaves to others what a turn is made from (loading lanes, credit and shares) and writing it down (the store).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heapify, heappop, heapreplace
from math import inf

from tenantry.core.ids import MessageId, PauseId, StreamId, TenantId
from tenantry.core.outcome import Hold
from tenantry.core.tenant import StreamClass


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message at the head of a lane; cost is its recipients, at least 1."""

    message_id: MessageId
    cost: int


@dataclass(frozen=True, slots=True)
class Lane:
    """The waiting messages of one stream.

    tag: the finish tag that the tenant has in this class, 0 for a new one; the same in all its lanes of the class.
    weight: the tenant's, above 0. heads: oldest first, the first few are enough. blocked: the pause in force.
    allowance: recipients that a throttled stream may start now, None when it is not throttled.
    """

    stream_id: StreamId
    tenant_id: TenantId
    stream_class: StreamClass
    tag: float
    weight: float
    heads: tuple[Waiting, ...]
    blocked: PauseId | None = None
    allowance: float | None = None


@dataclass(frozen=True, slots=True)
class Credit:
    """What a cell may start now.

    recipients: tokens of the rate, below 0 while a debt is paid off. messages: room in flight. bucket_full: no more
    tokens will gather, so a message dearer than the whole bucket may start and leave a debt. day_recipients: what is
    left of the rolling day's quota. marketing_recipients: the same less the reserve for transactional mail.
    """

    recipients: float
    messages: int
    bucket_full: bool = False
    marketing_recipients: float = inf
    day_recipients: float = inf

    def quota(self, stream_class: StreamClass) -> float:
        """What the rolling day leaves to a class, within day_recipients for all."""
        return self.marketing_recipients if stream_class is StreamClass.MARKETING else inf


@dataclass(frozen=True, slots=True)
class ClassShare:
    """A class at the top of the queue: its weight there, its finish tag there, and the virtual time of its tenants."""

    weight: float
    finish: float = 0.0
    virtual: float = 0.0


@dataclass(frozen=True, slots=True)
class Shares:
    """What the queue remembers between turns, kept with the cell: a share for every class, and the virtual time."""

    classes: Mapping[StreamClass, ClassShare] = field(
        default_factory=lambda: {
            StreamClass.TRANSACTIONAL: ClassShare(weight=90.0),
            StreamClass.MARKETING: ClassShare(weight=10.0),
        }
    )
    virtual: float = 0.0


@dataclass(frozen=True, slots=True)
class Pick:
    """A message that starts now."""

    stream_id: StreamId
    message_id: MessageId
    cost: int


@dataclass(frozen=True, slots=True)
class Parked:
    """A lane with a closed gate: it leaves the ready ones until its pause ends or its allowance has grown."""

    stream_id: StreamId
    hold: Hold
    pause_id: PauseId | None = None


class Ending(StrEnum):
    """Why a turn holds no more messages."""

    NO_MAIL = "no_mail"  # of what was loaded: see Turn.emptied
    RATE = "rate"
    IN_FLIGHT = "in_flight"
    QUOTA = "quota"
    CLOSED = "closed"  # the cell may not send at all now: SES has stopped the account, or does not answer


@dataclass(frozen=True, slots=True)
class Turn:
    """The messages chosen to go now, in order, and what the store must remember.

    tags: the new finish tag of every tenant and class that was served. shares: for the next turn. parked: every lane
    with a closed gate. emptied: lanes with no loaded head left; more may wait behind them.
    """

    picks: tuple[Pick, ...]
    tags: Mapping[tuple[TenantId, StreamClass], float]
    shares: Shares
    parked: tuple[Parked, ...]
    emptied: tuple[StreamId, ...]
    ending: Ending

    @property
    def cost(self) -> int:
        """Recipients of all picks: what the credit is charged."""
        return sum(pick.cost for pick in self.picks)


def choose(lanes: Sequence[Lane], credit: Credit, shares: Shares) -> Turn:
    """Choose whose messages start now, by start-time fair queueing (Goyal, Vin, Cheng 1996) on two levels.

    Classes share the cell by weight, tenants share their class by weight; who is idle leaves the share to the busy. The
    next service goes to the smallest start tag max(virtual time, own finish tag), ties to the smaller finish tag; it
    moves the virtual time to that start tag and the finish tag to start + recipients / weight. A tenant's lanes of a
    class share one tag and are served oldest message first, by message id. The turn ends at the first due message that
    the rate cannot cover, so that a dear message is not passed over for ever; one dearer than the tokens starts only
    first in its turn and from a full bucket, and leaves a debt. A class whose due message is over the day's quota is
    closed for the turn. A throttled lane starts while its allowance is above 0; its last message may overdraw it, which
    the caller carries as a debt. Mind that lanes of one tenant count once: load the lanes of as many tenants per class
    as messages may start, smallest tag first, and as many heads of each as are to start in this turn at most.
    """
    turn = _Turn(lanes, credit, shares)
    ending = turn.run(credit)
    return Turn(
        picks=tuple(turn.picks),
        tags={key: tag for queue in turn.queues for key, tag in queue.served.items()},
        shares=Shares({queue.stream_class: queue.share() for queue in turn.queues}, virtual=turn.virtual),
        parked=tuple(turn.parked),
        emptied=tuple(turn.emptied),
        ending=ending,
    )


class _Open:
    """A lane with an open gate and how far this turn has come in it; in heaps as (due message id, order, lane)."""

    __slots__ = ("allowance", "at", "heads", "stream_id")

    def __init__(self, lane: Lane) -> None:
        self.stream_id = lane.stream_id
        self.heads = lane.heads
        self.at = 0
        self.allowance = inf if lane.allowance is None else lane.allowance


_LaneEntry = tuple[str, int, _Open]


class _Tenant:
    """A tenant's busy lanes of one class."""

    __slots__ = ("id", "lanes", "tag", "weight")

    def __init__(self, lane: Lane) -> None:
        self.id = lane.tenant_id
        self.tag = lane.tag
        self.weight = lane.weight
        self.lanes: list[_LaneEntry] = []


class _Class:
    """The busy tenants of one class. The virtual time never passes a start tag in the heap, so entries stay true."""

    __slots__ = ("finish", "heap", "left", "served", "stream_class", "virtual", "weight")

    def __init__(self, stream_class: StreamClass, share: ClassShare, left: float, tenants: Collection[_Tenant]) -> None:
        self.stream_class = stream_class
        self.weight = share.weight
        self.finish = share.finish
        self.virtual = share.virtual
        self.left = left
        self.served: dict[tuple[TenantId, StreamClass], float] = {}
        self.heap: list[tuple[float, float, str, _Tenant]] = []
        for tenant in tenants:
            heapify(tenant.lanes)
            self.heap.append((max(self.virtual, tenant.tag), tenant.tag, tenant.id, tenant))
        heapify(self.heap)

    def advance(self, cost: int) -> None:
        """Serve the tenant that is due; call it after its lanes have moved on."""
        start, _, _, tenant = self.heap[0]
        self.virtual = start
        self.left -= cost
        tenant.tag = self.served[tenant.id, self.stream_class] = start + cost / tenant.weight
        if tenant.lanes:
            heapreplace(self.heap, (tenant.tag, tenant.tag, tenant.id, tenant))
        else:
            heappop(self.heap)

    def share(self) -> ClassShare:
        return ClassShare(self.weight, self.finish, self.virtual)


class _Turn:
    """One turn in the making."""

    def __init__(self, lanes: Sequence[Lane], credit: Credit, shares: Shares) -> None:
        self.virtual = shares.virtual
        self.picks: list[Pick] = []
        self.parked: list[Parked] = []
        self.emptied: list[StreamId] = []
        tenants = self._tenants(lanes, shares)
        self.queues = tuple(
            _Class(name, share, credit.quota(name), tenants[name].values()) for name, share in shares.classes.items()
        )

    def run(self, credit: Credit) -> Ending:
        tokens, day = credit.recipients, credit.day_recipients
        busy = [queue for queue in self.queues if queue.heap]
        ending = Ending.NO_MAIL
        while busy:
            if len(self.picks) >= credit.messages:
                return Ending.IN_FLIGHT
            queue = busy[0] if len(busy) == 1 else min(busy, key=self._start)
            lane = queue.heap[0][3].lanes[0][2]
            cost = lane.heads[lane.at].cost
            if cost > min(queue.left, day):
                busy.remove(queue)
                ending = Ending.QUOTA
                continue
            if cost > tokens and (self.picks or not credit.bucket_full):
                return Ending.RATE
            tokens -= cost
            day -= cost
            self._serve(queue)
            if not queue.heap:
                busy.remove(queue)
        return ending

    def _tenants(self, lanes: Sequence[Lane], shares: Shares) -> dict[StreamClass, dict[TenantId, _Tenant]]:
        """Gather open lanes by class and tenant; park the others."""
        tenants: dict[StreamClass, dict[TenantId, _Tenant]] = {name: {} for name in shares.classes}
        for order, lane in enumerate(lanes):
            if lane.blocked is not None:
                self.parked.append(Parked(lane.stream_id, Hold.PAUSED, lane.blocked))
            elif not lane.heads:
                self.emptied.append(lane.stream_id)
            elif lane.allowance is not None and lane.allowance <= 0:
                self.parked.append(Parked(lane.stream_id, Hold.THROTTLED))
            else:
                group = tenants[lane.stream_class]
                tenant = group.get(lane.tenant_id)
                if tenant is None:
                    tenant = group[lane.tenant_id] = _Tenant(lane)
                tenant.lanes.append((lane.heads[0].message_id, order, _Open(lane)))
        return tenants

    def _start(self, queue: _Class) -> tuple[float, float]:
        return max(self.virtual, queue.finish), queue.finish

    def _serve(self, queue: _Class) -> None:
        lanes = queue.heap[0][3].lanes
        _, order, lane = lanes[0]
        head = lane.heads[lane.at]
        self.picks.append(Pick(lane.stream_id, head.message_id, head.cost))
        lane.at += 1
        lane.allowance -= head.cost
        if lane.at == len(lane.heads):
            heappop(lanes)
            self.emptied.append(lane.stream_id)
        elif lane.allowance <= 0:
            heappop(lanes)
            self.parked.append(Parked(lane.stream_id, Hold.THROTTLED))
        else:
            heapreplace(lanes, (lane.heads[lane.at].message_id, order, lane))
        self.virtual = max(self.virtual, queue.finish)
        queue.finish = self.virtual + head.cost / queue.weight
        queue.advance(head.cost)
