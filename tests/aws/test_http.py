"""The HTTP client's connections: kept, bounded and dropped; what servers do to a call is in test_liar.py."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tenantry.app.clock import SystemClock
from tenantry.aws.http import HttpClient, Limits
from tests.aws.liar import Line, answer, lying

YES = answer(200, b"yes")
HEAD = b"POST / HTTP/1.1\r\nhost: there\r\ncontent-length: 1\r\n\r\n"


async def says_yes(line: Line) -> None:
    """Answer every request a moment later."""
    while True:
        await line.request()
        await asyncio.sleep(0.01)
        await line.say(YES)


async def says_yes_to_the_second(line: Line) -> None:
    """Leave the first request unanswered, and answer both when the second comes."""
    await line.request()
    await line.request()
    await line.say(answer(200, b"first") + answer(200, b"second"))
    await line.stay()


async def test_a_connection_is_used_again() -> None:
    """Calls one after the other share a connection."""
    async with lying(says_yes) as liar:
        client = HttpClient(liar.url, SystemClock(), Limits())
        bodies = [(await client.call(HEAD, b"x")).body for _ in range(5)]
        client.close()
        assert bodies == [b"yes"] * 5
        assert len(liar.lines) == 1


async def test_no_more_connections_than_allowed() -> None:
    """Calls beyond the limit wait for a connection, and each is answered."""
    async with lying(says_yes) as liar:
        client = HttpClient(liar.url, SystemClock(), Limits(connections=3))
        found = await asyncio.gather(*(client.call(HEAD, b"x") for _ in range(20)))
        client.close()
        assert [one.body for one in found] == [b"yes"] * 20
        assert len(liar.lines) == 3


async def test_an_idle_connection_is_dropped_in_time() -> None:
    """The server sees the end of a connection that nobody used for so long, before it drops it itself."""
    async with lying(says_yes) as liar:
        client = HttpClient(liar.url, SystemClock(), Limits(idle_seconds=0.05))
        await client.call(HEAD, b"x")
        async with asyncio.timeout(2):
            await liar.lines[0].lost.wait()
        await client.call(HEAD, b"x")
        client.close()
        assert len(liar.lines) == 2


async def test_what_comes_for_a_cancelled_call_is_nobodys_answer() -> None:
    """A connection whose call was given up is not used again: its late answer would be taken for another's."""
    async with lying(says_yes_to_the_second) as liar:
        client = HttpClient(liar.url, SystemClock(), Limits(deadline_seconds=0.5))
        given_up = asyncio.create_task(client.call(HEAD, b"x"))
        while not liar.requests:
            await asyncio.sleep(0.01)
        given_up.cancel()
        with suppress(asyncio.CancelledError):
            await given_up
        second = asyncio.create_task(client.call(HEAD, b"x"))
        while len(liar.lines) < 2:
            await asyncio.sleep(0.01)
            assert not second.done()
        second.cancel()
        with suppress(asyncio.CancelledError):
            await second
        client.close()
        assert [len(line.requests) for line in liar.lines] <= [1, 1]
