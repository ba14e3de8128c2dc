"""The management and reading routes: what operators and tenants can do, and that a tenant meets nobody else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from tenantry.flow.dispatch import claim
from tests import worlds
from tests.edge.doorstep import Doorstep, Reply, letter, make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).resolve().parents[2]


async def manager(doors: Doorstep) -> str:
    """Return the token of a key of acme's that may change things."""
    return (await make_key(doors, doors.acme, "manage", "read"))[1]


async def ids(doors: Doorstep, member: worlds.Member) -> dict[str, str]:
    """Return an id of each kind that belongs to a tenant, by the route that shows it."""
    token = doors.token(member)
    message = (await doors.call("POST", "/v1/messages", letter(member), token=token)).json["id"]
    identity = (await doors.call("GET", "/v1/identities", token=token)).json["items"][0]["id"]
    opened = await doors.operate("POST", "/v1/pauses", {"scope": str(member.marketing), "reason": "a look"})
    assert opened.status == 201, opened.text
    pause = opened.json["id"]
    assert (await doors.operate("POST", f"/v1/pauses/{pause}/end", {"reason": "done"})).status == 200
    return {
        "/v1/messages/{}": message,
        "/v1/tenants/{}": str(member.tenant_id),
        "/v1/streams/{}": str(member.transactional),
        "/v1/streams/{}/reputation": str(member.transactional),
        "/v1/identities/{}": identity,
        "/v1/pauses/{}": pause,
    }


async def test_a_tenant_is_made_with_all_it_needs(doors: Doorstep) -> None:
    """One call makes a tenant, both its streams and the identity with the records to publish."""
    reply = await doors.operate(
        "POST", "/v1/tenants", {"name": "beta", "domain": "beta.example", "labels": {"unit": "x"}}
    )
    assert reply.status == 201, reply.text
    made = reply.json
    assert made["tenant"]["labels"] == {"unit": "x"}
    assert re.fullmatch(r"\d{12}", made["tenant"]["account"])
    assert {stream["class"]: stream["is_default"] for stream in made["streams"]} == {
        "transactional": True,
        "marketing": False,
    }
    record = made["identity"]["records"][0]
    assert (record["type"], record["purpose"], record["status"]) == ("TXT", "dkim", None)
    for each in ("beta", made["tenant"]["id"]):
        assert (await doors.operate("GET", f"/v1/tenants/{each}")).json == made["tenant"]
    assert made["tenant"]["created_at"].endswith("Z")


async def test_a_name_is_given_once(doors: Doorstep) -> None:
    """A tenant's name, an identity and a pool's name have one holder each."""
    for path, body, field in (
        ("/v1/tenants", {"name": "acme"}, "name"),
        ("/v1/identities", {"tenant": "other", "name": "acme.example"}, "name"),
        ("/v1/streams", {"tenant": "acme", "name": "marketing", "class": "marketing"}, "name"),
    ):
        reply = await doors.operate("POST", path, body)
        assert (reply.status, *reply.error) == (409, "conflict", field), reply.text


async def test_a_foreign_id_answers_exactly_like_a_random_one(doors: Doorstep) -> None:
    """Whatever a tenant asks about, another tenant's id, a random id and nonsense get the same body."""
    own, foreign = await ids(doors, doors.acme), await ids(doors, doors.other)
    for path in own:
        assert (await doors.call("GET", path.format(own[path]))).status == 200, path
        random = f"{foreign[path].partition('_')[0]}_{'f' * 32}"
        replies = [await doors.call("GET", path.format(each)) for each in (foreign[path], random, "nonsense")]
        assert {reply.status for reply in replies} == {404}, path
        assert len({_without_request_id(reply) for reply in replies}) == 1, path


def _without_request_id(reply: Reply) -> str:
    error = reply.json["error"]
    assert error.pop("request_id") == reply.headers["x-request-id"]
    return json.dumps(error)


