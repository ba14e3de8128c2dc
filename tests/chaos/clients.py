"""Owns the clients of a chaos run, as a process of its own: they send through both doors and write down all that they see.

A mail is sent again with the same key until it is answered, at the next door after each error; boto3, unmodified, does
its own retries and then gives up. Leaves what the notes amount to to judge.py.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, repeat
from pathlib import Path
from time import monotonic, time
from typing import TextIO
from urllib.parse import urlsplit
from uuid import NAMESPACE_OID, uuid5

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tenantry.wire.sigv4 import Signer
from tests.chaos.plan import Mail, last_mails, mails

WIRE_PATH = "/v2/email/outbound-emails"
ANSWER_SECONDS = 15.0  # a door that takes longer hangs
TRIES_SECONDS = 120.0  # then a client gives up
REST_SECONDS = (0.05, 0.1, 0.2, 0.4)  # after the first error in a row, the second, ...
SDK_THREADS = 2
TEXT = "Thank you for your order. " * 40


@dataclass(frozen=True)
class Given:
    """What the process is told on its first line of input."""

    doors: list[str]
    keys: dict[str, list[str]]  # by tenant: id and secret
    seed: int
    messages: int
    connections: int
    per_second: float  # no faster than this; 0: as fast as it goes
    log: str


@dataclass
class Notes:
    """The log: a line of JSON for each thing seen, written down before anything follows from it."""

    out: TextIO
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, mail: Mail, what: str, **more: object) -> None:
        """Note something about a mail: try, ack (with id), again (with id), error, refused, gave_up."""
        line = json.dumps(
            {"at": time(), "token": mail.token, "tenant": mail.part.name, "way": mail.way, "do": what} | more
        )
        with self.lock:
            self.out.write(line + "\n")
            self.out.flush()


class HungUpError(Exception):
    """The client left on purpose."""


class Line:
    """A kept connection to a door; opened again at the next door when it fails."""

    def __init__(self, given: Given, number: int) -> None:
        self._doors = [urlsplit(door).netloc for door in given.doors]
        self._at = number % len(self._doors)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def host(self) -> str:
        """The door that is called now."""
        return self._doors[self._at]

    async def ask(self, request: bytes, *, hang_up: bool) -> tuple[int, bytes]:
        """Make one call; raises OSError, EOFError or TimeoutError when no whole answer comes, and turns to the next door."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._ask(request, hang_up=hang_up)
        except (OSError, EOFError, HungUpError):
            self.turn()
            raise

    async def _ask(self, request: bytes, *, hang_up: bool) -> tuple[int, bytes]:
        if self._writer is None:
            name, _, port = self.host.partition(":")
            self._reader, self._writer = await asyncio.open_connection(name, int(port))
        assert self._reader is not None
        self._writer.write(request)
        if hang_up:
            await self._writer.drain()
            raise HungUpError
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(head.split(b" ", 2)[1]), await self._reader.readexactly(length)

    def turn(self) -> None:
        """Leave this door for the next one."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
        self._at = (self._at + 1) % len(self._doors)


class Clients:
    """All clients of a run."""

    def __init__(self, given: Given, notes: Notes) -> None:
        self._given = given
        self._notes = notes
        self._signers = {name: Signer(key, secret, "us-east-1", "ses") for name, (key, secret) in given.keys.items()}

    async def send(self, todo: Iterator[tuple[float, Mail]]) -> None:
        """Send these, over as many connections as were asked for; boto3 is others' work."""

        async def one(line: Line) -> None:
            for due, mail in todo:
                if (early := due - monotonic()) > 0:
                    await asyncio.sleep(early)
                await self._until_answered(line, mail)

        await asyncio.gather(*(one(Line(self._given, number)) for number in range(self._given.connections)))

    async def _until_answered(self, line: Line, mail: Mail) -> None:
        last, hang_up = monotonic() + TRIES_SECONDS, mail.hangs_up
        for rest in chain(REST_SECONDS, repeat(REST_SECONDS[-1])):
            if monotonic() > last:
                break
            answer = await self._try(line, mail, hang_up=hang_up)
            hang_up = False
            if isinstance(answer, str):
                if mail.asks_again:
                    again = await self._try(line, mail, again=True)
                    self._notes.write(mail, "again", id=again)
                return
            if answer is not None:
                return
            await asyncio.sleep(rest)
        self._notes.write(mail, "gave_up")

    async def _try(self, line: Line, mail: Mail, *, hang_up: bool = False, again: bool = False) -> str | int | None:
        """Return the message's id, the status of a refusal, or None where it is worth trying again."""
        host, began = line.host, monotonic()
        request = self._rest(mail, host) if mail.way == "rest" else self._wire(mail, host)
        self._notes.write(mail, "try", door=host)
        try:
            status, body = await line.ask(request, hang_up=hang_up)
        except (OSError, EOFError, HungUpError) as error:
            self._notes.write(mail, "error", door=host, why=type(error).__name__, took=monotonic() - began)
            return None
        took = monotonic() - began
        if status in {200, 202}:
            given = str(json.loads(body)["id" if mail.way == "rest" else "MessageId"])
            if not again:
                self._notes.write(mail, "ack", door=host, id=given, took=took)
            return given
        busy = status >= 500
        self._notes.write(mail, "error" if busy else "refused", door=host, why=f"{status} {body[:200]!r}", took=took)
        if busy:
            line.turn()
        return None if busy else status

    def _rest(self, mail: Mail, host: str) -> bytes:
        body = {
            "from": f"hello@{mail.part.domain}",
            "to": mail.to,
            "subject": mail.token,
            "text": TEXT,
            "stream": mail.stream,
        }
        key, secret = self._given.keys[mail.part.name]
        headers = {
            "authorization": f"Bearer {key}.{secret}",
            "content-type": "application/json",
            "idempotency-key": mail.token,
        }
        return _request("/v1/messages", host, headers, json.dumps(body).encode())

    def _wire(self, mail: Mail, host: str) -> bytes:
        body = json.dumps(_send_email(mail)).encode()
        headers = self._signers[mail.part.name].headers(
            "POST", WIRE_PATH, "", host, body, now=datetime.now(UTC), content_type="application/json"
        )
        headers["amz-sdk-invocation-id"] = str(uuid5(NAMESPACE_OID, mail.token))
        return _request(WIRE_PATH, host, headers, body)


