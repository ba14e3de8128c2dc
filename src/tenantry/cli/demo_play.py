"""Owns the acts of the demo in their order; leaves the claims to `demo_checks`, the looks to `demo_screen`.

An act ends when what it is about has happened, or fails by saying that it did not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from tenantry.cli.api import part
from tenantry.cli.demo_cast import (
    BOUGHT_LIST,
    CLEANED_PER_SECOND,
    GOOD_INBOXES,
    PLAYERS,
    POOLS,
    ROTTEN,
    ROTTEN_PER_SECOND,
    TRANSACTIONAL_PER_SECOND,
    Mailing,
    Player,
)
from tenantry.cli.demo_evidence import Evidence, Notes, gather
from tenantry.cli.demo_screen import View
from tenantry.cli.demo_stage import Stage, Traffic
from tenantry.cli.demo_watch import Snapshot, Watch
from tenantry.cli.document import Document
from tenantry.cli.failure import ExitCode, Failure
from tenantry.core.claim import ses_name
from tenantry.core.ids import StreamId

LOOK_SECONDS = 0.2
STEADY_SECONDS = 7.0
DURING_SECONDS = 5.0
PATIENCE_SECONDS = 25.0
HELD_MAILS = 40  # of each list; together more than a limit lets out at once, so that a flood would show
UNSETTLED = ("waiting", "claimed", "handed", "queued", "unknown")

BOUGHT, CLEANED = "bought-list", "cleaned-list"
HELD = ("held-list-1", "held-list-2", "held-list-3")


class Play:
    """The acts, played once."""

    def __init__(self, stage: Stage, view: View, traffic: Traffic) -> None:
        self._stage, self._view, self._traffic = stage, view, traffic
        self.api = stage.api()
        self.watch = Watch(self.api, stage.local_ses())
        self._keys: dict[str, Document] = {}
        self._doors: dict[str, str] = {}  # by mailing

    def run(self) -> Evidence:
        """Play all acts and gather what they left behind."""
        self._set_up()
        steady_from = self.watch.now()
        self._steady()
        rotten_from = self.watch.now()
        fenced = self._rotten()
        set_was_off = self._paused(fenced)
        asked_at = self.watch.now()
        stages = self._reinstated(fenced)
        end = self._settled()
        self._traffic.close()
        stream_id = fenced.row(ROTTEN, "marketing").id
        notes = Notes(
            steady_from=steady_from,
            rotten_from=rotten_from,
            rotten_stream=stream_id,
            pause=fenced.pause_of(stream_id) or Document({}),
            set_was_off=set_was_off,
            held=tuple(
                a.text("id") for name in HELD for a in self._traffic.answers(name) if a.text("hold") == "paused"
            ),
            asked_at=asked_at,
            stages=stages,
            answers=tuple(self._traffic.answers()),
            wire=sum(len(self._traffic.answers(name)) for name, door in self._doors.items() if door == "wire"),
        )
        return gather(self.api, self.watch, end, notes)

    # ---- the acts

    def _set_up(self) -> None:
        self._view.act(f"{len(PLAYERS)} tenants move in: brands and customers, each with two streams of its own")
        for name, kind in POOLS:
            self.api.post("/v1/pools", {"name": name, "kind": kind})
        for player in PLAYERS:
            labels = {"unit": player.unit}
            self.api.post(
                "/v1/tenants", {"name": player.name, "domain": player.domain, "pool": player.pool, "labels": {**labels}}
            )
            self._keys[player.name] = self.api.post("/v1/keys", {"tenant": player.name, "scopes": ["send", "read"]})

        def ready(_: Snapshot) -> bool:
            streams, identities = self.api.every("/v1/streams"), self.api.every("/v1/identities")
            return all(s.text("provisioned_at") for s in streams) and all(
                i.text("status") == "verified" for i in identities
            )

        self._until(ready, "SES looks as wanted: every stream set up, every domain verified")

    def _steady(self) -> None:
        self._view.act("everybody sends: receipts and sign-in codes, newsletters; boto3 and HTTP, MIME and JSON")
        for player in PLAYERS:
            self._send(self._mailing(player, "transactional", TRANSACTIONAL_PER_SECOND))
            if player.marketing_per_second:
                self._send(self._mailing(player, "marketing", player.marketing_per_second))
        self._for(STEADY_SECONDS)

    def _rotten(self) -> Snapshot:
        self._view.act(f"{ROTTEN} mails a list that it bought: two in five addresses do not exist")
        self._send(self._gala(BOUGHT, BOUGHT_LIST, per_second=ROTTEN_PER_SECOND, stops_when_held=True))

        def fenced(snapshot: Snapshot) -> bool:
            pause = snapshot.pause_of(snapshot.row(ROTTEN, "marketing").id)
            return pause is not None and pause.text("state") == "fenced"

        snapshot = self._until(fenced, "the stream is paused, and SES itself refuses it")
        pause = snapshot.pause_of(snapshot.row(ROTTEN, "marketing").id) or Document({})
        self._view.verdict(self.api.get(f"/v1/verdicts/{part(pause.text('verdict_id'))}").text("words"))
        return snapshot

    def _paused(self, fenced: Snapshot) -> bool:
        """Let time pass with the stream paused, new mail held; return whether the configuration set was off in SES."""
        self._view.act("paused and fenced: its newsletters wait; its own vouchers and everybody else's mail go on")
        for name in HELD:
            self._send(self._gala(name, *GOOD_INBOXES, per_second=CLEANED_PER_SECOND, count=HELD_MAILS))
        name = ses_name(StreamId(fenced.row(ROTTEN, "marketing").id))
        sets = self.watch.local.get("/_local/state").many("configuration_sets")
        was_off = any(each.text("name") == name and each.raw.get("sending_enabled") is False for each in sets)
        self._for(DURING_SECONDS)
        return was_off

    def _reinstated(self, fenced: Snapshot) -> tuple[float, ...]:
        """End the pause and watch the ramp; return the fractions of the rate that were seen, in order."""
        self._view.act("the list is cleaned; the operator reinstates the stream, which comes back on a ramp")
        stream_id = fenced.row(ROTTEN, "marketing").id
        pause = fenced.pause_of(stream_id) or Document({})
        self.api.post(f"/v1/pauses/{part(pause.text('id'))}/end", {"reason": "list cleaned: confirmed addresses only"})
        self._send(self._gala(CLEANED, *GOOD_INBOXES, per_second=CLEANED_PER_SECOND))
        seen: list[float] = []

        def over(snapshot: Snapshot) -> bool:
            row = snapshot.row(ROTTEN, "marketing")
            if row.limit is not None and row.ramp_stage is not None and row.limit not in seen:
                seen.append(row.limit)
                self._view.say(f"  ramp: {row.limit:.0%} of the rate")
            return bool(seen) and row.limit is None and row.ramp_stage is None and not snapshot.pauses

        self._until(over, "back at its full rate")
        return tuple(seen)

    def _settled(self) -> Snapshot:
        self._view.act("all stop sending; the last reports come in")
        for name in self._doors:
            self._traffic.stop(name)
        self._until(lambda _: all(self._traffic.is_done(name) for name in self._doors), "nobody sends any more")
        return self._until(
            lambda snapshot: not any(row.states.get(name) for row in snapshot.rows for name in UNSETTLED),
            "every mail has its report",
        )

    # ---- what the acts are made of

    def _mailing(self, player: Player, stream: str, per_second: float) -> Mailing:
        key = self._keys[player.name]
        return Mailing(
            name=f"{player.name}-{stream}",
            door=player.door,
            url=self._stage.url,
            key_id=key.text("id"),
            secret=key.text("secret"),
            sender=f"{player.name.replace('-', ' ').title()} <hello@{player.domain}>",
            stream=stream,
            subject=player.product if stream == "transactional" else "newsletter",
            domains=GOOD_INBOXES,
            per_second=per_second,
        )

    def _gala(
        self, name: str, *domains: str, per_second: float, count: int = 0, stops_when_held: bool = False
    ) -> Mailing:
        """Return a mailing of the rotten tenant's marketing, through REST, whose answers tell of holds."""
        player = next(each for each in PLAYERS if each.name == ROTTEN)
        usual = self._mailing(player, "marketing", per_second)
        return replace(
            usual, name=name, door="rest", domains=domains, count=count, stops_when_held=stops_when_held, subject="deal"
        )

    def _send(self, mailing: Mailing) -> None:
        self._doors[mailing.name] = mailing.door
        self._traffic.start(mailing)

    def _until(self, happened: Callable[[Snapshot], bool], what: str) -> Snapshot:
        """Look on until it has happened; a Failure names what did not."""
        begun = self.watch.now()
        while True:
            snapshot = self.watch.look()
            self._view.show(snapshot)
            if happened(snapshot):
                self._view.say(f"  \N{CHECK MARK} {what} ({snapshot.at - begun:.1f} s)", "green")
                return snapshot
            if snapshot.at - begun > PATIENCE_SECONDS:
                told = f"after {PATIENCE_SECONDS:g} s it is still not so: {what}\n{self._stage.log_tail()}"
                raise Failure(ExitCode.REFUSED, "demo_stuck", told)
            _rest()

    def _for(self, duration: float) -> None:
        """Look on for a while."""
        begun = self.watch.now()
        while (snapshot := self.watch.look()).at - begun < duration:
            self._view.show(snapshot)
            _rest()


def _rest() -> None:
    threading.Event().wait(LOOK_SECONDS)
