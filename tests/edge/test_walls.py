"""The walls between tenants and between scopes, for every route that the OpenAPI document names."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import pytest
import pytest_asyncio
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.model import ServiceModel
from botocore.parsers import create_parser

from tenantry.core.claim import Claim
from tenantry.edge.ses_desk import OPERATIONS
from tenantry.flow.ingest import ingest
from tests import worlds
from tests.edge.doorstep import MODEL, Doorstep, Reply, doorstep, letter, make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

DIGITS = "f" * 32


@dataclass(frozen=True)
class Held:
    """What a tenant holds, by the name that routes give the parameter: ids first, then names."""

    things: dict[str, tuple[str, ...]]


class Walls(NamedTuple):
    """Two tenants with one thing of each kind, and acme's key with every scope that a tenant can have."""

    doors: Doorstep
    token: str
    own: Held
    foreign: Held


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def walls(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Walls]:
    """Both tenants have sent, bounced, been judged and been paused."""
    async with doorstep(tmp_path_factory.mktemp("walls")) as doors:
        own, foreign = await holdings(doors, doors.acme), await holdings(doors, doors.other)
        _, token = await make_key(doors, doors.acme, "read", "manage", "send")
        yield Walls(doors, token, own, foreign)


async def holdings(doors: Doorstep, member: worlds.Member) -> Held:
    """Give a tenant a message, a verdict, a pause and a key of its own, and say what all it holds."""
    verdict = await judged(doors, member)
    opened = await doors.operate("POST", "/v1/pauses", {"scope": str(member.marketing), "reason": "a look"})
    name = member.domain.partition(".")[0]
    wanted = {"name": f"own-{name}", "class": "marketing", "tenant": name}
    stream = await doors.operate("POST", "/v1/streams", wanted)
    identity = (await doors.operate("GET", f"/v1/identities?tenant={member.tenant_id}")).json["items"][0]
    message = (await doors.call("POST", "/v1/messages", letter(member), token=doors.token(member))).json["id"]
    key, _ = await make_key(doors, member, "read")
    kept = {"tenant": name, "name": f"own-{name}", "subject": "Hi", "text": "Hello"}
    template = await doors.operate("POST", "/v1/templates", kept)
    return Held(
        {
            "message": (message,),
            "tenant": (str(member.tenant_id), name),
            "stream": (str(member.transactional), stream.json["name"]),
            "identity": (identity["id"], identity["name"]),
            "key": (str(key),),
            "template": (template.json["name"],),
            "pause": (opened.json["id"],),
            "verdict": (verdict,),
            "thing": (message, str(member.tenant_id), str(member.marketing), opened.json["id"], verdict),
        }
    )


async def judged(doors: Doorstep, member: worlds.Member) -> str:
    """Let a tenant's marketing bounce until the guard has judged it, and return the verdict's id."""
    cell = worlds.CellId((await doors.operate("GET", "/v1/cells")).json["items"][0]["id"])
    await worlds.accepted(doors.store, member, 60, "marketing")
    done: Sequence[tuple[Claim, str]] = await worlds.handed(doors.store, cell)
    await ingest(doors.store, cell, [worlds.report("Bounce", one, ses_id) for one, ses_id in done])
    shown = await doors.operate("GET", f"/v1/streams/{member.marketing}/reputation")
    return shown.json["verdicts"][0]["id"]


def routes(document: dict) -> list[tuple[str, str]]:
    """Return the method and path of each route below /v1."""
    return [(method.upper(), path) for path, item in document["paths"].items() for method in item]


async def offered(walls: Walls) -> list[tuple[str, str]]:
    return routes((await walls.doors.call("GET", "/openapi.json", token="")).json)


BODIES = {
    "POST /v1/pauses/{pause}/end": {"reason": "x"},
    "POST /v1/tenants": {"name": "gamma"},
    "POST /v1/streams": {"name": "n", "class": "marketing"},
    "POST /v1/identities": {"name": "n.example"},
    "POST /v1/keys": {"scopes": ["read"]},
    "POST /v1/pauses": {"scope": f"str_{DIGITS}", "reason": "x"},
    "POST /v1/pools": {"name": "tier-z", "kind": "standard"},
    "POST /v1/policies/backtest": {"text": "policy: mine\nlines:\n  - {counts: bounce, line: 5%}\n"},
    "POST /v1/keys/{key}/rotate": {"overlap_seconds": 60},
    "POST /v1/templates": {"name": "t", "subject": "x", "text": "x"},
    "PUT /v1/templates/{template}": {"subject": "x", "text": "x"},
    "POST /v1/templates/{template}/preview": {"data": {}},
    "POST /v1/suppressions": {"addresses": ["ann@example.com"]},
    "POST /v1/suppressions/remove": {"addresses": ["ann@example.com"]},
}


