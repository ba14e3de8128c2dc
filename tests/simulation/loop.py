"""Owns the simulation's event loop: its time is virtual, and chance decides which of the ready steps runs next.

Leaves what happens in it to world.py. Tasks belong to whoever started them (`OWNER`): a process of the simulation can
be frozen, and can be ended at any of its awaits without a word.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections.abc import Callable, Coroutine
from itertools import count
from random import Random
from typing import Any

OWNER: contextvars.ContextVar[object] = contextvars.ContextVar("owner", default=None)
NOBODY = contextvars.Context()  # whose steps nobody freezes: the network's, SES's, the clients'
ROUNDS_TO_DIE = 200


class Future(asyncio.Future[Any]):
    """A future whose place in a set is its number in the run, not its address."""

    def __init__(self, number: int, **how: Any) -> None:
        self._number = number
        super().__init__(**how)

    def __hash__(self) -> int:
        return self._number


class Task(asyncio.Task[Any]):
    """A task whose place in a set is its number in the run: a TaskGroup ends its tasks in the order of a set."""

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], **how: Any) -> None:
        self._number = number
        super().__init__(coro, **how)

    def __hash__(self) -> int:
        return self._number


class SeededLoop(asyncio.BaseEventLoop):
    """An event loop without a selector: when nothing is ready, time jumps to the next timer."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._ready: list[asyncio.Handle] = []  # in no order
        self._random = random.random
        self._now = 0.0
        self._tasks: dict[asyncio.Task[Any], object] = {}
        self.frozen: set[object] = set()
        self.steps = 0
        self._numbers = count()
        self.latency: Callable[[], float] = lambda: 0.0  # of a call in another thread, each way
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Return the virtual seconds since the beginning."""
        return self._now

    def _run_once(self) -> None:
        handle = self._pick()
        if handle is None:
            self._advance()
            return
        if not handle._cancelled:
            self.steps += 1
            handle._run()

    def _pick(self) -> asyncio.Handle | None:
        ready = self._ready
        if not ready:
            return None
        if self.frozen:
            places = [at for at, one in enumerate(ready) if one._context.get(OWNER) not in self.frozen]
            if not places:
                return None
            at = places[int(self._random() * len(places))]
        else:
            at = int(self._random() * len(ready))
        last = ready.pop()
        if at == len(ready):
            return last
        chosen, ready[at] = ready[at], last
        return chosen

    def _advance(self) -> None:
        """Jump to the next timer, and make ready all that is due by then."""
        due = self._pop()
        if due is None:
            raise RuntimeError("the simulation waits for nothing")
        self._now = max(self._now, due._when)
        while due is not None:
            due._scheduled = False
            self._ready.append(due)
            due = self._pop(self._now)

    def _pop(self, until: float | None = None) -> asyncio.TimerHandle | None:
        timers = self._scheduled
        while timers and (timers[0]._cancelled or until is None or timers[0]._when <= until):
            timer = heapq.heappop(timers)
            if not timer._cancelled:
                return timer
        return None

    def create_future(self) -> asyncio.Future[Any]:
        """See asyncio.AbstractEventLoop."""
        return Future(next(self._numbers), loop=self)

    # ---- what BaseEventLoop leaves to its children

    def _process_events(self, _events: object) -> None: ...

    def _write_to_self(self) -> None: ...

    def run_in_executor(self, _executor: object, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run a call of another thread at an instant of its own; nobody's death or sleep keeps it from happening."""
        answer = self.create_future()

        def give(result: Any, error: Exception | None) -> None:
            if not answer.done():
                answer.set_exception(error) if error else answer.set_result(result)

        def run() -> None:
            result, error = None, None
            try:
                result = func(*args)
            except Exception as caught:
                error = caught
            self.call_later(self.latency(), give, result, error, context=NOBODY.copy())

        self.call_later(self.latency(), run, context=NOBODY.copy())
        return answer

    # ---- owners

    def _make_task(self, _loop: object, coro: Coroutine[Any, Any, Any], **how: Any) -> asyncio.Task[Any]:
        task = Task(next(self._numbers), coro, loop=self, **how)
        context = how.get("context")
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is not None:
            self._tasks[task] = owner
            task.add_done_callback(self._forget, context=NOBODY.copy())
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def end(self, owner: object) -> None:
        """End all tasks of an owner at once, outside chance and time; call it from a timer, never from a task.

        They are cancelled and run to their end, which must not reach anything outside: the owner's ports are dead.
        """
        for _ in range(ROUNDS_TO_DIE):
            tasks = [task for task, whose in self._tasks.items() if whose is owner and not task.done()]
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.drive(owner)
        else:
            raise RuntimeError(f"tasks that will not die: {tasks}")
        self._ready = [one for one in self._ready if one._context.get(OWNER) is not owner]

    def drive(self, owner: object) -> None:
        """Run an owner's steps, and those that its tasks' ends leave behind, until none is ready."""
        running = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            while mine := [one for one in self._ready if one._context.get(OWNER) is owner]:
                self._ready = [one for one in self._ready if one._context.get(OWNER) is not owner]
                for handle in mine:
                    if not handle._cancelled:
                        handle._run()
        finally:
            asyncio._set_running_loop(running)
