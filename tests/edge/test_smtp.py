"""SMTP through real sockets: who gets in, what is taken, what is refused, and that 250 means stable storage."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from email.message import EmailMessage
from pathlib import Path

import pytest
import pytest_asyncio

from tenantry.app.smtp import CERTIFICATE_FILE, SmtpServer
from tenantry.core.ids import MessageId
from tenantry.core.message import Accepted, Refusal, RefusalCode, Submission
from tenantry.ports import StoreBusy
from tenantry.settings import Settings
from tests import worlds
from tests.e2e.running import until
from tests.edge.doorstep import Doorstep, make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Door:
    """A running SMTP door with the step that it stands on, and what its accept does."""

    step: Doorstep
    server: SmtpServer
    folder: Path
    accept: Callable[[Submission], object]
    seen: list[Submission]

    def port(self, name: str = "smtp") -> int:
        return int(self.server.addresses[name].rpartition(":")[2])

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / CERTIFICATE_FILE))

    def client(self, *, login: bool = True, member: worlds.Member | None = None) -> smtplib.SMTP:
        """Return smtplib's client, encrypted and logged in."""
        client = smtplib.SMTP("localhost", self.port(), timeout=10)
        client.starttls(context=self.trust)
        if login:
            who = member or self.step.acme
            client.login(who.key_id, who.secret)
        return client

    async def send(self, text: str | bytes, *to: str, sender: str | None = None) -> tuple[int, str]:
        """Send text as it is in one session; return the answer to it."""
        data = text.encode() if isinstance(text, str) else text
        return await asyncio.to_thread(self._send, data, to or ("ann@example.com",), sender)

    def _send(self, data: bytes, to: tuple[str, ...], sender: str | None) -> tuple[int, str]:
        with self.client() as client:
            code, said = client.mail(sender or f"hello@{self.step.acme.domain}")
            for address in to:
                if code == 250:
                    code, said = client.rcpt(address)
            if code == 250:
                client.putcmd("data")
                assert client.getreply()[0] == 354
                client.send(data + b"\r\n.\r\n")
                code, said = client.getreply()
        return code, said.decode()


class Wire:
    """A bare socket, for what no good client sends."""

    def __init__(self, door: Door, name: str = "smtp") -> None:
        self.door = door
        self.sock = socket.create_connection(("127.0.0.1", door.port(name)), timeout=10)
        self.file = self.sock.makefile("rb")
        if name == "smtp":
            assert self.reply().startswith("220 ")

    def say(self, data: bytes) -> str:
        self.sock.sendall(data)
        return self.reply()

    def reply(self) -> str:
        """Return one reply whole; an empty text where the door closed."""
        text = ""
        while line := self.file.readline().decode():
            text += line
            if line[3:4] != "-":
                break
        return text

    def tls(self, context: ssl.SSLContext) -> None:
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.file = self.sock.makefile("rb")

    def logged_in(self) -> Wire:
        assert self.say(b"EHLO test\r\n").startswith("250-")
        assert self.say(b"STARTTLS\r\n").startswith("220 ")
        self.tls(self.door.trust)
        assert self.say(b"EHLO test\r\n").startswith("250-")
        acme = self.door.step.acme
        assert self.say(b"AUTH PLAIN " + pair(acme.key_id, acme.secret) + b"\r\n").startswith("235 ")
        return self

    def close(self) -> None:
        self.file.close()
        self.sock.close()


def pair(name: str, secret: str, acts_as: str = "") -> bytes:
    return b64encode(f"{acts_as}\0{name}\0{secret}".encode())