async def test_a_tenant_cannot_reach_another_by_naming_it(doors: Doorstep) -> None:
    """Naming another tenant in a query or a body answers like a tenant that does not exist."""
    token = await manager(doors)
    for name in ("other", str(doors.other.tenant_id), "nobody"):
        read = await doors.call("GET", f"/v1/streams?tenant={name}", token=token)
        made = await doors.call("POST", "/v1/identities", {"name": "x.example", "tenant": name}, token=token)
        assert (read.status, made.status) == (404, 404)
    for path in ("/v1/streams", "/v1/identities", "/v1/messages", "/v1/pauses", "/v1/waits", "/v1/tenants", "/v1/keys"):
        assert str(doors.other.tenant_id) not in (await doors.call("GET", path, token=token)).text, path


async def test_a_tenant_cannot_revoke_anothers_key(doors: Doorstep) -> None:
    """Revoking somebody else's key answers like revoking none, and the key stays."""
    token = await manager(doors)
    for key in (str(doors.other.key_id), f"key_{'f' * 32}", doors.operator.partition(".")[0], "nonsense"):
        assert (await doors.call("DELETE", f"/v1/keys/{key}", token=token)).status == 404
    sent = await doors.call("POST", "/v1/messages", letter(doors.other), token=doors.token(doors.other))
    assert sent.status == 202


async def test_a_key_cannot_make_one_that_may_more(doors: Doorstep) -> None:
    """A tenant's key hands out only what it has itself, and never the operator's scope."""
    token = await manager(doors)
    made = await doors.call("POST", "/v1/keys", {"scopes": ["read"]}, token=token)
    assert (made.status, set(made.json)) == (201, {"id", "tenant_id", "scopes", "created_at", "revoked_at", "secret"})
    for scopes in (["send"], ["operate"], ["read", "send"]):
        reply = await doors.call("POST", "/v1/keys", {"scopes": scopes}, token=token)
        assert (reply.status, *reply.error) == (403, "forbidden", "scopes")
    assert "secret" not in (await doors.call("GET", "/v1/keys", token=token)).text


async def test_a_tenant_cannot_give_itself_a_better_stream(doors: Doorstep) -> None:
    """Class, pool and policy are the operator's to give."""
    token = await manager(doors)
    plain = {"name": "news", "class": "marketing"}
    assert (await doors.call("POST", "/v1/streams", plain, token=token)).status == 201
    for field, value in (("class", "transactional"), ("pool", "tier-a"), ("policy", "observe")):
        reply = await doors.call("POST", "/v1/streams", {**plain, "name": "n2", field: value}, token=token)
        assert (reply.status, *reply.error) == (403, "forbidden", field)


async def test_a_tenant_cannot_give_itself_an_address(doors: Doorstep) -> None:
    """An address of anybody's domain would be that domain's mail: only an operator allots one."""
    token = await manager(doors)
    for name in ("ceo@other.example", "Boss <ceo@other.example>", "me@acme.example"):
        reply = await doors.call("POST", "/v1/identities", {"name": name}, token=token)
        assert (reply.status, *reply.error) == (403, "forbidden", "name")
    allotted = await doors.operate("POST", "/v1/identities", {"name": "shop@isv.example", "tenant": "acme"})
    assert allotted.status == 201, allotted.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/tenants"),
        ("POST", "/v1/pauses"),
        ("POST", f"/v1/pauses/pau_{'0' * 32}/end"),
        ("POST", "/v1/pools"),
        ("GET", "/v1/pools"),
        ("GET", "/v1/cells"),
        ("GET", "/v1/plan"),
        ("GET", "/v1/doctor"),
    ],
)
async def test_what_is_the_operators_is_not_a_tenants(doors: Doorstep, method: str, path: str) -> None:
    """A tenant's key is forbidden whatever concerns all tenants."""
    body = (
        {"name": "x", "scope": str(doors.acme.marketing), "reason": "x", "kind": "standard"}
        if method == "POST"
        else None
    )
    reply = await doors.call(method, path, body, token=await manager(doors))
    assert (reply.status, reply.error[0]) == (403, "forbidden")


