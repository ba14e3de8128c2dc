"""What people are told: why a thing waits or was stopped, and what doctor finds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tenantry.core.event import Fact
from tenantry.core.explanation import (
    Surroundings,
    explain_message,
    explain_pause,
    explain_stream,
    explain_verdict,
    route_pauses,
)
from tenantry.core.finding import Level, diagnose
from tenantry.core.ids import CellId, MessageId, PauseId, PoolId, StreamId, TenantId, VerdictId
from tenantry.core.message import MessageState
from tenantry.core.pause import Author, Pause
from tenantry.core.reading import MessageView, RecipientView, ReputationView, VerdictView
from tenantry.core.tenant import Cell, Stream, StreamClass
from tests.worlds import NOON

DIGITS = "0" * 32
STREAM = Stream(
    id=StreamId(f"str_{DIGITS}"),
    tenant_id=TenantId(f"ten_{DIGITS}"),
    cell_id=CellId(f"cell_{DIGITS}"),
    pool_id=PoolId(f"pool_{DIGITS}"),
    name="news",
    stream_class=StreamClass.MARKETING,
    policy="standard",
    is_default=False,
    created_at=NOON,
    provisioned_at=NOON,
)
MESSAGE = MessageView(
    id=MessageId(f"msg_{DIGITS}"),
    tenant_id=STREAM.tenant_id,
    stream_id=STREAM.id,
    stream="news",
    state="waiting",
    hold=None,
    subject="Hi",
    sender="a@acme.example",
    tags={},
    accepted_at=NOON,
    due_at=NOON,
    ses_id=None,
    possible_duplicate=False,
    reason=None,
    recipients=(RecipientView("b@example.com", "to", Fact.QUEUED, Fact.NONE),),
    timeline=(),
)
VERDICT = VerdictView(
    id=VerdictId(f"ver_{DIGITS}"),
    stream_id=STREAM.id,
    kind="bounce",
    action="pause",
    cohort=0,
    block_start=0,
    block_size=100,
    n=90,
    x=18,
    line=0.05,
    log_e=9.0,
    bar=1_000.0,
    policy="standard version 1",
    words="18 of 90 recipients bounced (20 %).",
    at=NOON,
    acted_at=None,
    pause_id=None,
)
PAUSE = Pause(PauseId(f"pau_{DIGITS}"), "stream", STREAM.id, Author.GUARD, "bounces", NOON, verdict_id=VERDICT.id)
FREE = Surroundings(STREAM, (), {})
STOPPED = Surroundings(STREAM, (PAUSE,), {VERDICT.id: VERDICT})


def test_mail_behind_a_pause_is_explained_by_its_verdict() -> None:
    """Who stopped it, when, and the numbers behind it are told, and where to look."""
    told = explain_message(MESSAGE, STOPPED)
    assert told.summary == "It waits because the guard paused its stream at 2026-11-24 12:00:00 UTC."
    assert VERDICT.words in told.sentences[0]
    assert PAUSE.id in told.see


@pytest.mark.parametrize("state", MessageState)
def test_every_state_of_a_message_is_explained(state: MessageState) -> None:
    """Wherever a message is, one sentence says so."""
    told = explain_message(replace(MESSAGE, state=state), FREE)
    assert told.summary.endswith(".")


@pytest.mark.parametrize(
    ("message", "stream", "words"),
    [
        (MESSAGE, STREAM, "for its turn"),
        (MESSAGE, replace(STREAM, provisioned_at=None), "until SES has the configuration set"),
        (replace(MESSAGE, hold="paused"), STREAM, "the pool or cell that it goes through is stopped"),
        (replace(MESSAGE, hold="backoff"), STREAM, "(backoff) until 2026-11-24 12:00:00 UTC"),
    ],
)
def test_waiting_mail_says_what_for(message: MessageView, stream: Stream, words: str) -> None:
    """Each reason to wait has words of its own."""
    assert words in explain_message(message, Surroundings(stream, (), {})).summary


def test_only_open_pauses_on_the_way_stop_a_stream() -> None:
    """A pause of the pool counts, an ended one and another stream's do not; the oldest comes first."""
    pool = replace(PAUSE, id=PauseId(f"pau_{'1' * 32}"), scope_kind="pool", scope_id=STREAM.pool_id)
    early = replace(pool, opened_at=NOON - timedelta(hours=1))
    ended = replace(PAUSE, ended_at=NOON)
    foreign = replace(PAUSE, scope_id=StreamId(f"str_{'1' * 32}"))
    assert route_pauses(STREAM, [PAUSE, ended, foreign, early]) == (early, PAUSE)