def letter(door: Door, **headers: str) -> EmailMessage:
    mail = EmailMessage()
    given = {"From": f"Acme <hello@{door.step.acme.domain}>", "To": "ann@example.com", "Subject": "Hi", **headers}
    for name, value in given.items():
        mail[name.replace("_", "-")] = value
    mail.set_content("Hello\n.\n..dots\n")
    return mail


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(doors: Doorstep, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    """The door with a certificate of its own, over the store of the module."""
    folder = tmp_path_factory.mktemp("smtp")
    settings = Settings(
        data=folder, smtp_port=0, smtps_port=0, smtp_connections_per_address=20, max_body_bytes=2_000_000
    )
    made = Door(doors, None, folder, doors.doors.accept, [])  # type: ignore[arg-type]

    async def accept(submission: Submission) -> Accepted | Refusal:
        made.seen.append(submission)
        return await made.accept(submission)  # type: ignore[misc]

    made.server = SmtpServer(settings, replace(doors.doors, accept=accept))
    task = asyncio.create_task(made.server.run())
    await asyncio.to_thread(until, lambda: made.server.serves)
    yield made
    await made.server.close()
    task.cancel()
    assert not doors.bugs


def _text(door: Door, *headers: str, body: str = "Hello") -> str:
    return "\r\n".join([f"From: hello@{door.step.acme.domain}", "To: ann@example.com", *headers, "", body])


async def test_a_mail_is_taken_once_it_is_stored(door: Door) -> None:
    """smtplib, with TLS and login, gets 250 with the id of a message that is in the store with all that it said."""
    mail = letter(door, Cc="Bob <bob@example.com>", Bcc="boss@example.com", X_SES_MESSAGE_TAGS="campaign=autumn, a=b")

    def send() -> dict:
        with door.client() as client:
            return client.send_message(mail)

    assert await asyncio.to_thread(send) == {}
    submission = door.seen[-1]
    assert (submission.to, submission.cc, submission.bcc) == (
        ("ann@example.com",),
        ("bob@example.com",),
        ("boss@example.com",),
    )
    assert dict(submission.tags) == {"campaign": "autumn", "a": "b"}
    code, said = await door.send(_text(door, "X-SES-CONFIGURATION-SET: marketing", "X-SES-TENANT: acme"))
    assert (code, said[:9]) == (250, "2.0.0 Ok ")
    shown = (await door.step.call("GET", f"/v1/messages/{MessageId(said[9:])}")).json
    assert (shown["stream"], shown["recipients"][0]["address"]) == ("marketing", "ann@example.com")


async def test_the_content_is_what_was_sent(door: Door) -> None:
    """Dots at the begin of lines arrive as written; what steers SES or shows blind copies is cut out."""
    body = "one\r\n..\r\n...two\r\n.end"
    code, _ = await door.send(
        _text(door, "Bcc: boss@example.com", "X-SES-TENANT: acme", body=body.replace("\r\n.", "\r\n.."))
    )
    assert code == 250
    from base64 import b64decode
    from json import loads

    raw = b64decode(loads(door.seen[-1].content)["Raw"]["Data"])
    assert raw.endswith(f"\r\n\r\n{body}\r\n".encode())
    assert b"boss" not in raw and b"X-SES" not in raw


async def test_only_the_envelope_gets_the_mail(door: Door) -> None:
    """Who is named in a header but not in the envelope gets nothing; who is in the envelope alone is a blind copy, once."""
    assert (
        await door.send(_text(door, "Cc: cc@example.com"), "hid@example.com", "ANN@example.com", "hid@example.com")
    )[0] == 250
    assert (door.seen[-1].to, door.seen[-1].cc, door.seen[-1].bcc) == (("ANN@example.com",), (), ("hid@example.com",))


@pytest.mark.parametrize(
    ("header", "code", "said"),
    [
        ("X-SES-TENANT: other", 554, "5.7.1 not_found"),
        ("X-SES-CONFIGURATION-SET: nowhere", 554, "5.7.1 unknown_stream"),
        ("X-SES-MESSAGE-TAGS: a=1, a=2", 550, "5.6.0 invalid_tag"),
        ("X-SES-MESSAGE-TAGS: tenantry-message=1", 550, "5.6.0 invalid_tag"),
        ("X-SES-SOURCE-ARN: arn:aws:ses:us-east-1:1:identity/a", 550, "5.6.0 unsupported"),
        ("Sender: hello@other.example", 550, "5.7.1 author_not_yours"),
        ("Return-Path: <hello@other.example>", 550, "5.7.1 author_not_yours"),
        ("From: x@acme.example", 550, "5.6.0 invalid_header"),
        ("Resent-From: x@acme.example", 550, "5.6.0 invalid_header"),
        ("X-Odd\x01: 1", 550, "5.6.0 invalid_header"),
    ],
)
async def test_headers_that_may_not_be_are_refused(door: Door, header: str, code: int, said: str) -> None:
    """What would steer SES, name another author or another tenant, or be read in two ways ends in 5xx with our code."""
    before = len(await _messages(door))
    given = await door.send(_text(door, header))
    assert (given[0], given[1][: len(said)]) == (code, said)
    assert len(await _messages(door)) == before


async def _messages(door: Door) -> list[tuple[object, ...]]:
    async with door.step.store.reading() as step:
        return [tuple(row) for row in await step.run("SELECT id FROM message")]


async def test_the_envelope_sender_is_bound_too(door: Door) -> None:
    """MAIL FROM of somebody else's domain is refused though From is one's own; the null path names nobody."""
    assert (await door.send(_text(door), sender="x@other.example"))[1].startswith("5.7.1 author_not_yours")
    assert (await door.send(_text(door), sender="<>"))[0] == 250


SMUGGLED = "MAIL FROM:<a@other.example>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nFrom: a@other.example\r\n\r\nboo"


@pytest.mark.parametrize(
    "end", ["\n.\n", "\n.\r\n", "\r.\r", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\n\n.\r\r\n", "\r\n\0.\r\n"]
)
async def test_no_second_mail_hides_in_one(door: Door, end: str) -> None:
    """Whatever else than CRLF.CRLF looks like an end is refused with the whole message, and nothing of it is stored."""
    before = len(await _messages(door))
    code, said = await door.send(_text(door) + end + SMUGGLED)
    assert (code, said[:6]) == (550, "5.6.0 ")
    assert len(await _messages(door)) == before


async def test_lines_that_end_wrongly_end_the_session(door: Door) -> None:
    """A command that ends by a bare LF, or never ends, is answered and closes; a CR or NUL inside one is no command."""

    def talk(data: bytes) -> tuple[str, str]:
        wire = Wire(door)
        try:
            return wire.say(data), wire.reply()
        finally:
            wire.close()

    for data, code in ((b"EHLO x\n", "521 5.5.2"), (b"EHLO " + b"x" * 5_000, "500 5.5.6")):
        first, then = await asyncio.to_thread(talk, data)
        assert (first[:9], then) == (code, "")
    for data in (b"NOOP a\rQUIT\r\nNOOP\r\n", b"NOOP\0\r\nNOOP\r\n"):
        first, then = await asyncio.to_thread(talk, data)
        assert (first[:9], then[:3]) == ("500 5.5.2", "250")


async def test_nothing_in_clear_counts_after_starttls(door: Door) -> None:
    """What came together with STARTTLS is never read as if it had come encrypted; a secret in clear is refused."""

    def talk() -> tuple[str, str, str]:
        wire = Wire(door)
        offers = wire.say(b"EHLO x\r\n")
        early = wire.say(b"AUTH PLAIN " + pair("a", "b") + b"\r\n")
        late = wire.say(b"STARTTLS\r\nEHLO injected\r\n")
        wire.close()
        return offers, early, late

    offers, early, late = await asyncio.to_thread(talk)
    assert "STARTTLS" in offers and "AUTH" not in offers and "SMTPUTF8" not in offers and "CHUNKING" not in offers
    assert {"250-PIPELINING", "250-SIZE 1500000", "250-8BITMIME"} < set(offers.splitlines())
    assert (early[:10], late[:9]) == ("538 5.7.11", "503 5.5.1")


async def test_tls_from_the_first_byte(door: Door) -> None:
    """The other port speaks TLS at once; AUTH LOGIN opens it as AUTH PLAIN does."""

    def send() -> str:
        with smtplib.SMTP_SSL("localhost", door.port("smtps"), context=door.trust, timeout=10) as client:
            client.ehlo()
            client.user, client.password = door.step.acme.key_id, door.step.acme.secret
            assert client.auth("LOGIN", client.auth_login)[0] == 235
            client.send_message(letter(door))
            return client.ehlo_resp.decode()

    assert "AUTH PLAIN LOGIN" in await asyncio.to_thread(send)


async def test_who_may_log_in(door: Door) -> None:
    """A wrong secret, a key of no one, one that may not send and a revoked one are turned away; three wrong ones end it."""
    _, reader = await make_key(door.step, door.step.acme, "read")
    revoked_id, revoked = await make_key(door.step, door.step.acme, "send")
    await door.step.operate("DELETE", f"/v1/keys/{revoked_id}")

    def log_in(*logins: tuple[str, str, str]) -> list[str]:
        wire = Wire(door, "smtps")
        wire.tls(door.trust)
        wire.reply()
        wire.say(b"EHLO x\r\n")
        answers = [wire.say(b"AUTH PLAIN " + pair(*login) + b"\r\n")[:9] for login in logins]
        wire.close()
        return answers

    acme, other = door.step.acme, door.step.other
    wrong = [(acme.key_id, other.secret, ""), ("key_" + "1" * 32, "x", ""), (*revoked.split("."), "")]
    assert await asyncio.to_thread(log_in, *wrong) == ["535 5.7.8"] * 3
    others = [
        (*reader.split("."), ""),
        (acme.key_id, acme.secret, other.key_id),
        (acme.key_id, acme.secret, acme.key_id),
    ]
    assert await asyncio.to_thread(log_in, *others) == ["535 5.7.8", "535 5.7.8", "235 2.7.0"]


async def test_a_key_revoked_meanwhile_sends_no_more(door: Door) -> None:
    """A session that is open when its key is revoked has its next message refused."""
    key_id, token = await make_key(door.step, door.step.acme, "send")
    client = await asyncio.to_thread(door.client, login=False)
    await asyncio.to_thread(client.login, *token.split("."))
    await door.step.operate("DELETE", f"/v1/keys/{key_id}")
    with pytest.raises(smtplib.SMTPDataError) as refused:
        await asyncio.to_thread(client.send_message, letter(door))
    assert refused.value.smtp_code == 535
    client.close()


async def test_a_store_that_is_away_loses_nothing(door: Door) -> None:
    """While the store cannot commit the answer is 4xx, so that the client keeps the mail, and then 250 again."""

    async def away(_: Submission) -> Accepted:
        raise StoreBusy("away")

    real, door.accept = door.accept, away
    try:
        assert (await door.send(_text(door)))[1].startswith("4.3.0 busy")
    finally:
        door.accept = real
    assert (await door.send(_text(door)))[0] == 250


async def test_a_group_of_commands_is_answered_in_order(door: Door) -> None:
    """Pipelined commands with one bad recipient and more than fifty get their answers one by one; the mail goes to the rest."""

    def talk() -> list[str]:
        wire = Wire(door).logged_in()
        group = [b"MAIL FROM:<hello@acme.example> SIZE=100 BODY=8BITMIME\r\n", b"RCPT TO:<no one>\r\n"]
        group += [b"RCPT TO:<p%d@example.com>\r\n" % number for number in range(51)]
        answers = [wire.say(b"".join([*group, b"DATA\r\n"]))]
        answers += [wire.reply() for _ in range(len(group))]
        answers.append(wire.say(_text(door, body="Grüße").encode() + b"\r\n.\r\nQUIT\r\n"))
        answers += [wire.reply(), wire.reply()]
        wire.close()
        return [answer[:9] for answer in answers]

    answers = await asyncio.to_thread(talk)
    assert answers[:2] == ["250 2.1.0", "553 5.1.3"]
    assert answers[2:52] == ["250 2.1.5"] * 50
    assert [answer[:3] for answer in answers[52:]] == ["452", "354", "250", "221", ""]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("MAIL FROM:<hello@acme.example> SMTPUTF8", "555 5.6.7"),
        ("MAIL FROM:<grün@acme.example>", "553 5.6.7"),
        ("MAIL FROM:<hello@acme.example> SIZE=99000000", "552 5.3.4"),
        ("MAIL FROM:<hello@acme.example> BODY=BINARYMIME", "501 5.5.4"),
        ("MAIL FROM:<hello@acme.example> RET=FULL", "555 5.5.4"),
        ("MAIL FROM:hello@acme.example", "501 5.5.4"),
        ("MAIL FROM:<a@b@c.example>", "553 5.1.7"),
        ("RCPT TO:<a@example.com>", "503 5.5.1"),
        ("DATA", "503 5.5.1"),
        ("BDAT 10 LAST", "502 5.5.1"),
        ("EXPN all", "502 5.5.1"),
        ("AUTH PLAIN AAAA", "503 5.5.1"),
        ("STARTTLS", "503 5.5.1"),
        ("VRFY ann", "252 2.5.0"),
        ("HELP", "214 2.0.0"),
        ("HELO", "501 5.5.4"),
    ],
)
async def test_commands_have_answers_with_enhanced_codes(door: Door, line: str, code: str) -> None:
    """What cannot be done is said with the code that a mailer understands, and the session goes on."""

    def talk() -> tuple[str, str]:
        wire = Wire(door).logged_in()
        said = wire.say(line.encode() + b"\r\n")[:9], wire.say(b"NOOP\r\n")[:3]
        wire.close()
        return said

    assert await asyncio.to_thread(talk) == (code, "250")