def anonymous(reply: Reply, *named: str) -> tuple[int, str, list[tuple[str, str]]]:
    """Return an answer without what must differ: the request's id, the date, and the id that was asked for."""
    text = reply.text
    for name in named:
        text = text.replace(name, "ID")
    number = reply.headers.get("x-request-id", "")
    text = text.replace(f'"{number}"', '"REQUEST"')
    kept = sorted((name.lower(), value) for name, value in reply.headers.items())
    return reply.status, text, [row for row in kept if row[0] not in ("x-request-id", "date", "content-length")]


async def test_every_route_with_an_id_answers_a_foreign_one_like_a_random_one(walls: Walls) -> None:
    """Byte for byte, another tenant's id or name answers like one that nobody holds, and changes nothing."""
    tried = 0
    before = await walls.doors.rows()
    for method, path in await offered(walls):
        for kind in re.findall(r"\{(\w+)\}", path):
            for foreign, own in zip(walls.foreign.things[kind], walls.own.things[kind], strict=True):
                prefix, mark, digits = foreign.partition("_")
                random = f"{prefix}_{DIGITS}" if mark and len(digits) == 32 else "nobody-holds-this"
                body = BODIES.get(f"{method} {path}")
                replies = [
                    await walls.doors.call(method, path.replace(f"{{{kind}}}", each), body, token=walls.token)
                    for each in (foreign, random)
                ]
                assert anonymous(replies[0], foreign) == anonymous(replies[1], random), f"{method} {path} {foreign}"
                assert replies[0].status in (404, 403), f"{method} {path} {foreign}: {replies[0].text}"
                if method == "GET":
                    mine = await walls.doors.call(method, path.replace(f"{{{kind}}}", own), token=walls.token)
                    assert mine.status == 200, f"{path} {own}: {mine.text}"
                tried += 1
    assert tried >= 14
    assert await walls.doors.rows() == before


async def test_every_query_for_a_tenant_answers_a_foreign_one_like_a_random_one(walls: Walls) -> None:
    """Each route that takes a tenant as a parameter, and each body that does, treats a foreign one as not there."""
    document = (await walls.doors.call("GET", "/openapi.json", token="")).json
    tried = 0
    before = await walls.doors.rows()
    for method, path in routes(document):
        operation = document["paths"][path][method.lower()]
        takes = {row["name"] for row in operation.get("parameters", []) if row["in"] == "query"}
        where = re.sub(r"\{(\w+)\}", lambda found: walls.own.things[found[1]][0], path)
        body = BODIES.get(f"{method} {path}")
        in_body = "tenant" in _fields(document, operation)
        if "tenant" not in takes and not in_body:
            continue
        for foreign in walls.foreign.things["tenant"]:
            random = f"ten_{DIGITS}" if foreign.startswith("ten_") else "nobody-holds-this"
            replies = [
                await walls.doors.call(
                    method,
                    where if in_body else f"{where}?tenant={each}",
                    {**(body or {}), "tenant": each} if in_body else None,
                    token=walls.token,
                )
                for each in (foreign, random)
            ]
            assert anonymous(replies[0], foreign) == anonymous(replies[1], random), f"{method} {path}"
            assert replies[0].status == 404, f"{method} {path}: {replies[0].text}"
            tried += 1
    assert tried >= 20
    assert await walls.doors.rows() == before


def _fields(document: dict, operation: dict) -> set[str]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    return set(document["components"]["schemas"].get(name, {}).get("properties", {}))


# ---- who may call what; reviewed by a person: a new route fails until it stands here

