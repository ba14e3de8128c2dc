"""Owns running the SMTP door: its ports, its certificate, and how many may come in; leaves each conversation to `edge.smtp`."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import ssl
from collections import Counter
from dataclasses import dataclass
from typing import TypeVar

import structlog

from tenantry.app.certificate import make_certificate
from tenantry.app.doors import address_of, bind
from tenantry.core.ids import KeyId
from tenantry.core.limit import Bucket, Rate, spent, wait_seconds
from tenantry.core.tenant import Key
from tenantry.edge.auth import Keyring
from tenantry.edge.doors import Doors
from tenantry.edge.smtp import House, Session, Terms
from tenantry.edge.smtp_channel import Channel
from tenantry.ports import Clock
from tenantry.settings import Settings
from tenantry.wire.smtp import Reply

CERTIFICATE_FILE, CERTIFICATE_KEY_FILE = "smtp-certificate.pem", "smtp-certificate.key"
RAW_SHARE = 3 / 4  # of a body that SES takes in base64
SIZE_MAX = 30_000_000
MEMORY_BYTES_MAX = 256_000_000  # of mail that is coming in, over all connections
FAILED_LOGINS = Rate(per_second=1 / 60, burst=10)  # of one address
WATCH_SECONDS = 1.0  # a slow client is cut so much later than its limit, at most
LAST_WORD_SECONDS = 5.0  # for a cut client to take its last answer
GRACE_SECONDS = 5.0  # for mail under way, once told to end: accept answers within as long
ADDRESSES_MAX = 20_000
SMTP, SMTPS = "TENANTRY_SMTP_PORT", "TENANTRY_SMTPS_PORT"  # the latter speaks TLS from the first byte
T = TypeVar("T")

_TOO_MANY = Reply(421, "4.7.0", "Too many connections from your address: close some")
_FULL = Reply(421, "4.3.2", "Too many connections: try again in a minute")
_ENDING = Reply(421, "4.3.2", "This server is about to end: connect again")


@dataclass(slots=True)
class _Guest:
    """A connection that is open."""

    address: str
    task: asyncio.Task[None] | None = None
    key: KeyId | None = None


class SmtpServer:
    """The SMTP door of one process: STARTTLS on one port, TLS from the first byte on another."""

    def __init__(self, settings: Settings, doors: Doors) -> None:
        """Bind the ports of the settings and read the certificate; raises OSError where one cannot be had."""
        self._settings, self._doors = settings, doors
        self._clock: Clock = doors.clock
        self._log = structlog.get_logger(loop="smtp")
        self._certificate = _Certificate(settings)
        self._sockets = [
            (bind(settings.host, port, setting), setting == SMTPS)
            for port, setting in ((settings.smtp_port, SMTP), (settings.smtps_port, SMTPS))
            if port is not None
        ]
        terms = Terms(
            hostname=settings.smtp_hostname,
            tls=self._certificate.context,
            is_clear_allowed=settings.smtp_login_in_clear,
            size_max=min(SIZE_MAX, int(settings.max_body_bytes * RAW_SHARE)),
            login_seconds=settings.smtp_login_seconds,
            idle_seconds=settings.smtp_idle_seconds,
            data_seconds=settings.smtp_data_seconds,
        )
        keyring = Keyring(doors.store, doors.clock)
        self._house = House(doors, keyring, terms, self._may_try, self._failed, self._enter, lambda: self._closing)
        self._guests: dict[Channel, _Guest] = {}
        self._by_address: Counter[str] = Counter()
        self._by_key: Counter[KeyId] = Counter()
        self._failures: dict[str, Bucket] = {}
        self._lent = 0
        self._closing = False
        self._servers: list[asyncio.Server] = []

    @property
    def addresses(self) -> dict[str, str]:
        """Where it listens: `smtp` and `smtps`, each as host:port."""
        return {"smtps" if implicit else "smtp": address_of(sock) for sock, implicit in self._sockets}

    @property
    def serves(self) -> bool:
        """Whether it takes connections."""
        return bool(self._servers) and not self._closing

    async def run(self) -> None:
        """Serve until cancelled, and meanwhile cut who is too slow."""
        loop = asyncio.get_running_loop()
        for sock, implicit in self._sockets:
            server = await loop.create_server(
                lambda: Channel(self),
                sock=sock,
                ssl=self._certificate.context if implicit else None,
                ssl_handshake_timeout=self._house.terms.login_seconds if implicit else None,
            )
            self._servers.append(server)
        while True:
            await self._clock.sleep(WATCH_SECONDS)
            self._cut_the_slow()
            if self._certificate.renewed():
                self._log.info("certificate read anew")

    async def close(self) -> None:
        """Take nobody in any more, let mail under way be answered, and end the rest."""
        self._closing = True
        for server in self._servers:
            server.close()
        for channel, guest in list(self._guests.items()):
            if channel.deadline != float("inf"):  # nobody waits for a commit there
                channel.cut(_ENDING)
            elif guest.task is not None:
                channel.deadline = self._clock.monotonic() + GRACE_SECONDS
        tasks = [guest.task for guest in self._guests.values() if guest.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE_SECONDS)
        for channel in list(self._guests):
            channel.cut()
        for sock, _ in self._sockets:
            sock.close()

    # ---- what channels and sessions tell

    def opened(self, channel: Channel) -> None:
        """See smtp_channel.Owner."""
        guest = _Guest(_network(channel.peer))
        self._guests[channel] = guest
        self._by_address[guest.address] += 1
        no = self._no_room(guest)
        if no is not None:
            channel.deadline = self._clock.monotonic()
            channel.cut(no)
            return
        guest.task = asyncio.create_task(Session(self._house, channel).run(), name="smtp")
        guest.task.add_done_callback(self._ended)

    def _no_room(self, guest: _Guest) -> Reply | None:
        if self._closing:
            return _ENDING
        if len(self._guests) > self._settings.smtp_connections:
            return _FULL
        if self._by_address[guest.address] > self._settings.smtp_connections_per_address:
            return _TOO_MANY
        return None

    def closed(self, channel: Channel) -> None:
        """See smtp_channel.Owner."""
        guest = self._guests.pop(channel, None)
        if guest is None:
            return
        _less(self._by_address, guest.address)
        if guest.key is not None:
            _less(self._by_key, guest.key)

    def borrow(self, count: int) -> bool:
        """See smtp_channel.Owner."""
        if count > 0 and self._lent + count > MEMORY_BYTES_MAX:
            return False
        self._lent += count
        return True

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._doors.report_bug(self._doors.new_request_id(), error)
            for channel, guest in self._guests.items():
                if guest.task is task:
                    channel.cut()

    def _enter(self, channel: Channel, key: Key) -> Reply | None:
        if self._by_key[key.id] >= self._settings.smtp_connections_per_key:
            return Reply(421, "4.7.0", "Too many connections with this key: close some")
        self._guests[channel].key = key.id
        self._by_key[key.id] += 1
        return None

    def _may_try(self, peer: str) -> bool:
        return wait_seconds(self._failures.get(_network(peer)), FAILED_LOGINS, self._clock.monotonic()) == 0

    def _failed(self, peer: str) -> None:
        address = _network(peer)
        bucket = spent(self._failures.pop(address, None), FAILED_LOGINS, self._clock.monotonic())
        if len(self._failures) >= ADDRESSES_MAX:
            del self._failures[next(iter(self._failures))]  # the one whose last failure is longest ago
        self._failures[address] = bucket

    def _cut_the_slow(self) -> None:
        now = self._clock.monotonic()
        for channel in list(self._guests):
            if channel.deadline + LAST_WORD_SECONDS < now:
                channel.cut()
            elif channel.deadline < now:
                channel.cut(Reply(421, "4.4.2", "You were silent, or slow, for too long"))


class _Certificate:
    """The certificate of the settings, else one of our own in the data folder; read anew when its file changes."""

    def __init__(self, settings: Settings) -> None:
        if settings.smtp_certificate is not None:
            self._chain = settings.smtp_certificate
            self._key = settings.smtp_certificate_key or settings.smtp_certificate
        else:
            self._chain, self._key = settings.data / CERTIFICATE_FILE, settings.data / CERTIFICATE_KEY_FILE
            if not (self._chain.exists() and self._key.exists()):
                settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
                make_certificate(settings.smtp_hostname, self._chain, self._key)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._seen = self._stamp()
        self._load()

    def _load(self) -> None:
        try:
            self.context.load_cert_chain(self._chain, self._key)
        except (OSError, ssl.SSLError) as error:
            raise OSError(f"The certificate of the SMTP door, {self._chain}, cannot be used: {error}.") from error

    def _stamp(self) -> tuple[float, float]:
        with contextlib.suppress(OSError):
            return os.stat(self._chain).st_mtime, os.stat(self._key).st_mtime
        return 0.0, 0.0

    def renewed(self) -> bool:
        """Read it anew when it changed; a half-written one is tried again, and meanwhile the former stays."""
        stamp = self._stamp()
        if stamp == self._seen or stamp == (0.0, 0.0):
            return False
        try:
            self._load()
        except OSError:
            return False
        self._seen = stamp
        return True


def _network(peer: str) -> str:
    """Return what counts as one address: an IPv4 address, or the /64 that one customer has of IPv6."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return peer


def _less(counts: Counter[T], name: T) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
