"""Owns where the contents of kept messages lie: small ones in memory as bytes, large ones in temporary files.

Leaves which messages are kept to `emulator.ledger`.
"""

import marshal
import os
import tempfile
from collections.abc import Mapping
from typing import IO, Any

IN_MEMORY_MAX_BYTES = 2_048
FILE_MAX_BYTES = 64_000_000  # then another file is begun, and each goes once nothing in it is kept


class _File:
    """One temporary file, without a name: it is gone with the process, however that ends."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile(prefix="ses-local-", buffering=0)  # noqa: SIM115 it outlives this
        self.size = 0
        self.kept = 0

    def __del__(self) -> None:
        self.file.close()  # an account that is let go leaves no open file behind


Packed = bytes | tuple[_File, int, int]


class Spill:
    """Contents as marshalled bytes: a quarter of the memory that dictionaries take, at some microseconds each."""

    def __init__(self) -> None:
        self._last: _File | None = None

    def pack(self, content: Mapping[str, Any]) -> Packed:
        """Return what to keep in a content's place."""
        packed = marshal.dumps(dict(content))
        if len(packed) <= IN_MEMORY_MAX_BYTES:
            return packed
        if self._last is None or self._last.size >= FILE_MAX_BYTES:
            self._last = _File()
        into = self._last
        start = into.size
        written = 0
        while written < len(packed):  # by place, not by position: tests read it in threads of their own
            written += os.pwrite(into.file.fileno(), packed[written:], start + written)
        into.size += len(packed)
        into.kept += 1
        return into, start, len(packed)

    def unpack(self, packed: Packed) -> Mapping[str, Any]:
        """Return a content again."""
        if not isinstance(packed, bytes):
            source, start, length = packed
            packed = os.pread(source.file.fileno(), length, start)
        content: Mapping[str, Any] = marshal.loads(packed)  # noqa: S302 our own bytes, of this process
        return content

    def forget(self, packed: Packed) -> None:
        """Let a content go, and its file once it was the last in it."""
        if isinstance(packed, bytes):
            return
        source = packed[0]
        source.kept -= 1
        if not source.kept:
            source.file.close()
            if source is self._last:
                self._last = None
