"""The walls between tenants and between scopes on the SES wire, for every operation that is answered there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import pytest_asyncio
from botocore.exceptions import ClientError
from botocore.model import ServiceModel

from tenantry.core.suppression import NewSuppression
from tenantry.core.template import TemplateParts
from tenantry.edge.ses_desk import OPERATIONS
from tests import worlds
from tests.edge.doorstep import MODEL, Doorstep, doorstep, make_key
from tests.edge.sdk import client

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE = ServiceModel(MODEL, "sesv2")
NOT_THERE = "nobody-holds-this"
OF_ITS_OWN = {  # what names nothing that could be another's: who holds it is the very question, or it is made by the call
    ("CreateEmailIdentity", "EmailIdentity"),
    ("CreateEmailTemplate", "TemplateName"),
    ("PutSuppressedDestination", "EmailAddress"),
}
TEMPLATE = {"Subject": "x", "Text": "x"}
MAIL = {
    "FromEmailAddress": "hello@acme.example",
    "Destination": {"ToAddresses": ["a@example.com"]},
    "Content": {"Template": {"TemplateContent": TEMPLATE, "TemplateData": "{}"}},
}
BODIES: dict[str, dict] = {
    "SendEmail": MAIL,
    "SendBulkEmail": {
        "FromEmailAddress": "hello@acme.example",
        "DefaultContent": {"Template": {"TemplateContent": TEMPLATE, "TemplateData": "{}"}},
        "BulkEmailEntries": [{"Destination": {"ToAddresses": ["a@example.com"]}}],
    },
    "CreateEmailIdentity": {"EmailIdentity": "ann@acme.example"},
    "CreateEmailTemplate": {"TemplateName": "fresh", "TemplateContent": TEMPLATE},
    "UpdateEmailTemplate": {"TemplateContent": TEMPLATE},
    "TestRenderEmailTemplate": {"TemplateData": "{}"},
    "PutSuppressedDestination": {"EmailAddress": "x@y.example", "Reason": "BOUNCE"},
    "TagResource": {"Tags": [{"Key": "k", "Value": "v"}]},
    "UntagResource": {"TagKeys": ["k"]},
}


class Walls(NamedTuple):
    """Acme's client of every scope, and what the other tenant holds, by the name of the parameter."""

    doors: Doorstep
    client: object
    foreign: dict[str, tuple[str, str]]  # a name that is the other tenant's, and one of its form that is nobody's


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def walls(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Walls]:
    """The other tenant has one of each thing."""
    async with doorstep(tmp_path_factory.mktemp("ses-walls")) as doors:
        theirs = doors.store.of(doors.other.tenant_id)
        await theirs.add_template("theirs", TemplateParts("x", "x"))
        await theirs.suppress([NewSuppression("gone@there.example")])
        await worlds.member(doors.store, "third")
        stream = await doors.operate("POST", "/v1/streams", {"name": "theirs", "class": "marketing", "tenant": "other"})
        assert stream.status in (200, 201), stream.text
        (message,) = await worlds.accepted(doors.store, doors.other, 1)
        tenant = await theirs.tenant()
        assert tenant is not None
        prefix = f"arn:aws:ses:eu-central-1:{tenant.account}:template/"
        _, token = await make_key(doors, doors.acme, "send", "read", "manage")
        foreign = {
            "TemplateName": ("theirs", NOT_THERE),
            "TemplateArn": (f"{prefix}theirs", f"{prefix}{NOT_THERE}"),
            "ConfigurationSetName": ("theirs", NOT_THERE),
            "EmailIdentity": ("other.example", "nobody.example"),
            "EmailAddress": ("gone@there.example", "nobody@there.example"),
            "MessageId": (str(message.id), f"msg_{'f' * 32}"),
            "ResourceArn": (f"{prefix}theirs", f"{prefix}{NOT_THERE}"),
            "TenantName": ("other", NOT_THERE),
        }
        yield Walls(doors, client(doors, token, checks=False), foreign)
        assert doors.bugs == []


def places() -> list[tuple[str, str]]:
    """Return each operation with each of its members that names a thing."""
    shapes = {name: SERVICE.operation_model(name).input_shape for name in sorted(OPERATIONS)}
    return [
        (name, member)
        for name, shape in shapes.items()
        for member in (shape.members if shape else ())
        if member.endswith(("Name", "Arn", "Id", "EmailIdentity", "EmailAddress"))
    ]


