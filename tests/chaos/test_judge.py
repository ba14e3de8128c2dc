"""The judge objects: each thing that must not be, made up, is found; a good run has none of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenantry.core.event import Fact
from tests.chaos.judge import Delivery, Judgement, Kept, Note, Stop, judge

TRY = Note("a", "acme", "rest", "try", 1.0)
ACK = replace(TRY, do="ack", id="msg_1", at=2.0, took=0.1)
TAKEN = Delivery("a", "msg_1", 3.0, "tenantry-s1", "delivered")
HOME = Kept("msg_1", "acme", "handed", False, None, 1, False, 0, {"a": int(Fact.HANDED | Fact.DELIVERED)})
FENCED = Stop("s1", 1.0, 2.0, 9.0, "guard", 0)


def seen(
    notes: tuple[Note, ...] = (TRY, ACK),
    taken: tuple[Delivery, ...] = (TAKEN,),
    kept: tuple[Kept, ...] = (HOME,),
    stops: tuple[Stop, ...] = (),
) -> Judgement:
    return judge(notes, taken, kept, stops)


def test_a_good_run_has_no_objections() -> None:
    """What was acknowledged went once, and the books say so."""
    assert seen().objections == {}
    assert (seen().acknowledged, seen().delivered) == (1, 1)


def test_what_waits_because_it_is_paused_is_held_not_lost() -> None:
    """And it still has its place in the queue."""
    waits = replace(HOME, state="waiting", paused=True, places=1, facts={"a": int(Fact.QUEUED)})
    found = seen(taken=(), kept=(waits,))
    assert (found.objections, found.held) == ({}, 1)


def test_a_marked_resend_is_counted_apart() -> None:
    """The rule of silence allows it, and it says so."""
    found = seen(taken=(TAKEN, TAKEN), kept=(replace(HOME, marked=True),))
    assert (found.objections, found.marked) == ({}, 1)


@pytest.mark.parametrize(
    ("objection", "run"),
    [
        pytest.param("lost", {"taken": (), "kept": ()}, id="acknowledged and gone"),
        pytest.param("lost", {"taken": ()}, id="handed in the books, and SES never had it"),
        pytest.param("doubled", {"taken": (TAKEN, TAKEN)}, id="twice at SES without a mark"),
        pytest.param("doubled", {"kept": (HOME, replace(HOME, id="msg_2"))}, id="accepted twice"),
        pytest.param("unexpected", {"notes": ()}, id="nobody tried it"),
        pytest.param(
            "unexpected", {"taken": (replace(TAKEN, message_id="msg_9"),)}, id="SES has what the books have not"
        ),
        pytest.param("unsettled", {"kept": (replace(HOME, state="unknown"),)}, id="unknown at the end"),
        pytest.param(
            "unsettled", {"taken": (), "kept": (replace(HOME, state="waiting", places=1),)}, id="waits for nothing"
        ),
        pytest.param("contradicted", {"notes": (TRY, ACK, replace(ACK, do="again", id="msg_2"))}, id="two answers"),
        pytest.param("refused", {"notes": (TRY, ACK, replace(TRY, do="gave_up"))}, id="a client gave up"),
        pytest.param(
            "hung", {"notes": (TRY, replace(TRY, do="error", why="TimeoutError"), ACK)}, id="no answer in time"
        ),
        pytest.param("unbalanced", {"kept": (replace(HOME, recipients=2),)}, id="a recipient is missing"),
        pytest.param("unbalanced", {"kept": (replace(HOME, places=1),)}, id="handed, and still in the queue"),
        pytest.param("unheard", {"kept": (replace(HOME, facts={"a": int(Fact.HANDED)}),)}, id="an event was lost"),
        pytest.param("against_pause", {"stops": (FENCED,)}, id="a call after the fence"),
        pytest.param("against_pause", {"stops": (replace(FENCED, fenced_at=None, claims=1),)}, id="a claim in a pause"),
    ],
)
def test_it_objects(objection: str, run: dict) -> None:
    """To each of these, made up."""
    assert objection in seen(**run).objections
