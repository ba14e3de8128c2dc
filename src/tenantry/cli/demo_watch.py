"""Owns looking on during the demo: what the API says of every stream, and what the local SES has seen, as snapshots.

Leaves judging it to `demo_checks` and showing it to `demo_screen`. Time is the local SES's clock, read with each look.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tenantry.cli.api import Api
from tenantry.cli.document import Document
from tenantry.cli.tenants import state_of

SIMULATOR = "@simulator.amazonses.com"
EVERYTHING = "1000000"


@dataclass(frozen=True, slots=True)
class Mail:
    """One message as SES accepted it. fates: what becomes of each recipient; the simulator's do not count."""

    at: float
    ses_id: str
    configuration_set: str
    message_id: str  # ours, from the tag
    fates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One stream as it stands."""

    tenant: str
    stream: str
    id: str
    state: str
    accepted: int
    states: dict[str, int]
    wait_p99: float | None
    limit: float | None
    ramp_stage: int | None

    @property
    def handed(self) -> int:
        """Recipients that SES has been given."""
        kept_back = ("waiting", "claimed", "suppressed", "expired", "cancelled", "refused", "unknown")
        return self.accepted - sum(self.states.get(name, 0) for name in kept_back)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All at one moment; sent, bounced, complained are Amazon's view of the account, known fates counted at once."""

    at: float
    rows: tuple[Row, ...]
    pauses: tuple[Document, ...]
    sent: int
    bounced: int
    complained: int

    def row(self, tenant: str, stream: str) -> Row:
        """Return one stream's row."""
        return next(row for row in self.rows if (row.tenant, row.stream) == (tenant, stream))

    def pause_of(self, scope_id: str) -> Document | None:
        """Return the open pause of a scope."""
        return next((pause for pause in self.pauses if pause.text("scope_id") == scope_id), None)


@dataclass
class Watch:
    """Looks, again and again; keeps every mail that SES accepted."""

    api: Api
    local: Api
    mails: dict[str, Mail] = field(default_factory=dict)

    def now(self) -> float:
        """Return the local SES's clock, in epoch seconds."""
        return self.local.get("/_local/health").number("now") or 0.0

    def look(self) -> Snapshot:
        """Take a snapshot."""
        self._read_mails()
        fates = [fate for mail in self.mails.values() for fate in mail.fates]
        streams, waits = self.api.every("/v1/streams"), self.api.every("/v1/waits")
        pauses = self.api.every("/v1/pauses", open="true")
        stopped = {pause.text("scope_id"): pause.text("state") for pause in pauses}
        known = {stream.text("id"): stream for stream in streams}
        rows = [_row(known[wait.text("stream_id")], wait, stopped) for wait in waits if wait.text("stream_id") in known]
        return Snapshot(
            at=self.now(),
            rows=tuple(sorted(rows, key=lambda row: (row.tenant, row.stream))),
            pauses=tuple(pauses),
            sent=len(fates),
            bounced=fates.count("bounced"),
            complained=fates.count("complained"),
        )

    def _read_mails(self) -> None:
        since = max((mail.at for mail in self.mails.values()), default=0.0)
        for record in self.local.get("/_local/messages", since=repr(since), limit=EVERYTHING).many("messages"):
            mail = _mail(record)
            self.mails[mail.ses_id] = mail


def _mail(record: Document) -> Mail:
    fates = record.one("outcomes") or Document({})
    return Mail(
        at=record.number("time") or 0.0,
        ses_id=record.text("message_id"),
        configuration_set=record.text("configuration_set"),
        message_id=(record.one("tags") or Document({})).text("tenantry-message"),
        fates=tuple(fates.text(address) for address in fates.raw if not address.rstrip(">").endswith(SIMULATOR)),
    )


def _row(stream: Document, wait: Document, stopped: dict[str, str]) -> Row:
    stage = stream.number("ramp_stage")
    return Row(
        tenant=wait.text("tenant"),
        stream=stream.text("name"),
        id=stream.text("id"),
        state=state_of(stream, stopped),
        accepted=wait.count("accepted"),
        states=wait.counts("states"),
        wait_p99=wait.number("wait_p99_seconds"),
        limit=stream.number("limit"),
        ramp_stage=None if stage is None else int(stage),
    )
