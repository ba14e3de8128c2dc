"""Owns reading the feed: several readers fill one queue, one loop ingests what has gathered and acknowledges it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from tenantry.core.event import Report
from tenantry.core.ids import CellId
from tenantry.flow.ingest import Ingested, ingest
from tenantry.flow.report import Chatter, read_report
from tenantry.ports import Feed, Parcel, Store, StoreRejected
from tenantry.wire.ses_event import EventError

READERS = 4
BATCH = 400  # events a commit at most
GATHERED_MOST = 2_000  # read ahead of the commits


class FeedReader:
    """Reads one cell's events until cancelled."""

    def __init__(self, store: Store, feed: Feed, cell: CellId, crossed: Callable[[], None]) -> None:
        """crossed is called when a batch left verdicts to act on."""
        self._store = store
        self._feed = feed
        self._cell = cell
        self._crossed = crossed
        self._parcels: asyncio.Queue[Parcel] = asyncio.Queue(GATHERED_MOST)
        self._gathered: list[Parcel] = []  # in the queue they would stay hidden for a while, and the guard blind
        self._acks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger(loop="ingest", cell=cell)

    async def read_round(self) -> None:
        """Receive once and queue what came."""
        for parcel in await self._feed.receive():
            await self._parcels.put(parcel)

    async def ingest_round(self) -> None:
        """Ingest what has gathered as one commit, then acknowledge it; what failed is kept for the next round."""
        if not self._gathered:
            self._gathered = [await self._parcels.get()]
        while not self._parcels.empty() and len(self._gathered) < BATCH:
            self._gathered.append(self._parcels.get_nowait())
        done = await self._ingest(self._gathered)
        parcels, self._gathered = self._gathered, []
        ack = asyncio.create_task(self._acknowledge(parcels))
        self._acks.add(ack)
        ack.add_done_callback(self._acks.discard)
        if done.verdicts:
            self._crossed()
        log = self._log.info if done.foreign or done.verdicts else self._log.debug
        log("ingested", events=done.reports, new=done.new, foreign=done.foreign, verdicts=done.verdicts)

    async def _ingest(self, parcels: Sequence[Parcel]) -> Ingested:
        """Ingest parcels; when the store rejects them, halve until only the poison is quarantined."""
        reports: list[Report] = []
        poison: list[tuple[str, str]] = []
        for parcel in parcels:
            read = read_report(parcel.body)
            if isinstance(read, EventError):
                poison.append((parcel.body, str(read)))
            elif not isinstance(read, Chatter):
                reports.append(read)
        try:
            return await ingest(self._store, self._cell, reports, poison)
        except StoreRejected as error:
            if len(parcels) == 1:
                return await ingest(self._store, self._cell, (), [(ascii(parcels[0].body), str(error))])
        middle = len(parcels) // 2
        first, second = await self._ingest(parcels[:middle]), await self._ingest(parcels[middle:])
        return Ingested(
            first.reports + second.reports,
            first.new + second.new,
            first.foreign + second.foreign,
            first.verdicts + second.verdicts,
        )

    async def _acknowledge(self, parcels: Sequence[Parcel]) -> None:
        try:
            await self._feed.acknowledge(parcels)
        except Exception as error:  # they come again, harmlessly
            self._log.warning("acknowledging failed", error=str(error))