ALLOWED = {
    "POST /v1/messages": "send",
    "POST /v1/messages/batch": "send",
    "POST /v1/messages/mime": "send",
    "GET /v1/suppressions": "read",
    "GET /v1/suppressions.csv": "read",
    "POST /v1/suppressions": "manage",
    "POST /v1/suppressions/remove": "manage",
    "POST /v1/suppressions/import": "manage",
    "GET /v1/messages": "read",
    "GET /v1/messages/{message}": "read",
    "POST /v1/tenants": "operate",
    "GET /v1/tenants": "read",
    "GET /v1/tenants/{tenant}": "read",
    "GET /v1/tenants/{tenant}/counts": "read",
    "GET /v1/policies": "operate",
    "POST /v1/policies/backtest": "operate",
    "GET /v1/tenants/{tenant}/counts/check": "read",
    "POST /v1/streams": "manage",
    "GET /v1/streams": "read",
    "GET /v1/streams/{stream}": "read",
    "GET /v1/streams/{stream}/reputation": "read",
    "POST /v1/identities": "manage",
    "GET /v1/identities": "read",
    "GET /v1/identities/{identity}": "read",
    "POST /v1/keys": "manage",
    "GET /v1/keys": "manage",
    "POST /v1/keys/{key}/rotate": "manage",
    "GET /v1/templates": "read",
    "POST /v1/templates": "manage",
    "GET /v1/templates/{template}": "read",
    "GET /v1/templates/{template}/versions": "read",
    "PUT /v1/templates/{template}": "manage",
    "DELETE /v1/templates/{template}": "manage",
    "POST /v1/templates/{template}/preview": "read",
    "DELETE /v1/keys/{key}": "manage",
    "POST /v1/pauses": "operate",
    "GET /v1/pauses": "read",
    "GET /v1/pauses/{pause}": "read",
    "POST /v1/pauses/{pause}/end": "operate",
    "GET /v1/verdicts/{verdict}": "read",
    "GET /v1/explain/{thing}": "read",
    "POST /v1/pools": "operate",
    "GET /v1/pools": "operate",
    "GET /v1/cells": "operate",
    "GET /v1/plan": "operate",
    "GET /v1/waits": "read",
    "GET /v1/doctor": "operate",
    "GET /v1/recovery": "operate",
    "POST /v1/recovery/begin": "operate",
    "POST /v1/recovery/release": "operate",
    "POST /v1/recovery/discard": "operate",
}


async def test_each_route_lets_in_exactly_who_it_should(walls: Walls) -> None:
    """Every route against no key, a wrong scheme, a revoked key, each scope alone, and the operator's key."""
    doors = walls.doors
    assert {f"{method} {path}" for method, path in await offered(walls)} == set(ALLOWED)
    tenants = {scope: (await make_key(doors, doors.acme, scope))[1] for scope in ("send", "read", "manage")}
    revoked_id, revoked = await make_key(doors, doors.acme, "send", "read", "manage")
    await doors.operate("DELETE", f"/v1/keys/{revoked_id}")
    doors.clock.shift += timedelta(seconds=1.1)
    odd = {f"{scheme} {doors.operator}" for scheme in ("Basic", "Token", "")} | {"Bearer", f"Bearer {doors.operator}x"}
    for route, scope in ALLOWED.items():
        method, _, path = route.partition(" ")
        # Nothing exists under these ids, and the bodies are empty: who is let in is then told what is wrong with the call.
        where = re.sub(r"\{\w+\}", f"msg_{DIGITS}", path)
        body = {} if method == "POST" else None
        for header in odd:
            reply = await doors.call(method, where, body, token="", authorization=header)
            assert (reply.status, reply.error[0]) == (401, "unauthenticated"), f"{route} {header}"
        assert (await doors.call(method, where, body, token="")).error[0] == "unauthenticated", route
        assert (await doors.call(method, where, body, token=revoked)).error[0] == "key_revoked", route
        for held, token in tenants.items():
            reply = await doors.call(method, where, body, token=token)
            assert (reply.status == 403) == (held != scope), f"{route} with {held}: {reply.text}"
        reply = await doors.operate(method, where, body)
        assert (reply.status == 403) == (scope == "send"), f"{route} as operator: {reply.text}"


# ---- the SES wire

SERVICE = ServiceModel(MODEL, "sesv2")


@pytest.mark.parametrize("name", sorted(set(SERVICE.operation_names) - set(OPERATIONS)))
async def test_every_other_operation_of_ses_is_denied_in_its_own_shape(walls: Walls, name: str) -> None:
    """Whatever else an SDK can call is refused by name, in the error that botocore's own parser understands."""
    http = SERVICE.operation_model(name).http
    path = re.sub(r"\{\w+\}", "x", http["requestUri"].partition("?")[0])
    reply = await signed(walls.doors, http["method"], path)
    assert reply.status == 403, reply.text
    response = {"status_code": reply.status, "headers": reply.headers, "body": reply.text.encode()}
    parsed = create_parser("rest-json").parse(response, SERVICE.operation_model(name).output_shape)
    assert parsed["Error"]["Code"] == "AccessDeniedException"
    assert parsed["Error"]["Message"].endswith(f"is not authorized to perform: ses:{name}")


async def signed(doors: Doorstep, method: str, path: str) -> Reply:
    """Call the SES door with acme's signature."""
    body = b"" if method in ("GET", "DELETE") else b"{}"
    request = AWSRequest(method, f"{doors.url}{path}", data=body)
    SigV4Auth(Credentials(doors.acme.key_id, doors.acme.secret), "ses", "eu-west-1").add_auth(request)
    async with doors.http.request(method, request.url, data=body, headers=dict(request.headers)) as response:
        return Reply(response.status, response.headers, await response.text())