async def test_mail_before_login_is_refused(door: Door) -> None:
    """Nobody sends without a key, and a browser that was led here is not answered twice."""

    def talk(*lines: bytes) -> list[str]:
        wire = Wire(door)
        said = [wire.say(line)[:9] for line in lines]
        wire.close()
        return said

    assert await asyncio.to_thread(talk, b"EHLO x\r\n", b"MAIL FROM:<a@b.example>\r\n") == ["250-local", "530 5.7.0"]
    assert await asyncio.to_thread(talk, b"POST / HTTP/1.1\r\nHost: x\r\n", b"") == ["554 5.5.1", ""]


async def test_a_message_beyond_the_size_is_read_to_its_end(door: Door) -> None:
    """Too much mail is answered 552 after its end, so that the client reads the answer; the session goes on."""
    code, said = await door.send(_text(door, body="\r\n".join(["x" * 900] * 1_700)))
    assert (code, said[:5]) == (552, "5.3.4")
    assert (await door.send(_text(door, body="\r\n".join(["x" * 900] * 1_500))))[0] == 250


async def test_slow_clients_are_cut(door: Door) -> None:
    """Who does not log in, says nothing, or trickles a message is told so and cut once the limit has passed on the clock."""
    silent, idle, slow = await asyncio.to_thread(lambda: (Wire(door), Wire(door).logged_in(), Wire(door).logged_in()))

    def begin() -> None:
        slow.say(b"MAIL FROM:<hello@acme.example>\r\n")
        slow.say(b"RCPT TO:<a@example.com>\r\n")
        slow.say(b"DATA\r\n")

    await asyncio.to_thread(begin)
    moved = door.step.clock.shift
    try:
        for wire, seconds in ((silent, 61), (idle, 240), (slow, 300)):
            door.step.clock.shift += type(moved)(seconds=seconds)
            assert (await asyncio.to_thread(wire.reply))[:9] == "421 4.4.2"
            assert await asyncio.to_thread(wire.reply) == ""
    finally:
        door.step.clock.shift = moved
        for wire in (silent, idle, slow):
            wire.close()


