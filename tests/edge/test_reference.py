"""The reference of the API: an OpenAPI document that holds what it says, and a page that asks nothing of strangers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tenantry.core.message import RefusalCode
from tenantry.edge.api import counts, fleet_shapes, openapi, policies, recovery, rest, shapes, suppressions, templates
from tenantry.edge.api.examples import EXAMPLES
from tenantry.edge.errors import SES_TYPE, STATUS
from tests.edge.doorstep import Doorstep

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCS = Path(__file__).resolve().parents[2] / "docs"


async def document(doors: Doorstep) -> dict:
    return (await doors.call("GET", "/openapi.json", token="")).json


def operations(whole: dict) -> Iterator[tuple[str, dict]]:
    for path, item in whole["paths"].items():
        for method, operation in item.items():
            yield f"{method} {path}", operation


async def test_every_operation_can_be_used_from_its_description(doors: Doorstep) -> None:
    """Each route has a name and a summary of its own, names its parameters, and says how it refuses."""
    seen = set[str]()
    for name, operation in operations(await document(doors)):
        assert operation["operationId"] not in seen, name
        seen.add(operation["operationId"])
        assert len(operation["summary"].split()) >= 2, name
        inside = set(re.findall(r"\{(\w+)\}", name))
        assert {row["name"] for row in operation.get("parameters", []) if row["in"] == "path"} == inside, name
        statuses = set(operation["responses"])
        assert {"401", "403", "404", "409", "422", "500", "503"} <= statuses, name
        assert ({"400", "413"} <= statuses) == ("requestBody" in operation), name


async def test_every_answer_has_an_example_of_its_shape(doors: Doorstep) -> None:
    """What is shown as an answer has exactly the fields that its schema names."""
    whole = await document(doors)
    for name, operation in operations(whole):
        for status, answer in operation["responses"].items():
            if status == "204":
                continue
            if "application/json" not in answer["content"]:
                assert all(kind["example"] for kind in answer["content"].values()), name
                continue
            content = answer["content"]["application/json"]
            schema = whole["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
            assert set(content["example"]) == set(schema["properties"]), f"{name} {status}"


ALIASED = {"StreamOut", "MadeTenantOut", "MessageSummaryOut", "MessageOut"}  # written by other names than they are read


@pytest.mark.parametrize("name", EXAMPLES)
async def test_every_example_is_what_the_shape_would_show(name: str) -> None:
    """An example has the fields of its shape, each of its type."""
    shape = next(
        getattr(room, name)
        for room in (shapes, fleet_shapes, recovery, rest, openapi, suppressions, templates, counts, policies)
        if hasattr(room, name)
    )
    assert {field.serialization_alias or key for key, field in shape.model_fields.items()} == set(EXAMPLES[name])
    if name not in ALIASED:
        assert shape.model_validate_json(json.dumps(EXAMPLES[name]))


async def test_every_reference_in_the_document_leads_somewhere(doors: Doorstep) -> None:
    """No `$ref` dangles, and the framework's own shape of an error is not among the schemas."""
    whole = await document(doors)
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(whole)))
    assert named <= set(whole["components"]["schemas"])
    assert not {"HTTPValidationError", "ValidationError"} & set(whole["components"]["schemas"])
    assert set(whole["components"]["schemas"]["RefusalCode"]["enum"]) == set(RefusalCode)


class Assets(HTMLParser):
    """Collects what a page would load or run, and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {given["id"] or ""} if "id" in given else set()
        if tag in ("script", "img", "iframe", "link", "object", "form") or "style" in given:
            self.loaded.append(tag)
        self.loaded += [name for name in given if name.startswith("on") or name == "src"]
        if tag == "a":
            self.links.append(given.get("href") or "")


async def test_the_page_loads_nothing_and_runs_nothing(doors: Doorstep) -> None:
    """/docs is whole in itself: no script, no asset from elsewhere, a policy that forbids both, links that lead somewhere."""
    reply = await doors.call("GET", "/docs", token="")
    assert reply.status == 200
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    page = Assets()
    page.feed(reply.text)
    assert not page.loaded
    assert page.links
    assert all(link == "/openapi.json" or link.removeprefix("#") in page.ids for link in page.links)
    for _, operation in operations(await document(doors)):
        assert operation["summary"].replace("'", "&#x27;").partition("`")[0] in reply.text


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect", "/docs/"])
async def test_the_frameworks_own_pages_are_gone(doors: Doorstep, path: str) -> None:
    """They would load scripts from somebody else's server."""
    assert (await doors.call("GET", path, token="")).status == 404


@pytest.mark.parametrize("code", RefusalCode)
async def test_the_page_of_errors_tells_the_status_and_type_that_are_answered(code: RefusalCode) -> None:
    """docs/errors.md and the doors agree, code by code, and the page says what to do."""
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    section = text.partition(f"### {code}\n")[2].partition("\n### ")[0]
    kind, status = SES_TYPE[code]
    assert f"REST {STATUS[code]} · SES wire `{kind}` ({status})" in section
    assert "**What to do:** " in section
