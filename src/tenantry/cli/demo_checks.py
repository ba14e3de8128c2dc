"""Owns the claims of the demo, each tested against the data; the demo's exit code is their conjunction.

Leaves gathering the data to `demo_evidence`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, log

from tenantry.cli.demo_cast import COMPANY, PLAYERS, ROTTEN, SES_RATE, STAGE_SECONDS, STAGES
from tenantry.cli.demo_evidence import Evidence, epoch, quantile
from tenantry.cli.document import Json
from tenantry.cli.show import percent, seconds
from tenantry.core.policy import POLICIES, LineKind
from tenantry.core.reputation import log_evalue

SECOND_LAST_CALL_MAX = 1.0
EXTRA_WAIT_MAX = 1.0
BOUNCE_LINE, COMPLAINT_LINE = 0.05, 0.001
JUDGED_FROM = 300  # recipients: Amazon too judges a representative volume, not the first few mails of a day


@dataclass(frozen=True, slots=True)
class Check:
    """A claim, whether it is true, and the numbers."""

    name: str
    holds: bool
    detail: str

    def document(self) -> Json:
        """Return what `--json` prints."""
        return {"name": self.name, "holds": self.holds, "detail": self.detail}


def checks(evidence: Evidence) -> list[Check]:
    """Test every claim."""
    return [check for claim in CLAIMS for check in claim(evidence)]


def _mail_went_through_both_doors(evidence: Evidence) -> Iterator[Check]:
    notes = evidence.notes
    errors = [answer.text("error") for answer in notes.answers if answer.text("error")]
    ids = {answer.text("id") for answer in notes.answers if answer.text("id")}
    lost = ids - evidence.messages.keys()
    rest = len(notes.answers) - notes.wire
    yield Check(
        "every mail that a door accepted is there",
        not (errors or lost) and notes.wire > 0 and rest > 0,
        f"{notes.wire:,} by boto3, {rest:,} by HTTP, {len(lost)} lost, {len(errors)} refused"
        + (f": {errors[0]}" if errors else ""),
    )


def _nothing_is_lost_or_doubled(evidence: Evidence) -> Iterator[Check]:
    sent = [mail.message_id for mail in evidence.mails]
    wrong = [row for row in evidence.end.rows if row.accepted != sum(row.states.values())]
    yield Check(
        "accepted recipients equal the sum over their states, for each stream",
        not wrong,
        f"{sum(row.accepted for row in evidence.end.rows):,} recipients in {len(evidence.end.rows)} streams",
    )
    handed = {key for key, message in evidence.messages.items() if message.text("state") == "handed"}
    yield Check(
        "SES got exactly what was handed over, each mail once",
        len(sent) == len(set(sent)) and set(sent) == handed,
        f"{len(sent):,} in SES, {len(handed):,} handed, {len(sent) - len(set(sent))} twice",
    )


def _the_guard_paused_it(evidence: Evidence) -> Iterator[Check]:
    verdict, pause = evidence.verdict, evidence.pause
    n, x, line = verdict.count("n"), verdict.count("x"), verdict.number("line") or 1.0
    kind = LineKind(verdict.text("kind"))
    prior = next(each.prior for each in POLICIES[verdict.text("policy").partition(" ")[0]].lines if each.kind is kind)
    again, bar = log_evalue(n, x, line, prior), verdict.number("bar") or 1.0
    yield Check(
        "the guard paused the rotten stream, by numbers that can be recomputed",
        pause.text("author") == "guard"
        and pause.text("scope_id") == evidence.notes.rotten_stream
        and abs(again - (verdict.number("log_e") or 0.0)) < 1e-6
        and again >= log(bar),
        f"{x} of {n} bounced against a line of {percent(line)}: odds under 1 in {exp(again):,.0f}, bar 1 in {bar:,.0f}",
    )
    yield Check(
        "nothing else was paused or throttled",
        len(evidence.pauses) == 1 and all(row.limit is None for row in evidence.end.rows if row.tenant != ROTTEN),
        f"{len(evidence.pauses)} pause in all",
    )


def _it_stopped_at_once(evidence: Evidence) -> Iterator[Check]:
    last, fenced = evidence.fence_seconds()
    yield Check(
        "it stopped within a second of the event that decided it",
        last <= SECOND_LAST_CALL_MAX,
        f"last mail into SES {seconds(last)} after it" if last else "no mail of it entered SES after that",
    )
    start, end = epoch(evidence.pause.text("local_at")), epoch(evidence.pause.text("ended_at"))
    between = [send for send in evidence.rotten_sends if start < send.at < end]
    yield Check(
        "SES itself refused the stream, and no call was made for it while paused",
        evidence.notes.set_was_off and not between and fenced > 0,
        f"configuration set off {seconds(fenced)} after the event; {len(between)} calls in {end - start:.1f} s",
    )


def _nobody_else_noticed(evidence: Evidence) -> Iterator[Check]:
    notes, pause = evidence.notes, evidence.pause
    others = [row.id for row in evidence.end.rows if row.tenant != ROTTEN]
    own = [row.id for row in evidence.end.rows if row.tenant == ROTTEN and row.id != notes.rotten_stream]
    opened, ended = epoch(pause.text("opened_at")), epoch(pause.text("ended_at"))
    for who, streams in (("the other tenants", others), (f"{ROTTEN}'s transactional mail", own)):
        before = evidence.wait_of(streams, notes.steady_from, notes.rotten_from)
        during = evidence.wait_of(streams, opened, ended)
        p99_before, p99_during = quantile(before, 0.99), quantile(during, 0.99)
        yield Check(
            f"{who}: nobody waited longer",
            p99_before is not None and p99_during is not None and p99_during <= p99_before + EXTRA_WAIT_MAX,
            f"p50 {seconds(quantile(before, 0.5))} before, {seconds(quantile(during, 0.5))} during; "
            f"p99 {seconds(p99_before)} before, {seconds(p99_during)} during; {len(during):,} mails",
        )


def _the_account_was_safe(evidence: Evidence) -> Iterator[Check]:
    bounces, complaints = worst_rates(evidence)
    yield Check(
        "the account stayed clear of Amazon's lines",
        bounces < BOUNCE_LINE and complaints < COMPLAINT_LINE,
        f"bounces never above {percent(bounces)} (line {percent(BOUNCE_LINE)}), "
        f"complaints {percent(complaints)} (line {percent(COMPLAINT_LINE)})",
    )


def worst_rates(evidence: Evidence) -> tuple[float, float]:
    """Return the account's highest running bounce and complaint rate, once it has sent a representative volume."""
    sent = bounced = complained = 0
    worst = [0.0, 0.0]
    for mail in evidence.mails:
        sent += len(mail.fates)
        bounced += mail.fates.count("bounced")
        complained += mail.fates.count("complained")
        if sent >= JUDGED_FROM:
            worst = [max(worst[0], bounced / sent), max(worst[1], complained / sent)]
    return worst[0], worst[1]