async def test_a_stream_is_paused_explained_and_released(doors: Doorstep) -> None:
    """A pause holds at once, names why wherever it is asked about, and ends for a reason."""
    wanted = {"name": "lists", "class": "marketing", "tenant": "acme"}
    stream = (await doors.operate("POST", "/v1/streams", wanted)).json["id"]
    await worlds.verify(doors.store)
    opened = await doors.operate("POST", "/v1/pauses", {"scope": stream, "reason": "a rotten list"})
    assert opened.status == 201, opened.text
    pause = opened.json
    assert pause["state"] in ("local", "fenced")
    held = await doors.call("POST", "/v1/messages", letter(doors.acme, stream="lists"))
    assert held.json["hold"] == "paused"
    for thing in (held.json["id"], pause["id"], stream, str(doors.acme.tenant_id)):
        for caller in (doors.token(), doors.operator):
            reply = await doors.call("GET", f"/v1/explain/{thing}", token=caller)
            assert reply.status == 200, reply.text
            told = " ".join([reply.json["summary"], *reply.json["sentences"]])
            assert ("a rotten list" in told) or ("paused its stream" in told), told
    why = (await doors.call("GET", f"/v1/explain/{held.json['id']}")).json
    assert why["summary"].startswith("It waits because an operator paused its stream")
    assert pause["id"] in why["see"]
    assert (await doors.call("GET", "/v1/pauses?open=true")).json["items"][0]["id"] == pause["id"]
    ended = await doors.operate("POST", f"/v1/pauses/{pause['id']}/end", {"reason": "list was cleaned"})
    assert ended.status == 200, ended.text
    assert ended.json["end_reason"] == "list was cleaned"


@pytest.mark.parametrize(
    ("scope", "status", "code"),
    [
        (f"str_{'f' * 32}", 404, "not_found"),
        ("nonsense", 422, "invalid_field"),
        (f"msg_{'0' * 32}", 422, "invalid_field"),
    ],
)
async def test_what_cannot_be_paused_is_refused(doors: Doorstep, scope: str, status: int, code: str) -> None:
    """A pause needs a scope that exists."""
    reply = await doors.operate("POST", "/v1/pauses", {"scope": scope, "reason": "x"})
    assert (reply.status, reply.error[0]) == (status, code)


async def test_a_tenant_watches_its_own_streams(doors: Doorstep) -> None:
    """Reputation and waits show counts that add up, by name or id."""
    by_name = (await doors.call("GET", "/v1/streams/transactional/reputation")).json
    by_id = (await doors.call("GET", f"/v1/streams/{doors.acme.transactional}/reputation")).json
    assert by_name == by_id
    assert by_name["bounce_bounds"][0] <= by_name["bounce_rate"] <= by_name["bounce_bounds"][1]
    await doors.call("POST", "/v1/messages", letter(doors.acme, to=["x@example.com", "y@example.com"]))
    rows = (await doors.call("GET", "/v1/waits")).json["items"]
    assert all(sum(row["states"].values()) == row["accepted"] for row in rows)
    assert {row["tenant"] for row in rows} == {"acme"}


async def test_operators_see_every_tenants_waits(doors: Doorstep) -> None:
    """Lists over all tenants go tenant by tenant to the end."""
    seen, cursor = set[str](), ""
    while cursor is not None:
        page = (await doors.operate("GET", f"/v1/waits?limit=1{cursor and f'&cursor={quote(cursor)}'}")).json
        seen |= {row["tenant"] for row in page["items"]}
        cursor = page["next_cursor"]
    assert {"acme", "other"} <= seen


async def test_lists_go_page_by_page(doors: Doorstep) -> None:
    """Pages of one put together are the whole list, without gap or repetition."""
    for number in range(3):
        await doors.call("POST", "/v1/messages", letter(doors.acme, subject=f"page {number}"))
    for path in ("/v1/messages", "/v1/streams", "/v1/identities", "/v1/pauses"):
        whole = [row["id"] for row in (await doors.call("GET", f"{path}?limit=200")).json["items"]]
        pages, cursor = list[str](), ""
        while cursor is not None:
            page = (await doors.call("GET", f"{path}?limit=1{cursor and f'&cursor={quote(cursor)}'}")).json
            pages += [row["id"] for row in page["items"]]
            cursor = page["next_cursor"]
        assert pages == whole, path


