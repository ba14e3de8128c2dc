"""The protocol of the local SES: every operation of the model, signatures, accounts and Regions, what it says of itself."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from tenantry.cli.ses_local import ses_local
from tenantry.emulator.account import Account
from tenantry.emulator.coverage import Level, coverage_of, table
from tenantry.emulator.keys import Key
from tenantry.emulator.server import ses_codec
from tests.emulator.test_server import SIGNED, http
from tests.emulator.worlds import World, world

SES = ses_codec()


@pytest.fixture
def ses() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with world() as made:
        yield made


def test_the_table_of_operations_is_true() -> None:
    """docs/local-ses.md says of each of the 116 operations what its own declaration says."""
    rows = coverage_of(Account, SES.operation_names)
    assert len(rows) == 116
    wanted, text = table(rows), Path("docs/local-ses.md").read_text()
    assert wanted in text, f"the table in docs/local-ses.md must be:\n{wanted}"
    counts = {level: sum(row.level is level for row in rows) for level in Level}
    sentence = f"{counts[Level.DONE]} done, {counts[Level.PARTLY]} partly, {counts[Level.REFUSED]} refused"
    assert sentence in text, sentence


def example(shape: Any, depth: int = 0) -> Any:
    """Return a small value that fits a shape."""
    match shape.type_name:
        case "structure":
            wanted = shape.required_members if not shape.is_tagged_union else list(shape.members)[:1]
            return {name: example(shape.members[name], depth + 1) for name in wanted} if depth < 8 else {}
        case "list":
            return [example(shape.member, depth + 1)]
        case "map":
            return {}
        case "string":
            return shape.enum[0] if shape.enum else "x" * max(1, shape.metadata.get("min", 1))
        case "timestamp":
            return 1_795_000_000
        case "boolean":
            return True
        case "blob":
            return "eA=="
    return shape.metadata.get("min", 1)


@pytest.mark.parametrize("name", SES.operation_names)
def test_every_operation_answers_by_its_model(shared: World, name: str) -> None:
    """Each operation routes, and what it refuses it refuses with a type, a sentence and a status: never 500 or 404 of HTTP."""
    model = SES.model.operation_model(name)
    shape = model.input_shape
    members = example(shape) if shape else {}
    places = {each: shape.members[each].serialization for each in members} if shape else {}
    uri, query, body = model.http["requestUri"].partition("?")[0], [], {}
    for member, value in members.items():
        place = places[member]
        wire_name = place.get("name", member)
        if place.get("location") == "uri":
            uri = uri.replace(f"{{{wire_name}}}", str(value))
        elif place.get("location") == "querystring":
            query += [f"{wire_name}={each}" for each in (value if isinstance(value, list) else [value])]
        else:
            body[member] = value
    url = f"{shared.local.url}{uri}?{'&'.join(query)}"
    status, headers, answer = http(url, model.http["method"], json.dumps(body).encode() if body else None)
    assert status in (200, 400, 403, 404, 409, 429), answer
    assert headers["x-amzn-requestid"]
    if status != 200:
        assert headers["x-amzn-errortype"] == answer["__type"] != "UnknownOperationException"
        assert answer["message"]
        modelled = {each.name for each in model.error_shapes}
        assert answer["__type"] in modelled | {"UnsupportedOperation", "AccessDeniedException"}


def test_a_wrong_value_is_named_with_its_constraint(ses: World) -> None:
    """Missing, too long, not of the pattern, none of the enum, none of the union: the member and the rule are named."""
    bad_selector = {"DkimSigningAttributes": {"DomainSigningSelector": "-"}}
    no_scheme = {"MessageSecurityOptions": {"SigningScheme": {}}}
    for path, method, body, part in (
        ("tenants", "POST", {}, "tenantName"),
        ("identities/a.example/policies/" + "p" * 65, "POST", {"Policy": "{}"}, "less than or equal to 64"),
        ("identities", "POST", {"EmailIdentity": "a.example", **bad_selector}, "pattern"),
        ("suppression/addresses", "PUT", {"EmailAddress": "a@b.example", "Reason": "X"}, "enum value set"),
        ("update-configuration-sets", "POST", {"ConfigurationSetName": "s", **no_scheme}, "Exactly one"),
    ):  # fmt: skip
        status, _, answer = http(f"{ses.local.url}/v2/email/{path}", method, json.dumps(body).encode())
        assert (status, answer["__type"]) == (400, "BadRequestException")
        assert part in answer["message"]


def test_a_signature_is_checked_when_asked() -> None:
    """A known key with its secret is believed; a wrong secret, an unknown key and no signature are not."""
    key = Key("AKIDEXAMPLE", "secret", "123456789012")
    with world(verify=True, keys=(key, Key("OTHER", "not-secret", "210987654321"))) as ses:
        assert ses.ses.get_account()["SendingEnabled"]
        assert ses.sqs.list_queues()["QueueUrls"]
        for key_id, code in (("NOBODY", "UnrecognizedClientException"), ("OTHER", "InvalidSignatureException")):
            with pytest.raises(ClientError) as caught:
                ses.client("sesv2", key_id=key_id).get_account()
            assert caught.value.response["Error"]["Code"] == code
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        assert http(f"{ses.local.url}/v2/email/account", headers=SIGNED)[0] == 403
        assert "keys" not in ses.admin("options")


def test_accounts_and_regions_are_apart(ses: World) -> None:
    """A key of twelve digits names its account, the signature its Region; each has what was made there."""
    ses.ses.create_email_identity(EmailIdentity="here.example")
    other, far = ses.client("sesv2", key_id="210987654321"), ses.client("sesv2", region="eu-west-1")
    for client in (other, far):
        assert client.list_email_identities()["EmailIdentities"] == []
    other.create_tenant(TenantName="acme")
    arn = other.get_tenant(TenantName="acme")["Tenant"]["TenantArn"]
    assert arn.startswith("arn:aws:ses:us-east-1:210987654321:tenant/acme/")
    far.create_email_identity(
        EmailIdentity="here.example", DkimSigningAttributes={"DomainSigningAttributesOrigin": "AWS_SES_US_EAST_1"}
    )
    parent = ses.ses.get_email_identity(EmailIdentity="here.example")["DkimAttributes"]["Tokens"]
    assert far.get_email_identity(EmailIdentity="here.example")["DkimAttributes"]["Tokens"] == parent
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        ses.client("sesv2", region="nowhere").get_account()


def test_keys_are_flags_or_a_file(tmp_path: Path) -> None:
    """What is no key is refused before the server starts."""
    result = CliRunner().invoke(ses_local, ["--verify", "--key", "half", "--json"])
    assert result.exit_code != 0
    assert "ID:SECRET" in result.output
    file = tmp_path / "keys.json"
    file.write_text('{"not": "a list"}')
    assert "JSON list of keys" in CliRunner().invoke(ses_local, ["--keys-file", str(file), "--json"]).output


def test_percent_encoded_arns_and_addresses_are_one_label(ses: World) -> None:
    """A label is decoded once, after the path is split."""
    ses.ses.create_tenant(TenantName="acme")
    arn = ses.ses.get_tenant(TenantName="acme")["Tenant"]["TenantArn"]
    found = ses.ses.get_reputation_entity(ReputationEntityType="RESOURCE", ReputationEntityReference=arn)
    assert found["ReputationEntity"]["ReputationEntityReference"] == arn
    ses.ses.put_suppressed_destination(EmailAddress="a+b/c%20@x.example", Reason="COMPLAINT")
    assert ses.ses.get_suppressed_destination(EmailAddress="a+b/c%20@x.example")["SuppressedDestination"]
