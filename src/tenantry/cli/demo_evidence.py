"""Owns gathering what the demo's claims rest on, from the API and the local SES, once the play is over.

Leaves the claims to `demo_checks`. Nothing here is timed by the demo: times are those of the store and of SES.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tenantry.cli.api import Api, part
from tenantry.cli.demo_watch import EVERYTHING, Mail, Snapshot, Watch
from tenantry.cli.document import Document
from tenantry.cli.show import instant
from tenantry.core.claim import ses_name
from tenantry.core.ids import StreamId


@dataclass(frozen=True, slots=True)
class Send:
    """A call to SES: when it arrived and what it was answered with."""

    at: float
    status: int


@dataclass(frozen=True, slots=True)
class Notes:
    """What was noted while it was played."""

    steady_from: float
    rotten_from: float
    rotten_stream: str  # its id
    pause: Document  # as it was when fenced; ended later
    set_was_off: bool  # the configuration set in SES, looked at while fenced
    held: tuple[str, ...]  # message ids that the API accepted with the hold `paused`
    asked_at: float  # when reinstatement was asked for; the ramp's first stage began no sooner
    stages: tuple[float, ...]  # fractions of the rate seen on the ramp, in order
    answers: tuple[Document, ...]  # of the doors, to the applications
    wire: int  # of them through boto3


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the checks look at; times in epoch seconds."""

    notes: Notes
    end: Snapshot
    mails: tuple[Mail, ...]  # in SES's order
    messages: Mapping[str, Document]  # every message of the API by id
    pauses: tuple[Document, ...]  # all, ended ones too
    verdict: Document
    deciding_at: float
    rotten_sends: tuple[Send, ...]
    waits: Mapping[str, float]  # seconds from acceptance to SES, by message id

    @property
    def pause(self) -> Document:
        """The guard's pause as it ended."""
        return next(p for p in self.pauses if p.text("id") == self.notes.pause.text("id"))

    def wait_of(self, streams: Iterable[str], start: float, end: float) -> list[float]:
        """Return the waits of mail of these streams that was accepted in a span of time, ascending."""
        wanted = set(streams)
        return sorted(
            wait
            for key, wait in self.waits.items()
            if self.messages[key].text("stream_id") in wanted
            and start <= epoch(self.messages[key].text("accepted_at")) < end
        )

    def last_send_before_reinstatement(self) -> float:
        """Return when SES last accepted mail of the paused stream; the deciding event's time if never after it."""
        ended = epoch(self.pause.text("ended_at"))
        return max((s.at for s in self.rotten_sends if s.status == 200 and s.at < ended), default=self.deciding_at)

    def fence_seconds(self) -> tuple[float, float]:
        """Return how long it took from the deciding event to SES's last acceptance, and to SES's own refusal."""
        last = max(0.0, self.last_send_before_reinstatement() - self.deciding_at)
        return last, epoch(self.pause.text("fenced_at")) - self.deciding_at


def epoch(stamp: str) -> float:
    """Return a time of the API in epoch seconds, 0 for none."""
    at: datetime | None = instant(stamp)
    return at.timestamp() if at else 0.0


def quantile(ordered: Sequence[float], fraction: float) -> float | None:
    """Return the smallest of ascending values that at least this fraction does not exceed; None of none."""
    return ordered[max(-int(-fraction * len(ordered) // 1) - 1, 0)] if ordered else None


def gather(api: Api, watch: Watch, end: Snapshot, notes: Notes) -> Evidence:
    """Read everything back."""
    mails = tuple(sorted(watch.mails.values(), key=lambda mail: mail.at))
    tenants = sorted({row.tenant for row in end.rows})
    messages = {m.text("id"): m for tenant in tenants for m in api.every("/v1/messages", tenant=tenant)}
    verdict = api.get(f"/v1/verdicts/{part(notes.pause.text('verdict_id'))}")
    accepted = {key: epoch(message.text("accepted_at")) for key, message in messages.items()}
    return Evidence(
        notes=notes,
        end=end,
        mails=mails,
        messages=messages,
        pauses=tuple(api.every("/v1/pauses", open="false")),
        verdict=verdict,
        deciding_at=_deciding(api, messages.values(), notes.rotten_stream, epoch(verdict.text("at"))),
        rotten_sends=_sends(watch.local, ses_name(StreamId(notes.rotten_stream))),
        waits={m.message_id: m.at - accepted[m.message_id] for m in mails if m.message_id in accepted},
    )


def _deciding(api: Api, messages: Iterable[Document], stream_id: str, judged_at: float) -> float:
    """Return SES's own time of the last bounce that the verdict could count."""
    bounced = [
        message.text("id")
        for message in messages
        if message.text("stream_id") == stream_id
        and any(recipient.text("standing") == "bounced" for recipient in message.many("recipients"))
    ]
    times = [
        epoch(entry.text("at"))
        for key in bounced
        for entry in api.get(f"/v1/messages/{part(key)}").many("timeline")
        if entry.text("what").lower() == "bounce"
    ]
    return max((at for at in times if at <= judged_at), default=judged_at)


def _sends(local: Api, configuration_set: str) -> tuple[Send, ...]:
    query = {"operation": "SendEmail", "configuration_set": configuration_set, "limit": EVERYTHING}
    calls = local.get("/_local/calls", **query).many("calls")
    return tuple(Send(call.number("time") or 0.0, call.count("status")) for call in calls)
