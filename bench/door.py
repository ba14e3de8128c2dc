"""Runs the doors in a process of their own, with a route that answers a constant: `python -m bench.door sqlite`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import uvloop

from bench.bare import PATH, Bare, writer
from bench.world import world
from tenantry.app.batch import Batcher
from tenantry.app.clock import SystemClock
from tenantry.app.doors import listen, make_doors, make_server
from tenantry.app.loop import settle_heap
from tenantry.settings import Settings
from tenantry.store.store import Store

CONSTANT = b'{"MessageId":"constant"}'


async def main(kind: str) -> None:
    """Serve until the other side closes our input."""
    async with world(kind, 8) as made:
        batcher = Batcher(made.store, 64, 1 if kind == "sqlite" else 2, lambda: None)
        server = make_server(make_doors(Settings(), made.store, SystemClock(), batcher))
        app = server.config.app
        bare = Bare({str(one.key_id): one.secret for one in made.tenants}, await writer(made.store))

        async def with_constant(scope, receive, send):  # type: ignore[no-untyped-def]
            if scope.get("path") == PATH:
                await bare(scope, receive, send)
                return
            if scope.get("path") != "/constant":
                await app(scope, receive, send)
                return
            while (await receive()).get("more_body"):
                pass
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(CONSTANT)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": CONSTANT})

        server.config.app = with_constant
        door = listen("127.0.0.1", 0)
        serving = asyncio.create_task(server.serve(sockets=[door]))
        await server.up.wait()
        settle_heap()
        keys = [(one.key_id, one.secret, one.domain) for one in made.tenants]
        told = {"port": door.getsockname()[1], "keys": keys, "server": await _server(made.store)}
        print(json.dumps(told), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving


async def _server(store: Store) -> int | None:
    """Return PostgreSQL's first process, of which all others are children."""
    if store.alone:
        return None
    async with store.reading() as step:
        backend = int((await step.run("SELECT pg_backend_pid()"))[0][0])
    return _parent(backend)


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
