"""Owns the life of a process: its parts run until it is told to stop or one of them ends, then stop in good order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass

from tenantry.app.doors import DoorServer
from tenantry.app.loop import settle_heap
from tenantry.app.smtp import SmtpServer
from tenantry.app.worker import Worker

LEAVE_SECONDS = 20.0  # the longest send lasts 10 by default; orchestrators kill after 30


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process runs: a worker, doors with their bound socket and perhaps an SMTP door, or both."""

    worker: Worker | None = None
    server: DoorServer | None = None
    door: socket.socket | None = None
    smtp: SmtpServer | None = None
    drain: Callable[[], None] = lambda: None  # is called when it begins to end
    pause_seconds: float = 0.0  # from then on, before the doors close: whoever sends it work notices meanwhile


async def serve(parts: Parts, ready: Callable[[], None]) -> None:
    """Run until SIGINT or SIGTERM; then close the doors, finish what is under way, and return. A second one ends the pause.

    Raises what ended a part that should have gone on.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settle_heap()
    running: list[asyncio.Task[object]] = [asyncio.create_task(stop.wait(), name="stop")]
    if parts.server is not None:
        sockets = [parts.door] if parts.door is not None else None
        running.append(asyncio.create_task(parts.server.serve(sockets=sockets), name="doors"))
    if parts.worker is not None:
        running.append(asyncio.create_task(parts.worker.run(), name="worker"))
    if parts.smtp is not None:
        running.append(asyncio.create_task(parts.smtp.run(), name="smtp"))
    if parts.server is not None:
        up = asyncio.create_task(parts.server.up.wait())
        await asyncio.wait([up, *running], return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
    if not any(task.done() for task in running):
        ready()
    ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    parts.drain()
    if all(task.get_name() == "stop" for task in ended):
        stop.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(parts.pause_seconds):
                await stop.wait()
    await _stop(parts, running)
    for task in ended:
        await task


async def _stop(parts: Parts, running: list[asyncio.Task[object]]) -> None:
    """Let the doors finish first, since what they accepted may still go out; then the worker's calls under way."""
    for task in running:
        if task.get_name() == "doors" and parts.server is not None:
            parts.server.should_exit = True
            await asyncio.wait([task])
        else:
            if task.get_name() == "smtp" and parts.smtp is not None:
                await parts.smtp.close()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
    if parts.worker is not None:
        with contextlib.suppress(TimeoutError):  # what is not written by then is unknown, and settled by events
            async with asyncio.timeout(LEAVE_SECONDS):
                await parts.worker.leave()
