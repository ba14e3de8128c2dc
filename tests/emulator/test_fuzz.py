"""The local SES under bad input: whatever is sent, it answers in SES's form, soon, and goes on."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenantry.emulator.account import Account, Request
from tenantry.emulator.calls import Call
from tenantry.emulator.options import Options
from tenantry.emulator.registry import BLOCK_MAX, SCANNED_MAX, Registry
from tenantry.emulator.server import ses_codec
from tests.cost import cpu_seconds
from tests.emulator.test_server import http
from tests.emulator.worlds import FREE, world

SES = ses_codec()
NOW = 1_795_000_000.0
CPU_SECONDS_MAX = 0.2
# Names that exist in the world below, so that what is drawn goes further than NotFound.
KNOWN = ["acme", "acme.example", "acme-set", "news@acme.example", "hello", "people", "gold", "news",
         "arn:aws:ses:us-east-1:123456789012:identity/acme.example", "{}", '{"name": "x"}', "{{name}}",
         "a@x.example"]  # fmt: skip
TEXTS = st.one_of(st.sampled_from(KNOWN), st.text(max_size=40), st.text("{}#/.@ a", max_size=30))
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def account() -> Account:
    """Return an account with one of most things."""
    made = Account(Options(**FREE), NOW)

    def do(operation: str, **params: Any) -> None:
        made.perform(operation, params, Call(NOW))

    do("CreateTenant", TenantName="acme")
    do("CreateEmailIdentity", EmailIdentity="acme.example")
    do("CreateConfigurationSet", ConfigurationSetName="acme-set")
    do("CreateEmailTemplate", TemplateName="hello", TemplateContent={"Subject": "{{name}}", "Text": "x"})
    do("CreateContactList", ContactListName="people")
    do("CreateDedicatedIpPool", PoolName="gold")
    do("PutAccountVdmAttributes", VdmAttributes={"VdmEnabled": "ENABLED"})
    return made


def values(shape: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Draw JSON that mostly fits a shape."""
    match shape.type_name:
        case "structure":
            if depth > 5:
                return st.just({})
            own = {name: values(each, depth + 1) for name, each in shape.members.items()}
            must = {name: own[name] for name in shape.required_members}
            more = {name: each for name, each in own.items() if name not in must}
            return st.one_of(st.fixed_dictionaries(must, optional=more), st.fixed_dictionaries({}, optional=own), JUNK)
        case "list":
            return st.lists(values(shape.member, depth + 1), max_size=3)
        case "map":
            return st.dictionaries(values(shape.key, depth + 1), values(shape.value, depth + 1), max_size=2)
        case "string":
            return st.one_of(st.sampled_from(shape.enum), TEXTS) if shape.enum else TEXTS
        case "blob":
            return st.sampled_from(["", "eA==", "RnJvbTogYUBhY21lLmV4YW1wbGUKVG86IHhAeC5leGFtcGxlCgpi", "?"])
        case "boolean":
            return st.booleans()
        case "timestamp":
            return st.one_of(st.floats(-1e12, 1e12), st.just(NOW), TEXTS)
    return st.one_of(st.integers(-5, 200), JUNK)


def answered(made: Account, name: str, members: Any) -> int:
    """Ask by labels, query and body as an SDK would; return the status, having checked the answer's form."""
    shape = SES.model.operation_model(name).input_shape
    uri, query, body = {}, [], {}
    for member, value in members.items() if isinstance(members, dict) else ():
        place = shape.members[member].serialization if shape and member in shape.members else {}
        wire_name = place.get("name", member)
        if place.get("location") == "uri":
            uri[wire_name] = str(value)
        elif place.get("location") == "querystring":
            query += [f"{wire_name}={quote(str(each))}" for each in (value if isinstance(value, list) else [value])]
        else:
            body[member] = value
    data = json.dumps(body if isinstance(members, dict) else members).encode()
    answer = made.call(Request(SES, name, data, uri, "&".join(query)), Call(NOW))
    document = json.loads(answer.body)
    assert answer.status == 200 or (document["message"] and document["__type"] == answer.headers["x-amzn-errortype"])
    return answer.status


@pytest.mark.parametrize("name", SES.operation_names)
def test_no_input_breaks_an_operation(name: str) -> None:
    """Whatever fits an operation's shape, or nearly does, is answered in SES's form and below 500."""
    shape = SES.model.operation_model(name).input_shape
    made = account()

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(values(shape) if shape else st.just({}))
    def run(members: Any) -> None:
        assert answered(made, name, members) < 500

    run()


