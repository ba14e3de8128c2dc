"""Mail that SMTP answered with 250 is in the database, on both of them; while it is away the client keeps its mail."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tenantry.app.batch import Batcher
from tenantry.app.clock import SystemClock
from tenantry.app.doors import make_doors
from tenantry.app.smtp import SmtpServer
from tenantry.ports import StoreBusy
from tenantry.settings import Settings
from tests import worlds
from tests.conformance.conftest import Ground
from tests.e2e.running import until

LETTER = "From: hello@acme.example\r\nTo: ann@example.com\r\nSubject: Hi\r\n\r\nHello\r\n"


@asynccontextmanager
async def smtp(store: object, folder: Path) -> AsyncIterator[int]:
    """Serve SMTP in clear over a store, behind a real batch; yield its port."""
    settings = Settings(data=folder, smtp_port=0, smtp_login_in_clear=True)
    batcher = Batcher(store, 64, 2, lambda: None)
    server = SmtpServer(settings, make_doors(settings, store, SystemClock(), batcher))
    task = asyncio.create_task(server.run())
    await asyncio.to_thread(until, lambda: server.serves)
    yield int(server.addresses["smtp"].rpartition(":")[2])
    await server.close()
    task.cancel()


def send(port: int, member: worlds.Member, *to: str) -> int:
    """Send one letter by smtplib and return the code of the answer to it."""
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.login(member.key_id, member.secret)
        try:
            client.sendmail("hello@acme.example", to or ["ann@example.com"], LETTER)
        except smtplib.SMTPDataError as refused:
            return refused.smtp_code
    return 250


async def test_250_is_in_the_database(ground: Ground, tmp_path: Path) -> None:
    """Twenty clients at once are answered 250, and as many messages with their blind copies are there for dispatch."""
    member = await worlds.member(ground.store)
    async with smtp(ground.store, tmp_path) as port:
        people = ("ann@example.com", "hid@example.com")
        codes = await asyncio.gather(*(asyncio.to_thread(send, port, member, *people) for _ in range(20)))
    assert codes == [250] * 20
    handed = await worlds.handed(ground.store, ground.cell)
    assert [(one.to, one.bcc) for one, _ in handed] == [(("ann@example.com",), ("hid@example.com",))] * 20


async def test_a_database_that_is_away_answers_4xx(ground: Ground, tmp_path: Path) -> None:
    """A commit that cannot be made is no 250 and leaves nothing behind; the client's next try is taken."""
    member = await worlds.member(ground.store)
    failing = worlds.FailingStore(ground.store)
    failing.next_fails(StoreBusy("away"))
    failing.of, failing.key = ground.store.of, ground.store.key  # type: ignore[attr-defined]
    async with smtp(failing, tmp_path) as port:
        assert await asyncio.to_thread(send, port, member) == 451
        assert await worlds.handed(ground.store, ground.cell) == []
        assert await asyncio.to_thread(send, port, member) == 250
    assert len(await worlds.handed(ground.store, ground.cell)) == 1
