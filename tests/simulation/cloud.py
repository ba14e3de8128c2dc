"""Owns the cloud of the simulation: the local SES's core in process, behind the real adapters' own clients.

What SesSender, SqsFeed and boto3 would write to a socket is decoded by the same models and answered by the same account
as in `tenantry ses-local`; on the way it is delayed, lost, cut, refused or repeated. Leaves judging to judge.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from math import inf
from random import Random
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from tenantry.aws.control import BotoControl, Place, control_client
from tenantry.aws.feed import SqsFeed
from tenantry.aws.http import Answer, CutError, NotSentError
from tenantry.aws.send import SesSender
from tenantry.aws.session import new_session
from tenantry.emulator.account import Account, Request
from tenantry.emulator.account import Answer as Said
from tenantry.emulator.neighbours.codecs import Asked, read_json
from tenantry.emulator.neighbours.queue import Entry, Queue
from tenantry.emulator.options import FEED_NAME
from tenantry.emulator.server import ses_codec
from tenantry.emulator.state import Call, State
from tenantry.wire.aws import encode_error
from tests.simulation.faults import Faults
from tests.simulation.loop import NOBODY, SeededLoop

ENDPOINT = "http://ses.simulated"
DEADLINE = 10.0  # of a send; what SES has not taken by then it never takes
FEED_WAIT, FEED_HIDDEN = 10, 4
BEGINNING = 1_795_521_600.0  # noon of a November day


class Cloud:
    """One account, on the network of one run."""

    def __init__(self, account: Account, loop: SeededLoop, faults: Faults, random: Random) -> None:
        self.account = account
        self.loop = loop
        self.faults = faults
        self.random = random
        self.polls: list[asyncio.Future[None]] = []  # long polls that wait for something to arrive
        self.told: Callable[[Request, Said], None] = lambda _request, _said: None
        self._publishes_at = inf
        queue = account.queues[FEED_NAME]
        account.queues[FEED_NAME] = Postman(queue.name, queue.created_at, self)
        loop.latency = lambda: self.random.uniform(0.002, 0.03)

    def now(self) -> float:
        """Return SES's own time, epoch seconds; nobody's clock jumps here."""
        return BEGINNING + self.loop.time()

    def answer(self, request: Request) -> Said:
        """Let SES answer a request that has reached it."""
        said = self.account.call(request, Call(self.now(), "local", endpoint=ENDPOINT))
        self.told(request, said)
        self._publish()
        return said

    def answer_of_queue(self, asked: Asked) -> Said:
        """Let SQS answer a call that has reached it."""
        account = self.account
        said = account.neighbours.call(asked, Call(self.now(), "local", endpoint=ENDPOINT), account.new_uuid())
        self._publish()
        return said

    def _publish(self) -> None:
        """Publish what is due, and come again when more is."""
        self.account.publish_due(self.now())
        due = self.account.next_due()
        if due is not None and due < self._publishes_at:
            self._publishes_at = due
            self.later(max(0.001, due - self.now()), self._publish_again)

    def next_event(self) -> float | None:
        """Return when the next event about mail is due; the metrics of every five minutes say nothing about any."""
        return State.next_due(self.account)

    def _publish_again(self) -> None:
        self._publishes_at = inf
        self._publish()

    def later(self, seconds: float, what: Callable[..., None], *args: object) -> None:
        """Do something in the network after a while, whatever becomes of whoever asked for it."""
        self.loop.call_later(seconds, what, *args, context=NOBODY.copy())

    def hop(self) -> float:
        """Return how long one way takes."""
        return self.random.uniform(3.0, 9.0) if self.faults.strikes("ses is slow") else self.random.uniform(0.002, 0.08)

    def control_answer(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        """Answer one of boto3's requests, before it would leave."""
        faults, parts = self.faults, urlsplit(request.url)
        if faults.strikes("control is not reached"):
            raise ConnectTimeoutError(endpoint_url=request.url)
        if faults.strikes("control throttles"):
            return _response(request, Said(*encode_error("TooManyRequestsException", "Rate exceeded", 429)))
        if faults.strikes("control fails"):
            return _response(request, Said(503, {}, b""))
        ses = ses_codec()
        route = ses.route(request.method, parts.path)
        assert route is not None, request.url
        body = request.body or b""
        said = self.answer(
            Request(ses, route[0], body if isinstance(body, bytes) else body.encode(), route[1], parts.query)
        )
        if faults.strikes("control loses the answer"):
            raise ReadTimeoutError(endpoint_url=request.url)
        return _response(request, said)