async def test_one_address_has_so_many_connections(door: Door) -> None:
    """The connection beyond the limit of an address is told to close some; once one is closed there is room again."""
    wires = await asyncio.to_thread(lambda: [Wire(door) for _ in range(20)])

    def greeting() -> str:
        sock = socket.create_connection(("127.0.0.1", door.port()), timeout=10)
        with sock, sock.makefile("rb") as file:
            return file.readline().decode()[:9]

    assert await asyncio.to_thread(greeting) == "421 4.7.0"
    for wire in wires:
        wire.close()
    await asyncio.to_thread(until, lambda: greeting()[:3] == "220")


async def test_guessing_ends_for_an_address(door: Door) -> None:
    """After ten wrong logins an address gets none of its pairs looked at until a minute has passed for each."""

    def log_in() -> str:
        wire = Wire(door, "smtps")
        wire.tls(door.trust)
        wire.reply()
        wire.say(b"EHLO x\r\n")
        said = wire.say(b"AUTH PLAIN " + pair("key_" + "2" * 32, "x") + b"\r\n")[:9]
        wire.close()
        return said

    moved = door.step.clock.shift
    try:
        answers = [await asyncio.to_thread(log_in) for _ in range(11)]
        assert (answers[0], answers[-1]) == ("535 5.7.8", "421 4.7.0")
        door.step.clock.shift += type(moved)(seconds=61)
        assert await asyncio.to_thread(log_in) == "535 5.7.8"
    finally:
        door.step.clock.shift = moved + type(moved)(seconds=3_600)


async def test_each_refusal_is_counted(door: Door) -> None:
    """What is refused by SMTP is counted with what the other doors refuse."""
    before = len(door.step.refusals)
    await door.send(_text(door, "Sender: a@other.example"))
    assert door.step.refusals[before:] == [RefusalCode.AUTHOR_NOT_YOURS]
