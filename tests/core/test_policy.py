"""Promises of the guard's judgement: monotone in the counts, explained in words, and as quick and as fair as printed."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from math import floor, inf, log, log1p
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tenantry.core.policy import (
    POLICIES,
    Action,
    LineKind,
    Policy,
    Probation,
    Verdict,
    judge,
    next_stage,
    ramp_fraction,
)
from tenantry.core.reputation import BUCKET_RECIPIENTS, Block, blocks, log_evalue

STANDARD, OBSERVE = POLICIES["standard"], POLICIES["observe"]
BOUNCE, COMPLAINT = LineKind.BOUNCE, LineKind.COMPLAINT


def one(n: int, x: int, domains: int = 9, kind: LineKind = BOUNCE, policy: Policy = STANDARD) -> Verdict:
    return judge({kind: [Block(0, 2048, n, x, domains)]}, policy)


# --- G4: what a further outcome may do -------------------------------------------------------------------------------

found = st.tuples(st.integers(0, 5_000) | st.integers(0, 100), st.integers(0, 200), st.integers(0, 4))
several = st.dictionaries(st.sampled_from(LineKind), st.lists(found, max_size=6))


def counted(
    many: dict[LineKind, list[tuple[int, int, int]]], bad: int = 0, good: int = 0
) -> dict[LineKind, list[Block]]:
    """Blocks of these counts, with more bad or good recipients in each."""
    return {
        kind: [
            Block(0, 2**place, n + x + bad + good, x + bad, min(domains, x) + bool(bad))
            for place, (n, x, domains) in enumerate(counts)
        ]
        for kind, counts in many.items()
    }


@given(several)
def test_a_bad_outcome_never_lifts_and_a_good_one_never_causes(
    many: dict[LineKind, list[tuple[int, int, int]]],
) -> None:
    """One more bad recipient never softens an action; one more good recipient never hardens it."""
    here = judge(counted(many), STANDARD).action.severity
    assert judge(counted(many, good=1), STANDARD).action.severity <= here
    turned = {
        kind: [replace(block, x=min(block.x + 1, block.n), domains=block.domains + 1) for block in row]
        for kind, row in counted(many).items()
    }
    assert judge(turned, STANDARD).action.severity >= here


@given(several, st.randoms(use_true_random=False))
def test_a_verdict_depends_on_the_counts_alone(
    many: dict[LineKind, list[tuple[int, int, int]]], random: Random
) -> None:
    """The order in which blocks are read changes no number that decides, so a verdict can be recomputed."""
    counts = counted(many)
    shuffled = {kind: random.sample(row, len(row)) for kind, row in counts.items()}
    first, second = judge(counts, STANDARD), judge(shuffled, STANDARD)
    assert (first.action, first.log_e) == (second.action, second.log_e)


@given(several)
@example({BOUNCE: [(0, 0, 0)], COMPLAINT: [(0, 1, 0)]})
def test_a_verdict_is_the_worst_of_all_blocks(many: dict[LineKind, list[tuple[int, int, int]]]) -> None:
    """Sparing the incomplete beta function spares no finding: the obvious maximum over all blocks is the same."""
    counts = counted(many)
    obvious = max(
        (
            (line.action(block, log_e).severity, log_e)
            for line in STANDARD.lines
            for block in counts.get(line.kind, ())
            for log_e in [log_evalue(block.n, block.x, line.line, line.prior)]
        ),
        default=(0, 0.0),
    )
    verdict = judge(counts, STANDARD)
    assert verdict.action.severity == obvious[0]
    assert verdict.log_e == obvious[1] or obvious[1] <= 0


@given(st.integers(0, 10**6))
def test_mail_within_its_line_is_kept(n: int) -> None:
    """A rate at or below the line asks for nothing, whatever the volume."""
    assert one(n, n // 20).action is Action.KEEP
    assert one(n, n // 1_000, kind=COMPLAINT).action is Action.KEEP


# --- bars and floors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "x", "action"),
    [(50, 5, Action.KEEP), (50, 8, Action.WATCH), (50, 10, Action.THROTTLE), (50, 12, Action.PAUSE)],
)
def test_evidence_climbs_the_ladder(n: int, x: int, action: Action) -> None:
    """Odds of 10, 100 and 1,000 to one: watch, throttle, pause."""
    verdict = one(n, x)
    assert verdict.action is action
    assert verdict.log_e >= log(verdict.bar) or action is Action.KEEP


def test_two_bad_recipients_are_never_enough() -> None:
    """Two bounces of two are an accident."""
    assert one(2, 2).action is Action.KEEP
    assert one(3, 3).action is not Action.KEEP


def test_complaints_from_one_domain_are_not_enough() -> None:
    """One hostile receiver cannot stop a tenant."""
    assert one(100, 50, domains=1, kind=COMPLAINT).action is Action.KEEP
    assert one(100, 50, domains=2, kind=COMPLAINT).action is Action.PAUSE


def test_observe_sees_the_same_and_does_not_act() -> None:
    """The two shipped policies differ in acting alone."""
    seen, acted = one(100, 37, policy=OBSERVE), one(100, 37)
    assert (seen.action, seen.log_e, seen.acts) == (acted.action, acted.log_e, False)
    assert "Written down only" in seen.words()


def test_no_counts_are_kept() -> None:
    """A scope without mail has a verdict too."""
    assert judge({}, STANDARD).action is Action.KEEP
    assert "no evidence" in judge({}, STANDARD).words()


# --- words -----------------------------------------------------------------------------------------------------------


def test_a_verdict_explains_itself_in_numbers() -> None:
    """Counts, rate, place, line, odds, consequence and rule, in one breath."""
    verdict = judge({BOUNCE: [Block(2, 2, 100, 14, 3)]}, STANDARD)
    assert verdict.words() == (
        "14 of 100 recipients bounced (14 %), counted from recipient 101 in sending order; mail at or below the 5 % line "
        "would do this with odds under 1 in 140. Sending is throttled (policy standard version 1, bar 1 in 100)."
    )


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from(LineKind))
def test_the_odds_in_words_never_overstate(n: int, x: int, kind: LineKind) -> None:
    """The sentence rounds the evidence down."""
    verdict = one(max(n, x), x, kind=kind)
    _, found, rest = verdict.words().partition("odds under 1 in ")
    if found:
        odds = rest.split(". ")[0].replace(",", "")
        stated = float(odds[3:]) * log(10) if odds.startswith("10^") else log(float(odds))
        assert 0 <= verdict.log_e - stated <= log(10)


# --- the way back ----------------------------------------------------------------------------------------------------


def test_the_ramp_rises_by_clean_stages_and_ends() -> None:
    """10, 25, 50, 100 % and over, each stage after its time with mail and no cause."""
    policy = replace(STANDARD, stage_seconds=60.0)
    stage: int | None = 0
    fractions = []
    while stage is not None:
        fractions.append(ramp_fraction(policy, stage))
        stage = next_stage(policy, Probation(stage, seconds=60.0, handed=10, worst=Action.WATCH))
    assert fractions == [0.10, 0.25, 0.50, 1.0]


@pytest.mark.parametrize(
    ("seconds", "handed", "worst", "stage"),
    [
        (59.0, 10, Action.KEEP, 2),  # not over yet
        (99.0, 0, Action.KEEP, 2),  # an idle stage proves nothing
        (60.0, 10, Action.KEEP, 3),
        (10.0, 10, Action.THROTTLE, 0),
        (99.0, 10, Action.PAUSE, 0),
    ],
)
def test_only_a_clean_stage_passes(seconds: float, handed: int, worst: Action, stage: int) -> None:
    """Time and mail must both have passed; cause to throttle starts the ramp again."""
    assert next_stage(replace(STANDARD, stage_seconds=60.0), Probation(2, seconds, handed, worst)) == stage


# --- the promises, by seeded simulation ------------------------------------------------------------------


def bad_places(random: Random, start: int, count: int, rate: float) -> list[int]:
    """Places in sending order of the bad among count recipients from start."""
    places, at = [], start - 1
    while (at := at + 1 + floor(log(1 - random.random()) / log1p(-rate))) < start + count:
        places.append(at)
    return places


def stopped_at(bad: list[int], kind: LineKind) -> dict[Action, float]:
    """Recipients handed when each action was first asked for; feedback at once, every bad outcome judged."""
    first = {Action.THROTTLE: inf, Action.PAUSE: inf}
    for count, place in enumerate(bad, 1):
        row = []
        for start, buckets in blocks(place // BUCKET_RECIPIENTS):
            x = count - bisect_left(bad, start * BUCKET_RECIPIENTS)
            row.append(Block(start, buckets, place + 1 - start * BUCKET_RECIPIENTS, x, x))
        action = judge({kind: row}, STANDARD).action
        for bar in first:
            if action.severity >= bar.severity:
                first[bar] = min(first[bar], place + 1)
        if action is Action.PAUSE:
            break
    return first


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


@pytest.mark.parametrize(
    ("kind", "rate", "count", "most"),
    [
        (BOUNCE, 0.12, 2_000, 480),
        (BOUNCE, 0.30, 500, 60),
        (BOUNCE, 0.60, 200, 20),
        (COMPLAINT, 0.02, 4_000, 600),
        (COMPLAINT, 0.005, 20_000, 4_700),
    ],
)
def test_bad_senders_are_paused_in_time(kind: LineKind, rate: float, count: int, most: int) -> None:
    """95 of 100 are paused within the printed number of recipients (the rest of the bound is the draw of 400)."""
    random = Random(82)
    paused = [stopped_at(bad_places(random, 0, count, rate), kind)[Action.PAUSE] for _ in range(400)]
    assert quantile(paused, 0.95) <= most


@pytest.mark.parametrize(
    ("kind", "rate", "count"), [(BOUNCE, 0.02, 10_000), (BOUNCE, 0.03, 10_000), (COMPLAINT, 0.0005, 100_000)]
)
def test_good_senders_are_not_paused(kind: LineKind, rate: float, count: int) -> None:
    """None of 150 tenants in a month is paused at 2 or 3 % bounces, or at half the complaint line."""
    random = Random(83)
    paused = [stopped_at(bad_places(random, 0, count, rate), kind)[Action.PAUSE] for _ in range(150)]
    assert min(paused) == inf


def test_a_good_history_is_no_credit() -> None:
    """Mail that turns from 0.5 to 20 % bounces after 100,000 recipients is throttled within 110 and paused within 150."""
    random = Random(84)
    turned = 100_000
    stops = [
        stopped_at(bad_places(random, 0, turned, 0.005) + bad_places(random, turned, 1_000, 0.2), BOUNCE)
        for _ in range(100)
    ]
    assert quantile([stop[Action.THROTTLE] for stop in stops], 0.95) <= turned + 110
    assert quantile([stop[Action.PAUSE] for stop in stops], 0.95) <= turned + 150
