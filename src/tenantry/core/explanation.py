"""Owns the answer to "why is it waiting, why was it stopped": sentences made of what people can look up themselves.

Leaves reading the views to the edge, and the words for a verdict's numbers to `policy`, which wrote them down with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tenantry.core.event import Fact
from tenantry.core.ids import Id, PauseId, VerdictId
from tenantry.core.message import MessageState
from tenantry.core.outcome import Hold
from tenantry.core.pause import Author, Pause, PauseState, ScopeId
from tenantry.core.reading import (
    FLOWING,
    CellOutlook,
    MessageView,
    RecipientView,
    ReputationView,
    StreamWaits,
    TimelineEntry,
    VerdictView,
)
from tenantry.core.tenant import Identity, IdentityStatus, Stream, Tenant


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why something is as it is: one sentence, then the sentences that support it, and the ids to look at next."""

    id: Id
    kind: str
    summary: str
    sentences: tuple[str, ...]
    see: tuple[Id, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a thing's explanation draws on: its stream, the open pauses on its way, the verdicts behind them, its cell."""

    stream: Stream
    pauses: tuple[Pause, ...]
    verdicts: Mapping[VerdictId, VerdictView]
    cell: CellOutlook = FLOWING


def route_pauses(stream: Stream, pauses: Iterable[Pause]) -> tuple[Pause, ...]:
    """Return the open pauses that stop this stream, oldest first."""
    scopes: set[ScopeId] = {stream.id, stream.tenant_id, stream.pool_id, stream.cell_id}
    here = (pause for pause in pauses if pause.ended_at is None and pause.scope_id in scopes)
    return tuple(sorted(here, key=lambda pause: pause.opened_at))


def explain_message(message: MessageView, around: Surroundings) -> Explanation:
    """Say where a message is, why it is there, and what became of each recipient."""
    summary, sentences, see = _place(message, around)
    if message.possible_duplicate:
        sentences = (*sentences, "It was sent again after an unknown outcome, so a recipient may have it twice.")
    sentences = (*sentences, *(_fate(row, message.timeline) for row in message.recipients if row.standing in _FATES))
    return Explanation(message.id, "message", summary, sentences, (message.stream_id, *see))


def explain_stream(around: Surroundings, reputation: ReputationView, waits: StreamWaits | None) -> Explanation:
    """Say whether a stream's mail flows, how fast, what is waiting, and what its reputation amounts to."""
    stream = around.stream
    limit = _limit(stream)
    if around.pauses:
        summary = f"Stream {stream.name} is stopped: {_stop(around.pauses[0])}."
    elif why := _closed(around.cell):
        summary = f"Stream {stream.name} is held up: {why}."
    elif stream.provisioned_at is None:
        summary = f"Stream {stream.name} does not send yet: SES does not have its configuration set so far."
    else:
        summary = f"Stream {stream.name} sends{f', {limit}' if limit else ''}."
    sentences = [*_stops(around), *_counts(reputation)]
    if limit and around.pauses:
        sentences.append(f"Once it may send again, it does so {limit}.")
    if waits and waits.oldest_waiting_at:
        count = waits.states.get(MessageState.WAITING, 0)
        sentences.append(
            f"{_many(count, 'recipient waits', 'recipients wait')}, the first since {_time(waits.oldest_waiting_at)}."
        )
    if waits and waits.wait_p50_seconds is not None and waits.wait_p99_seconds is not None:
        half, most = waits.wait_p50_seconds, waits.wait_p99_seconds
        sentences.append(
            f"Of its last mail half waited {half:.3g} s or less for its hand-over, 99 in 100 waited {most:.3g} s or less."
        )
    return Explanation(stream.id, "stream", summary, tuple(sentences), _pause_ids(around.pauses))


def explain_pause(pause: Pause, verdict: VerdictView | None) -> Explanation:
    """Say who stopped what and why, how far the stop holds, and how it ends."""
    who = "The guard" if pause.author is Author.GUARD else "An operator"
    state = {
        PauseState.OPENING: "Claims that are older may still be on their way to SES; nothing new is claimed.",
        PauseState.LOCAL: f"Since {_time(pause.local_at)} nothing is claimed for it; SES has not confirmed its own stop yet.",
        PauseState.FENCED: f"Nothing is claimed for it, and since {_time(pause.fenced_at)} SES refuses it too.",
        PauseState.ENDED: f"It ended at {_time(pause.ended_at)}: {pause.end_reason or 'no reason was given'}.",
    }[pause.state]
    sentences = [f"The reason: {pause.reason}", state]
    if verdict:
        sentences.insert(1, verdict.words)
    if pause.ended_at is None and pause.end_reason:
        sentences.append(f"Its end has begun ({pause.end_reason}): SES is switched on first, then its mail goes out.")
    elif pause.ended_at is None:
        sentences.append(
            "It ends when an operator ends it and says why; its mail is kept meanwhile, and goes out on a ramp after."
            if pause.author is Author.GUARD
            else "It ends when an operator ends it; its mail is kept meanwhile."
        )
    summary = f"{who} stopped the {pause.scope_kind} at {_time(pause.opened_at)}."
    see: tuple[Id, ...] = (pause.scope_id, pause.verdict_id) if pause.verdict_id else (pause.scope_id,)
    return Explanation(pause.id, "pause", summary, tuple(sentences), see)


def explain_verdict(verdict: VerdictView, pause: Pause | None) -> Explanation:
    """Say what was counted, against which line, and what followed."""
    end = verdict.block_start + verdict.block_size
    sentences = [
        verdict.words,
        f"Counted: the mail from recipient {verdict.block_start + 1:,} to {end:,} of cohort {verdict.cohort}, of which"
        f" {verdict.n:,} were handed over by then. What SES has not reported yet counts as good.",
    ]
    if pause:
        sentences.append(f"It led to the pause that was opened at {_time(pause.opened_at)} and is {pause.state}.")
    elif verdict.acted_at is None:
        sentences.append("Nobody has acted on it yet.")
    summary = f"At {_time(verdict.at)} the stream's {verdict.kind} rate called for: {verdict.action}."
    see: tuple[Id, ...] = (verdict.stream_id, pause.id) if pause else (verdict.stream_id,)
    return Explanation(verdict.id, "verdict", summary, tuple(sentences), see)


def explain_tenant(
    tenant: Tenant, streams: Sequence[Stream], identities: Sequence[Identity], pauses: Sequence[Pause]
) -> Explanation:
    """Say which of a tenant's streams send and which do not, and which identities cannot be used yet."""
    sentences: list[str] = []
    stopped: list[Pause] = []
    for stream in streams:
        here = route_pauses(stream, pauses)
        stopped += here
        if here:
            sentences.append(f"Stream {stream.name} is stopped: {_stop(here[0])}.")
        elif stream.provisioned_at is None:
            sentences.append(f"Stream {stream.name} does not send yet: SES does not have its configuration set so far.")
        else:
            limit = _limit(stream)
            sentences.append(f"Stream {stream.name} sends{f', {limit}' if limit else ''}.")
    sentences += [
        f"Identity {identity.name} is {identity.status}: it cannot be sent from until SES sees its records."
        for identity in identities
        if identity.status is not IdentityStatus.VERIFIED
    ]
    held = sum(1 for stream in streams if route_pauses(stream, pauses) or stream.provisioned_at is None)
    summary = f"{len(streams) - held} of {len(streams)} streams of {tenant.name} can send."
    return Explanation(tenant.id, "tenant", summary, tuple(sentences), _pause_ids(stopped))


# ---- sentences


def _place(message: MessageView, around: Surroundings) -> tuple[str, tuple[str, ...], tuple[Id, ...]]:
    match message.state:
        case MessageState.WAITING:
            return _waiting(message, around)
        case MessageState.CLAIMED:
            return "It is on its way to SES.", (), ()
        case MessageState.HANDED:
            return f"SES took it{_tally(message)}.", (), ()
        case MessageState.UNKNOWN:
            why = (
                f"The last attempt ended without an answer: {message.reason or 'no reason is known'}.",
                "An event of SES with the attempt's tag settles it. It is not sent again before that, unless later mail"
                " of the same stream proves that events arrive.",
            )
            return "Whether SES has it is not known.", why, ()
        case MessageState.REFUSED:
            return f"SES refused it: {message.reason or 'no reason was given'}.", (), ()
        case MessageState.SUPPRESSED:
            cause = "An address is suppressed once mail to it has bounced for good, or its owner has complained."
            return "It was not sent: each recipient is suppressed.", (cause,), ()
        case MessageState.EXPIRED:
            return f"It waited too long and was given up: {message.reason or 'no reason is known'}.", (), ()
        case _:
            return f"It is {message.state}.", (message.reason,) if message.reason else (), ()


def _waiting(message: MessageView, around: Surroundings) -> tuple[str, tuple[str, ...], tuple[Id, ...]]:
    stream = around.stream
    sentences = [f"It has waited since {_time(message.accepted_at)}.", *_last_try(message)]
    if limit := _limit(stream):
        sentences.append(f"Its stream sends {limit}, so its turn comes later than usual.")
    if around.pauses:
        return f"It waits because {_stop(around.pauses[0])}.", (*_stops(around), *sentences), _pause_ids(around.pauses)
    if why := _closed(around.cell):
        return f"It waits because {why}.", tuple(sentences), ()
    if message.hold is None and stream.provisioned_at is None:
        return f"It waits until {_HOLDS[Hold.UNPROVISIONED]}.", tuple(sentences), ()
    if message.hold is None or message.hold not in _HOLDS:
        return f"It waits for its turn in stream {stream.name}.", tuple(sentences), ()
    if message.due_at and message.hold != Hold.RECOVERY:
        sentences.append(f"It is tried again at {_time(message.due_at)}.")
    return f"It waits {_HOLDS[Hold(message.hold)]}.", tuple(sentences), ()


_HOLDS = {
    Hold.PAUSED: "because the pool, cell or SES account that it goes through is stopped",
    Hold.THROTTLED: "because SES took no more at this rate",
    Hold.SCHEDULED: "for the time that it was meant for",
    Hold.UNVERIFIED: "because SES does not see its author's identity as verified any more",
    Hold.UNPROVISIONED: "until SES has the configuration set, identity and tenant of its stream",
    Hold.BACKOFF: "after an attempt that did not reach SES",
    Hold.UNKNOWN: "because it is not known whether SES has it",
    Hold.RECOVERY: "because the database was restored and it may have gone before: an event of SES or an operator decides",
}


def _last_try(message: MessageView) -> Iterator[str]:
    """Say how the last attempt ended, when it was to be repeated."""
    tried = [entry for entry in message.timeline if entry.what == "retry"]
    if tried:
        reason = (tried[-1].detail or {}).get("reason") or message.reason or "no reason is known"
        times = "once" if len(tried) == 1 else f"{len(tried)} times"
        yield f"It was tried {times}, last at {_time(tried[-1].at)}: {_told(reason)}"


def _tally(message: MessageView) -> str:
    """Say how many recipients came to which end, the worst end first."""
    ends = [row.standing for row in message.recipients]
    silent = sum(end in (Fact.QUEUED, Fact.HANDED) for end in ends)
    counted = [(ends.count(fact), words) for fact, words in _TALLY.items()] + [(silent, "not reported yet")]
    told = [f"{count:,} of {len(ends):,} {words}" for count, words in counted if count]
    return f": {', '.join(told)}" if told else ""


_TALLY = {
    Fact.COMPLAINED: "complained",
    Fact.REJECTED: "rejected for its content",
    Fact.BOUNCED: "bounced",
    Fact.BOUNCED_SOFT: "bounced for now",
    Fact.SUPPRESSED: "suppressed",
    Fact.DELAYED: "delayed",
    Fact.DELIVERED: "delivered",
}

_FATES = {
    Fact.BOUNCED: ("Bounce", "bounced for good: the address does not take mail"),
    Fact.BOUNCED_SOFT: ("Bounce", "bounced for now: the address may take mail later"),
    Fact.COMPLAINED: ("Complaint", "reported it as unwanted"),
    Fact.REJECTED: ("Reject", "was not mailed: SES found something wrong with the content"),
    Fact.DELAYED: ("DeliveryDelay", "does not take it yet; SES keeps trying"),
    Fact.DELIVERED: ("Delivery", "has it: the receiving server took it"),
    Fact.SUPPRESSED: ("", "was not mailed: the address is suppressed"),
}


def _fate(row: RecipientView, timeline: Sequence[TimelineEntry]) -> str:
    """Say what became of a recipient, when, and in whose words; a report that names it otherwise is not quoted."""
    kind, words = _FATES[row.standing]
    about = [entry for entry in timeline if entry.what == kind and row.address.lower() in entry.recipients]
    if not about:
        return f"{row.address} {words}."
    said = about[-1].detail or {}
    quote = next((said[name] for name in ("diagnostic", "smtp_response", "feedback_type") if name in said), None)
    sort = f" ({said['bounce_subtype']})" if "bounce_subtype" in said else ""
    return f"{row.address} {words}{sort}, {_time(about[-1].at)}{f': {_told(quote)}' if quote else '.'}"


def _told(words: str) -> str:
    """Quote somebody else's words as they are, short enough to be read."""
    cut = words if len(words) <= _QUOTE_CHARS_MAX else f"{words[:_QUOTE_CHARS_MAX]}…"
    return f'"{cut}".'


_QUOTE_CHARS_MAX = 300


def _stop(pause: Pause) -> str:
    who = "the guard" if pause.author is Author.GUARD else "an operator"
    return f"{who} paused its {pause.scope_kind} at {_time(pause.opened_at)}"


def _stops(around: Surroundings) -> tuple[str, ...]:
    sentences: list[str] = []
    for pause in around.pauses:
        verdict = around.verdicts.get(pause.verdict_id) if pause.verdict_id else None
        why = verdict.words if verdict else pause.reason
        who = "The guard" if pause.author is Author.GUARD else "An operator"
        sentences.append(f"{who} paused the {pause.scope_kind} at {_time(pause.opened_at)} ({_held(pause)}): {why}")
    if len(around.pauses) > 1:
        sentences.append("Each of these pauses has to end before mail flows again.")
    return tuple(sentences)


def _held(pause: Pause) -> str:
    return f"{pause.state}, its end has begun" if pause.end_reason and pause.ended_at is None else str(pause.state)


def _closed(cell: CellOutlook) -> str:
    """Say why nothing, or next to nothing, goes out of a cell; empty while mail flows."""
    if cell.stopped:
        return "SES does not let the account send at all; it goes on by itself once SES does"
    if cell.unanswered_since:
        return f"SES has not answered since {_time(cell.unanswered_since)}: one message a second is tried until it does"
    return ""


def _limit(stream: Stream) -> str:
    if stream.limit is None:
        return ""
    kind = "throttled" if stream.ramp_stage is None else f"on probation, stage {stream.ramp_stage + 1}"
    return f"at {stream.limit * 100:.3g} % of the rate ({kind})"


def _counts(reputation: ReputationView) -> Iterator[str]:
    if not reputation.handed:
        yield "None of its mail has been handed to SES since its counts began."
        return
    yield (
        f"Of {_many(reputation.handed, 'recipient', 'recipients')} handed over {_share(reputation.bounced, reputation.handed)}"
        f" bounced; of {reputation.reporting:,} at providers that report complaints"
        f" {_share(reputation.complained, reputation.reporting)} complained (policy {reputation.policy})."
    )
    if reputation.verdicts:
        last = reputation.verdicts[0]
        yield f"The last verdict, at {_time(last.at)}, was to {last.action}: {last.words}"


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({100 * part / whole:.3g} %)" if whole else f"{part:,}"


def _many(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def _pause_ids(pauses: Iterable[Pause]) -> tuple[PauseId, ...]:
    return tuple(dict.fromkeys(pause.id for pause in pauses))


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "an unknown time"
