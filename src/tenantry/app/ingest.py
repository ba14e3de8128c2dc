"""Owns reading the feed: several readers read and decode, one loop ingests what has gathered and acknowledges it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from tenantry.app.observer import UNSEEN_CELL, CellObserver
from tenantry.core.event import Report
from tenantry.core.ids import CellId
from tenantry.flow.ingest import Ingested, ingest
from tenantry.flow.report import Chatter, read_report
from tenantry.ports import Feed, Parcel, Store, StoreRejected
from tenantry.wire.ses_event import EventError

READERS = 4
BATCH = 400  # events a commit; what one receive brought stays together
RECEIVES_AHEAD = 200  # of the commits; SQS gives ten events each
Decoded = tuple[Parcel, Report | Chatter | EventError]


class FeedReader:
    """Reads one cell's events until cancelled."""

    def __init__(
        self,
        store: Store,
        feed: Feed,
        cell: CellId,
        crossed: Callable[[], None],
        observer: CellObserver = UNSEEN_CELL,
    ) -> None:
        """crossed is called when a batch left verdicts to act on."""
        self._observer = observer
        self._store = store
        self._feed = feed
        self._cell = cell
        self._crossed = crossed
        self._received: asyncio.Queue[list[Decoded]] = asyncio.Queue(RECEIVES_AHEAD)
        self._gathered: list[Decoded] = []  # in the queue they would stay hidden for a while, and the guard blind
        self._acks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger(loop="ingest", cell=cell)

    async def read_round(self) -> None:
        """Receive once, decode and queue what came: a few at a time, so that nothing else of the process waits long."""
        if parcels := await self._feed.receive():
            await self._received.put([(parcel, read_report(parcel.body)) for parcel in parcels])

    async def ingest_round(self) -> None:
        """Ingest what has gathered as one commit, then acknowledge all but the early; what failed is kept for the next round."""
        if not self._gathered:
            self._gathered = await self._received.get()
        while not self._received.empty() and len(self._gathered) < BATCH:
            self._gathered += self._received.get_nowait()
        done = await self._ingest(self._gathered)
        parcels = [
            parcel for parcel, read in self._gathered if not (isinstance(read, Report) and read.digest in done.early)
        ]
        self._gathered = []
        ack = asyncio.create_task(self._acknowledge(parcels))
        self._acks.add(ack)
        ack.add_done_callback(self._acks.discard)
        if done.verdicts:
            self._crossed()
        log = self._log.info if done.foreign or done.verdicts else self._log.debug
        log("ingested", events=done.reports, new=done.new, foreign=done.foreign, verdicts=done.verdicts)

    async def _ingest(self, decoded: Sequence[Decoded]) -> Ingested:
        """Ingest what was decoded; when the store rejects it, halve until only the poison is quarantined."""
        reports = [read for _, read in decoded if isinstance(read, Report)]
        poison = [(parcel.body, str(read)) for parcel, read in decoded if isinstance(read, EventError)]
        try:
            done = await ingest(self._store, self._cell, reports, poison)
            self._observer.ingested(reports, done, len(poison))
            return done
        except StoreRejected as error:
            if len(decoded) == 1:
                done = await ingest(self._store, self._cell, (), [(ascii(decoded[0][0].body), str(error))])
                self._observer.ingested((), done, 1)
                return done
        middle = len(decoded) // 2
        first, second = await self._ingest(decoded[:middle]), await self._ingest(decoded[middle:])
        return Ingested(
            first.reports + second.reports,
            first.new + second.new,
            first.foreign + second.foreign,
            first.verdicts + second.verdicts,
            first.early | second.early,
        )

    async def _acknowledge(self, parcels: Sequence[Parcel]) -> None:
        try:
            await self._feed.acknowledge(parcels)
        except Exception as error:  # they come again, harmlessly
            self._log.warning("acknowledging failed", error=str(error))
