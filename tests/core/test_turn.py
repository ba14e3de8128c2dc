"""Promises of the fair turn, held against a slow obvious queue and against the shares that it must give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import inf
from time import perf_counter
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantry.core.ids import MessageId, PauseId, StreamId, TenantId
from tenantry.core.outcome import Hold
from tenantry.core.tenant import StreamClass
from tenantry.core.turn import Credit, Ending, Lane, Parked, Pick, Shares, Turn, Waiting, choose

BULK, MAIL = StreamClass.MARKETING, StreamClass.TRANSACTIONAL
PAUSE = PauseId.of(UUID(int=1))
PLENTY = Credit(recipients=1e9, messages=10**9)


def tenant(number: int) -> TenantId:
    return TenantId.of(UUID(int=number))


def stream(number: int) -> StreamId:
    return StreamId.of(UUID(int=number))


def message(number: int, cost: int = 1) -> Waiting:
    return Waiting(MessageId.of(UUID(int=number)), cost)


def lane(
    number: int, owner: int, *heads: Waiting, of: StreamClass = MAIL, tag: float = 0.0, weight: float = 1.0
) -> Lane:
    return Lane(stream(number), tenant(owner), of, tag, weight, heads)


@dataclass
class Cell:
    """A store in miniature: it keeps tags and shares between turns and loads the lanes with the smallest tags."""

    weights: dict[int, float] = field(default_factory=dict)
    queues: dict[tuple[int, int, StreamClass], list[Waiting]] = field(default_factory=dict)
    tags: dict[tuple[TenantId, StreamClass], float] = field(default_factory=dict)
    shares: Shares = field(default_factory=Shares)
    started: Counter[tuple[int, StreamClass]] = field(default_factory=Counter)
    numbers: int = 0

    def fill(self, owner: int, count: int, cost: int = 1, of: StreamClass = MAIL, streams: int = 1) -> None:
        for at in range(count):
            self.numbers += 1
            number = owner * 1_000 + at % streams
            self.queues.setdefault((owner, number, of), []).append(message(self.numbers, cost))

    def lanes(self, limit: int = 10**9) -> list[Lane]:
        lanes = [
            Lane(
                stream(number),
                tenant(owner),
                of,
                self.tags.get((tenant(owner), of), 0.0),
                self.weights.get(owner, 1.0),
                tuple(waiting[:limit]),
            )
            for (owner, number, of), waiting in self.queues.items()
            if waiting
        ]
        return sorted(lanes, key=lambda lane: lane.tag)

    def turn(self, messages: int = 10) -> Turn:
        turn = choose(self.lanes(messages), replace(PLENTY, messages=messages), self.shares)
        self.tags |= turn.tags
        self.shares = turn.shares
        for pick in turn.picks:
            key = next(
                key for key, waiting in self.queues.items() if waiting and waiting[0].message_id == pick.message_id
            )
            self.queues[key].pop(0)
            self.started[key[0], key[2]] += pick.cost
        return turn


# --- against an independent oracle -----------------------------------------------------------------------------------


def slow_choose(lanes: list[Lane], credit: Credit, shares: Shares) -> tuple[list[Pick], dict[object, float], float]:
    """The same rules without a heap: look at every lane again for every message."""
    tags = {(lane.tenant_id, lane.stream_class): lane.tag for lane in lanes}
    heads = {lane.stream_id: list(lane.heads) for lane in lanes}
    allowance = {lane.stream_id: inf if lane.allowance is None else lane.allowance for lane in lanes}
    finish = {name: share.finish for name, share in shares.classes.items()}
    virtual = {name: share.virtual for name, share in shares.classes.items()}
    left = {name: credit.quota(name) for name in shares.classes}
    top, tokens, day = shares.virtual, credit.recipients, credit.day_recipients
    picks: list[Pick] = []
    touched: dict[object, float] = {}
    order = list(shares.classes)
    while len(picks) < credit.messages:
        ready = [
            lane
            for lane in lanes
            if lane.blocked is None
            and heads[lane.stream_id]
            and allowance[lane.stream_id] > 0
            and lane.stream_class in left
        ]
        if not ready:
            break
        due = min(
            ready,
            key=lambda lane: (
                max(top, finish[lane.stream_class]),
                finish[lane.stream_class],
                order.index(lane.stream_class),
                max(virtual[lane.stream_class], tags[lane.tenant_id, lane.stream_class]),
                tags[lane.tenant_id, lane.stream_class],
                lane.tenant_id,
                heads[lane.stream_id][0].message_id,
            ),
        )
        name, head = due.stream_class, heads[due.stream_id][0]
        if head.cost > left[name] or head.cost > day:
            del left[name]
            continue
        if head.cost > tokens and (picks or not credit.bucket_full):
            break
        heads[due.stream_id].pop(0)
        tokens -= head.cost
        day -= head.cost
        left[name] -= head.cost
        allowance[due.stream_id] -= head.cost
        top = max(top, finish[name])
        finish[name] = top + head.cost / shares.classes[name].weight
        virtual[name] = max(virtual[name], tags[due.tenant_id, name])
        tags[due.tenant_id, name] = touched[due.tenant_id, name] = virtual[name] + head.cost / due.weight
        picks.append(Pick(due.stream_id, head.message_id, head.cost))
    return picks, touched, tokens


@st.composite
def cells(draw: st.DrawFn) -> list[Lane]:
    tenants = draw(st.integers(1, 5))
    weights = draw(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=tenants, max_size=tenants))
    tags = draw(st.lists(st.sampled_from([0.0, 1.0, 7.5, 40.0]), min_size=2 * tenants, max_size=2 * tenants))
    lanes, ids = [], iter(draw(st.permutations(range(60))))
    for number in range(draw(st.integers(0, 10))):
        owner, of = draw(st.integers(0, tenants - 1)), draw(st.sampled_from([BULK, MAIL]))
        heads = sorted((next(ids), draw(st.integers(1, 50))) for _ in range(draw(st.integers(0, 5))))
        blocked = draw(st.sampled_from([None, None, None, PAUSE]))
        allowance = draw(st.sampled_from([None, None, 0.0, 0.5, 20.0]))
        tag = tags[2 * owner + (of is BULK)]
        waiting = tuple(message(*head) for head in heads)
        lanes.append(Lane(stream(number), tenant(owner), of, tag, weights[owner], waiting, blocked, allowance))
    return lanes


any_credit = st.builds(
    Credit,
    recipients=st.sampled_from([-3.0, 0.0, 1.0, 10.5, 60.0, 1e9]),
    messages=st.integers(0, 30),
    bucket_full=st.booleans(),
    marketing_recipients=st.sampled_from([0.0, 30.0, inf]),
    day_recipients=st.sampled_from([0.0, 50.0, inf]),
)


@given(cells(), any_credit, st.sampled_from([0.0, 2.0, 20.0]))
@settings(max_examples=300, deadline=None)
def test_a_turn_equals_the_slow_obvious_queue(lanes: list[Lane], credit: Credit, virtual: float) -> None:
    """Heaps change the cost of a choice, never the choice, nor the tags that are remembered."""
    shares = Shares({name: replace(share, virtual=virtual) for name, share in Shares().classes.items()}, virtual)
    turn = choose(lanes, credit, shares)
    picks, tags, _ = slow_choose(lanes, credit, shares)
    assert list(turn.picks) == picks
    assert turn.tags == pytest.approx(tags)


@given(cells(), any_credit)
@settings(max_examples=300, deadline=None)
def test_a_turn_never_exceeds_its_credit(lanes: list[Lane], credit: Credit) -> None:
    """Room, tokens and the day's quotas hold; only the first message of a turn may overdraw a full bucket."""
    turn = choose(lanes, credit, Shares())
    bulk = sum(pick.cost for pick in turn.picks if lane_of(lanes, pick).stream_class is BULK)
    overdrawn = credit.bucket_full and len(turn.picks) == 1
    assert len(turn.picks) <= credit.messages
    assert turn.cost <= credit.recipients or not turn.picks or overdrawn
    assert turn.cost <= credit.day_recipients
    assert bulk <= credit.marketing_recipients


