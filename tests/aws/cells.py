"""Owns the matrix of what SES, or the way to it, may do to a call, and what each of it amounts to.

Leaves running it to test_liar.py, and the words about it to docs/reliability.md, which has a line for each row.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field

from tests.aws.certificates import Certificates
from tests.aws.liar import (
    Behaviour,
    Liar,
    Line,
    answer,
    answers,
    drips,
    floods,
    handed,
    hangs_after,
    lying,
    resets_after,
    says,
    says_and_ends,
)

HANDED, REFUSED, UNKNOWN = "handed", "refused", "unknown"
RETRY, THROTTLED = "retry: backoff", "retry: throttled"
PAUSED, UNVERIFIED, UNPROVISIONED = "retry: paused", "retry: unverified", "retry: unprovisioned"
SOON = 0.4  # seconds that a call has where nothing is to be waited for but its deadline
LARGE = 8 * 2**20  # bytes of content that no kernel buffers for a server that does not read
Place = Callable[[Certificates], AbstractAsyncContextManager[Liar]]


@dataclass(frozen=True)
class Cell:
    """A row of the matrix and one way to meet it.

    outcomes: of calls one after the other; "a or b" where it depends on who is first. place: the server, when it is
    not one that behaves so in plain HTTP. requests: how many must have begun, None where that depends. between:
    seconds from call to call; 0 makes all of them at once, by way of one connection.
    """

    row: str
    behave: Behaviour
    outcomes: tuple[str, ...] = (UNKNOWN,)
    variant: str = ""
    place: Place | None = None
    requests: int | None = -1
    deadline: float = 5.0
    content_bytes: int = 0
    between: float = field(default=0.05)

    def serve(self, certificates: Certificates) -> AbstractAsyncContextManager[Liar]:
        """Start the server."""
        return self.place(certificates) if self.place else lying(self.behave)


# ---- reading


async def nothing(line: Line) -> None:
    """Read nothing."""


async def one_byte(line: Line) -> None:
    await line.take(1)


async def some_of_the_head(line: Line) -> None:
    await line.take(100)


async def the_head(line: Line) -> None:
    await line.head()


async def the_head_and_no_more(line: Line) -> None:
    await line.head()
    line.deafen()


async def some_of_the_body(line: Line) -> None:
    await line.head()
    await line.take(1)


async def all_but_a_byte(line: Line) -> None:
    head = await line.head()
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    await line.take(length - 1)


async def all_of_it(line: Line) -> None:
    await line.request()


async def at_once(line: Line) -> None:
    line.deafen()


# ---- no connection


@asynccontextmanager
async def refusing(_: Certificates) -> AsyncIterator[Liar]:
    """A port that nobody listens on."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield Liar(nothing, f"http://127.0.0.1:{closed.getsockname()[1]}")