def simple(**more: Any) -> dict[str, Any]:
    return {
        "FromEmailAddress": "news@acme.example",
        "Destination": {"ToAddresses": ["a@x.example"]},
        "Content": {"Simple": {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}}}},
        **more,
    }


def raw(data: bytes) -> dict[str, Any]:
    return simple(Content={"Raw": {"Data": base64.b64encode(data).decode()}})


HEAD = b"From: news@acme.example\r\nTo: a@x.example\r\n"
TO = b"From: news@acme.example\r\nTo: "
RUNAWAY = "{{#each a}}{{#each ../a}}{{#each ../../a}}x{{/each}}{{/each}}{{/each}}"


def nested_parts() -> bytes:
    part = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n"
    return HEAD + b"".join(part % (number, number) for number in range(5_000))


def runaway_template() -> dict[str, Any]:
    parts = {"Subject": "s", "Text": RUNAWAY}
    return simple(Content={"Template": {"TemplateContent": parts, "TemplateData": json.dumps({"a": [1] * 9_999})}})


BOMBS: dict[str, Callable[[], Any]] = {
    "deep JSON": lambda: b'{"Content":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep objects": lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "many members": lambda: {str(number): number for number in range(100_000)},
    "many recipients": lambda: simple(Destination={"ToAddresses": ["a@x.example"] * 50_000}),
    "many header fields": lambda: raw(HEAD + b"X: y\r\n" * 100_000 + b"\r\nb"),
    "as many header fields as are read": lambda: raw(HEAD + b"X: y\r\n" * 21_000 + b"\r\nb"),
    "a folded header": lambda: raw(HEAD + b"Subject: a\r\n" + b" b\r\n" * 26_000 + b"\r\nb"),
    "a long To header": lambda: raw(TO + b"a@x.example," * 10_500 + b"\r\n\r\nb"),
    "nested comments": lambda: raw(TO + b"(" * 120_000 + b"\r\n\r\nb"),
    "encoded words": lambda: raw(HEAD + b"Subject: " + b"=?utf-8?q?a?= " * 280 + b"\r\n\r\nb"),
    "many encoded words": lambda: raw(HEAD + b"Subject: " + b"=?utf-8?q?a?= " * 9_000 + b"\r\n\r\nb"),
    "nested parts": lambda: raw(nested_parts()),
    "a template": runaway_template,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_end_in_an_answer_that_costs_little(name: str) -> None:
    """Deep, long and folded input is answered below 500 for less than 200 ms of CPU."""
    made, bomb = account(), BOMBS[name]()
    body = bomb if isinstance(bomb, bytes) else json.dumps(bomb).encode()

    def send() -> None:
        assert made.call(Request(SES, "SendEmail", body), Call(NOW)).status < 500

    assert cpu_seconds(send) < CPU_SECONDS_MAX


def test_bodies_that_are_too_large_or_broken_are_refused_over_the_wire() -> None:
    """More than 40 MB is told so; bytes that are no JSON too; the server goes on."""
    with world() as ses:
        ses.sender()
        for body in (b"", b"\xff\xfe", b"[]", b"nul", b'{"a": NaN}', b'{"FromEmailAddress": "\\ud800"}'):
            status, headers, answer = http(f"{ses.local.url}/v2/email/outbound-emails", "POST", body)
            assert status == 400
            assert headers["x-amzn-errortype"] == answer["__type"]
        status, _, answer = http(f"{ses.local.url}/v2/email/outbound-emails", "POST", b" " * 60_000_000)
        assert (status, answer["__type"]) == (413, "RequestEntityTooLargeException")
        assert ses.send()


def test_a_million_things_do_not_slow_a_call() -> None:
    """A page, a creation and a deletion among very many cost what they cost among few: they touch few."""
    registry: Registry[int] = Registry()
    for number in range(60_000):
        registry[f"t{number * 7919 % 60_000:06}"] = number
    looked = 0

    def seldom(_value: int) -> bool:
        nonlocal looked
        looked += 1
        return False

    shown, token = registry.page({"PageSize": 3})
    assert len(shown) == 3
    assert registry.page_of_names({"PageSize": 2, "NextToken": token})[0] == ["t000003", "t000004"]
    nothing, goes_on = registry.page({}, seldom)
    assert nothing == []
    assert goes_on
    assert looked == SCANNED_MAX
    del registry["t000001"]
    registry["t0000005"] = 1
    assert registry.page_of_names({"PageSize": 3})[0] == ["t000000", "t0000005", "t000002"]
    assert max(map(len, registry.blocks)) <= BLOCK_MAX
    assert [name for block in registry.blocks for name in block] == sorted(registry)
