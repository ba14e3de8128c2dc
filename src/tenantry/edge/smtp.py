"""Owns the SMTP door: the conversation with one client, from the greeting to the answer after the commit (RFC 5321, 6409).

Leaves bytes to `smtp_channel`, what mail means to `raw_message`, ports and certificates to `app`.
"""

from __future__ import annotations

import asyncio
import hmac
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tenantry.core.message import Accepted, Refusal, RefusalCode
from tenantry.core.tenant import Key
from tenantry.edge.auth import Keyring, barred_from_sending
from tenantry.edge.doors import OFF_LOOP_BYTES, Doors
from tenantry.edge.errors import INTERNAL
from tenantry.edge.raw_message import Envelope, Raw, read_raw
from tenantry.edge.smtp_channel import Channel, GoneError, LineError
from tenantry.edge.smtp_words import accepted, refused
from tenantry.edge.submit import submit_raw
from tenantry.ports import StoreBusy
from tenantry.wire.smtp import (
    Command,
    Login,
    Reply,
    command,
    decoded,
    ends_lines_apart,
    mail_from,
    plain_login,
    rcpt_to,
    undotted,
)

RECIPIENTS_MAX = 50  # what SES takes in one message; a client sends the rest in another one (RFC 5321 4.5.3.1.10)
MISTAKES_MAX = 10
LOGINS_MAX = 3
HTTP_VERBS = frozenset({"CONNECT", "GET", "POST", "PUT", "HEAD"})  # a browser that was sent here must not be answered

_OK = Reply(250, "2.0.0", "Ok")
_LOGIN_FIRST = Reply(530, "5.7.0", "Log in first: AUTH PLAIN or LOGIN with a key's id and secret")
_TLS_FIRST = Reply(538, "5.7.11", "Send STARTTLS first: a secret does not travel in clear")
_WRONG = Reply(535, "5.7.8", "There is no such pair of key id and secret")
_LATER = Reply(454, "4.7.0", "Keys cannot be looked up now: try again in a second")
LINE_ENDS = Refusal(
    RefusalCode.INVALID_FIELD, "End each line by CRLF: a CR or an LF stands alone in the message.", "body"
)


class Terms(NamedTuple):
    """What a client is told and held to; seconds are of the door's clock."""

    hostname: str
    tls: ssl.SSLContext | None
    is_clear_allowed: bool  # whether a secret may be sent without TLS
    size_max: int
    login_seconds: float
    idle_seconds: float
    data_seconds: float


class House(NamedTuple):
    """What sessions share, told by the server that runs them."""

    doors: Doors
    keyring: Keyring
    terms: Terms
    may_try: Callable[[str], bool]  # whether this address may try another pair
    failed: Callable[[str], None]  # a wrong pair came from this address
    enter: Callable[[Channel, Key], Reply | None]  # a key was proven; or why it may not have this session
    is_closing: Callable[[], bool]


