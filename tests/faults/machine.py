"""Owns what the machine must lend for a fault: a small disk, strace, network namespaces; skips loudly where it does not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

BLOCK = b"\0" * 65_536


def untested(promise: str, because: str) -> NoReturn:
    """Skip, and say which promise nobody has tested here."""
    pytest.skip(f"NOT TESTED HERE: {promise}, since {because}")


@dataclass(frozen=True)
class Disk:
    """A disk of its own, so small that it can be filled."""

    folder: Path

    def fill(self) -> None:
        """Take every byte that is left."""
        with (self.folder / "filler").open("ab", buffering=0) as filler, suppress(OSError):
            while filler.write(BLOCK):
                pass

    def make_room(self) -> None:
        """Give back what was taken."""
        (self.folder / "filler").unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, megabytes: int, promise: str) -> Iterator[Disk]:
    """Lend a disk of this size at a folder; nobody but root may mount one."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=777", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        untested(promise, f"a small disk cannot be mounted ({error})")
    if done.returncode:
        untested(promise, f"a small disk cannot be mounted ({done.stderr.strip()})")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def needs_strace(promise: str) -> None:
    """Skip where strace is missing or may not trace."""
    try:
        done = subprocess.run(
            ["strace", "-qq", "--seccomp-bpf", "-f", "true"], capture_output=True, text=True, check=False
        )
    except OSError as error:
        untested(promise, f"there is no strace ({error})")
    if done.returncode:
        untested(promise, f"strace may not trace here ({done.stderr.strip()[:200]})")