async def test_messages_are_found_by_stream_state_and_recipient(doors: Doorstep) -> None:
    """Filters narrow a list, and a name that is not there is not found."""
    made = (await doors.call("POST", "/v1/messages", letter(doors.acme, to="rare@example.com"))).json["id"]
    found = await doors.call("GET", "/v1/messages?recipient=RARE@example.com&state=waiting&stream=transactional")
    assert [row["id"] for row in found.json["items"]] == [made]
    assert "timeline" not in found.json["items"][0]
    assert (await doors.call("GET", "/v1/messages?stream=nothing")).status == 404
    operators = await doors.operate("GET", "/v1/messages")
    assert (operators.status, *operators.error) == (422, "invalid_field", "tenant")


async def test_a_message_on_its_way_says_so(doors: Doorstep) -> None:
    """The explanation of a claimed message tells that, and an operator may see it too."""
    made = (await doors.call("POST", "/v1/messages", letter(doors.acme))).json["id"]
    cell = (await doors.operate("GET", "/v1/cells")).json["items"][0]
    shown = (await doors.operate("GET", f"/v1/messages/{made}")).json
    assert shown["tenant_id"] == doors.acme.tenant_id
    await claim(doors.store, worlds.CellId(cell["id"]), 1_000)
    assert (await doors.call("GET", f"/v1/explain/{made}")).json["summary"] == "It is on its way to SES."


async def test_operators_see_pools_cells_plan_and_doctor(doors: Doorstep) -> None:
    """What concerns the whole fleet is there, each list in the one shape."""
    made = await doors.operate("POST", "/v1/pools", {"name": "tier-a", "kind": "standard"})
    assert (made.status, made.json["kind"]) == (201, "standard")
    assert {"shared", "tier-a"} <= {row["name"] for row in (await doors.operate("GET", "/v1/pools")).json["items"]}
    assert (await doors.operate("GET", "/v1/cells")).json["items"][0]["enforcement"] == "HEALTHY"
    plan = (await doors.operate("GET", "/v1/plan")).json["items"]
    assert {"create"} == {row["action"] for row in plan}
    findings = (await doors.operate("GET", "/v1/doctor")).json["items"]
    assert all(set(row) == {"level", "check", "what", "why", "do"} for row in findings)
    assert findings[-1]["check"] == "database"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "field"),
    [
        ("GET", "/v1/nothing", None, 404, "not_found", None),
        ("GET", "/", None, 404, "not_found", None),
        ("PUT", "/v1/tenants", None, 405, "unsupported", None),
        ("POST", "/v1/tenants", b"{", 400, "malformed", "body"),
        ("POST", "/v1/tenants", b'{"name": "\\ud800"}', 400, "malformed", "body"),
        ("POST", "/v1/tenants", {}, 422, "invalid_field", "name"),
        ("POST", "/v1/tenants", {"name": "A b"}, 422, "invalid_field", "name"),
        ("POST", "/v1/tenants", {"name": "x", "colour": 1}, 422, "invalid_field", "colour"),
        ("POST", "/v1/tenants", {"name": "x", "pool": "none"}, 422, "invalid_field", "pool"),
        ("POST", "/v1/tenants", {"name": "x", "domain": "no dot"}, 422, "invalid_field", "domain"),
        ("POST", "/v1/tenants", {"name": "x\0"}, 422, "invalid_field", "name"),
        ("POST", "/v1/tenants", {"name": "x" * 70_000}, 413, "too_large", "body"),
        ("POST", "/v1/streams", {"name": "x", "class": "spam", "tenant": "acme"}, 422, "invalid_field", "class"),
        ("POST", "/v1/streams", {"name": "x", "class": "marketing"}, 422, "invalid_field", "tenant"),
        ("POST", "/v1/keys", {"scopes": ["fly"]}, 422, "invalid_field", "scopes[0]"),
        ("POST", "/v1/keys", {"scopes": [], "tenant": "acme"}, 422, "invalid_field", "scopes"),
        ("POST", "/v1/pauses", {"scope": "x", "reason": ""}, 422, "invalid_field", "reason"),
        ("GET", "/v1/streams?limit=0", None, 422, "invalid_field", "limit"),
        ("GET", "/v1/streams?colour=red", None, 422, "invalid_field", "colour"),
        ("GET", "/v1/pools?cursor=%F0%9F", None, 422, "invalid_field", "cursor"),
        ("GET", "/v1/tenants?cursor=!!", None, 422, "invalid_field", "cursor"),
        ("GET", "/v1/messages?tenant=acme&cursor=%00", None, 422, "invalid_field", "cursor"),
        ("GET", "/v1/plan?colour=red", None, 422, "invalid_field", "colour"),
        ("GET", "/v1/doctor?%F0%9F%92%A9=1", None, 422, "invalid_field", "\\U0001f4a9"),
        ("GET", f"/v1/messages/msg_{'0' * 32}?x=1", None, 422, "invalid_field", "x"),
        ("POST", "/v1/tenants?dry=1", {"name": "dry"}, 422, "invalid_field", "dry"),
        ("POST", "/v1/pauses", {"scope": "str_x", "reason": "x"}, 422, "invalid_field", "scope"),
        ("POST", "/v1/pauses", {"scope": "str_x", "reason": "a\0b"}, 422, "invalid_field", "reason"),
        ("POST", "/v1/pauses", {"scope": "str_x", "reason": " "}, 422, "invalid_field", "reason"),
        (
            "POST",
            "/v1/streams",
            {"name": "x", "class": "marketing", "tenant": "acme", "is_default": "yes"},
            422,
            "invalid_field",
            "is_default",
        ),
        ("POST", "/v1/tenants", b"null", 422, "invalid_field", "body"),
        ("POST", "/v1/tenants", b"", 422, "invalid_field", "body"),
        ("GET", "/v1/streams/transactional", None, 422, "invalid_field", "tenant"),
    ],
)
async def test_bad_calls_have_the_one_error_shape(
    doors: Doorstep, method: str, path: str, body: object, status: int, code: str, field: str | None
) -> None:
    """The framework's own errors and ours answer alike: a code, a field, a sentence and the request's id."""
    reply = await doors.operate(method, path, body)
    assert (reply.status, *reply.error) == (status, code, field), reply.text
    assert set(reply.json["error"]) == {"code", "message", "field", "request_id", "docs"}
    assert reply.json["error"]["request_id"] == reply.headers["x-request-id"]
    assert not doors.bugs


