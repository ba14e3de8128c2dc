"""Owns processes beside the bench: each measured part and each load runs in one of its own, so that CPU can be told apart."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from json import loads
from multiprocessing.connection import Connection
from typing import TypeVar

A = TypeVar("A")
SPAWN = multiprocessing.get_context("spawn")
STOP_SECONDS = 10.0


class BrokenError(Exception):
    """A process of the bench failed; its traceback is the message."""


class Apart:
    """A process that answers what it is asked, one question at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tell(self, question: object) -> None:
        """Ask without waiting."""
        self._connection.send(question)

    def answer(self) -> object:
        """Wait for the next answer; raises BrokenError with the traceback of the process when it failed."""
        try:
            found = self._connection.recv()
        except EOFError as error:
            raise BrokenError("a process of the bench ended early") from error
        if isinstance(found, BrokenError):
            raise found
        return found

    def ask(self, question: object) -> object:
        """Ask and wait for the answer."""
        self.tell(question)
        return self.answer()


@contextlib.contextmanager
def apart(main: Callable[[Connection, A], None], argument: A) -> Iterator[Apart]:
    """Run main(connection, argument) in a fresh process until the block ends; main ends when it reads None."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_run, args=(main, theirs, argument), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Apart(ours)
    finally:
        with contextlib.suppress(OSError):
            ours.send(None)
        process.join(STOP_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


def _run(main: Callable[[Connection, A], None], connection: Connection, argument: A) -> None:
    try:
        main(connection, argument)
    except Exception:
        with contextlib.suppress(OSError):
            connection.send(BrokenError(traceback.format_exc()))


@contextlib.contextmanager
def program(*arguments: str, **environment: str) -> Iterator[dict[str, object]]:
    """Run `tenantry ARGUMENTS --json` until the block ends; yields the document that it prints once it is ready."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TENANTRY_")}
    command = [sys.executable, "-m", "tenantry", *arguments, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=inherited | environment, text=True) as process:
        assert process.stdout is not None
        text = ""
        try:
            for line in process.stdout:
                text += line
                if line.rstrip() == "}":
                    break
            else:
                raise BrokenError(f"{' '.join(arguments)} did not start")
            yield loads(text)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def local_ses(*recipients: str, rate: float = 0.0) -> Iterator[str]:
    """Run a local SES with these recipient rules, and no limit on control calls; yields its URL."""
    rules = [part for rule in recipients for part in ("--recipients", rule)]
    limits = ["--rate", str(rate), "--quota", "0", "--control-rate", "0"]
    with program("ses-local", "--port", "0", *limits, *rules) as ready:
        yield str(ready["url"])