@given(cells(), any_credit)
@settings(max_examples=200, deadline=None)
def test_a_closed_gate_starts_nothing_and_is_parked_with_its_reason(lanes: list[Lane], credit: Credit) -> None:
    """Paused and throttled lanes leave the ready ones, saying why; no lane is parked twice, none with an open gate."""
    turn = choose(lanes, credit, Shares())
    spent = Counter[StreamId]()
    for pick in turn.picks:
        assert lane_of(lanes, pick).blocked is None
        assert (lane_of(lanes, pick).allowance or inf) > spent[pick.stream_id]
        spent[pick.stream_id] += pick.cost
    parked = {parked.stream_id: parked for parked in turn.parked}
    assert len(parked) == len(turn.parked)
    for one in lanes:
        picked = sum(pick.stream_id == one.stream_id for pick in turn.picks)
        if one.blocked:
            assert parked[one.stream_id] == Parked(one.stream_id, Hold.PAUSED, PAUSE)
        elif picked < len(one.heads) and (one.allowance is not None and one.allowance <= spent[one.stream_id]):
            assert parked[one.stream_id] == Parked(one.stream_id, Hold.THROTTLED)
        else:
            assert one.stream_id not in parked
            assert (one.stream_id in turn.emptied) == (picked == len(one.heads))


