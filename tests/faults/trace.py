"""Owns the record of what a process does to its disk and says to the world, by strace, in one order; judges nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = "pwrite64,write,writev,sendto,sendmsg,fsync,fdatasync,ftruncate,unlink"
CALL = re.compile(rb"(\d+) +(\w+)\((?:(\d+)<([^>]*)>)?(.*)", re.DOTALL)
RESUMED = re.compile(rb"(\d+) +<\.\.\. (\w+) resumed>.*= (-?\d+)")
TEXT = re.compile(rb'"([^"]*)"')
NUMBERS = re.compile(rb'", (\d+), (\d+)')
ID = re.compile(rb"(?:msg|att)_[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes written at a place of a file."""

    path: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Sync:
    """The end of a sync of a file or folder."""

    path: str
    works: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """A file made shorter or longer."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Gone:
    """A file that was removed."""

    path: str


@dataclass(frozen=True, slots=True)
class Said:
    """Ids of ours that left the process through a socket: a door's answer, or a call to SES."""

    ids: frozenset[str]
    answer: bool  # of a door, not a call to SES


Deed = Write | Sync | Cut | Gone | Said


def under_strace(record: Path, *more: str) -> tuple[str, ...]:
    """Return the words that run a program under strace, recorded into a file; the process is the program itself."""
    return (
        "strace", "-D", "-f", "-y", "-xx", "-s", "10000000", "--seccomp-bpf", "-q", "-e", "signal=none",
        "-e", f"trace={CALLS}", *more, "-o", str(record),
    )  # fmt: skip


def read_trace(record: Path) -> Iterator[Deed]:
    """Read a record: writes and what is said count from when they begin, syncs from when they have ended."""
    waiting: dict[bytes, str] = {}
    with record.open("rb") as lines:
        for line in lines:
            if found := CALL.match(line):
                pid, name, _, place, rest = found.groups()
                deed = _deed(name.decode(), _plain(place or b"").decode(errors="replace"), rest)
                if isinstance(deed, Sync) and b"<unfinished" in rest:
                    waiting[pid] = deed.path
                elif deed is not None:
                    yield deed
            elif (found := RESUMED.match(line)) and found[1] in waiting:
                yield Sync(waiting.pop(found[1]), found[3] == b"0")


def is_whole(record: Path) -> bool:
    """Say whether the traced program has ended, and all of it is in the record."""
    with record.open("rb") as file:
        file.seek(-min(200, record.stat().st_size), 2)
        return b"+++ " in file.read()


def _deed(name: str, place: str, rest: bytes) -> Deed | None:
    match name:
        case "pwrite64" if numbers := NUMBERS.search(rest):
            return Write(place, int(numbers[2]), _plain(_text(rest)))
        case "fsync" | "fdatasync":
            return Sync(place, b"= 0" in rest)
        case "ftruncate":
            return Cut(place, int(rest[2:].split(b")")[0].split()[0]))
        case "unlink":
            return Gone(_plain(_text(rest)).decode(errors="replace"))
        case "write" | "writev" | "sendto" | "sendmsg" if place.startswith("socket:"):
            data = b"".join(_plain(text) for text in TEXT.findall(rest))
            ids = frozenset(one.decode() for one in ID.findall(data))
            return Said(ids, b"POST " not in data[:5] and b"SendEmail" not in data) if ids else None
    return None


def _text(rest: bytes) -> bytes:
    found = TEXT.search(rest)
    return found[1] if found else b""


def _plain(text: bytes) -> bytes:
    r"""Read `\x41\x42`."""
    return bytes.fromhex(text.replace(rb"\x", b"").decode()) if text.startswith(rb"\x") else text
