"""Owns the text of SMTP on the server's side: commands, replies with enhanced codes, the form of mail data (RFC 5321).

Leaves sockets and deadlines to `edge.smtp_channel`, and the conversation itself to `edge.smtp`.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Mapping
from typing import NamedTuple

from tenantry.wire.address import AddressError, parse_mailbox

REPLY_TEXT_MAX = 480  # RFC 5321 4.5.3.1.5: a reply line has 512 octets
END_OF_DATA = b"\r\n.\r\n"
_VERB = re.compile(rb"([A-Za-z]{1,12})(?: (.*))?", re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_MAIL = re.compile(r"from: ?<([^<>]*)>(?: +(.*))?", re.IGNORECASE)
_RCPT = re.compile(r"to: ?<([^<>]*)>(?: +(.*))?", re.IGNORECASE)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")


class Reply(NamedTuple):
    """One answer: its code, its enhanced code (RFC 3463; empty where the protocol has none), and words."""

    code: int
    status: str
    text: str

    def line(self) -> bytes:
        """Return it as one line: whatever the words quote, they stay printable ASCII within the limit."""
        words = self.text.encode("ascii", "backslashreplace").decode()
        words = "".join(character if character.isprintable() else " " for character in words)[:REPLY_TEXT_MAX]
        return f"{self.code} {self.status}{' ' if self.status else ''}{words}\r\n".encode()


BAD_SYNTAX = Reply(500, "5.5.2", "This is no command: write a verb and its argument in ASCII")
NO_SMTPUTF8 = Reply(
    553,
    "5.6.7",
    "SES has no SMTPUTF8: write addresses in ASCII, a domain in its xn-- form, and headers as encoded words",
)
_MAIL_SYNTAX = Reply(501, "5.5.4", "Write MAIL FROM:<address>")
_RCPT_SYNTAX = Reply(501, "5.5.4", "Write RCPT TO:<address>")


class Command(NamedTuple):
    """One command line: its verb in upper case, and what follows."""

    verb: str
    argument: str


def command(line: bytes) -> Command | Reply:
    """Read a line, without its CRLF, as a command, or return the answer to what is none."""
    if _CONTROL.search(line):
        return Reply(500, "5.5.2", "A command holds no control characters: lines end by CRLF")
    match = _VERB.fullmatch(line)
    if match is None:
        return BAD_SYNTAX
    verb = match[1].upper().decode()
    try:
        return Command(verb, (match[2] or b"").decode("ascii").strip(" "))
    except UnicodeDecodeError:
        return NO_SMTPUTF8 if verb in ("MAIL", "RCPT") else BAD_SYNTAX


class MailFrom(NamedTuple):
    """The envelope's sender (None: the null path) and the size that the client announces (0: none)."""

    address: str | None
    size: int


def mail_from(argument: str, size_max: int) -> MailFrom | Reply:
    """Read the argument of MAIL, or return the answer to one that cannot be done."""
    match = _MAIL.fullmatch(argument)
    if match is None:
        return _MAIL_SYNTAX
    given = _parameters(match[2] or "")
    if given is None:
        return Reply(501, "5.5.4", "Write the parameters of MAIL as NAME=value, each once")
    size = given.pop("SIZE", "0")
    if not size.isdigit() or len(size) > 12:
        return Reply(501, "5.5.4", "Write SIZE as a number of bytes")
    if int(size) > size_max:
        return Reply(552, "5.3.4", f"A message may have {size_max} bytes")
    if given.pop("BODY", "7BIT").upper() not in ("7BIT", "8BITMIME"):
        return Reply(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
    if "SMTPUTF8" in given:
        return NO_SMTPUTF8._replace(code=555)
    given.pop("AUTH", None)  # RFC 4954: it may be given, and may be ignored
    if given:
        return Reply(555, "5.5.4", f"MAIL takes no parameter {next(iter(given))}")
    if not match[1]:
        return MailFrom(None, int(size))
    address = _address(match[1], "5.1.7")
    return address if isinstance(address, Reply) else MailFrom(address, int(size))


def rcpt_to(argument: str) -> str | Reply:
    """Read the argument of RCPT as an address, or return the answer to one that cannot be done."""
    match = _RCPT.fullmatch(argument)
    if match is None:
        return _RCPT_SYNTAX
    given = _parameters(match[2] or "")
    if given is None or given:
        return Reply(555, "5.5.4", "RCPT takes no parameters here")
    return _address(match[1], "5.1.3")


def _parameters(text: str) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for word in text.split():
        match = _PARAMETER.fullmatch(word)
        if match is None or match[1].upper() in found:
            return None
        found[match[1].upper()] = match[2] or ""
    return found


def _address(text: str, status: str) -> str | Reply:
    try:
        return parse_mailbox(text).address
    except AddressError as error:
        return Reply(553, status, str(error))


def undotted(data: bytes) -> bytes:
    """Return mail data, whole lines up to the lone dot, without the dots that transparency put before some lines."""
    data = data.removeprefix(b".")
    return data.replace(b"\r\n.", b"\r\n") if b"\r\n." in data else data


def ends_lines_apart(data: bytes) -> bool:
    """Tell whether a CR or an LF stands alone: readers disagree on what it ends, which is how mail is smuggled."""
    pairs = data.count(b"\r\n")
    return data.count(b"\n") != pairs or data.count(b"\r") != pairs


class Login(NamedTuple):
    """A pair that a client presents."""

    name: str
    secret: str


def plain_login(text: str) -> Login | None:
    """Read the initial response of AUTH PLAIN (RFC 4616); None for what is none, or acts for somebody else."""
    parts = decoded(text).split("\0")
    if len(parts) != 3 or parts[0] not in ("", parts[1]):
        return None
    return Login(parts[1], parts[2])


def decoded(text: str) -> str:
    """Read base64 of ASCII text; what is none counts as empty."""
    try:
        return a2b_base64(text, strict_mode=True).decode("ascii")
    except (Base64Error, UnicodeError, ValueError):
        return ""


def message_tags(text: str) -> Mapping[str, str] | None:
    """Read X-SES-MESSAGE-TAGS, `name=value` between commas; None where a name is given twice."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    tags = {name.strip(): value.strip() for name, _, value in pairs}
    return tags if len(tags) == len(pairs) else None
