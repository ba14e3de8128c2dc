"""Owns the routes of suppressions: list, add, remove, CSV both ways; leaves what an address is to `flow.suppress`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from tenantry.core.ids import StreamId, TenantId
from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.suppression import Cause, NewSuppression, Suppressed, SuppressionFilter
from tenantry.edge.api.reach import Caller, Changer, Reader, TenantPaging, TenantQuery, found, granted
from tenantry.edge.api.shapes import Listing, Shape
from tenantry.edge.errors import INTERNAL, RefusedError
from tenantry.flow.accept import busy
from tenantry.flow.suppress import ENTRIES_MOST, add, address_as_kept, remove
from tenantry.ports import StoreBusy, StoreRejected, TenantStore

router = APIRouter(prefix="/v1")

IMPORT_PATH = "/v1/suppressions/import"
IMPORT_BYTES_MAX = 20_000_000
PAGE_ROWS = 1_000
COLUMNS = ("address", "cause", "stream", "created_at")
SHOWN_MOST = 100  # lines left out that an import names; all of them are counted


class SuppressionPaging(TenantPaging):
    """Which entries to list."""

    address: str | None = None
    cause: Cause | None = None
    stream: str | None = None


class SuppressionsIn(BaseModel):
    """Addresses to suppress, for the whole tenant or for one stream."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"addresses": ["ann@example.com"]}]})

    addresses: Annotated[list[str], Field(min_length=1, max_length=ENTRIES_MOST)]
    cause: Cause = Cause.MANUAL
    stream: str | None = None
    tenant: str | None = None


class RemovalIn(BaseModel):
    """Addresses that may be mailed again, by one stream or by all."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"addresses": ["ann@example.com"]}]})

    addresses: Annotated[list[str], Field(min_length=1, max_length=ENTRIES_MOST)]
    stream: str | None = None
    tenant: str | None = None


class SuppressionOut(Shape):
    """An address that is not mailed; `stream` is null where no stream of the tenant may."""

    address: str
    cause: Cause
    stream: str | None
    created_at: datetime

    @classmethod
    def of(cls, entry: Suppressed, names: dict[StreamId, str]) -> SuppressionOut:
        """Show an entry; names: of the tenant's streams."""
        stream = None if entry.stream_id is None else names.get(entry.stream_id, str(entry.stream_id))
        return cls(address=entry.address, cause=entry.cause, stream=stream, created_at=entry.created_at)


class LeftOutOut(Shape):
    """One address that was left out, by its place among those given, and why."""

    index: int
    code: RefusalCode
    message: str


class SuppressedOut(Shape):
    """What adding came to; `new` counts those that were not there before."""

    new: int
    left_out: list[LeftOutOut]


class RemovedOut(Shape):
    """How many of the addresses were suppressed."""

    removed: int


@router.get("/suppressions")
async def list_suppressions(caller: Reader, paging: Annotated[SuppressionPaging, Query()]) -> Listing[SuppressionOut]:
    """List one tenant's suppressions by address; with a stream, what keeps its mail back."""
    tenant = await caller.tenant(paging.tenant)
    store = caller.of(tenant)
    stream_id = await _stream(store, paging.stream)
    address = granted(address_as_kept(paging.address)) if paging.address is not None else None
    wanted = SuppressionFilter(address, frozenset({paging.cause} if paging.cause else ()), stream_id)
    page = await store.suppressions(wanted, paging.cursor, paging.limit)
    names = await _names(store)
    return Listing(items=[SuppressionOut.of(entry, names) for entry in page.items], next_cursor=page.next_cursor)


@router.post("/suppressions")
async def add_suppressions(caller: Changer, wanted: SuppressionsIn) -> SuppressedOut:
    """Suppress up to 1,000 addresses; one that is none is left out and named, and one that is there gets the new cause."""
    tenant = await caller.tenant(wanted.tenant)
    stream_id = await _stream(caller.of(tenant), wanted.stream)
    entries = [NewSuppression(address, wanted.cause, stream_id) for address in wanted.addresses]
    added = granted(await add(caller.doors.store, tenant.id, entries))
    left_out = [
        LeftOutOut(index=number, code=why.code, message=why.message)
        for number, why in enumerate(added.refused)
        if why is not None
    ]
    return SuppressedOut(new=added.new, left_out=left_out)


@router.post("/suppressions/remove")
async def remove_suppressions(caller: Changer, wanted: RemovalIn) -> RemovedOut:
    """Let up to 1,000 addresses be mailed again, by one stream or by all."""
    tenant = await caller.tenant(wanted.tenant)
    stream_id = await _stream(caller.of(tenant), wanted.stream)
    return RemovedOut(removed=granted(await remove(caller.doors.store, tenant.id, wanted.addresses, stream_id)))


async def _stream(store: TenantStore, named: str | None) -> StreamId | None:
    return None if named is None else found(await store.stream(named)).id


async def _names(store: TenantStore) -> dict[StreamId, str]:
    return {stream.id: stream.name for stream in await store.streams()}


# ---- CSV


@router.get(
    "/suppressions.csv",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                "text/csv": {
                    "example": "address,cause,stream,created_at\r\nann@example.com,bounce,,2026-01-31T12:00:00Z\r\n"
                }
            }
        }
    },
)
async def export_suppressions(caller: Reader, query: Annotated[TenantQuery, Query()]) -> StreamingResponse:
    """Export one tenant's suppressions as CSV; the columns are those that an import takes, and one for the time."""
    store = caller.of(await caller.tenant(query.tenant))
    names = await _names(store)
    headers = {"content-disposition": 'attachment; filename="suppressions.csv"'}
    return StreamingResponse(_lines(store, names), media_type="text/csv; charset=utf-8", headers=headers)