OWN = {
    "EmailIdentity": "acme.example",
    "EmailAddress": "x@y.example",
    "TemplateName": "x",
    "ConfigurationSetName": "marketing",
    "MessageId": "x",
    "ResourceArn": "x",
}


def body(operation: str) -> dict:
    """Return parameters of an operation that name nothing foreign."""
    shape = SERVICE.operation_model(operation).input_shape
    named = {name: OWN[name] for name in (shape.required_members if shape else ()) if name in OWN}
    return {**named, **BODIES.get(operation, {})}


REFUSED = {
    "FromEmailAddressIdentityArn",
    "FeedbackForwardingEmailAddressIdentityArn",
    "EndpointId",
}  # whatever they name
AUTHORS = {"FromEmailAddress", "FeedbackForwardingEmailAddress"}  # bound to identities: the tests of admission


async def outcome(walls: Walls, operation: str, given: dict, name: str) -> tuple[object, ...]:
    """Return an answer without the name that was asked for and without what differs by nature."""
    method = "".join("_" + char.lower() if char.isupper() else char for char in operation).lstrip("_")
    try:
        done = await asyncio.to_thread(getattr(walls.client, method), **given)
    except ClientError as error:
        said, meta = error.response["Error"], error.response["ResponseMetadata"]
        headers = {key: value for key, value in meta["HTTPHeaders"].items() if key.startswith("x-tenantry")}
        return said["Code"], said["Message"].replace(name, "NAME"), meta["HTTPStatusCode"], tuple(headers.items())
    rows = done.get("BulkEmailEntryResults", [{"Status": "SUCCESS"}])
    return "taken", *(str(row).replace(name, "NAME") for row in rows)


@pytest.mark.parametrize(("operation", "member"), [row for row in places() if row[1] not in REFUSED | AUTHORS])
async def test_anothers_name_answers_like_nobodys(walls: Walls, operation: str, member: str) -> None:
    """Word for word, whatever it names, and nothing changes by it."""
    if (operation, member) in OF_ITS_OWN:
        return
    theirs, nobodys = walls.foreign[member]
    before = await walls.doors.rows()
    answers = [await outcome(walls, operation, {**body(operation), member: name}, name) for name in (theirs, nobodys)]
    assert answers[0] == answers[1]
    assert "SUCCESS" not in str(answers[0])
    assert await walls.doors.rows() == before


@pytest.mark.parametrize("name", ["TemplateName", "TemplateArn"])
async def test_anothers_template_cannot_be_sent_by(walls: Walls, name: str) -> None:
    """By name or ARN, for one mail or fifty."""
    for operation in ("SendEmail", "SendBulkEmail"):
        answers = []
        for named in walls.foreign[name]:
            template = {"Template": {name: named, "TemplateData": "{}"}}
            given = {**BODIES[operation], "Content" if operation == "SendEmail" else "DefaultContent": template}
            answers.append(await outcome(walls, operation, given, named))
        assert answers[0] == answers[1]
        assert answers[0][0] == "NotFoundException"


async def test_lists_show_the_own_alone(walls: Walls) -> None:
    """Nothing of the other tenant's is in any list, nor in the account's figures."""
    for method in (
        "list_email_templates",
        "list_email_identities",
        "list_configuration_sets",
        "list_suppressed_destinations",
        "get_account",
    ):
        shown = str(await asyncio.to_thread(getattr(walls.client, method)))
        assert "theirs" not in shown, method
        assert "other.example" not in shown, method
        assert "there.example" not in shown, method


@pytest.mark.parametrize("name", sorted(OPERATIONS))
async def test_each_operation_lets_in_exactly_its_scope(walls: Walls, name: str) -> None:
    """Every scope alone, and the operator's key, which has no virtual account."""
    given, wanted = body(name), OPERATIONS[name].scope
    for scope, token in KEYS[walls.doors.url] if walls.doors.url in KEYS else await keys(walls):
        code = (await outcome(walls._replace(client=client(walls.doors, token, checks=False)), name, given, "?"))[0]
        assert (code == "AccessDeniedException") == (scope != wanted), f"{scope}: {code}"


KEYS: dict[str, list[tuple[str, str]]] = {}


async def keys(walls: Walls) -> list[tuple[str, str]]:
    """Return a key of each scope alone, and the operator's."""
    made = [(scope, (await make_key(walls.doors, walls.doors.acme, scope))[1]) for scope in ("send", "read", "manage")]
    KEYS[walls.doors.url] = [*made, ("operate", walls.doors.operator)]
    return KEYS[walls.doors.url]
