"""What people are told: why a thing waits or was stopped."""

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
from tenantry.core.ids import CellId, MessageId, PauseId, PoolId, StreamId, TenantId, VerdictId
from tenantry.core.message import MessageState
from tenantry.core.pause import Author, Pause
from tenantry.core.reading import (
    CellOutlook,
    MessageView,
    RecipientView,
    ReputationView,
    StreamWaits,
    TimelineEntry,
    VerdictView,
)
from tenantry.core.tenant import Stream, StreamClass
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
        (replace(MESSAGE, hold="paused"), STREAM, "the pool, cell or SES account that it goes through is stopped"),
        (replace(MESSAGE, hold="backoff"), STREAM, "after an attempt that did not reach SES"),
        (replace(MESSAGE, hold="throttled"), STREAM, "because SES took no more at this rate"),
        (replace(MESSAGE, hold="unverified"), STREAM, "does not see its author's identity as verified"),
    ],
)
def test_waiting_mail_says_what_for(message: MessageView, stream: Stream, words: str) -> None:
    """Each reason to wait has words of its own."""
    assert words in explain_message(message, Surroundings(stream, (), {})).summary


def test_a_cell_that_sends_nothing_is_said_first() -> None:
    """Whatever else holds mail, a stopped account and an SES that does not answer are told, but for a pause of one's own."""
    mute = replace(FREE, cell=CellOutlook(unanswered_since=NOON))
    stopped = replace(FREE, cell=CellOutlook(stopped=True, unanswered_since=NOON))
    for message in (MESSAGE, replace(MESSAGE, hold="paused"), replace(MESSAGE, hold="backoff")):
        assert "SES has not answered since 2026-11-24 12:00:00 UTC" in explain_message(message, mute).summary
        assert "SES does not let the account send" in explain_message(message, stopped).summary
    assert "the guard paused its stream" in explain_message(MESSAGE, replace(STOPPED, cell=stopped.cell)).summary
    reputation = ReputationView(STREAM.id, 0, 0, 0, 0, 0, None, None, "standard version 1", ())
    assert explain_stream(mute, reputation, None).summary.startswith(
        "Stream news is held up: SES has not answered since"
    )
    assert "does not let the account send" in explain_stream(stopped, reputation, None).summary


def test_only_open_pauses_on_the_way_stop_a_stream() -> None:
    """A pause of the pool counts, an ended one and another stream's do not; the oldest comes first."""
    pool = replace(PAUSE, id=PauseId(f"pau_{'1' * 32}"), scope_kind="pool", scope_id=STREAM.pool_id)
    early = replace(pool, opened_at=NOON - timedelta(hours=1))
    ended = replace(PAUSE, ended_at=NOON)
    foreign = replace(PAUSE, scope_id=StreamId(f"str_{'1' * 32}"))
    assert route_pauses(STREAM, [PAUSE, ended, foreign, early]) == (early, PAUSE)


def test_mail_that_is_tried_again_says_how_the_last_try_ended_and_when_the_next_is() -> None:
    """The number of tries, SES's words for the last one and the time of the next are told."""
    tries = tuple(
        TimelineEntry(NOON + timedelta(minutes=number), "retry", detail={"reason": f"reset {number}"})
        for number in (0, 1)
    )
    told = explain_message(replace(MESSAGE, hold="backoff", timeline=tries), FREE)
    assert 'It was tried 2 times, last at 2026-11-24 12:01:00 UTC: "reset 1".' in told.sentences
    assert "It is tried again at 2026-11-24 12:00:00 UTC." in told.sentences


def test_mail_of_a_throttled_stream_says_how_fast_that_sends() -> None:
    """A limit is part of why mail waits."""
    told = explain_message(MESSAGE, Surroundings(replace(STREAM, limit=0.1), (), {}))
    assert "Its stream sends at 10 % of the rate (throttled), so its turn comes later than usual." in told.sentences


ENDS = [
    Fact.BOUNCED, Fact.BOUNCED_SOFT, Fact.COMPLAINED, Fact.REJECTED, Fact.DELAYED, Fact.SUPPRESSED, Fact.DELIVERED,
]  # fmt: skip


@pytest.mark.parametrize("standing", [*ENDS, Fact.HANDED, Fact.QUEUED])
def test_the_end_of_each_recipient_is_told(standing: Fact) -> None:
    """A recipient of whom something is known is named with it; of the others the summary says that nothing is."""
    row = RecipientView("b@example.com", "to", standing, standing)
    told = explain_message(replace(MESSAGE, state="handed", recipients=(row,)), FREE)
    assert [line.startswith("b@example.com ") for line in told.sentences] == [True] * (standing in ENDS)
    assert told.summary.startswith("SES took it: 1 of 1 ")
    assert ("not reported yet" in told.summary) == (standing not in ENDS)


def test_a_bounce_is_told_with_its_time_and_the_receivers_own_words() -> None:
    """Each recipient is told by the report that names it; the summary counts the worst end first."""
    rows = tuple(
        RecipientView(address, "to", end, end)
        for address, end in (("Ann@example.com", Fact.DELIVERED), ("bob@example.com", Fact.BOUNCED))
    )
    timeline = (
        TimelineEntry(NOON, "Delivery", ("ann@example.com",), {"smtp_response": "250 ok"}),
        TimelineEntry(NOON, "Bounce", ("bob@example.com",), {"bounce_subtype": "General", "diagnostic": "550 unknown"}),
    )
    told = explain_message(replace(MESSAGE, state="handed", recipients=rows, timeline=timeline), FREE)
    assert told.summary == "SES took it: 1 of 2 bounced, 1 of 2 delivered."
    assert told.sentences == (
        'Ann@example.com has it: the receiving server took it, 2026-11-24 12:00:00 UTC: "250 ok".',
        "bob@example.com bounced for good: the address does not take mail (General), 2026-11-24 12:00:00 UTC:"
        ' "550 unknown".',
    )


def test_a_stream_tells_its_rates_its_waits_and_its_last_verdict() -> None:
    """Counts come with their percentage, waiting mail with its number and age."""
    reputation = ReputationView(STREAM.id, 0, 400, 48, 380, 0, None, None, "standard", (VERDICT,))
    waits = StreamWaits(STREAM.id, {"waiting": 1}, 400, NOON, 0.02, 0.3)
    told = " ".join(explain_stream(FREE, reputation, waits).sentences)
    assert "48 (12 %) bounced" in told
    assert f"The last verdict, at 2026-11-24 12:00:00 UTC, was to pause: {VERDICT.words}" in told
    assert "1 recipient waits, the first since 2026-11-24 12:00:00 UTC." in told
    assert "half waited 0.02 s or less for its hand-over, 99 in 100 waited 0.3 s or less." in told


def test_a_throttled_stream_says_how_fast_it_sends() -> None:
    """A limit, and the stage of a ramp, are part of the answer."""
    reputation = ReputationView(STREAM.id, 1, 100, 2, 90, 0, 0.25, 1, "standard", ())
    told = explain_stream(Surroundings(replace(STREAM, limit=0.25, ramp_stage=1), (), {}), reputation, None)
    assert told.summary == "Stream news sends, at 25 % of the rate (on probation, stage 2)."
    assert "2 (2 %) bounced" in told.sentences[0]


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