def _it_came_back_on_a_ramp(evidence: Evidence) -> Iterator[Check]:
    notes, ended = evidence.notes, epoch(evidence.pause.text("ended_at"))
    ramp = [
        send.at for send in evidence.rotten_sends if ended <= send.at < notes.asked_at + STAGE_SECONDS * len(STAGES)
    ]
    shares = [
        number / ramp_allows(notes.asked_at, ended, at) for number, at in enumerate(sorted(ramp))
    ]  # the last may overdraw
    tightest = max(shares, default=0.0)
    row = next(row for row in evidence.end.rows if row.id == notes.rotten_stream)
    yield Check(
        "reinstated on a ramp, back to its full rate",
        notes.stages == STAGES[: len(notes.stages)] and len(notes.stages) >= len(STAGES) - 1 and row.limit is None,
        " → ".join(percent(stage) for stage in notes.stages) + " of the rate, then all of it",
    )
    kept = [key for key in notes.held if evidence.messages[key].text("state") == "handed"]
    yield Check(
        "held mail was neither lost nor released as a flood",
        len(kept) == len(notes.held) > 0 and 0 < tightest <= 1.0,
        f"{len(kept)} of {len(notes.held)} held mails went out after it; "
        f"{len(ramp)} mails on the ramp, never more than {tightest:.0%} of what it allowed so far",
    )


def ramp_allows(asked_at: float, ended_at: float, at: float) -> float:
    """Return how many recipients a stream on the ramp can have sent by a time, since its pause ended.

    A stage begins no sooner than its place after the request, so this is never too little; a second's worth of the
    stage may have gathered before (the bucket of a limit).
    """
    stages = [SES_RATE * fraction for fraction in STAGES]
    begins = [asked_at + number * STAGE_SECONDS for number in range(len(stages))]
    ends = [*begins[1:], float("inf")]
    spans = [max(0.0, min(at, end) - max(ended_at, begin)) for begin, end in zip(begins, ends, strict=True)]
    gathered = max((rate for rate, begin in zip(stages, begins, strict=True) if begin <= at), default=stages[0])
    return gathered + sum(rate * span for rate, span in zip(stages, spans, strict=True))


def _the_company_is_set_up(evidence: Evidence) -> Iterator[Check]:
    busy = {row.tenant for row in evidence.end.rows if row.handed}
    yield Check(
        f"{COMPANY}: {len(PLAYERS)} tenants, each with two streams of its own, all sending",
        busy == {player.name for player in PLAYERS} and len(evidence.end.rows) == 2 * len(PLAYERS),
        f"{len(evidence.end.rows)} streams, {len(busy)} tenants that sent",
    )


CLAIMS = (
    _the_company_is_set_up,
    _mail_went_through_both_doors,
    _nothing_is_lost_or_doubled,
    _the_guard_paused_it,
    _it_stopped_at_once,
    _nobody_else_noticed,
    _the_account_was_safe,
    _it_came_back_on_a_ramp,
)
