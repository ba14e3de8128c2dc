"""Owns the judgement of a run: what clients noted, what SES took and what Tenantry keeps, joined by token; reads nothing.

The classes are Jepsen's (Kingsbury, jepsen.io/consistency): acknowledged, lost, doubled, unexpected, unknown, recovered.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tenantry.core.event import Fact

EXPLAINED = {"refused", "expired", "cancelled", "suppressed"}
HEARD = {
    "delivered": Fact.DELIVERED, "bounced": Fact.BOUNCED | Fact.BOUNCED_SOFT, "complained": Fact.COMPLAINED,
    "suppressed": Fact.BOUNCED,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that a client saw: do is try, ack, again, error, refused or gave_up; took is in seconds."""

    token: str
    tenant: str
    way: str
    do: str
    at: float
    id: str | int | None = None
    why: str = ""
    took: float = 0.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One recipient of one message that SES took; message_id is ours, from the tag of the call."""

    token: str
    message_id: str
    at: float
    configuration_set: str
    fate: str


@dataclass(frozen=True, slots=True)
class Kept:
    """One message as Tenantry's books have it; facts by token of each recipient; places: rows in the queue and open claims."""

    id: str
    tenant: str
    state: str
    marked: bool
    reason: object
    recipients: int
    paused: bool
    places: int
    facts: dict[str, int] = field(default_factory=dict)

    @property
    def explained(self) -> bool:
        """Whether its state says why SES does not have it."""
        return (self.state == "waiting" and self.paused) or (self.state in EXPLAINED and bool(self.reason))


@dataclass(frozen=True, slots=True)
class Stop:
    """A pause of a stream in epoch seconds, and how many claims were made for the stream while it was open."""

    stream: str
    opened_at: float | None
    fenced_at: float | None
    ended_at: float | None
    author: str
    claims: int


