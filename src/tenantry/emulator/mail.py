"""Owns reading the content of a SendEmail call: who sends, who receives, which headers, which X-SES wishes.

Leaves whether it may be sent to `operations_sending`; it never judges a policy, only what cannot be read.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser
from email.policy import compat32
from email.utils import getaddresses
from typing import Any

from tenantry.emulator.errors import bad_request

VIRUS_MARKS = (b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE", b"WDVPIVAlQEFQWzRcUFpYNTQoUF4pN0NDKTd9JEVJQ0FS")
HEADERS_MAX_BYTES = 10_240  # of what events show
HEADER_BLOCK_MAX_BYTES = 128 * 1024  # of what is read at all; Amazon names no such limit
SUBJECT_MAX_CHARACTERS = 4_000  # of what is decoded: more costs the square of its length
_BREAKING = re.compile("[\r\n\0]")
_WISHES = ("x-ses-configuration-set", "x-ses-tenant", "x-ses-message-tags")
_parser = BytesHeaderParser(policy=compat32)


@dataclass(slots=True)
class Mail:
    """One message as SES understands it; addresses of recipients are as they were given."""

    source: str
    to: list[str]
    cc: list[str]
    bcc: list[str]
    headers: list[tuple[str, str]]
    subject: str | None
    reply_to: list[str]
    has_virus: bool
    wishes: Mapping[str, str] = field(default_factory=dict)

    @property
    def recipients(self) -> list[str]:
        """Everybody who gets a copy, in the order To, Cc, Bcc."""
        return self.to + self.cc + self.bcc if self.cc or self.bcc else self.to

    @property
    def author(self) -> str:
        """The bare address of the sender."""
        return bare(self.source)


def bare(address: str) -> str:
    """Return the address without its display name."""
    if address.endswith(">"):
        return address.rpartition("<")[2][:-1].strip()
    return address.strip()


def read_mail(params: Mapping[str, Any]) -> Mail:
    """Read the content and destination of a SendEmail call, or raise SES's error for what it cannot read."""
    content = params["Content"]
    given = [name for name in ("Simple", "Raw", "Template") if name in content]
    if len(given) != 1:
        raise bad_request("Exactly one of Simple, Raw and Template content must be given.")
    destination = params.get("Destination", {})
    mail = _simple(params, destination) if given == ["Simple"] else _raw(params, destination)
    if not mail.recipients:
        raise bad_request("Missing recipients: give at least one To, Cc or Bcc address.")
    if "@" not in mail.author:
        raise bad_request("Missing final '@domain'" if mail.source else "Missing required header 'From'.")
    for recipient in mail.recipients:
        if "@" not in recipient or _BREAKING.search(recipient):
            raise bad_request("Missing final '@domain'" if "@" not in recipient else "Illegal character in an address.")
    return mail


def _simple(params: Mapping[str, Any], destination: Mapping[str, list[str]]) -> Mail:
    simple = params["Content"]["Simple"]
    body = simple["Body"]
    if not body:
        raise bad_request("The body of the message needs Text or Html.")
    to, cc = destination.get("ToAddresses", []), destination.get("CcAddresses", [])
    source, subject = params.get("FromEmailAddress", ""), simple["Subject"]["Data"]
    reply_to = params.get("ReplyToAddresses", [])
    headers = [("From", source)]
    headers += [(name, ", ".join(each)) for name, each in (("To", to), ("Cc", cc), ("Reply-To", reply_to)) if each]
    headers += [("Subject", subject), ("MIME-Version", "1.0"), ("Content-Type", _content_type(simple, body))]
    headers += [(header["Name"], header["Value"]) for header in simple.get("Headers", ())]
    texts = [part["Data"].encode("utf-8", "replace") for part in body.values()]
    texts += [attachment["RawContent"] for attachment in simple.get("Attachments", ())]
    return Mail(
        source=source,
        to=to,
        cc=cc,
        bcc=destination.get("BccAddresses", []),
        headers=headers,
        subject=subject,
        reply_to=reply_to,
        has_virus=_has_virus(texts),
    )


def _content_type(simple: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    if simple.get("Attachments"):
        return 'multipart/mixed; boundary="----=_Part_0_0"'
    if len(body) > 1:
        return 'multipart/alternative; boundary="----=_Part_0_0"'
    return f"text/{'html' if 'Html' in body else 'plain'}; charset=UTF-8"


def _raw(params: Mapping[str, Any], destination: Mapping[str, list[str]]) -> Mail:
    data: bytes = params["Content"]["Raw"]["Data"]
    head = data[: _end_of_headers(data)]
    if len(head) > HEADER_BLOCK_MAX_BYTES:
        raise bad_request(f"The header of the message is larger than {HEADER_BLOCK_MAX_BYTES // 1024} KB.")
    headers = [
        (name, str(value).replace("\r\n", "").replace("\n", "")) for name, value in _parser.parsebytes(head).items()
    ]
    by_name: dict[str, list[str]] = {}
    for name, value in headers:
        by_name.setdefault(name.lower(), []).append(value)
    if destination:
        to, cc, bcc = (destination.get(name, []) for name in ("ToAddresses", "CcAddresses", "BccAddresses"))
    else:
        to, cc, bcc = (_addresses(by_name.get(name, [])) for name in ("to", "cc", "bcc"))
    # The API parameter is the envelope sender; the header stays as it is.
    source = params.get("FromEmailAddress") or next(iter(by_name.get("from", [])), "")
    subject = next(iter(by_name.get("subject", [])), None)
    return Mail(
        source=source,
        to=to,
        cc=cc,
        bcc=bcc,
        headers=[(name, value) for name, value in headers if name.lower() != "bcc"],
        subject=None if subject is None else _decoded(subject),
        reply_to=_addresses(by_name.get("reply-to", [])),
        has_virus=_has_virus([data]),
        wishes={name: by_name[name][0] for name in _WISHES if name in by_name},
    )


def _end_of_headers(data: bytes) -> int:
    ends = [found for mark in (b"\r\n\r\n", b"\n\n") if (found := data.find(mark)) >= 0]
    return min(ends, default=len(data))


def _addresses(values: list[str]) -> list[str]:
    return [address for _, address in getaddresses(values) if address]


def _decoded(subject: str) -> str:
    if len(subject) > SUBJECT_MAX_CHARACTERS:
        return subject
    try:
        return str(make_header(decode_header(subject)))
    except (ValueError, LookupError):
        return subject


def _has_virus(contents: Iterable[bytes]) -> bool:
    # A loop, for it is done for each message and a generator costs more than the search.
    for content in contents:
        for mark in VIRUS_MARKS:
            if mark in content:
                return True
    return False
