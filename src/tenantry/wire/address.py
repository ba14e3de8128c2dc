"""Owns the grammar of mail addresses in header form: strict enough to bind an author, linear in time.

Leaves to others: whether a domain exists, who may use it, and decoding encoded words for display.
What RFC 5322 allows but receivers read in different ways (groups, routes, quoted local parts, comments inside an
address, obsolete forms) is an error here, never a guess.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache

LIST_CHARS_MAX = 65_536
COMMENT_DEPTH_MAX = 3
LOCAL_CHARS_MAX = 64  # RFC 5321 4.5.3.1
DOMAIN_CHARS_MAX = 253
ADDRESS_CHARS_MAX = 254

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_LOCAL = re.compile(rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PLAIN = re.compile(rf"([{_ATEXT}.]+)@([A-Za-z0-9.-]+)")
_BLANK = re.compile(r"[ \t]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PARENTHESIS = re.compile(r"\\.|[()]")
# A word of a display name, or an address without brackets: anything but white space and the specials.
_WORD = re.compile(r'[^ \t()<>\[\]:;@\\,"]+')
_WORD_CHARS = re.compile(rf"[{_ATEXT}.\u00a0-\U0010ffff]+")
_ENCODED_WORD = re.compile(r"=\?[A-Za-z0-9_-]+\?[BbQq]\?[A-Za-z0-9!*+/=_-]+\?=")
_UNFIT = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class AddressError(ValueError):
    """Text that is not exactly the addresses it should be; its sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One address with its display name; the domain is lower-case and in its ASCII form, the local part as written."""

    display: str
    address: str
    local: str
    domain: str

    def header(self) -> str:
        """Return the mailbox in ASCII header form, the display name quoted or as encoded words (RFC 2047)."""
        if not self.display:
            return self.address
        if self.display.isascii():
            escaped = self.display.replace("\\", "\\\\").replace('"', '\\"')
            # Encoded words inside quotes would be shown as they stand, so a name that holds them stays bare.
            phrase = self.display if _is_encoded_phrase(self.display) else f'"{escaped}"'
            return f"{phrase} <{self.address}>"
        return f"{encoded_words(self.display)} <{self.address}>"


def encoded_words(text: str) -> str:
    """Return text as UTF-8 encoded words of at most 75 characters, never split inside a character (RFC 2047)."""
    words, chunk = [], b""
    for character in text:
        piece = character.encode()
        if len(chunk) + len(piece) > 45:
            words.append(chunk)
            chunk = b""
        chunk += piece
    return " ".join(f"=?utf-8?B?{b64encode(word).decode()}?=" for word in [*words, chunk] if word)


def parse_mailbox(text: str) -> Mailbox:
    """Read exactly one mailbox, with or without a display name, or raise AddressError."""
    if match := _PLAIN.fullmatch(text):
        return _mailbox("", match[1], match[2])
    mailboxes = parse_mailboxes(text)
    if len(mailboxes) != 1:
        raise AddressError(f"Give one address, not {len(mailboxes)}.")
    return mailboxes[0]


def parse_mailboxes(text: str) -> tuple[Mailbox, ...]:
    """Read an unfolded header's address list, at least one address long, or raise AddressError.

    Time is linear in the text, which may hold at most 65,536 characters.
    """
    if len(text) > LIST_CHARS_MAX:
        raise AddressError(f"Shorten the address list: {len(text)} characters are more than {LIST_CHARS_MAX}.")
    if found := _UNFIT.search(text):
        raise AddressError(f"Remove the character U+{ord(found[0]):04X}: it has no place in an address list.")
    reader = _Reader(text)
    mailboxes = [reader.mailbox()]
    while reader.takes(","):
        mailboxes.append(reader.mailbox())
    if not reader.at_end():
        raise AddressError(f"Separate addresses by commas: cannot read {reader.rest()}.")
    return tuple(mailboxes)


class _Reader:
    """A cursor over one address list; every step moves it forward."""

    __slots__ = ("_at", "_text")

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def mailbox(self) -> Mailbox:
        phrase: list[str] = []
        bare = True  # so far one unquoted word at most, which may turn out to be a local part
        while True:
            self._skip()
            start = self._at
            if match := _QUOTED.match(self._text, start):
                self._at, bare = match.end(), False
                phrase.append(re.sub(r"\\(.)", r"\1", match[1]))
            elif match := _WORD.match(self._text, start):
                self._at = match.end()
                bare = bare and not phrase
                phrase.append(self._word(match[0]))
            else:
                break
            if bare and self._text.startswith("@", self._at):
                return self._bare_address(match[0])
        if self.takes("<"):
            return self._bracketed(" ".join(phrase))
        raise self._misread(phrase)

    def takes(self, mark: str) -> bool:
        self._skip()
        found = self._text.startswith(mark, self._at)
        self._at += found
        return found

    def at_end(self) -> bool:
        self._skip()
        return self._at == len(self._text)

    def rest(self) -> str:
        return ascii(self._text[self._at : self._at + 40])

    def _bare_address(self, local: str) -> Mailbox:
        self._at += 1
        mailbox = _mailbox("", local, self._domain_text())
        self._skip()
        return mailbox

    def _bracketed(self, display: str) -> Mailbox:
        # Between the brackets nothing but the address: white space or a comment there is read in different ways.
        match = _WORD.match(self._text, self._at)
        if not match or not self._text.startswith("@", match.end()):
            raise AddressError(f"Write local@domain between the brackets: cannot read {self.rest()}.")
        self._at = match.end() + 1
        mailbox = _mailbox(display, match[0], self._domain_text())
        if not self._text.startswith(">", self._at):
            raise AddressError(f"Close the address with '>': cannot read {self.rest()}.")
        self._at += 1
        self._skip()
        return mailbox

    def _domain_text(self) -> str:
        match = _WORD.match(self._text, self._at)
        if not match:
            raise AddressError(f"Write a domain name after '@': cannot read {self.rest()}.")
        self._at = match.end()
        return match[0]

    def _word(self, word: str) -> str:
        if not _WORD_CHARS.fullmatch(word):
            raise AddressError(f"Put the display name in double quotes: cannot read {word[:40]!a}.")
        return word

    def _misread(self, phrase: list[str]) -> AddressError:
        if self._text.startswith((":", ";"), self._at):
            return AddressError("List the addresses themselves: group syntax is not accepted.")
        if self._text.startswith("@", self._at):
            return AddressError("Write the part before '@' without quotes, spaces or comments.")
        if self._at == len(self._text) and not phrase:
            return AddressError("Give an address like name@example.com: there is none where one is due.")
        return AddressError(f"Write name@example.com or Name <name@example.com>: cannot read {self.rest()}.")

    def _skip(self) -> None:
        """Pass over white space and comments, counting brackets instead of recursing."""
        text, depth = self._text, 0
        while True:
            if match := _BLANK.match(text, self._at):
                self._at = match.end()
            if not text.startswith("(", self._at):
                return
            for mark in _PARENTHESIS.finditer(text, self._at):
                depth += (mark[0] == "(") - (mark[0] == ")")
                if depth > COMMENT_DEPTH_MAX:
                    raise AddressError(f"Remove the comment: more than {COMMENT_DEPTH_MAX} brackets are nested.")
                if depth == 0:
                    self._at = mark.end()
                    break
            else:
                raise AddressError("Close the comment: a bracket is open.")


def _mailbox(display: str, local: str, domain_text: str) -> Mailbox:
    domain = ascii_domain(domain_text)
    if not local.isascii():
        raise AddressError("Use an address whose part before '@' is ASCII: SES cannot send from or to others.")
    if len(local) > LOCAL_CHARS_MAX or not _LOCAL.fullmatch(local):
        raise AddressError(f"Correct the part before '@': {local[:70]!a} is not letters, digits and single dots.")
    if "=?" in local:
        raise AddressError("Write the address in plain: an encoded word may stand in the display name only.")
    address = f"{local}@{domain}"
    if len(address) > ADDRESS_CHARS_MAX:
        raise AddressError(f"Use a shorter address: {len(address)} characters are more than {ADDRESS_CHARS_MAX}.")
    return Mailbox(display, address, local, domain)


@lru_cache(maxsize=8192)
def ascii_domain(text: str) -> str:
    """Return a domain name of two labels or more in lower-case ASCII form, or raise AddressError.

    A name that IDNA would silently map to another one must be given in its xn-- form, since two readers would
    disagree on who is meant.
    """
    if len(text) > DOMAIN_CHARS_MAX:
        raise AddressError(f"Use a shorter domain: {len(text)} characters are more than {DOMAIN_CHARS_MAX}.")
    domain = text.lower()
    if not domain.isascii():
        domain = _a_labels(domain)
    labels = domain.split(".")
    if len(labels) < 2 or len(domain) > DOMAIN_CHARS_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressError(f"Correct the domain: {text[:80]!a} is not a name like example.com (no dot at its end).")
    if labels[-1].isdigit():
        raise AddressError(f"Use a domain name: {text[:80]!a} is not one.")
    return domain


def _a_labels(domain: str) -> str:
    try:
        encoded = domain.encode("idna")
        same = encoded.decode("idna") == domain
    except UnicodeError:
        same = False
    if not same:
        raise AddressError(f"Give the domain in its xn-- form: {domain[:80]!a} can be read in more than one way.")
    return encoded.decode("ascii")


def _is_encoded_phrase(display: str) -> bool:
    return all(len(word) <= 75 and _ENCODED_WORD.fullmatch(word) for word in display.split(" "))