class Session:
    """One client's conversation."""

    def __init__(self, house: House, channel: Channel) -> None:
        self._house, self._channel, self._terms = house, channel, house.terms
        self._greeted = self._over = False
        self._key: Key | None = None
        self._sender: str | None = None
        self._mail = False  # whether a transaction is open
        self._recipients: list[str] = []
        self._mistakes = self._logins = 0
        self._verbs: dict[str, Callable[[str], Awaitable[Reply | None]]] = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail_from,
            "RCPT": self._rcpt_to,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "VRFY": self._vrfy,
            "HELP": self._help,
            "QUIT": self._quit,
        }

    async def run(self) -> None:
        """Talk until either side has had enough."""
        try:
            self._wait(self._terms.login_seconds)
            self._channel.write(Reply(220, "", f"{self._terms.hostname} ESMTP Tenantry"))
            while not self._over:
                await self._turn(await self._channel.line())
            await self._channel.finish()
        except LineError as error:
            self._channel.cut(error.reply)
        except GoneError:
            self._channel.cut()

    async def _turn(self, line: bytes) -> None:
        if self._house.is_closing():
            self._end(Reply(421, "4.3.2", "This server is about to end: connect again"))
            return
        given = command(line)
        reply = given if isinstance(given, Reply) else await self._answer(given)
        if reply is None:
            return
        self._channel.write(reply)
        if reply.code >= 500:
            self._mistakes += 1
            if self._mistakes >= MISTAKES_MAX and not self._over:
                self._end(Reply(421, "4.7.0", "Too many mistakes: connect again when they are corrected"))
        if self._key is not None:
            self._wait(self._terms.idle_seconds)

    async def _answer(self, given: Command) -> Reply | None:
        verb = self._verbs.get(given.verb)
        if verb is not None:
            return await verb(given.argument)
        if given.verb in HTTP_VERBS:
            self._over = True
            return Reply(554, "5.5.1", "This is SMTP")
        return Reply(502, "5.5.1", f"There is no command {given.verb} here")

    def _wait(self, seconds: float) -> None:
        self._channel.deadline = self._house.doors.clock.monotonic() + seconds

    def _end(self, reply: Reply) -> None:
        self._over = True
        self._channel.write(reply)

    def _forget(self) -> None:
        self._mail, self._sender, self._recipients = False, None, []

    # ---- greeting, TLS, login

    async def _ehlo(self, name: str) -> Reply | None:
        if not name:
            return Reply(501, "5.5.4", "Write EHLO and your name")
        self._greeted = True
        self._forget()
        offers = ["PIPELINING", f"SIZE {self._terms.size_max}", "8BITMIME", "ENHANCEDSTATUSCODES"]
        if self._terms.tls is not None and not self._channel.is_encrypted:
            offers.append("STARTTLS")
        if self._may_log_in:
            offers.append("AUTH PLAIN LOGIN")
        lines = [self._terms.hostname, *offers]
        self._channel.write(b"".join(f"250-{line}\r\n".encode() for line in lines[:-1]))
        self._channel.write(f"250 {lines[-1]}\r\n".encode())
        return None

    async def _helo(self, name: str) -> Reply:
        if not name:
            return Reply(501, "5.5.4", "Write HELO and your name")
        self._greeted = True
        self._forget()
        return Reply(250, "", self._terms.hostname)

    @property
    def _may_log_in(self) -> bool:
        return self._channel.is_encrypted or self._terms.is_clear_allowed

    async def _starttls(self, argument: str) -> Reply | None:
        if argument or self._terms.tls is None or self._channel.is_encrypted:
            return Reply(503, "5.5.1", "There is no change to TLS now")
        if self._channel.has_unread():  # it came in clear, and would count as if it had not
            self._over = True
            return Reply(503, "5.5.1", "Wait for the answer to STARTTLS before anything else")
        self._channel.write(Reply(220, "2.0.0", "Begin TLS"))
        await self._channel.encrypt(self._terms.tls, self._terms.login_seconds)
        self._greeted, self._key = False, None
        self._forget()
        self._wait(self._terms.login_seconds)
        return None

    async def _auth(self, argument: str) -> Reply | None:
        mechanism, _, initial = argument.partition(" ")
        if not self._greeted or self._mail:
            return Reply(503, "5.5.1", "Send EHLO first, and log in before MAIL")
        if self._key is not None:
            return Reply(503, "5.5.1", "You are logged in")
        if not self._may_log_in:
            return _TLS_FIRST
        if not self._house.may_try(self._channel.peer):
            self._end(Reply(421, "4.7.0", "Too many wrong logins from your address: try again in some minutes"))
            return None
        if mechanism.upper() == "PLAIN":
            login = plain_login(initial or await self._asked(""))
        elif mechanism.upper() == "LOGIN":
            name = decoded(initial or await self._asked("VXNlcm5hbWU6"))
            login = Login(name, decoded(await self._asked("UGFzc3dvcmQ6"))) if name else None
        else:
            return Reply(504, "5.5.4", "AUTH takes PLAIN and LOGIN")
        return await self._log_in(login)

    async def _asked(self, question: str) -> str:
        self._channel.write(f"334 {question}\r\n".encode())
        return (await self._channel.line()).decode("latin-1")

    async def _log_in(self, login: Login | None) -> Reply | None:
        try:
            found = await self._house.keyring.find(login.name) if login is not None else None
        except StoreBusy:
            return _LATER
        secret = found[1] if found else ""
        given = login.secret if login is not None else ""
        proven = hmac.compare_digest(secret.encode(), given.encode()) and found is not None
        if found is None or not proven or found[0].is_revoked(self._house.doors.clock.wall()):
            return self._failed_login()
        key = found[0]
        if barred := barred_from_sending(key):
            return refused(barred)._replace(code=535, status="5.7.8")
        if no := self._house.enter(self._channel, key):
            self._end(no)
            return None
        self._key = key
        return Reply(235, "2.7.0", "You are logged in")

    def _failed_login(self) -> Reply | None:
        self._house.failed(self._channel.peer)
        self._house.doors.refused(RefusalCode.UNAUTHENTICATED)
        self._logins += 1
        if self._logins < LOGINS_MAX:
            return _WRONG
        self._end(_WRONG)
        return None

    # ---- mail

    async def _mail_from(self, argument: str) -> Reply:
        if not self._greeted:
            return Reply(503, "5.5.1", "Send EHLO first")
        if self._key is None:
            return _LOGIN_FIRST
        if self._mail:
            return Reply(503, "5.5.1", "A message is begun: end it, or send RSET")
        given = mail_from(argument, self._terms.size_max)
        if isinstance(given, Reply):
            return given
        self._mail, self._sender = True, given.address
        return Reply(250, "2.1.0", "Ok")

    async def _rcpt_to(self, argument: str) -> Reply:
        if not self._mail:
            return Reply(503, "5.5.1", "Send MAIL first")
        given = rcpt_to(argument)
        if isinstance(given, Reply):
            return given
        if given not in self._recipients:
            if len(self._recipients) >= RECIPIENTS_MAX:
                return Reply(452, "4.5.3", f"SES takes {RECIPIENTS_MAX} recipients in one message: send another one")
            self._recipients.append(given)
        return Reply(250, "2.1.5", "Ok")

    async def _data(self, argument: str) -> Reply:
        if argument:
            return Reply(501, "5.5.4", "DATA takes no argument")
        if not self._recipients or self._key is None:
            return Reply(503 if not self._mail else 554, "5.5.1", "Give MAIL and a recipient first")
        self._channel.write(Reply(354, "", "End the message by a line with a dot alone"))
        self._wait(self._terms.data_seconds)
        data = await self._channel.data(self._terms.size_max)
        self._channel.deadline = float("inf")  # now we are the ones to be waited for
        envelope = Envelope(self._key.id, self._sender, tuple(self._recipients))
        self._forget()
        return data if isinstance(data, Reply) else await self._accept(self._key, envelope, data)

    async def _accept(self, key: Key, envelope: Envelope, data: bytes) -> Reply:
        """Answer after the commit: 250 only for what is on stable storage, and a code to try again by where that is unsure."""
        doors = self._house.doors
        try:
            small = len(data) <= OFF_LOOP_BYTES
            outcome = await self._submit(
                key, _read(envelope, data) if small else await asyncio.to_thread(_read, envelope, data)
            )
        except Exception as error:  # the client must hear that it may try again, and the connection goes on
            doors.report_bug(doors.new_request_id(), error)
            outcome = INTERNAL
        if isinstance(outcome, Accepted):
            return accepted(outcome)
        doors.refused(outcome.code)
        return refused(outcome)

    async def _submit(self, key: Key, read: Raw | Refusal) -> Accepted | Refusal:
        if isinstance(read, Refusal):
            return read
        return await submit_raw(self._house.doors, key, read)

    # ---- the rest

    async def _rset(self, _: str) -> Reply:
        self._forget()
        return _OK

    async def _noop(self, _: str) -> Reply:
        return _OK

    async def _vrfy(self, _: str) -> Reply:
        return Reply(252, "2.5.0", "Send it, and its events tell")

    async def _help(self, _: str) -> Reply:
        return Reply(214, "2.0.0", "Log in with a key's id and secret; see docs/smtp.md")

    async def _quit(self, _: str) -> None:
        self._end(Reply(221, "2.0.0", "Bye"))


def _read(envelope: Envelope, data: bytes) -> Raw | Refusal:
    """Check the mail and read it; all of it is work for the CPU, so that it can be done in a thread."""
    return LINE_ENDS if ends_lines_apart(data) else read_raw(envelope, undotted(data))
