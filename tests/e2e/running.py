"""Runs Tenantry as a person does, as processes on free ports of loopback; leaves what must hold to the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TypeVar

import pytest

TENANTRY = (sys.executable, "-m", "tenantry")
PATIENCE_SECONDS = 30.0
T = TypeVar("T")


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment with these settings of Tenantry and no others, for loopback alone.

    Bytecode is kept, as an installed program has it: each start would compile all that it imports, which takes four seconds.
    """
    others = ("TENANTRY_", "AWS_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    local = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "NO_PROXY": "127.0.0.1"}
    return kept | local | {f"TENANTRY_{name.upper()}": value for name, value in settings.items()}


@dataclass
class Program:
    """A running `tenantry up` or `ses-local`: what it printed once it was ready, and its log."""

    process: subprocess.Popen[str]
    ready: dict
    log: Path

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def program(*words: str, log: Path, **settings: str) -> Iterator[Program]:
    """Run a program of ours until the context is left; fail with its log when it does not come up."""
    with log.open("a") as errors:
        process = subprocess.Popen(
            [*TENANTRY, *words, "--json"],
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env=environment(**settings),
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    with process.stdout as out:
        told = ""
        for line in out:
            told += line
            if line.rstrip() == "}":
                break
        running = Program(process, json.loads(told) if told.endswith("}\n") else {}, log)
        try:
            if "error" in running.ready or not running.ready:
                pytest.fail(f"tenantry {' '.join(words)} did not come up: {told}{log.read_text()}")
            yield running
        finally:
            try:
                running.end()
            except subprocess.TimeoutExpired:
                running.end(signal.SIGKILL)


@contextmanager
def up(data: Path, **settings: str) -> Iterator[Program]:
    """Run `tenantry up` on a folder and a free port."""
    data.mkdir(exist_ok=True)
    with program("up", "--data", str(data), "--port", "0", log=data / "up.log", **settings) as running:
        yield running


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    errors: str

    @property
    def json(self) -> dict:
        """The one document that it printed."""
        return json.loads(self.out)


def run(*words: str, given: str = "", env: Mapping[str, str] | None = None, **settings: str) -> Said:
    """Run a command as a process of its own."""
    done = subprocess.run(
        [*TENANTRY, *words],
        input=given,
        capture_output=True,
        text=True,
        env={**environment(**settings), **(env or {})},
        timeout=PATIENCE_SECONDS * 3,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def until(look: Callable[[], T | None]) -> T:
    """Look again and again until there is something to see."""
    last = monotonic() + PATIENCE_SECONDS
    while not (seen := look()):
        assert monotonic() < last, "it did not happen in time"
        threading.Event().wait(0.1)
    return seen