@pytest.mark.parametrize("standing", Fact)
def test_a_bad_end_is_told_for_each_recipient(standing: Fact) -> None:
    """Recipients that did not simply get the mail are named with what became of them."""
    row = RecipientView("b@example.com", "to", standing, standing)
    told = explain_message(replace(MESSAGE, state="handed", recipients=(row,)), FREE)
    bad = standing & (
        Fact.BOUNCED | Fact.BOUNCED_SOFT | Fact.COMPLAINED | Fact.REJECTED | Fact.DELAYED | Fact.SUPPRESSED
    )
    assert (len(told.sentences) == 1) == bool(bad)


def test_a_throttled_stream_says_how_fast_it_sends() -> None:
    """A limit, and the stage of a ramp, are part of the answer."""
    reputation = ReputationView(STREAM.id, 1, 100, 2, 90, 0, 0.25, 1, "standard", ())
    told = explain_stream(Surroundings(replace(STREAM, limit=0.25, ramp_stage=1), (), {}), reputation, None)
    assert told.summary == "Stream news sends, at 25 % of the rate (on probation, stage 2)."
    assert "2 bounced" in told.sentences[0]


@pytest.mark.parametrize(
    ("pause", "words"),
    [
        (PAUSE, "may still be on their way"),
        (replace(PAUSE, local_at=NOON), "SES has not confirmed"),
        (replace(PAUSE, local_at=NOON, fenced_at=NOON), "SES refuses it too"),
        (replace(PAUSE, fenced_at=NOON, end_reason="cleaned"), "Its end has begun (cleaned)"),
        (replace(PAUSE, ended_at=NOON, end_reason="cleaned"), "It ended at 2026-11-24 12:00:00 UTC: cleaned."),
    ],
)
def test_a_pause_says_how_far_it_holds(pause: Pause, words: str) -> None:
    """Each state of a pause is told apart, with the verdict's numbers."""
    told = explain_pause(pause, VERDICT)
    assert words in " ".join(told.sentences)
    assert VERDICT.words in told.sentences


def test_a_verdict_says_what_followed() -> None:
    """The block that was counted and the pause that it led to are named."""
    assert "Nobody has acted on it yet." in explain_verdict(VERDICT, None).sentences
    told = explain_verdict(VERDICT, PAUSE)
    assert "from recipient 1 to 100 of cohort 0" in told.sentences[1]
    assert PAUSE.id in told.see


CELL = Cell(STREAM.cell_id, "main", "us-east-1", 14.0, 50_000.0, 10.0, True, "HEALTHY", NOON)


def test_a_healthy_fleet_has_one_good_finding() -> None:
    """Doctor always says something."""
    assert [row.level for row in diagnose({}, [CELL], [], NOON)] == [Level.OK]


@pytest.mark.parametrize(
    ("counts", "cell", "level", "words"),
    [
        ({"stranded_lanes": 2}, CELL, Level.ERROR, "2 lanes hold due mail"),
        ({"unknown_messages": 3}, CELL, Level.WARNING, "3 messages have an unknown outcome"),
        ({"seconds_since_last_event": 1_800}, CELL, Level.WARNING, "No event has come for 30 minutes"),
        ({}, replace(CELL, sending_enabled=False), Level.ERROR, "SES has stopped cell main"),
        ({}, replace(CELL, enforcement="PROBATION"), Level.ERROR, "under PROBATION"),
        ({}, replace(CELL, sent_24h=49_000.0), Level.WARNING, "98% of its 24-hour quota"),
        ({}, replace(CELL, seen_at=None), Level.WARNING, "has not been read lately"),
    ],
)
def test_what_is_wrong_is_found(counts: dict[str, int], cell: Cell, level: Level, words: str) -> None:
    """Each trouble has a finding of its level that says what to do."""
    (finding,) = diagnose(counts, [cell], [], NOON)
    assert finding.level is level
    assert words in finding.what
    assert finding.do


def test_the_worst_is_shown_first() -> None:
    """Findings stand in the order of their level."""
    levels = [row.level for row in diagnose({"pending_identities": 1, "stranded_lanes": 1}, [], [PAUSE], NOON)]
    assert levels == sorted(levels, key=list(Level).index)
    assert levels[0] is Level.ERROR
