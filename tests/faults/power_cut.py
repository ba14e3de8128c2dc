"""Owns the power-cut replay: `tenantry up` under load is recorded, its disk rebuilt as cuts may leave it, and each looked at.

A cut is lost mail when a message that an answer named, or an attempt that a call to SES named, is not on the disk that is
left. `python -m tests.faults.power_cut --states 1000` is the long form.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from tenantry.core.ids import KeyId
from tenantry.flow.recover import notice
from tenantry.store.bootstrap import ensure_cell
from tenantry.store.engine import Opening, open_store
from tenantry.store.vault import Vault
from tests.chaos.books import notes
from tests.chaos.ground import folder_for_all, local_ses, single
from tests.chaos.play import Play, move_in, play
from tests.chaos.trouble import Trouble
from tests.e2e.running import TENANTRY, until
from tests.faults.disk import Disk, Kept
from tests.faults.machine import needs_strace
from tests.faults.trace import Cut, Deed, Gone, Said, Sync, Write, is_whole, read_trace, under_strace

RATE = 2_000.0
FOLDER = "data"
PROMISE = "a power cut loses nothing that was acknowledged"
NOBODY = KeyId("key_" + "0" * 32)
WEAK = (sys.executable, "-m", "tests.faults.weak")
MODES = (Kept.NOTHING, Kept.PAGES, Kept.SECTORS, Kept.SECTORS, Kept.ALL)


@dataclass(frozen=True)
class Recording:
    """One run: the files before it, all that it did in order, and what its clients were told."""

    before: dict[str, bytes]
    deeds: list[Deed]
    acknowledged: frozenset[str]

    @property
    def secrets(self) -> str:
        """The key that opens the store's secrets."""
        return self.before["secret.key"].decode().strip()

    def moments(self) -> list[int]:
        """Return where in the record an id was just told to somebody."""
        return [at for at, deed in enumerate(self.deeds) if isinstance(deed, Said)]


@dataclass
class Findings:
    """What the cuts came to."""

    states: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    told: int = 0  # ids whose loss would have been seen, over all states


def record(
    messages: int,
    seed: int,
    *,
    program: Sequence[str] = TENANTRY,
    inject: Sequence[str] = (),
    trouble: type[Trouble] = Trouble,
) -> Recording:
    """Run it under load and strace, which may inject faults; the trouble is done once where it is not the common one."""
    needs_strace(PROMISE)
    with folder_for_all() as name:
        folder = Path(name)
        with local_ses(folder, seed, RATE) as ses_url:
            with single(folder, ses_url) as fleet:
                keys = move_in(fleet)
            before = {one.name: one.read_bytes() for one in (folder / FOLDER).iterdir()}
            traced = (*under_strace(folder / "trace", *inject), *program)
            with single(folder, ses_url, traced) as fleet:
                faults = {} if trouble is Trouble else {"own": 1}
                outcome = play(fleet, ses_url, folder, Play(seed, messages, faults, trouble=trouble, keys=keys))
        assert outcome.objections == {}, outcome.objections
        until(lambda: is_whole(folder / "trace"))
        told = [one for one in notes(folder / "clients.log") if one.do in {"ack", "again"}]
        deeds = list(read_trace(folder / "trace"))
    return Recording(before, deeds, frozenset(str(one.id) for one in told))


def apply(deed: Deed, disk: Disk) -> None:
    """Do to the model what the process did to its disk."""
    match deed:
        case Write(path, offset, data) if (name := _name(path)) is not None:
            disk.file(name).write(offset, data)
        case Sync(path, works) if path.endswith(f"/{FOLDER}"):
            if works:
                disk.name_all()
        case Sync(path, works) if (name := _name(path)) is not None:
            disk.file(name).sync(works=works)
        case Cut(path, size) if (name := _name(path)) is not None:
            disk.file(name).cut(size)
        case Gone(path) if (name := _name(path)) is not None:
            disk.files.pop(name, None)
        case _:
            pass