async def test_what_watches_the_process_needs_no_key(doors: Doorstep) -> None:
    """A load balancer gets the page that the process makes, which sees what it was sent; all else asks for a key."""
    assert (await doors.call("GET", "/healthz", token="")).text == "told None"
    assert (await doors.call("GET", "/healthz", token="secret")).text == "told Bearer secret"
    assert (await doors.call("POST", "/healthz", token="")).status == 405
    assert (await doors.call("GET", "/metrics", token="")).status == 404
    assert (await doors.call("GET", "/v1/streams", token="")).status == 401


async def test_each_refused_submission_is_told_by_its_code(doors: Doorstep) -> None:
    """Both doors tell of every "no", whether the door or accept said it, and of no other call."""
    await doors.call("POST", "/v1/messages", letter(doors.acme))
    await doors.send()
    await doors.call("GET", "/v1/streams", token="")
    assert doors.refusals == []
    await doors.call("POST", "/v1/messages", letter(doors.acme), token="")
    await doors.call("POST", "/v1/messages", b"{")
    await doors.call("POST", "/v1/messages", letter(doors.acme, from_="a@elsewhere.example"))
    with pytest.raises(ClientError):
        await doors.send(FromEmailAddress="a@elsewhere.example")
    with pytest.raises(ClientError):
        await doors.send(doors.ses(secret="wrong"))
    assert doors.refusals == ["unauthenticated", "malformed", "author_not_yours", "author_not_yours", "bad_signature"]


async def test_the_openapi_page_has_every_documented_route(doors: Doorstep) -> None:
    """docs/api.md and the OpenAPI document name the same routes."""
    document = (await doors.call("GET", "/openapi.json", token="")).json
    assert document["openapi"].startswith("3.1")
    offered = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([A-Z]+ /\S+)` \|", page.replace("{name or id}", "{}"), re.MULTILINE))
    assert {re.sub(r"\{.*?\}", "{}", route) for route in offered} == {
        re.sub(r"\{.*?\}", "{}", route) for route in documented if "/v2/" not in route
    }