class _Body:
    """The rest of a response, as urllib3 would give it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: object) -> list[bytes]:
        return [self._body]


def _response(request: AWSPreparedRequest, said: Said) -> AWSResponse:
    return AWSResponse(request.url, said.status, said.headers, _Body(said.body))


@cache
def _client() -> Any:
    """Make the one boto3 client of all runs: making it takes longer than a run."""
    client = control_client(new_session(("local", "local")), "us-east-1", ENDPOINT)
    client.meta.events.register("before-send.sesv2.*", lambda request, **_: PRESENT[-1].control_answer(request))
    return client


PRESENT: list[Cloud] = []  # the cloud of the run that is under way


class SesWire:
    """What SesSender writes to: one request, which SES may take at most once, and only before its deadline."""

    def __init__(self, cloud: Cloud, lives: Callable[[], bool]) -> None:
        self._cloud = cloud
        self._lives = lives

    async def post(self, _path: str, body: bytes, _kind: str, _extra: dict[str, str] | None = None) -> Answer:
        """See aws.signed.SignedClient."""
        cloud, faults = self._cloud, self._cloud.faults
        if not self._lives():
            raise asyncio.CancelledError
        await asyncio.sleep(cloud.random.uniform(0.0, 0.02))  # a connection; a process may be stopped here
        if faults.strikes("ses refuses the connection"):
            await asyncio.sleep(cloud.random.choice([0.001, DEADLINE / 2]))
            raise NotSentError("simulated")
        ses = ses_codec()
        arrival: asyncio.Future[Said] = cloud.loop.create_future()
        began = cloud.loop.time()
        request = Request(ses, "SendEmail", body)
        fate = faults.first(
            "ses hangs and takes it",
            "ses hangs and takes it not",
            "ses takes it and cuts",
            "ses cuts and takes it not",
            "ses throttles",
            "ses fails and takes it",
            "ses fails and takes it not",
        )

        def arrive() -> None:
            if cloud.loop.time() - began >= DEADLINE or (fate or "").endswith("takes it not"):
                return cloud.later(0.0, _give, arrival, Said(500, {}, b""))
            if fate == "ses throttles":
                return cloud.later(
                    cloud.hop(), _give, arrival, Said(*encode_error("TooManyRequestsException", "", 429))
                )
            said = cloud.answer(request)
            return cloud.later(cloud.hop(), _give, arrival, said)

        cloud.later(cloud.hop(), arrive)
        try:
            async with asyncio.timeout(DEADLINE):
                said = await arrival
                if (fate or "").startswith("ses hangs"):
                    await asyncio.sleep(DEADLINE)
        except TimeoutError as error:
            raise CutError("no answer in time") from error
        if "cuts" in (fate or ""):
            raise CutError("cut")
        if (fate or "").startswith("ses fails"):
            return Answer(cloud.random.choice([500, 502, 503, 504]), b"", None)
        return Answer(said.status, said.body, said.headers.get("x-amzn-errortype"))


def _give(arrival: asyncio.Future[Said], said: Said) -> None:
    if not arrival.done():
        arrival.set_result(said)


class QueueWire:
    """What SqsFeed writes to."""

    def __init__(self, cloud: Cloud, lives: Callable[[], bool]) -> None:
        self._cloud = cloud
        self._lives = lives

    async def post(self, _path: str, body: bytes, _kind: str, extra: dict[str, str]) -> Answer:
        """See aws.signed.SignedClient."""
        cloud, faults = self._cloud, self._cloud.faults
        if not self._lives():
            raise asyncio.CancelledError
        asked = read_json(extra["x-amz-target"], body)
        assert asked is not None
        name = asked.operation
        await asyncio.sleep(cloud.random.uniform(0.001, 0.02))
        if faults.strikes("feed is not reached"):
            raise CutError("simulated")
        said = await self._poll(asked) if name == "ReceiveMessage" else cloud.answer_of_queue(asked)
        await asyncio.sleep(cloud.random.uniform(0.001, 0.02))
        if faults.strikes("feed loses what it gave" if name == "ReceiveMessage" else "feed loses the acknowledgement"):
            raise CutError("simulated")
        return Answer(said.status, said.body, None)

    async def _poll(self, asked: Asked) -> Said:
        """Ask until something is there, or the long poll is over."""
        cloud = self._cloud
        until = cloud.loop.time() + FEED_WAIT
        while True:
            said = cloud.answer_of_queue(asked)
            left = until - cloud.loop.time()
            if said.body != b"{}" or left <= 0:
                return said
            back_at = cloud.account.queues[FEED_NAME].next_visible_at()
            wait = left if back_at is None else min(left, max(0.001, back_at - cloud.now()))
            arrived: asyncio.Future[None] = cloud.loop.create_future()
            cloud.polls.append(arrived)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await arrived


class Postman(Queue):
    """The event queue, with the liberties that a standard queue takes: late, twice, in any order."""

    def __init__(self, name: str, created_at: float, cloud: Cloud) -> None:
        super().__init__(name, created_at)
        self._cloud = cloud
        self._copies = 0
        self.on_the_way = 0

    def put(self, entry: Entry) -> None:
        """Take an entry, now or later, once or twice."""
        faults, random = self._cloud.faults, self._cloud.random
        copies = [entry]
        if faults.strikes("event twice"):
            self._copies += 1
            copies.append(Entry(f"{entry.id}-{self._copies}", entry.sent_at, entry.render))
        for copy in copies:
            late = random.uniform(0.5, 8.0) if faults.strikes("event late") else 0.0
            self.on_the_way += 1
            self._cloud.later(late, self._arrive, copy)

    def _arrive(self, entry: Entry) -> None:
        self.on_the_way -= 1
        if self._ready and self._cloud.faults.strikes("event out of order"):
            self._ready.insert(self._cloud.random.randrange(len(self._ready)), entry)
        else:
            self._ready.append(entry)
        polls = self._cloud.polls
        while polls:
            arrived = polls.pop(0)
            if not arrived.done():
                arrived.set_result(None)
                return


def adapters(cloud: Cloud, lives: Callable[[], bool], unseal: Callable[[bytes], bytes]) -> tuple[Any, Any, Any]:
    """Return the real adapters of a process on this cloud: for sends, control and events."""
    options = cloud.account.options
    place = Place(options.account_id, options.region, options.topic_arn)
    url = f"{ENDPOINT}/{options.account_id}/{FEED_NAME}"
    feed = SqsFeed(QueueWire(cloud, lives), url, FEED_WAIT, FEED_HIDDEN)  # type: ignore[arg-type]
    return SesSender(SesWire(cloud, lives)), BotoControl(_client(), place, unseal), feed  # type: ignore[arg-type]