async def _lines(store: TenantStore, names: dict[StreamId, str]) -> AsyncIterator[str]:
    yield ",".join(COLUMNS) + "\r\n"
    cursor: str | None = None
    while True:
        page = await store.suppressions(SuppressionFilter(), cursor, PAGE_ROWS)
        text = io.StringIO()
        writer = csv.writer(text)
        for entry in page.items:
            shown = SuppressionOut.of(entry, names)
            at = shown.created_at.isoformat().replace("+00:00", "Z")
            writer.writerow((shown.address, shown.cause.value, shown.stream or "", at))
        yield text.getvalue()
        if (cursor := page.next_cursor) is None:
            return


@router.post(
    "/suppressions/import",
    response_class=StreamingResponse,
    openapi_extra={"requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}},
    responses={
        200: {
            "content": {"application/x-ndjson": {"example": '{"read":2,"new":2,"left_out":0,"lines":[],"done":true}'}}
        }
    },
)
async def import_suppressions(
    caller: Changer, request: Request, query: Annotated[TenantQuery, Query()]
) -> StreamingResponse:
    """Import suppressions from CSV; each 1,000 rows are committed and told by a line of JSON, the last of which says done."""
    tenant = await caller.tenant(query.tenant)
    entries = _Entries(await request.body(), {name: one for one, name in (await _names(caller.of(tenant))).items()})
    return StreamingResponse(_import(caller, tenant.id, entries), media_type="application/x-ndjson")


class _Entries:
    """The rows of a CSV file as entries, and the lines that are none."""

    def __init__(self, body: bytes, streams: dict[str, StreamId]) -> None:
        """Read the first line; raises RefusedError where the file is not of the documented form."""
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise _unreadable("Send the file in UTF-8.") from None
        self._reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        self._streams = streams
        self.left_out = 0
        self.named: list[dict[str, object]] = []
        try:
            columns = [name.strip().lower() for name in next(self._reader, [])]
        except csv.Error as error:
            raise _unreadable(f"The first line is not CSV: {error}.") from None
        unknown = set(columns) - set(COLUMNS)
        if "address" not in columns or unknown or len(set(columns)) != len(columns):
            raise _unreadable("Begin with a line of the columns address and, if you have them, cause and stream.")
        self._columns = columns

    def parts(self) -> Iterator[list[NewSuppression]]:
        """Give the entries, so many at a time; a row that breaks the form of CSV ends them."""
        part: list[NewSuppression] = []
        try:
            for row in self._reader:
                if row and (entry := self._entry(row)) is not None:
                    part.append(entry)
                if len(part) == PAGE_ROWS:
                    yield part
                    part = []
        except csv.Error as error:
            self._leave_out(f"From here on the file is not CSV: {error}.")
        yield part

    def _entry(self, row: list[str]) -> NewSuppression | None:
        read = self._read(row)
        if not isinstance(read, str):
            return read
        self._leave_out(read)
        return None

    def _read(self, row: list[str]) -> NewSuppression | str:
        """Return a row as an entry, or say why it is none."""
        if len(row) != len(self._columns):
            return f"Write {len(self._columns)} values: there are {len(row)}."
        given = dict(zip(self._columns, (value.strip() for value in row), strict=True))
        address = address_as_kept(given["address"])
        if isinstance(address, Refusal):
            return address.message
        cause, stream = given.get("cause", "") or Cause.MANUAL, given.get("stream", "")
        if cause not in set(Cause):
            return f"Write one of {', '.join(Cause)} as the cause."
        if stream and stream not in self._streams:
            return "There is no such stream."
        return NewSuppression(address, Cause(cause), self._streams[stream] if stream else None)

    def _leave_out(self, why: str) -> None:
        self.left_out += 1
        if len(self.named) < SHOWN_MOST:
            self.named.append({"line": self._reader.line_num, "message": why})


def _unreadable(words: str) -> RefusedError:
    return RefusedError(Refusal(RefusalCode.INVALID_FIELD, words, "body"))


async def _import(caller: Caller, tenant_id: TenantId, entries: _Entries) -> AsyncIterator[str]:
    """Write the entries part by part; what breaks is told in the last line, and doing it again is harmless."""
    read = new = 0
    outcome: dict[str, object] = {"done": True}
    try:
        for part in entries.parts():
            new += await caller.doors.store.of(tenant_id).suppress(part) if part else 0
            read += len(part)
            if len(part) == PAGE_ROWS:
                yield json.dumps({"read": read + entries.left_out, "new": new, "left_out": entries.left_out}) + "\n"
    except StoreBusy as error:
        outcome = _ended(busy(error))
    except StoreRejected:
        outcome = _ended(Refusal(RefusalCode.NOT_FOUND, "A stream of the file is gone.", "stream"))
    except Exception as error:  # the answer has begun: nobody else could tell the client
        caller.doors.report_bug("import", error)
        outcome = _ended(INTERNAL)
    told = {"read": read + entries.left_out, "new": new, "left_out": entries.left_out, "lines": entries.named}
    yield json.dumps(told | outcome) + "\n"


def _ended(refusal: Refusal) -> dict[str, object]:
    return {"done": False, "error": {"code": refusal.code, "message": refusal.message}}
