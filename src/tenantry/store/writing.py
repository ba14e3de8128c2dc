"""Owns the writing transaction: begun and ended on the driver's own connection, which is kept from step to step.

Leaves statements to the query modules, and connecting to SQLAlchemy's engine. What SQLAlchemy does around a
transaction (checking a connection out and in, resetting it, two greenlets) cost as much as the statements of a commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tenantry.ports import StoreBusy
from tenantry.store.roles import Acting, Role
from tenantry.store.seam import Driver, Seam


@dataclass(frozen=True, slots=True)
class Kept:
    """One connection as SQLAlchemy and as its driver know it; a transaction of the one is the other's."""

    conn: AsyncConnection
    driver: Driver


class Writer:
    """Gives out connections inside a transaction, no more at a time than there may be writers."""

    def __init__(self, engine: AsyncEngine, seam: Seam, most: int, wait_seconds: float) -> None:
        """Take an engine that begins nothing by itself (AUTOCOMMIT), with a pool of so many connections."""
        self._engine, self._seam, self._wait_seconds = engine, seam, wait_seconds
        self._turns = asyncio.Semaphore(most)
        self._free: list[Kept] = []
        self._lost: tuple[type[Exception], ...] = (SQLAlchemyError, *seam.errors)

    @asynccontextmanager
    async def transaction(self, acting: Acting, *, writes: bool = True) -> AsyncIterator[Kept]:
        """Begin, and commit when left without an error; raises StoreBusy when no connection comes free in time."""
        await self._turn()
        try:
            kept = await self._take()
        except BaseException:
            self._turns.release()
            raise
        try:
            await kept.driver.begin(acting, writes=writes)
            yield kept
            await kept.driver.commit()
        except BaseException:
            await asyncio.shield(self._undo(kept))  # a cancelled step, too, leaves nothing half done
            raise
        self._free.append(kept)
        self._turns.release()

    @property
    def url(self) -> URL:
        """Where the database is, with its password."""
        return self._engine.url

    async def close(self) -> None:
        """Give every connection back."""
        for kept in self._forget():
            await kept.conn.close()
        await self._engine.dispose()

    async def _turn(self) -> None:
        if not self._turns.locked():
            await self._turns.acquire()  # at once
            return
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._turns.acquire()
        except TimeoutError as error:
            raise StoreBusy(f"No connection to the database came free in {self._wait_seconds:g} s.") from error

    async def _take(self) -> Kept:
        while self._free:
            kept = self._free.pop()
            if kept.driver.usable:
                return kept
            await _drop(kept)
        conn = await self._engine.connect()
        return Kept(conn, await self._seam.driver(conn))

    async def _undo(self, kept: Kept) -> None:
        try:
            await kept.driver.rollback()
            await kept.conn.rollback()  # what SQLAlchemy remembers of it
            self._free.append(kept)
        except self._lost:  # the connection is lost, and the others as likely as not
            for lost in (kept, *self._forget()):
                await _drop(lost)
        finally:
            self._turns.release()

    def _forget(self) -> list[Kept]:
        free, self._free = self._free, []
        return free


@dataclass(frozen=True, slots=True)
class Lines:
    """Where transactions are had: some write, some read, and accept has its own where nobody shall keep it waiting."""

    writers: Writer
    readers: Writer
    accept: Writer | None = None

    def of(self, acting: Acting, *, writes: bool) -> Writer:
        """Return where a transaction is had."""
        if self.accept is not None and acting.role is Role.ACCEPT:
            return self.accept
        return self.writers if writes else self.readers

    @property
    def url(self) -> URL:
        """Where the database is, with its password."""
        return self.writers.url

    async def close(self) -> None:
        """Give every connection back."""
        for line in (self.writers, self.readers, self.accept):
            if line is not None:
                await line.close()


async def _drop(kept: Kept) -> None:
    await kept.conn.invalidate()
    await kept.conn.close()
