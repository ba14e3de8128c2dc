"""Owns a model of a disk with a page cache: what a power cut may leave of what was written; does no I/O.

A write lands in the cache, page by page. A sync that succeeds makes every page of its file durable. A sync that fails
makes none durable and marks them clean, so that the next sync does not write them either, as Linux does (PostgreSQL's
fsync errors of 2018). At a power cut each page that is not durable is, by chance, as old as it was, as new as it was, as
it was at any time between, or torn between two of these at a sector's edge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

PAGE = 4_096
SECTOR = 512


class Kept(StrEnum):
    """What a power cut leaves of pages that no sync has made durable."""

    NOTHING = "nothing"
    ALL = "all"
    PAGES = "pages"  # some, each whole
    SECTORS = "sectors"  # some, each perhaps torn


@dataclass
class File:
    """One file: what is durable, what programs see, and each page's history since it was last durable."""

    durable: bytearray = field(default_factory=bytearray)
    seen: bytearray = field(default_factory=bytearray)
    dirty: dict[int, list[bytes]] = field(default_factory=dict)
    named: bool = True  # whether its name is durable: a new file's is not until its folder is synced

    def write(self, offset: int, data: bytes) -> None:
        """Write into the cache."""
        if len(self.seen) < offset + len(data):
            self.seen.extend(bytes(offset + len(data) - len(self.seen)))
        self.seen[offset : offset + len(data)] = data
        for page in range(offset // PAGE, (offset + len(data) - 1) // PAGE + 1):
            self.dirty.setdefault(page, []).append(bytes(self.seen[page * PAGE : (page + 1) * PAGE]))

    def sync(self, *, works: bool) -> None:
        """Make every dirty page durable, or forget that they are dirty."""
        if works:
            for page, versions in self.dirty.items():
                _put(self.durable, page, versions[-1])
        self.dirty.clear()

    def cut(self, size: int) -> None:
        """Change its length; a shorter one is taken as durable at once, which a power cut may leave as well."""
        for content in (self.seen, self.durable):
            del content[size:]
        self.dirty = {page: versions for page, versions in self.dirty.items() if page * PAGE < size}

    def after_cut(self, kept: Kept, random: Random) -> bytes:
        """Return what is there when the power comes back."""
        left = bytearray(self.durable)
        for page, versions in sorted(self.dirty.items()):
            old = bytes(self.durable[page * PAGE : (page + 1) * PAGE])
            if content := _survivor(old, versions, kept, random):
                _put(left, page, content)
        return bytes(left)


def _survivor(old: bytes, versions: list[bytes], kept: Kept, random: Random) -> bytes:
    match kept:
        case Kept.NOTHING:
            return b""
        case Kept.ALL:
            return versions[-1]
        case Kept.PAGES:
            return random.choice([b"", *versions[-3:], versions[-1]])
    second = random.choice(versions)
    first = random.choice([old, *versions]).ljust(len(second), b"\0")
    if random.random() < 0.5:
        first, second = second, first
    edge = SECTOR * random.randrange(PAGE // SECTOR + 1)
    return first[:edge] + second[edge:]


def _put(into: bytearray, page: int, content: bytes) -> None:
    start = page * PAGE
    if len(into) < start + len(content):
        into.extend(bytes(start + len(content) - len(into)))
    into[start : start + len(content)] = content


@dataclass
class Disk:
    """The files of one folder, by name."""

    files: dict[str, File] = field(default_factory=dict)

    @classmethod
    def holding(cls, contents: dict[str, bytes]) -> Disk:
        """Return a disk on which all of this is durable."""
        return cls({name: File(bytearray(data), bytearray(data)) for name, data in contents.items()})

    def file(self, name: str) -> File:
        """Return a file, made now where there was none."""
        return self.files.setdefault(name, File(named=False))

    def name_all(self) -> None:
        """Sync the folder."""
        for file in self.files.values():
            file.named = True

    def after_cut(self, kept: Kept, random: Random) -> dict[str, bytes]:
        """Return what is there when the power comes back."""
        return {
            name: file.after_cut(kept, random)
            for name, file in sorted(self.files.items())
            if file.named or kept is Kept.ALL or (kept is not Kept.NOTHING and random.random() < 0.5)
        }
