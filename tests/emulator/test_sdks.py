"""Unmodified AWS SDKs beside boto3 against the local SES: the AWS CLI, and the AWS SDK for JavaScript v3.

They are not dependencies: `make sdks` fetches both into the user's cache and runs this. Without them the tests are skipped.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.neighbours import folder
from tests.emulator.worlds import World, world

CLI = folder() / "awscli" / "bin" / "aws"
JAVASCRIPT = folder() / "sdk-js"
SECONDS = 60


@pytest.fixture(scope="module")
def ses() -> Iterator[World]:
    with world() as made:
        yield made


def environment(ses: World, **more: str) -> dict[str, str]:
    """Lead any SDK to the local SES, and to nothing of this machine's own."""
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}
    files = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_PAGER": ""}
    return {
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": ses.local.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        **keys,
        **files,
        **more,
    }


@pytest.mark.skipif(
    not (JAVASCRIPT / ".done").exists() or shutil.which("node") is None,
    reason="AWS SDK FOR JAVASCRIPT NOT TRIED: it is not here; `make sdks` fetches it",
)
def test_the_sdk_for_javascript_uses_it_as_ses(ses: World) -> None:
    """Sends (simple, raw, template), tenants, pages, dates and errors are what that SDK expects of SES."""
    script = Path(__file__).parent / "sdk.mjs"
    done = subprocess.run(
        ["node", str(script)],
        env=environment(ses, SDK_FOLDER=str(JAVASCRIPT)), capture_output=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    seen = json.loads(done.stdout)
    sent = {each["message_id"]: each for each in ses.admin("messages")["messages"]}
    assert [sent[seen[kind]]["subject"] for kind in ("sent", "raw", "templated")] == ["Grüße", "Raw", "Hi Ann"]
    assert (seen["verified"], seen["created"], seen["rendered"]) == (True, True, True)
    assert seen["pages"] == [["d1.example", "d2.example"], ["d3.example", "d4.example"], ["d5.example", "js.example"]]
    assert seen["missing"] == ["NotFoundException", 404, True]
    assert seen["rejected"][0] == "MessageRejected"
    assert "not verified" in seen["rejected"][1]


@pytest.mark.skipif(
    not (folder() / "awscli" / ".done").exists(),
    reason="AWS CLI NOT TRIED: it is not here; `make sdks` fetches it",
)
def test_the_aws_cli_uses_it_as_ses(ses: World) -> None:
    """Sends, templates, tenants, pages, and an error with its code."""

    def aws(*words: str) -> tuple[int, Any, str]:
        done = subprocess.run(
            [str(CLI), "sesv2", *words, "--output", "json"],
            env=environment(ses), capture_output=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout or "null"), done.stderr.decode()

    ses.ses.create_email_identity(EmailIdentity="cli.example")
    for number in range(3):
        ses.ses.create_tenant(TenantName=f"cli-{number}")
    content = {
        "Template": {"TemplateContent": {"Subject": "Hi {{name}}", "Text": "Hi"}, "TemplateData": '{"name": "Ann"}'}
    }
    code, sent, told = aws(
        *("send-email", "--from-email-address", "a@cli.example", "--destination", "ToAddresses=b@there.example"),
        *("--content", json.dumps(content)),
    )
    assert code == 0, told
    [found] = ses.admin(f"messages?message_id={sent['MessageId']}")["messages"]
    assert (found["subject"], found["recipients"]) == ("Hi Ann", ["b@there.example"])
    _, first, _ = aws("list-tenants", "--page-size", "2")
    _, second, _ = aws("list-tenants", "--page-size", "2", "--next-token", first["NextToken"])
    names = [each["TenantName"] for each in first["Tenants"] + second["Tenants"]]
    assert [each for each in names if each.startswith("cli-")] == ["cli-0", "cli-1", "cli-2"]
    code, _, told = aws("get-tenant", "--tenant-name", "nobody")
    assert code != 0
    assert "(NotFoundException)" in told
