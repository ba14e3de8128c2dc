"""An exhaustive search over a small model of the pause: every order of steps, crashes and stops, in plain Python.

What each step of the model stands for in src/tenantry:

- `turn`, `claim`: flow/dispatch.py `claim` (one transaction under the cell's lock: it reads the lanes with their pauses,
  then inserts attempts), store/dispatch.py `lanes` and `claim`.
- `check`, `give back`: app/pipeline.py `_turn` (what took longer than claim_ahead_seconds goes back by `hand_back`).
- `first byte`, `SES answers`, `give up`: app/pipeline.py `_send` and aws/send.py; a request that has left may reach SES
  whenever it likes, also after its process has given it up or died.
- `settle`: flow/dispatch.py `settle`; `abandon` after a crash: app/worker.py and flow/dispatch.py `abandon`.
- `pause`, `acknowledge`: flow/guard.py `open_pause` and `drain`, store/guard.py `draining` (claims of the scope that are
  older than the pause and younger than the deadline); `end`: flow/guard.py `end_pause`.
- `note`, `decide`, `doubt`, `SES switches`, `write`: flow/provision.py `reconcile` (`note_progress`, `_next`, `_apply`,
  `set_mirror`), core/plan.py `plan` and `progress`; `no answer` is ControlBusy, or a crash between call and mirror.
- `grow old`: ten seconds pass since a claim. A process that runs has no call under way by then; one that was stopped
  (SIGSTOP, a long pause of the machine) between its check and its first byte does not know that they passed.

Two workers serve one stream; the operator opens and ends its pause. Left out: more streams (a pause sees its own scope
only), requests to the control plane that SES carries out after their answer was given up, an outage of the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import pytest


class At(IntEnum):
    """Where a worker stands."""

    IDLE = 0
    TURN = 1  # it has read the lanes, and holds the cell's lock
    CLAIMED = 2
    CHECKED = 3  # the next thing it does is its first byte
    CALLING = 4
    ANSWERED = 5
    DEAD = 6


class Worker(NamedTuple):
    """A worker, with the attempt that it may have open in the store and the request that may be on its way."""

    at: At = At.IDLE
    saw_pause: bool = False  # what its turn read
    is_open: bool = False  # the store holds an attempt of it that is not finished
    before: bool = False  # that attempt is older than the pause that is open
    old: bool = False  # and older than the deadline
    in_transit: bool = False


class Provision(NamedTuple):
    """The provision loop between its decision and the mirror: wants is what it calls for, None between calls."""

    wants: bool | None = None
    doubted: bool = False
    switched: bool = False


class Left(NamedTuple):
    """What may still happen, so that the search ends."""

    claims: int = 2
    crashes: int = 1
    stops: int = 1
    pauses: int = 2
    lost_answers: int = 1


class State(NamedTuple):
    """Everything: workers in no order, the store's pause and mirror, SES's switch, the provision loop."""

    workers: tuple[Worker, ...] = (Worker(), Worker())
    locked: bool = False
    paused: bool = False  # opened and not ended
    ending: bool = False
    local: bool = False  # acknowledged
    fenced: bool = False
    sending: bool = True  # at SES
    mirror: bool | None = True  # None: in doubt
    provision: Provision = Provision()
    left: Left = Left()


@dataclass(frozen=True)
class Rules:
    """The protocol, and what goes wrong without a part of it."""

    claim_locks: bool = True
    drains: bool = True
    fence_waits_for_ses: bool = True
    doubts_before_switching_off: bool = True
    doubts_before_switching_on: bool = True


class Broken(Exception):
    """A property does not hold; the message says which."""


Move = tuple[str, State]


def changed(state: State, place: int, **changes: object) -> tuple[Worker, ...]:
    """Return the workers with one of them changed."""
    return tuple(sorted((state.workers[place]._replace(**changes), state.workers[1 - place])))


def worker_moves(state: State, place: int, rules: Rules) -> Iterator[Move]:
    """Yield what one worker may do next."""
    worker, left = state.workers[place], state.left
    over = changed(state, place, at=At.IDLE, is_open=False, before=False, old=False)
    match worker.at:
        case At.IDLE if left.claims and not (rules.claim_locks and state.locked):
            turn = changed(state, place, at=At.TURN, saw_pause=state.paused)
            yield "turn", state._replace(workers=turn, locked=rules.claim_locks)
        case At.TURN if worker.saw_pause:
            idle = changed(state, place, at=At.IDLE, saw_pause=False)
            yield "nothing to claim", state._replace(workers=idle, locked=False)
        case At.TURN:
            if state.paused and state.local:
                raise Broken("a claim was made after the acknowledgement")
            claimed = changed(state, place, at=At.CLAIMED, saw_pause=False, is_open=True)
            yield "claim", state._replace(workers=claimed, locked=False, left=left._replace(claims=left.claims - 1))
        case At.CLAIMED:
            if not worker.old:
                yield "check", state._replace(workers=changed(state, place, at=At.CHECKED))
            yield "give back", state._replace(workers=over)
        case At.CHECKED if not worker.in_transit:
            if state.paused and state.local and not worker.old:
                raise Broken("a call began after the acknowledgement in a process that was never stopped")
            yield "first byte", state._replace(workers=changed(state, place, at=At.CALLING, in_transit=True))
        case At.CALLING | At.ANSWERED:
            yield "settle" if worker.at is At.ANSWERED else "give up", state._replace(workers=over)
        case At.DEAD if not state.locked:
            yield "abandon", state._replace(workers=over)


def misfortunes(state: State, place: int, rules: Rules) -> Iterator[Move]:
    """Yield what may befall one worker: time that passes, a stop, death."""
    worker, left = state.workers[place], state.left
    if worker.is_open and not worker.old:
        aged = changed(state, place, old=True)
        if worker.at is not At.CHECKED:
            yield "grow old", state._replace(workers=aged)
        elif left.stops:
            yield "stop and grow old", state._replace(workers=aged, left=left._replace(stops=left.stops - 1))
    if worker.at not in (At.IDLE, At.DEAD) and left.crashes:
        held = rules.claim_locks and worker.at is At.TURN
        dead = changed(state, place, at=At.DEAD, saw_pause=False, before=worker.before and worker.is_open)
        after = state._replace(workers=dead, left=left._replace(crashes=left.crashes - 1))
        yield "crash", after._replace(locked=False) if held else after


def ses_moves(state: State, place: int) -> Iterator[Move]:
    """Yield what SES may do with a request that has left: take it or refuse it, as its switch says."""
    worker = state.workers[place]
    if worker.in_transit:
        if state.sending and state.paused and state.fenced and not state.ending:
            raise Broken("a call succeeded after fenced")
        at = At.ANSWERED if worker.at is At.CALLING else worker.at
        yield "SES answers", state._replace(workers=changed(state, place, at=at, in_transit=False))


def operator_moves(state: State, rules: Rules) -> Iterator[Move]:
    """Yield what the operator and the drain may do."""
    left = state.left
    if not state.paused and left.pauses and not state.locked:
        # the attempt's time is its turn's: a turn under way makes an older claim
        older = tuple(sorted(one._replace(before=one.is_open or one.at is At.TURN) for one in state.workers))
        opened = state._replace(workers=older, paused=True, left=left._replace(pauses=left.pauses - 1))
        yield "pause", opened
    if state.paused and state.ending and left.pauses and not state.locked:  # it holds again
        yield "pause again", state._replace(ending=False, fenced=False, left=left._replace(pauses=left.pauses - 1))
    if state.paused and not state.local:
        draining = any(one.is_open and one.before and not one.old for one in state.workers)
        if not (rules.drains and draining):
            yield "acknowledge", state._replace(local=True)
    if state.paused and not state.ending:
        yield "end", state._replace(ending=True)


def noted(state: State) -> State:
    """Return what note_progress makes true: a pause is fenced, or over, as the mirror says."""
    if state.paused and not state.ending and state.mirror is False:
        return state._replace(fenced=True)
    if state.paused and state.ending and state.mirror is True:
        if not state.sending:
            raise Broken("a pause ended while SES still refuses")
        workers = tuple(sorted(one._replace(before=False) for one in state.workers))
        return state._replace(workers=workers, paused=False, ending=False, local=False, fenced=False)
    return state


def provision_moves(state: State, rules: Rules) -> Iterator[Move]:
    """Yield what the provision loop may do."""
    at, left = state.provision, state.left
    if at.wants is None:
        yield "note", noted(state)
        wanted = not state.paused or state.ending
        if state.mirror is not wanted:
            decided = state._replace(provision=Provision(wanted))
            hasty = not rules.fence_waits_for_ses and not wanted
            yield "decide", decided._replace(fenced=True) if hasty else decided
        return
    doubts = rules.doubts_before_switching_on if at.wants else rules.doubts_before_switching_off
    if doubts and not at.doubted:
        yield "doubt", state._replace(mirror=None, provision=at._replace(doubted=True))
    elif not at.switched:
        yield "SES switches", state._replace(sending=at.wants, provision=at._replace(switched=True))
    else:
        yield "write", noted(state._replace(mirror=at.wants, provision=Provision()))
    if left.lost_answers:
        lost = left._replace(lost_answers=left.lost_answers - 1)
        yield "no answer", state._replace(provision=Provision(), left=lost)


def moves(state: State, rules: Rules) -> Iterator[Move]:
    """Yield every step that may come next, with the state that it leads to."""
    for place in (0,) if state.workers[0] == state.workers[1] else (0, 1):
        yield from worker_moves(state, place, rules)
        yield from misfortunes(state, place, rules)
        yield from ses_moves(state, place)
    yield from operator_moves(state, rules)
    yield from provision_moves(state, rules)


@dataclass(frozen=True)
class Found:
    """What the search found: how many states there are, and the shortest way to a broken property, if there is one."""

    states: int
    broken: str | None = None
    path: tuple[str, ...] = ()


def search(rules: Rules) -> Found:
    """Visit every state that can be reached, nearest first."""
    start = State()
    came: dict[State, tuple[State, str] | None] = {start: None}
    layer = [start]
    while layer:
        following = []
        for state in layer:
            try:
                for name, after in moves(state, rules):
                    if after not in came:
                        came[after] = (state, name)
                        following.append(after)
            except Broken as error:
                return Found(len(came), str(error), path_to(state, came))
        layer = following
    return Found(len(came))


def path_to(state: State, came: dict[State, tuple[State, str] | None]) -> tuple[str, ...]:
    """Return the names of the steps that lead to a state."""
    names: list[str] = []
    while (before := came[state]) is not None:
        state, name = before
        names.append(name)
    return tuple(reversed(names))


def test_the_pause_holds_in_every_order_of_steps() -> None:
    """No claim is made or begun after the acknowledgement, and no call succeeds once the pause is fenced."""
    found = search(Rules())
    assert found.broken is None, f"{found.broken}: {' > '.join(found.path)}"
    assert found.states > 10_000


@pytest.mark.parametrize(
    ("rules", "broken"),
    [
        (Rules(claim_locks=False), "a claim was made after the acknowledgement"),
        (Rules(drains=False), "a call began after the acknowledgement in a process that was never stopped"),
        (Rules(fence_waits_for_ses=False), "a call succeeded after fenced"),
        (Rules(doubts_before_switching_off=False), "a pause ended while SES still refuses"),
        (Rules(doubts_before_switching_on=False), "a call succeeded after fenced"),
    ],
    ids=["claim without the lock", "no drain", "fence before SES", "no doubt at off", "no doubt at on"],
)
def test_each_part_of_the_protocol_is_needed(rules: Rules, broken: str) -> None:
    """Without the lock, the drain, SES's confirmation or the doubt, the search finds an order that breaks the promise."""
    found = search(rules)
    assert found.broken == broken, found
    assert len(found.path) >= 3
