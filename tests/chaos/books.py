"""Owns reading what a run left behind: Tenantry's own books, the local SES's ledger, the clients' notes; judges nothing."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.request import urlopen

import asyncpg

from tenantry.core.claim import MESSAGE_TAG
from tests.chaos.judge import Delivery, Kept, Note, Stop

KEPT = (
    "SELECT m.id, t.name, m.state, m.possible_duplicate, m.reason, m.recipients, r.address, r.facts, m.stream_id,"
    " (SELECT count(*) FROM waiting w WHERE w.message_id = m.id),"
    " (SELECT count(*) FROM attempt a WHERE a.message_id = m.id AND a.finished_at IS NULL)"
    " FROM message m JOIN tenant t ON t.id = m.tenant_id LEFT JOIN recipient r ON r.message_id = m.id"
)
STOPS = (
    "SELECT p.scope_id, p.opened_at, p.fenced_at, p.ended_at, p.author,"
    " (SELECT count(*) FROM attempt a WHERE a.stream_id = p.scope_id AND a.claimed_at > p.opened_at"
    "  AND (p.ended_at IS NULL OR a.claimed_at < p.ended_at)) + (SELECT count(*) FROM attempt a"
    "  WHERE a.tenant_id = p.scope_id AND a.claimed_at > p.opened_at AND (p.ended_at IS NULL OR a.claimed_at < p.ended_at))"
    " FROM pause p WHERE p.scope_kind IN ('stream', 'tenant')"
)
COUNTED = (
    "SELECT r.stream_id, count(r.ordinal), count(DISTINCT r.cohort || ' ' || r.ordinal),"
    " (SELECT coalesce(sum(b.handed), 0) FROM bucket b WHERE b.stream_id = r.stream_id),"
    " count(r.bounced_at), (SELECT coalesce(sum(b.bounced), 0) FROM bucket b WHERE b.stream_id = r.stream_id)"
    " FROM recipient r WHERE r.ordinal IS NOT NULL GROUP BY r.stream_id"
)
OPEN = (
    "SELECT (SELECT count(*) FROM attempt WHERE finished_at IS NULL),"
    " (SELECT count(*) FROM message m WHERE m.state = 'unknown' AND NOT EXISTS"
    "   (SELECT 1 FROM pause p WHERE p.scope_id = m.stream_id AND p.ended_at IS NULL)),"
    " (SELECT count(*) FROM waiting w WHERE NOT EXISTS"
    "   (SELECT 1 FROM pause p WHERE p.scope_id = w.stream_id AND p.ended_at IS NULL))"
)
Row = Sequence[object]


def rows(database: str, sql: str) -> list[Row]:
    """Read from the database that the processes use, beside them; ids are hex digits, times are epoch seconds."""
    if database.startswith("sqlite"):
        with sqlite3.connect(f"file:{database.removeprefix('sqlite:///')}?mode=ro", uri=True, timeout=30) as connection:
            found: Iterable[Row] = connection.execute(sql).fetchall()
        connection.close()
    else:
        found = asyncio.run(_rows(database, sql))
    return [[_plain(value) for value in row] for row in found]


async def _rows(url: str, sql: str) -> list[Row]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(sql))
    finally:
        await connection.close()


def _plain(value: object) -> object:
    match value:
        case datetime():
            return value.timestamp()
        case int() if value > 10**14:  # SQLite keeps microseconds
            return value / 1e6
    return value.hex if hasattr(value, "hex") and not isinstance(value, float | bytes) else value


def left_open(database: str) -> tuple[int, int, int]:
    """Count open claims, then unknown and waiting mail of streams that are not paused."""
    ((claims, unknown, waiting),) = rows(database, OPEN)
    return int(str(claims)), int(str(unknown)), int(str(waiting))


def kept(database: str) -> list[Kept]:
    """Read every accepted message; messages without their recipients show none."""
    paused = {stop.stream for stop in stops(database) if stop.ended_at is None}
    made: dict[str, Kept] = {}
    for number, tenant, state, marked, reason, count, address, facts, stream, waits, claims in rows(database, KEPT):
        one = made.setdefault(
            str(number),
            Kept(
                f"msg_{number}", str(tenant), str(state), bool(marked), reason, int(str(count)), stream in paused,
                int(str(waits)) + int(str(claims)),
            ),
        )  # fmt: skip
        if address is not None:
            one.facts[str(address).partition("@")[0]] = int(str(facts))
    return list(made.values())


def stops(database: str) -> list[Stop]:
    """Read every pause of a stream or tenant, with the claims that were made for it while it was open."""
    return [Stop(str(r[0]), *(None if x is None else float(str(x)) for x in r[1:4]), str(r[4]), int(str(r[5])))
            for r in rows(database, STOPS)]  # fmt: skip


def counted_wrong(database: str) -> list[str]:
    """Name the streams whose reputation does not count exactly what was handed over and what bounced."""
    return [f"stream {stream}: {handed} handed at {places} places, {counted} counted; {bounced} bounced, {bad} counted"
            for stream, handed, places, counted, bounced, bad in rows(database, COUNTED)
            if not (handed == places == counted and bounced == bad)]  # fmt: skip


def notes(log: Path) -> list[Note]:
    """Read what the clients wrote down."""
    with log.open(encoding="utf-8") as lines:
        return [
            Note(one["token"], one["tenant"], one["way"], one["do"], one["at"], one.get("id"), one.get("why", ""),
                 one.get("took", 0.0))
            for one in map(json.loads, lines)
        ]  # fmt: skip


@dataclass
class Ledger:
    """What the local SES took, read in portions, since it keeps the latest 100,000 only."""

    url: str
    since: float = 0.0  # epoch seconds
    deliveries: dict[str, Delivery] = field(default_factory=dict)

    def state(self) -> dict:
        """Ask for its counts."""
        return _get(f"{self.url}/_local/state")

    def taken(self) -> int:
        """Say how many messages it took so far; what is new is read before it could be forgotten."""
        taken = int(self.state()["messages"])
        if taken - len(self.deliveries) > 20_000:
            self.read()
        return taken

    def read(self) -> list[Delivery]:
        """Read what is new; return all."""
        for one in _get(f"{self.url}/_local/messages?limit=200000&since={self.since}")["messages"]:
            self.since = max(self.since, one["time"])
            for address, fate in one["outcomes"].items():
                self.deliveries[one["message_id"]] = Delivery(
                    address.partition("@")[0], one["tags"].get(MESSAGE_TAG, ""), one["time"],
                    one["configuration_set"], fate,
                )  # fmt: skip
        return list(self.deliveries.values())


def _get(url: str) -> dict:
    with urlopen(url, timeout=60) as answer:
        return json.loads(answer.read())


def said(logs: Iterable[Path], event: str) -> list[dict]:
    """Find the lines of the processes' logs that tell of this."""
    found = []
    for log in logs:
        lines = log.read_text(errors="replace").splitlines()
        found += [json.loads(line) for line in lines if f'"{event}"' in line]
    return found
