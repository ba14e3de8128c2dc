"""Types commands against served doors with the real store behind them; leaves what must hold to the tests."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from click.testing import CliRunner

from tenantry.cli import main
from tests.edge.doorstep import Doorstep


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

    @property
    def items(self) -> list[dict]:
        """The list that it printed."""
        return json.loads(self.out)


class Terminal:
    """A person at a terminal who holds a key."""

    def __init__(self, doors: Doorstep) -> None:
        self.doors = doors

    async def type(self, *words: str, key: str | None = None, given: str = "", **env: str | None) -> Said:
        """Type a command with the operator's key, or another; in a thread, since the doors run in this loop."""
        variables = {"TENANTRY_URL": self.doors.url, "TENANTRY_KEY": key or self.doors.operator, "TENANTRY_DATA": None}
        done = await asyncio.to_thread(CliRunner().invoke, main, list(words), input=given, env={**variables, **env})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Said(done.exit_code, done.stdout, done.stderr)

    async def ask(self, *words: str, **options: str) -> dict:
        """Type a command that has to succeed, and return its document."""
        said = await self.type(*words, "--json", **options)
        assert said.code == 0, said
        return said.json