def _send_email(mail: Mail) -> dict[str, object]:
    return {
        "FromEmailAddress": f"hello@{mail.part.domain}",
        "Destination": {"ToAddresses": [mail.to]},
        "Content": {"Simple": {"Subject": {"Data": mail.token}, "Body": {"Text": {"Data": TEXT}}}},
        "ConfigurationSetName": mail.stream,
    }


def _request(path: str, host: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class SdkClients:
    """Applications that use boto3 as it is: its retries are its own, and what it gives up is not sent again."""

    def __init__(self, given: Given, notes: Notes) -> None:
        config = Config(connect_timeout=2, read_timeout=ANSWER_SECONDS)
        session = boto3.Session(region_name="us-east-1")
        self._notes = notes
        self._clients = [
            {
                name: session.client(
                    "sesv2", endpoint_url=door, aws_access_key_id=key, aws_secret_access_key=secret, config=config
                )
                for name, (key, secret) in given.keys.items()
            }
            for door in given.doors
        ]

    def send(self, todo: Iterator[tuple[float, Mail]]) -> None:
        """Send these in a few threads, and wait for their end."""
        lock = threading.Lock()

        def one(number: int) -> None:
            while True:
                with lock:
                    found = next(todo, None)
                if found is None:
                    return
                if (early := found[0] - monotonic()) > 0:
                    threading.Event().wait(early)
                self._send(found[1], self._clients[number % len(self._clients)])
                number += 1

        threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(SDK_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _send(self, mail: Mail, clients: dict[str, object]) -> None:
        began = monotonic()
        self._notes.write(mail, "try")
        try:
            answer = clients[mail.part.name].send_email(**_send_email(mail))  # type: ignore[attr-defined]
        except (BotoCoreError, ClientError) as error:
            self._notes.write(mail, "error", why=f"{type(error).__name__}: {error}")
        else:
            given = answer.get("MessageId")  # boto3 takes a 200 whose body was cut off for an empty yes
            if given is None:
                self._notes.write(mail, "error", why="200 without a MessageId")
            else:
                self._notes.write(mail, "ack", id=given, in_all=monotonic() - began)


def run(lines: TextIO, out: TextIO) -> None:
    """Send all, say `sent`, wait for a word, send the last mails, and end."""
    given = Given(**json.loads(lines.readline()))
    with Path(given.log).open("a", encoding="utf-8") as log:
        notes = Notes(log)
        clients, sdks = Clients(given, notes), SdkClients(given, notes)
        began, pace = monotonic(), 1 / given.per_second if given.per_second else 0.0
        timed = [(began + number * pace, mail) for number, mail in enumerate(mails(given.seed, given.messages))]
        thread = threading.Thread(target=sdks.send, args=(iter([one for one in timed if one[1].way == "sdk"]),))
        thread.start()
        asyncio.run(clients.send(iter([one for one in timed if one[1].way != "sdk"])))
        thread.join()
        print("sent", file=out, flush=True)
        lines.readline()
        asyncio.run(clients.send((0.0, mail) for mail in last_mails()))


if __name__ == "__main__":
    run(sys.stdin, sys.stdout)