@asynccontextmanager
async def deaf(_: Certificates) -> AsyncIterator[Liar]:
    """A port whose queue is full: the next connection gets no answer."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            early = stack.enter_context(socket.socket())
            early.setblocking(False)
            early.connect_ex(full.getsockname())
        yield Liar(nothing, f"http://127.0.0.1:{full.getsockname()[1]}")


@asynccontextmanager
async def nameless(_: Certificates) -> AsyncIterator[Liar]:
    """A host name that no resolver takes."""
    yield Liar(nothing, f"http://{'x' * 64}.invalid")


def no_connection() -> Iterator[Cell]:
    for place, deadline, row in (
        (refusing, 5.0, "refuses the connection"),
        (deaf, SOON, "does not answer the connection"),
        (nameless, 5.0, "has a name that leads nowhere"),
    ):
        yield Cell(row, nothing, (RETRY,), place=place, requests=0, deadline=deadline)
    hang = hangs_after(all_of_it)
    outcomes = (UNKNOWN, RETRY)
    yield Cell("hangs, and no other connection may be made", hang, outcomes, requests=1, deadline=SOON, between=0)


# ---- TLS


def behind(context: Callable[[Certificates], ssl.SSLContext], behave: Behaviour) -> Place:
    return lambda certificates: lying(behave, context(certificates))


def plain(behave: Behaviour, scheme: str = "https") -> Place:
    return lambda _: lying(behave, scheme=scheme)


async def plain_words(line: Line) -> None:
    await line.take(1)
    await line.say(answer(400, b"speak up"))


async def ends_early(line: Line) -> None:
    await line.take(1)


def tls() -> Iterator[Cell]:
    yes = says(handed("one"))
    row = "does not prove in TLS who it is"
    yield Cell(row, yes, (RETRY,), "signed by itself", behind(Certificates.of_nobody, yes), requests=0)
    yield Cell(row, yes, (RETRY,), "another name", behind(Certificates.of_another, yes), requests=0)
    yield Cell(row, yes, (RETRY,), "expired", behind(Certificates.expired, yes), requests=0)
    row = "fails in the TLS handshake"
    yield Cell(row, yes, (RETRY,), "plain text", plain(plain_words), requests=0)
    yield Cell(row, yes, (RETRY,), "hangs up", plain(ends_early), requests=0)
    yield Cell(row, yes, (RETRY,), "reset", plain(resets_after(one_byte)), requests=0)
    yield Cell(row, yes, (RETRY,), "hangs", plain(hangs_after(one_byte)), requests=0, deadline=SOON)
    yield Cell("speaks TLS where plain text is meant", yes, (UNKNOWN,), place=_tls_for_plain, requests=0)
    yield Cell("answers with a MessageId", yes, (HANDED,), "in TLS", behind(Certificates.good, yes))
    for variant, behave in (
        ("in TLS", says_and_ends()),
        ("in TLS, reset", says_and_ends(reset=True)),
    ):
        yield Cell("hangs up after the request", behave, (UNKNOWN,), variant, behind(Certificates.good, behave))
    cut = says_and_ends(handed("one")[:-5])
    yield Cell("hangs up in the answer", cut, (UNKNOWN,), "in TLS", behind(Certificates.good, cut))


@asynccontextmanager
async def _tls_for_plain(certificates: Certificates) -> AsyncIterator[Liar]:
    async with lying(says(handed("one")), certificates.good()) as liar:
        liar.url = liar.url.replace("https", "http")
        yield liar


# ---- cuts and silences


def cuts() -> Iterator[Cell]:
    yield Cell("hangs up before it has read a byte", nothing, (f"{RETRY} or {UNKNOWN}",), requests=None)
    row = "hangs up in the request"
    for read in (one_byte, some_of_the_head, the_head, some_of_the_body, all_but_a_byte):
        yield Cell(row, resets_after(read), (UNKNOWN,), read.__name__)
        yield Cell(row, read, (UNKNOWN,), f"{read.__name__}, in order")
    yield Cell(row, resets_after(the_head_and_no_more), (UNKNOWN,), "of a large one", content_bytes=LARGE)
    row = "hangs up after the request"
    yield Cell(row, says_and_ends(), (UNKNOWN,), "in order")
    yield Cell(row, resets_after(all_of_it), (UNKNOWN,), "reset")
    row = "hangs up in the answer"
    yes = handed("one")
    for at in (1, 12, 30, len(yes) - 18, len(yes) - 1):
        yield Cell(row, says_and_ends(yes[:at]), (UNKNOWN,), f"byte {at}")
        yield Cell(row, says_and_ends(yes[:at], reset=True), (UNKNOWN,), f"byte {at}, reset")
    unbounded = b'HTTP/1.1 200 OK\r\n\r\n{"MessageId":"one"}'
    yield Cell("ends its answer by hanging up, without a length", says_and_ends(unbounded))


def silences() -> Iterator[Cell]:
    row = "says nothing until the deadline"
    for read in (at_once, one_byte, the_head, all_of_it):
        yield Cell(row, hangs_after(read), (UNKNOWN,), read.__name__, deadline=SOON, requests=None)
    for read in (at_once, the_head_and_no_more):
        variant = f"{read.__name__}, a large one"
        yield Cell(row, hangs_after(read), (UNKNOWN,), variant, deadline=SOON, requests=None, content_bytes=LARGE)
    row = "says a part of its answer until the deadline"
    yes = handed("one")
    for at in (12, 30, len(yes) - 1):
        yield Cell(row, says(yes[:at]), (UNKNOWN,), f"byte {at}", deadline=SOON)
    yield Cell(row, says(answer(200, b"{}").replace(b"2\r\n", b"9\r\n")), (UNKNOWN,), "too long", deadline=SOON)
    row = "drips its answer past the deadline"
    yield Cell(row, drips(yes, 0.05), (UNKNOWN,), "all of it", deadline=SOON)
    yield Cell(row, drips(b"}" * 99, 0.05, first=answer(200, b"{" * 99)[:-99]), (UNKNOWN,), "body", deadline=SOON)
    on_the_way = b"HTTP/1.1 100 Continue\r\n\r\n"
    yield Cell(row, drips(b"", 0.05, for_ever=on_the_way), (UNKNOWN,), "100 Continue for ever", deadline=SOON)
    yield Cell("drips its answer in time", drips(yes, 0.001), (HANDED,))


# ---- answers that are no answers


def oddities() -> Iterator[Cell]:
    yes, body = handed("one"), b'{"MessageId":"one"}'
    row = "answers with a MessageId"
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked = chunks + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    for variant, parts in {
        "in one packet": (yes,),
        "in two": (yes[:40], yes[40:]),
        "after 100 Continue": (b"HTTP/1.1 100 Continue\r\n\r\n", yes),
        "after 103 and in one packet": (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + yes,),
        "chunked": (chunked,),
        "chunked, byte by byte": tuple(chunked[at : at + 1] for at in range(len(chunked))),
        "without a reason": (yes.replace(b" Whatever", b""),),
        "in HTTP/1.0": (yes.replace(b"HTTP/1.1", b"HTTP/1.0"),),
        "with more beside it": (answer(200, b'{"Other":[1,{}],"MessageId":"one"}', "X-Other: 1"),),
    }.items():
        yield Cell(row, says(*parts), (HANDED,), variant)
    row = "answers in no HTTP that counts"
    for variant, part in {
        "SMTP": b"220 mail.example ESMTP\r\n\r\n",
        "zeros": b"\0" * 1000,
        "chunk of no size": chunks + b"zz\r\n" + body,
        "chunk of a negative size": chunks + b"-1\r\n" + body,
        "two lengths": yes.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n"),
        "a length and chunks": chunked.replace(b"\r\n\r\n", b"\r\nContent-Length: 19\r\n\r\n", 1),
        "a negative length": yes.replace(b"Length: ", b"Length: -"),
        "a length of letters": yes.replace(b"Length: ", b"Length: x"),
        "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + body,
        "a NUL in a header": yes.replace(b"Whatever\r\n", b"Whatever\r\nX: \0\r\n"),
    }.items():
        yield Cell(row, says_and_ends(part), (UNKNOWN,), variant)
    row = "redirects"
    for status in (300, 301, 302, 303, 304, 307, 308):
        yield Cell(row, answers(status, b"", "Location: /v2/email/outbound-emails"), (UNKNOWN,), str(status))
    row = "answers with another good status"
    for status in (201, 202, 204, 206):
        yield Cell(row, answers(status, b"" if status == 204 else body), (UNKNOWN,), str(status))


def floodings() -> Iterator[Cell]:
    row, megabyte = "answers without end", b"x" * 2**20
    head = b"HTTP/1.1 200 OK\r\n"
    for variant, first, rest in (
        ("a body", head + b"Content-Length: 99999999999\r\n\r\n", megabyte),
        ("chunks", head + b"Transfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + megabyte + b"\r\n"),
        ("headers", head, b"X-Header: some words\r\n" * 10_000),
        ("one header", head + b"X-Header: ", megabyte),
        ("a header's name", head, megabyte),
        ("a status", b"HTTP/1.1 200 ", megabyte),
        ("a chunk's extension", head + b"Transfer-Encoding: chunked\r\n\r\n1;", megabyte),
        ("trailers", head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Header: some words\r\n" * 10_000),
        ("words on the way", b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000),
    ):
        yield Cell(row, floods(first, rest), (UNKNOWN,), variant, deadline=3.0)


def junk() -> Iterator[Cell]:
    row = "answers 200 without a MessageId"
    for body in (
        b"",
        b"{}",
        b"not json",
        b"[]",
        b"null",
        b'"MessageId"',
        b'{"MessageId":null}',
        b'{"MessageId":""}',
        b'{"MessageId":7}',
        b'{"MessageId":{"a":1}}',
        b'{"MessageId":"one"',
        b'{"MessageId":"\xff"}',
        b'{"MessageId":"a b"}',
        b'{"MessageId":"\\u0000"}',
        b'{"MessageId":"\\ud800"}',
        b'{"messageId":"one"}',
        b"\x1f\x8b\x08\x00 gzip",
    ):
        yield Cell(row, answers(200, body), (UNKNOWN,), ascii(body))
    yield Cell(row, answers(200, b'{"MessageId":"%s"}' % (b"x" * 5_000)), (UNKNOWN,), "an id too long")
    yield Cell(row, answers(200, b"[" * 100_000), (UNKNOWN,), "deep lists")
    yield Cell(row, answers(200, b'{"a":' * 100_000), (UNKNOWN,), "deep objects")
    yield Cell(row, answers(200, b'{"MessageId":' + b"9" * 100_000 + b"}"), (UNKNOWN,), "a long number")


# ---- SES's no


def error(code: str, status: int = 400, words: str = "no") -> bytes:
    """Write an error as SES does: the code in a header, the words in the body."""
    body = json.dumps({"message": words}).encode()
    return answer(status, body, f"x-amzn-ErrorType: {code}:http://internal.amazon.com/coral/")


ERRORS = (  # botocore's own list for SendEmail, then AWS's common errors and what neighbours have seen
    ("TooManyRequestsException", 429, "Maximum sending rate exceeded.", THROTTLED),
    ("LimitExceededException", 400, "There are too many instances.", THROTTLED),
    ("AccountSuspendedException", 400, "The account was shut down.", PAUSED),
    ("SendingPausedException", 400, "Sending is paused for this account.", PAUSED),
    ("MessageRejected", 400, "Message failed virus scan.", REFUSED),
    ("MailFromDomainNotVerifiedException", 400, "MX is missing.", UNVERIFIED),
    ("NotFoundException", 404, "Configuration set does not exist.", UNPROVISIONED),
    ("BadRequestException", 400, "Illegal address", REFUSED),
    ("ThrottlingException", 400, "Daily message quota exceeded.", THROTTLED),
    ("Throttling", 400, "Maximum sending rate exceeded.", THROTTLED),
    ("ConfigurationSetSendingPausedException", 400, "Sending has been disabled.", PAUSED),
    ("AccessDeniedException", 403, "Tenant not associated with resources [x]", UNPROVISIONED),
    ("ExpiredTokenException", 403, "The security token has expired.", RETRY),
    ("IncompleteSignatureException", 400, "Authorization header is cut.", RETRY),
    ("InvalidClientTokenId", 403, "The security token is invalid.", RETRY),
    ("InvalidSignatureException", 403, "Signature expired: 1 is now earlier than 2", RETRY),
    ("MissingAuthenticationTokenException", 403, "No token.", RETRY),
    ("SignatureDoesNotMatch", 403, "Check your key.", RETRY),
    ("UnrecognizedClientException", 403, "The security token is invalid.", RETRY),
    ("RequestExpired", 400, "More than 15 minutes after its date.", RETRY),
    ("RequestTimeTooSkewed", 403, "The difference is too large.", RETRY),
    ("NotAuthorized", 400, "No permission.", RETRY),
    ("OptInRequired", 403, "Needs a subscription.", RETRY),
    ("InvalidAction", 400, "The action is not valid.", RETRY),
    ("UnknownOperationException", 404, "No such operation.", RETRY),
    ("RequestTimeoutException", 408, "The request did not come in time.", RETRY),
    ("SerializationException", 400, "Unexpected token", REFUSED),
    ("ValidationException", 400, "1 validation error detected", REFUSED),
    ("SomethingNewException", 400, "no", REFUSED),
)
REJECTED = (  # the same code, told apart by SES's words
    ("MessageRejected", "Email address is not verified. The following ...", UNVERIFIED, "an identity is not verified"),
    ("MessageRejected", "Sending disabled for arn:aws:ses:...", PAUSED, "sending is disabled"),
    ("BadRequestException", "Sending has been disabled for configuration set <x>.", PAUSED, "sending is disabled"),
)


def refusals() -> Iterator[Cell]:
    for code, status, words, outcome in ERRORS:
        yield Cell(f"answers {status} `{code}`", says(error(code, status, words)), (outcome,))
    for code, words, outcome, what in REJECTED:
        yield Cell(f"answers 400 `{code}`: {what}", says(error(code, 400, words)), (outcome,))
    row = "answers 400 `BadRequestException`"
    for variant, whole in {
        "code in the body": answer(400, b'{"__type":"com.amazonaws.ses#BadRequestException","message":"no"}'),
        "other words": answer(400, b'{"code":"BadRequestException"}'),
        "no words": answer(400, b"<html>", "x-amzn-ErrorType: BadRequestException"),
        "words without end": answer(400, b"[" * 100_000, "x-amzn-ErrorType: BadRequestException"),
        "a NUL": answer(400, b'{"message":"\\u0000 \\ud800"}', "x-amzn-ErrorType: BadRequestException"),
    }.items():
        yield Cell(row, says(whole), (REFUSED,), variant)
    yield Cell("answers 429 without a code", answers(429, b""), (THROTTLED,))
    row = "answers another 4xx without a code: it may not be SES"
    for status in (400, 401, 403, 404, 407, 408, 413, 418, 431):
        yield Cell(row, answers(status, b"<html>proxy</html>"), (UNKNOWN,), str(status))


def failures() -> Iterator[Cell]:
    for status in (500, 502, 503, 504):
        for variant, whole in {
            "bare": answer(status, b""),
            "with a code": error("InternalServiceErrorException", status),
            "with a code that throttles": error("ThrottlingException", status),
            "with a MessageId": answer(status, b'{"MessageId":"one"}'),
        }.items():
            yield Cell(f"answers {status}", says(whole), (UNKNOWN,), variant)
    for status in (501, 505, 511, 599):
        yield Cell("answers another 5xx", answers(status, b""), (UNKNOWN,), str(status))


# ---- kept connections


def first_yes_then(then: Behaviour) -> Behaviour:
    """Hand over the first message of the first connection, then do this; other connections say yes."""
    said: list[Line] = []

    async def behave(line: Line) -> None:
        said.append(line)
        await line.request()
        await line.say(handed(f"id-{len(said)}"))
        await (then(line) if len(said) == 1 else line.stay())

    return behave


async def half_closes(line: Line) -> None:
    line.half_close()
    await line.stay()


async def speaks_unasked(line: Line) -> None:
    await line.say(handed("unasked"))
    await line.stay()


async def refuses_before_the_body(line: Line) -> None:
    """Answer when only the head is read, and never read the rest."""
    await line.head()
    line.deafen()
    await line.say(error("BadRequestException"))
    await line.stay()


def kept() -> Iterator[Cell]:
    twice = (HANDED, HANDED)
    row = "has dropped a kept connection"
    yield Cell(row, first_yes_then(nothing), twice, "closed")
    yield Cell(row, first_yes_then(resets_after(nothing)), twice, "reset")
    yield Cell(row, first_yes_then(half_closes), twice, "half-closed")
    racing = (HANDED, f"{HANDED} or {UNKNOWN}")
    yield Cell("drops a kept connection on the way", first_yes_then(nothing), racing, requests=None, between=0.0001)
    row = "drops a kept connection as the next request comes"
    for read in (one_byte, the_head, all_of_it):
        yield Cell(row, first_yes_then(read), (HANDED, UNKNOWN), f"closed: {read.__name__}")
        yield Cell(row, first_yes_then(resets_after(read)), (HANDED, UNKNOWN), f"reset: {read.__name__}")
    row = "says more than was asked"
    double = says(handed("one") + handed("two"))
    yield Cell(row, double, (HANDED, HANDED), "in one packet")
    yield Cell(row, says(handed("one"), handed("two")), (HANDED, HANDED), "in two")
    yield Cell(row, first_yes_then(speaks_unasked), (HANDED, HANDED), "later")
    yield Cell(row, says(handed("one") + b"\0junk"), (HANDED, HANDED), "junk")
    closing = answers(200, b'{"MessageId":"one"}', "Connection: close")
    yield Cell("answers with a MessageId", closing, (HANDED, HANDED), "closing")
    row = "says no before the whole request was read"
    yield Cell(row, refuses_before_the_body, (REFUSED, REFUSED), content_bytes=LARGE)


def accepts_then_fails() -> Iterator[Cell]:
    row = "takes the message and says otherwise"
    for status in (500, 503):
        yield Cell(row, answers(status, b'{"message":"taken, in truth"}'), (UNKNOWN,), str(status))


SOURCES = (
    no_connection,
    tls,
    cuts,
    silences,
    oddities,
    floodings,
    junk,
    refusals,
    failures,
    kept,
    accepts_then_fails,
)
CELLS = tuple(cell for source in SOURCES for cell in source())


async def slow_then_silent(line: Line) -> None:
    """Answer the first request late, and the next one never."""
    await line.request()
    await asyncio.sleep(0.7)
    await line.say(handed("one"))
    await line.stay()
