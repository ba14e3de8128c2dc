"""Owns SQLite without its thread: each call of a connection runs at once, on the loop, where chance may step in between.

Leaves the store as it is: it opens these connections through SQLAlchemy like its own.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, Protocol

import aiosqlite


class Host(Protocol):
    """The process whose connections these are."""

    def lives(self) -> bool: ...
    def yields(self) -> bool:
        """Whether others take their turn now."""
        ...

    def committed(self) -> None:
        """Hear of a commit that changed something, before anybody else can."""
        ...


class InlineConnection(aiosqlite.Connection):
    """An aiosqlite connection whose calls run where they are made."""

    def __init__(self, host: Host, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, 64)
        self._host = host
        self._changes = 0

    def __await__(self) -> Any:
        return self._connect().__await__()

    async def _connect(self) -> InlineConnection:
        if self._connection is None:
            self._connection = self._connector()
        return self

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        await self._turn()
        if self._connection is None:
            raise ValueError("Connection closed")
        result = fn(*args, **kwargs)
        self._look(undone=fn == self._conn.rollback)
        await self._turn()
        return result

    def _look(self, *, undone: bool) -> None:
        """Notice a commit: changes, and no transaction any more."""
        if self._conn.in_transaction or self._conn.total_changes == self._changes:
            return
        self._changes = self._conn.total_changes
        if not undone:
            self._host.committed()

    async def _turn(self) -> None:
        if self._host.yields():
            await asyncio.sleep(0)
        if not self._host.lives():
            raise asyncio.CancelledError

    async def rollback(self) -> None:
        if not self._host.lives():
            raise sqlite3.OperationalError("the process is gone, and its transaction with it")
        await super().rollback()

    async def close(self) -> None:
        self.stop()

    def stop(self) -> None:
        """Close for good; what was not committed is gone."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
