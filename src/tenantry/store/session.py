"""Owns a worker's presence on the database: its number, the locks that live as long as it does, and what wakes it.

Leaves what is done about a dead worker to sweep. On SQLite there is one process, so that everything is its own.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

import asyncpg
from sqlalchemy import delete, insert, update

from tenantry.core.ids import CellId
from tenantry.ports import StoreBusy
from tenantry.store.postgres import LOST
from tenantry.store.roles import Role
from tenantry.store.seam import CHANNEL
from tenantry.store.store import Store
from tenantry.store.sweep import WORKER_LOCKS
from tenantry.store.tables_run import DIED, worker

LEAD_LOCKS = 8_320_259  # the class of the locks of what runs once in a cell
REMEMBERED = timedelta(days=7)  # a worker that ended; whoever enrols forgets those before
SILENT_SECONDS = 15  # a worker that shows no life for so long is cut off, though its connection stands


class Presence(Protocol):
    """One worker's life: while `alive`, its claims are its own."""

    number: int

    @property
    def alive(self) -> bool:
        """Whether its lock is still held, as far as it can know."""
        ...

    async def leads(self, cell: CellId) -> bool:
        """Tell whether this worker is the one that does what must run once in the cell; asks for it where nobody does."""
        ...

    async def beat(self, trouble: str | None = None) -> None:
        """Show life and what is wrong here, and cut off who shows none; raises StoreBusy when this presence is over."""
        ...

    async def close(self) -> None:
        """Say that it ends, and give everything back."""
        ...


async def enroll(store: Store, name: str, version: str, woken: Callable[[str], None]) -> Presence:
    """Begin a worker's life; woken is called with a cell's id whenever mail came for an idle lane of it.

    Raises StoreBusy when the database cannot be had.
    """
    if store.alone:
        return await _enroll_alone(store, name, version)
    where, how = store.url.get_dialect()().create_connect_args(store.url)
    try:
        driver = await asyncpg.connect(*where, **how)
        if store.seam.walls:
            await driver.execute(f"SET ROLE {Role.WORKER.value}")
        return await _enroll(driver, name, version, woken)
    except LOST as error:
        raise StoreBusy(str(error)) from error


async def _enroll_alone(store: Store, name: str, version: str) -> Presence:
    async with store.step() as step:
        died = {"ended_at": step.now, "trouble": DIED}
        await step.conn.execute(update(worker).where(worker.c.ended_at.is_(None)).values(died))
        await step.conn.execute(delete(worker).where(worker.c.ended_at < step.now - REMEMBERED))
        me = {"name": name, "host": platform.node(), "pid": os.getpid(), "version": version}
        made = insert(worker).values(started_at=step.now, seen_at=step.now, **me).returning(worker.c.id)
        return _Alone(store, int((await step.conn.execute(made)).scalar_one()))


class _Alone:
    """Presence on SQLite: the file's lock makes this process the only one."""

    alive = True

    def __init__(self, store: Store, number: int) -> None:
        self.number = number
        self._store = store

    async def leads(self, cell: CellId) -> bool:
        return True

    async def beat(self, trouble: str | None = None) -> None:
        async with self._store.step() as step:
            me = update(worker).where(worker.c.id == self.number)
            await step.conn.execute(me.values(seen_at=step.now, trouble=trouble))

    async def close(self) -> None:
        async with self._store.step() as step:
            await step.conn.execute(update(worker).where(worker.c.id == self.number).values(ended_at=step.now))


async def _enroll(driver: asyncpg.Connection, name: str, version: str, woken: Callable[[str], None]) -> Presence:
    number = await driver.fetchval(
        "INSERT INTO worker (name, host, pid, version, started_at, seen_at)"
        " VALUES ($1, $2, $3, $4, clock_timestamp(), clock_timestamp()) RETURNING id",
        *(name, platform.node(), os.getpid(), version),
    )
    await driver.execute(f"SELECT pg_advisory_lock({WORKER_LOCKS}, {number})")
    await driver.execute("DELETE FROM worker WHERE ended_at < clock_timestamp() - $1::interval", REMEMBERED)
    await driver.add_listener(CHANNEL, lambda *told: woken(f"{CellId.prefix}_{told[3]}"))
    return _Connected(driver, number)


class _Connected:
    """Presence on PostgreSQL: one connection of its own, whose end is this worker's end."""

    def __init__(self, driver: asyncpg.Connection, number: int) -> None:
        self.number = number
        self._driver = driver
        self._led: set[CellId] = set()
        self._asking = asyncio.Lock()  # a connection answers one question at a time

    @property
    def alive(self) -> bool:
        return not self._driver.is_closed()

    async def leads(self, cell: CellId) -> bool:
        if not self.alive:
            return False
        if cell not in self._led:
            asked = f"SELECT pg_try_advisory_lock({LEAD_LOCKS}, hashtext($1))"
            if not await self._ask(asked, str(cell)):
                return False
            self._led.add(cell)
        return True

    async def beat(self, trouble: str | None = None) -> None:
        own = (
            "UPDATE worker SET seen_at = clock_timestamp(), trouble = $2"
            " WHERE id = $1 AND ended_at IS NULL RETURNING true"
        )
        if not await self._ask(own, self.number, trouble):
            self._driver.terminate()
            raise StoreBusy(f"worker {self.number} was declared dead: it begins anew")
        silent = await self._ask(
            "SELECT array_agg(l.pid) FROM worker w JOIN pg_locks l ON l.locktype = 'advisory'"
            f" AND l.classid = {WORKER_LOCKS} AND l.objid = w.id::oid AND l.objsubid = 2 AND l.granted"
            " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            f" WHERE w.ended_at IS NULL AND w.seen_at < clock_timestamp() - interval '{SILENT_SECONDS} seconds'"
        )
        if silent:
            await self._ask("SELECT count(pg_terminate_backend(pid)) FROM unnest($1::int[]) pid", silent, role="NONE")

    async def _ask(self, sql: str, *given: object, role: str | None = None) -> object:
        """Return the one value of a statement; role NONE: asked as the login itself, which may end its own backends."""
        try:
            async with self._asking:
                if role is None:
                    return await self._driver.fetchval(sql, *given)
                async with self._driver.transaction():
                    await self._driver.execute(f"SET LOCAL ROLE {role}")
                    return await self._driver.fetchval(sql, *given)
        except LOST as error:
            self._driver.terminate()  # and every lock ends with it
            raise StoreBusy(f"the worker's own connection is lost: {error}") from error

    async def close(self) -> None:
        if self.alive:
            with suppress(StoreBusy):
                await self._ask("UPDATE worker SET ended_at = clock_timestamp() WHERE id = $1", self.number)
        self._driver.terminate()