@dataclass(slots=True)
class Judgement:
    """Counts, and each thing that must not be."""

    acknowledged: int = 0
    delivered: int = 0
    held: int = 0
    recovered: int = 0
    marked: int = 0  # twice at SES, and marked as possible_duplicate
    unknown: int = 0  # at the end; of paused streams, where no later event can prove anything
    errors: int = 0
    slowest: float = 0.0  # longest answer, seconds
    states: dict[str, dict[str, int]] = field(default_factory=dict)  # recipients by tenant and state
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)  # one mail, two ids
    refused: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    unbalanced: list[str] = field(default_factory=list)
    unheard: list[str] = field(default_factory=list)  # SES told the outcome, the books do not have it
    against_pause: list[str] = field(default_factory=list)

    @property
    def objections(self) -> dict[str, list[str]]:
        """Name what must not be and is there."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in found.items() if isinstance(value, list) and value}


def judge(
    notes: Sequence[Note], deliveries: Sequence[Delivery], kept: Sequence[Kept], stops: Iterable[Stop]
) -> Judgement:
    """Join the three by token."""
    made = Judgement()
    tried = {note.token for note in notes if note.do == "try"}
    acked = _answers(notes, made)
    at_ses = Counter(one.token for one in deliveries)
    homes: dict[str, list[Kept]] = defaultdict(list)
    for one in kept:
        for token in one.facts:
            homes[token].append(one)
    made.delivered = len(at_ses)
    made.acknowledged = len(acked)
    made.recovered = len(at_ses.keys() & tried - acked.keys())
    for token in sorted(acked):
        _acknowledged(token, acked[token], homes[token], at_ses, made)
    for token in sorted(at_ses.keys() | homes.keys()):
        if token not in tried:
            made.unexpected.append(f"{token}: at SES or in the books, and nobody tried it")
        _times(token, at_ses[token], homes[token], made)
    _outcomes(deliveries, {one.id: one for one in kept}, made)
    _balance(kept, made)
    _pauses(deliveries, stops, made)
    return made


def _answers(notes: Sequence[Note], made: Judgement) -> dict[str, str]:
    acked: dict[str, str] = {}
    for note in notes:
        made.slowest = max(made.slowest, note.took)
        if note.do in {"ack", "again"} and isinstance(note.id, str):
            if acked.setdefault(note.token, note.id) != note.id:
                made.contradicted.append(f"{note.token}: {acked[note.token]}, then {note.id}")
        elif note.do == "error":
            made.errors += 1
            if "Timeout" in note.why:
                made.hung.append(f"{note.token}: {note.why}")
        elif note.do in {"refused", "gave_up"}:
            made.refused.append(f"{note.token}: {note.do} {note.why}")
    return acked


def _acknowledged(token: str, id: str, homes: Sequence[Kept], at_ses: Counter[str], made: Judgement) -> None:
    """What was acknowledged is at SES, or in a state that says why not."""
    home = next((one for one in homes if one.id == id), None)
    if home is None:
        made.lost.append(f"{token}: {id} is not in the books; {at_ses[token]} times at SES")
    elif home.state == "unknown":
        made.unknown += home.paused
        if not home.paused:
            made.unsettled.append(f"{token}: {id} is unknown; {at_ses[token]} times at SES")
    elif at_ses[token]:
        return
    elif home.explained:
        made.held += 1
    elif home.state == "waiting":
        made.unsettled.append(f"{token}: {id} waits, though nothing stops it")
    else:
        made.lost.append(f"{token}: {id} is {home.state}, and SES does not have it")


def _times(token: str, times: int, homes: Sequence[Kept], made: Judgement) -> None:
    """A mail has one message, and SES took it once, or twice where it is marked."""
    if len(homes) > 1:
        made.doubled.append(f"{token}: accepted as {', '.join(one.id for one in homes)}")
    if times > 1 and any(one.marked for one in homes):
        made.marked += 1
    elif times > 1:
        made.doubled.append(f"{token}: {times} times at SES, without a mark")


def _outcomes(deliveries: Iterable[Delivery], kept: dict[str, Kept], made: Judgement) -> None:
    """What SES reported of a recipient is in the books, and what SES took is handed over there."""
    for one in deliveries:
        home = kept.get(one.message_id)
        if home is None:
            made.unexpected.append(f"{one.token}: SES has it as {one.message_id!r}, which is not in the books")
        elif home.state != "handed":
            made.unheard.append(f"{one.token}: SES has it, and it is {home.state}")
        elif not home.facts.get(one.token, 0) & HEARD[one.fate]:
            made.unheard.append(f"{one.token}: {one.fate} at SES, {Fact(home.facts.get(one.token, 0))!r} here")


def _balance(kept: Iterable[Kept], made: Judgement) -> None:
    """Each message has the recipients that it was accepted with, and one place exactly while it waits."""
    states: dict[str, Counter[str]] = defaultdict(Counter)
    for one in kept:
        states[one.tenant][one.state] += one.recipients
        if one.recipients != len(one.facts):
            made.unbalanced.append(
                f"{one.id} of {one.tenant}: accepted {one.recipients} recipients, has {len(one.facts)}"
            )
        if one.places != (one.state == "waiting"):
            made.unbalanced.append(f"{one.id} of {one.tenant} is {one.state} and has {one.places} places in the queue")
    made.states = {tenant: dict(found) for tenant, found in sorted(states.items())}


def _pauses(deliveries: Iterable[Delivery], stops: Iterable[Stop], made: Judgement) -> None:
    """No claim is made for a stream while it is paused, and SES takes nothing of it once that is fenced."""
    calls: dict[str, list[float]] = defaultdict(list)
    for one in deliveries:
        calls[one.configuration_set.rpartition("-")[2]].append(one.at)
    for stop in stops:
        if stop.claims:
            made.against_pause.append(f"stream {stop.stream}: {stop.claims} claims while paused by {stop.author}")
        late = [at for at in calls[stop.stream] if stop.fenced_at and stop.fenced_at < at < (stop.ended_at or at + 1)]
        if late:
            made.against_pause.append(f"stream {stop.stream}: {len(late)} calls to SES after the fence")