def _name(path: str) -> str | None:
    """Return the name of a file of the data folder that a power cut leaves."""
    parent, _, name = path.rpartition("/")
    return name if parent.endswith(f"/{FOLDER}") and not name.endswith("-shm") else None


def cuts(recording: Recording, states: int, seed: int) -> Iterator[tuple[int, Kept, dict[str, bytes], frozenset[str]]]:
    """Draw cuts, most of them just after something was said; give each with the files left and the ids told before it."""
    random = Random(f"power {seed}")
    moments = recording.moments()
    first, last = moments[0], len(recording.deeds)
    drawn = [random.choice(moments) if random.random() < 0.7 else random.randrange(first, last) for _ in range(states)]
    disk, told = Disk.holding(recording.before), set[str]()
    due = sorted(drawn)
    for at, deed in enumerate(recording.deeds):
        apply(deed, disk)
        if isinstance(deed, Said):
            told |= deed.ids
        while due and due[0] == at:
            due.pop(0)
            kept = random.choice(MODES)
            yield at, kept, disk.after_cut(kept, random), frozenset(told)


async def look(files: dict[str, bytes], folder: Path, secret: str) -> tuple[frozenset[str], list[str]]:
    """Open what is left as the program does; return the ids of its messages and attempts, and what is wrong with it."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    opening = Opening(f"sqlite:///{folder}/tenantry.db", Vault([secret]), lambda: datetime.now(UTC))
    store = await open_store(opening)
    try:
        async with store.reading() as step:
            sound = [str(row[0]) for row in await step.run("PRAGMA integrity_check")]
            ids = {f"msg_{row[0]}" for row in await step.run("SELECT id FROM message")}
            ids |= {f"att_{row[0]}" for row in await step.run("SELECT id FROM attempt")}
        wrong = [] if sound == ["ok"] else sound
        wrong += [f"{who}: {n} recipients" for who, n in (await store.fleet(NOBODY).balance(None)).differences.items()]
        if restored := await notice(store, await ensure_cell(store, "main", "us-east-1")):
            wrong.append(f"taken for a restored copy: {restored}")
    finally:
        await store.close()
    return frozenset(ids), wrong


def judge(recording: Recording, states: int, seed: int) -> Findings:
    """Look at so many states of the disk."""
    found = Findings()
    for at, kept, files, told in cuts(recording, states, seed):
        with tempfile.TemporaryDirectory() as name:
            try:
                here, wrong = asyncio.run(look(files, Path(name), recording.secrets))
            except sqlite3.DatabaseError as error:
                here, wrong = frozenset[str](), [str(error)]
        found.states[kept] += 1
        found.told += len(told)
        where = f"cut {at} of seed {seed}, {kept} kept"
        if missing := told - here:
            found.lost.append(f"{where}: {len(missing)} of {len(told)} lost, as {min(missing)}")
        found.broken += [f"{where}: {one}" for one in wrong]
    return found


def main() -> int:
    """Print a table; exit code 1 when something was lost or broken."""
    asked = argparse.ArgumentParser(prog="python -m tests.faults.power_cut", description=__doc__)
    asked.add_argument("--states", type=int, default=1_000)
    asked.add_argument("--messages", type=int, default=1_000)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--weak", choices=("NORMAL", "OFF"), help="break the promise on purpose")
    given = asked.parse_args()
    program = TENANTRY if given.weak is None else (*WEAK, given.weak)
    recording = record(given.messages, given.seed, program=program)
    found = judge(recording, given.states, given.seed)
    for name, value in (
        ("messages acknowledged", len(recording.acknowledged)),
        ("writes, syncs", f"{_count(recording, Write)}, {_count(recording, Sync)}"),
        ("states", dict(found.states)),
        ("ids that had to be there", found.told),
        ("states with losses", len(found.lost)),
        ("states that are broken", len(found.broken)),
    ):
        print(f"{name:28} {value}")
    print("\n".join((*found.lost[:3], *found.broken[:3])))
    return bool(found.lost or found.broken)


def _count(recording: Recording, kind: type[Deed]) -> int:
    return sum(isinstance(one, kind) for one in recording.deeds)


if __name__ == "__main__":
    sys.exit(main())