@given(cells(), st.integers(1, 30))
@settings(max_examples=150, deadline=None)
def test_a_long_turn_equals_many_short_ones(lanes: list[Lane], count: int) -> None:
    """All that the queue remembers is in tags and shares: cutting a turn into single messages changes no choice."""
    lanes = [replace(one, allowance=None, blocked=None) for one in lanes]
    long = choose(lanes, replace(PLENTY, messages=count), Shares())
    picks: list[Pick] = []
    shares = Shares()
    for _ in range(count):
        turn = choose(lanes, replace(PLENTY, messages=1), shares)
        picks, shares = [*picks, *turn.picks], turn.shares
        lanes = [after(one, turn) for one in lanes]
    assert tuple(picks) == long.picks
    assert shares == long.shares


@given(cells(), any_credit, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_loading_changes_nothing(lanes: list[Lane], credit: Credit, random: object) -> None:
    """A turn depends on what waits, not on the order in which a query returned it."""
    shuffled = list(lanes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert choose(shuffled, credit, Shares()).picks == choose(lanes, credit, Shares()).picks


def lane_of(lanes: Iterable[Lane], pick: Pick) -> Lane:
    return next(one for one in lanes if one.stream_id == pick.stream_id)


def after(one: Lane, turn: Turn) -> Lane:
    picked = {pick.message_id for pick in turn.picks}
    return replace(
        one,
        tag=turn.tags.get((one.tenant_id, one.stream_class), one.tag),
        heads=tuple(head for head in one.heads if head.message_id not in picked),
    )


# --- fairness --------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from([1.0, 2.0, 5.0]), st.sampled_from([1, 7, 50])), min_size=2, max_size=5))
@settings(max_examples=30, deadline=None)
def test_always_busy_tenants_share_by_weight(tenants: list[tuple[float, int]]) -> None:
    """At any time the service per weight of two busy tenants differs by less than one largest message of each."""
    cell = Cell(weights={owner: weight for owner, (weight, _) in enumerate(tenants)})
    for owner, (_, cost) in enumerate(tenants):
        cell.fill(owner, 300, cost)
    for _ in range(20):
        cell.turn(10)
        served = [cell.started[owner, MAIL] / weight for owner, (weight, _) in enumerate(tenants)]
        step = [cost / weight for weight, cost in tenants]
        for one in range(len(tenants)):
            for other in range(one):
                assert abs(served[one] - served[other]) <= step[one] + step[other]


@pytest.mark.parametrize("busy", [2, 5])
def test_more_streams_buy_no_more_share(busy: int) -> None:
    """A tenant with ten streams gets what a tenant with one gets."""
    cell = Cell()
    cell.fill(0, 500, streams=10)
    for owner in range(1, busy):
        cell.fill(owner, 500)
    for _ in range(40):
        cell.turn(5)
    counts = [cell.started[owner, MAIL] for owner in range(busy)]
    assert max(counts) - min(counts) <= 1


def test_a_tenant_that_returns_from_idleness_takes_only_its_share() -> None:
    """A long absence is not banked: from its return both get half."""
    cell = Cell()
    cell.fill(0, 2_000)
    for _ in range(100):
        cell.turn(10)
    cell.fill(1, 500)
    for _ in range(20):
        cell.turn(10)
    assert abs(cell.started[1, MAIL] - 100) <= 1


def test_leaving_and_returning_again_and_again_gains_nothing() -> None:
    """A tenant that trickles a message whenever its lane is empty stays within its share: the tag survives idleness."""
    cell = Cell()
    cell.fill(0, 3_000)
    cell.weights[1] = 0.02 / 0.98
    for _ in range(1_000):
        cell.fill(1, 1 if not any(cell.queues.get((1, 1_000, MAIL), ())) else 0)
        cell.turn(1)
    assert cell.started[1, MAIL] <= 1_000 * 0.02 + 1


def test_a_flood_delays_a_newcomer_by_a_round() -> None:
    """A newcomer starts after at most one message of each busy tenant, whatever waits in their lanes."""
    cell = Cell()
    for owner in range(5):
        cell.fill(owner, 1_000, cost=10)
    for _ in range(30):
        cell.turn(7)
    cell.fill(9, 1)
    turn = cell.turn(6)
    assert stream(9_000) in [pick.stream_id for pick in turn.picks]


def test_a_full_turn_needs_only_the_lanes_with_the_smallest_tags() -> None:
    """With one lane a tenant, as many lanes as messages may start are enough to choose as from all of them."""
    cell = Cell()
    for owner in range(40):
        cell.fill(owner, 1 + owner % 7, cost=1 + owner % 5)
    for _ in range(10):
        few = choose(cell.lanes()[:8], replace(PLENTY, messages=8), cell.shares)
        assert [pick.message_id for pick in cell.turn(8).picks] == [pick.message_id for pick in few.picks]


# --- classes ---------------------------------------------------------------------------------------------------------


def test_classes_share_ninety_to_ten_and_an_idle_class_leaves_its_share() -> None:
    """Marketing gets a tenth while transactional mail waits, and everything when none does."""
    cell = Cell()
    cell.fill(0, 900, of=MAIL)
    cell.fill(1, 2_000, of=BULK)
    for _ in range(50):
        cell.turn(10)
    assert abs(cell.started[1, BULK] - 50) <= 1
    cell.queues = {key: waiting for key, waiting in cell.queues.items() if key[2] is BULK}
    assert len(cell.turn(100).picks) == 100


def test_a_class_that_was_alone_does_not_pay_for_it_afterwards() -> None:
    """Mail that used idle capacity keeps its tenth when the other class returns, and the other its nine tenths."""
    cell = Cell()
    cell.fill(1, 5_000, of=BULK)
    for _ in range(100):
        cell.turn(10)
    before = cell.started[1, BULK]
    cell.fill(0, 1_000, of=MAIL)
    for _ in range(50):
        cell.turn(10)
    assert abs(cell.started[1, BULK] - before - 50) <= 1


def test_a_tenants_flood_of_marketing_leaves_its_transactional_tag_alone() -> None:
    """Tags are held by tenant and class."""
    turn = choose([lane(1, 1, message(1), of=BULK), lane(2, 1, message(2), of=MAIL)], PLENTY, Shares())
    assert turn.tags == {(tenant(1), BULK): 1.0, (tenant(1), MAIL): 1.0}


# --- credit ----------------------------------------------------------------------------------------------------------


def test_a_dear_message_is_not_passed_over() -> None:
    """The turn ends at a due message that the rate cannot cover yet: cheaper ones behind it must not starve it."""
    lanes = [lane(1, 1, message(1, 50)), lane(2, 2, message(2, 1), tag=9.0)]
    turn = choose(lanes, Credit(recipients=14.0, messages=10), Shares())
    assert turn.picks == ()
    assert turn.ending is Ending.RATE


def test_a_message_dearer_than_the_bucket_starts_from_a_full_one() -> None:
    """Fifty recipients leave at fourteen a second too: alone in their turn, as a debt."""
    lanes = [lane(1, 1, message(1, 50)), lane(2, 2, message(2, 1), tag=9.0)]
    turn = choose(lanes, Credit(recipients=14.0, messages=10, bucket_full=True), Shares())
    assert [pick.cost for pick in turn.picks] == [50]
    assert turn.ending is Ending.RATE


def test_the_reserve_of_the_day_is_kept_for_transactional_mail() -> None:
    """Marketing stops at its part of the day's quota, transactional mail goes on."""
    lanes = [lane(1, 1, message(1), message(2), of=BULK), lane(2, 2, message(3), message(4), of=MAIL)]
    turn = choose(lanes, replace(PLENTY, marketing_recipients=1.0), Shares())
    assert Counter(lane_of(lanes, pick).stream_class for pick in turn.picks) == {MAIL: 2, BULK: 1}
    assert turn.ending is Ending.QUOTA


def test_both_classes_draw_on_one_day() -> None:
    """The day's quota is the account's: what one class takes is gone for the other."""
    lanes = [lane(1, 1, message(1), message(2), of=BULK), lane(2, 2, message(3), message(4), of=MAIL)]
    turn = choose(lanes, replace(PLENTY, day_recipients=3.0), Shares())
    assert turn.cost == 3
    assert turn.ending is Ending.QUOTA


@pytest.mark.parametrize(
    ("credit", "ending"),
    [
        (PLENTY, Ending.NO_MAIL),
        (replace(PLENTY, messages=1), Ending.IN_FLIGHT),
        (replace(PLENTY, recipients=1.0), Ending.RATE),
        (replace(PLENTY, day_recipients=1.0), Ending.QUOTA),
    ],
)
def test_a_turn_says_why_it_ended(credit: Credit, ending: Ending) -> None:
    """The operator can read which limit held the rest back."""
    assert choose([lane(1, 1, message(1), message(2))], credit, Shares()).ending is ending


def test_a_tenants_streams_are_served_oldest_first() -> None:
    """Within a tenant's class the older message goes first, whichever stream it waits in."""
    lanes = [lane(1, 1, message(2), message(5)), lane(2, 1, message(1), message(3), message(4))]
    turn = choose(lanes, PLENTY, Shares())
    assert [pick.message_id for pick in turn.picks] == [message(number).message_id for number in (1, 2, 3, 4, 5)]


def test_a_turn_is_cheap() -> None:
    """A thousand lanes and a thousand picks take a few microseconds each (the bound is ten times what is measured)."""
    lanes = [lane(number, number, message(number), tag=number % 7) for number in range(1_000)]
    seconds = inf
    for _ in range(5):
        started = perf_counter()
        turn = choose(lanes, replace(PLENTY, messages=1_000), Shares())
        seconds = min(seconds, perf_counter() - started)
    assert len(turn.picks) == 1_000
    assert seconds < 0.05
