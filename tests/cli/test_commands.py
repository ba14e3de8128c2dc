"""Every command against real doors: its one JSON document, its readable form, its exit code."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tenantry.cli.failure import ExitCode
from tests.cli.terminal import Terminal

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY = "msg_" + "0" * 32


async def test_a_tenant_comes_with_both_streams_and_its_domain(terminal: Terminal) -> None:
    """`tenant add NAME --domain D` makes all that a tenant needs, and says which records to publish."""
    made = await terminal.ask("tenant", "add", "bravo", "--domain", "bravo.example", "--label", "unit=retail")
    assert [stream["name"] for stream in made["streams"]] == ["transactional", "marketing"]
    assert made["identity"]["name"] == "bravo.example"
    assert made["tenant"]["labels"] == {"unit": "retail"}
    shown = await terminal.type("identity", "show", "bravo.example")
    assert made["identity"]["records"][0]["value"] in shown.out


async def test_ids_are_printed_whole(terminal: Terminal) -> None:
    """What is piped or copied from a table is a whole id."""
    tenant = (await terminal.ask("tenant", "show", "acme"))["id"]
    assert tenant in (await terminal.type("tenant", "list")).out
    streams = (await terminal.type("stream", "list", "acme", "--json")).items
    listed = (await terminal.type("stream", "list", "acme")).out
    assert all(stream["id"] in listed for stream in streams)


async def test_names_are_taken_where_ids_are(terminal: Terminal) -> None:
    """acme/marketing and its id explain the same stream; pool: and cell: name the rest."""
    stream = next(
        s for s in (await terminal.type("stream", "list", "acme", "--json")).items if s["name"] == "marketing"
    )
    by_name = await terminal.ask("explain", "acme/marketing")
    assert by_name == await terminal.ask("explain", stream["id"])
    made = await terminal.ask("pool", "add", "brands", "--kind", "managed")
    pause = await terminal.ask("pause", "pool:brands", "--reason", "warm-up")
    assert pause["scope_id"] == made["id"]
    assert (await terminal.type("pause", "pool:none", "--reason", "x")).code == ExitCode.REFUSED


async def test_a_key_opens_the_rest_door_and_the_wire(terminal: Terminal) -> None:
    """`key create --json` gives id and secret; `send` uses them from flags and, for a raw message, signed."""
    key = await terminal.ask("key", "create", "acme")
    pair = f"{key['id']}.{key['secret']}"
    flags = ("--from", "Acme <hello@acme.example>", "--to", "ann@example.com", "--subject", "Hi", "--text", "Hello")
    by_rest = await terminal.ask("send", *flags, "--tag", "campaign=autumn", key=pair)
    raw = "From: hello@acme.example\r\nTo: bob@example.com\r\nSubject: Raw\r\n\r\nHello\r\n"
    by_wire = await terminal.ask("send", "-", "--stream", "marketing", "--key", pair, given=raw)
    first = await terminal.ask("message", "show", by_rest["id"])
    second = await terminal.ask("message", "show", by_wire["id"])
    assert first["tags"] == {"campaign": "autumn"}
    assert [second["stream"], second["subject"]] == ["marketing", "Raw"]
    assert by_wire["id"] in (await terminal.type("message", "list", "acme", "--to", "bob@example.com")).out


async def test_sending_again_with_the_same_name_sends_once(terminal: Terminal) -> None:
    """`--idempotency-key` reaches the door: the second answer is the first one."""
    flags = ("--from", "hello@acme.example", "--to", "a@example.com", "--subject", "Once", "--text", "x")
    sends = [
        await terminal.ask("send", *flags, "--idempotency-key", "once", key=terminal.doors.token()) for _ in range(2)
    ]
    assert sends[0]["id"] == sends[1]["id"]


async def test_an_attachment_and_standard_input_reach_the_message(terminal: Terminal, tmp_path: Path) -> None:
    """`--attach` and `--text -` are read here and sent; a header that is not NAME=VALUE is wrong use."""
    bill = tmp_path / "bill.pdf"
    bill.write_bytes(b"%PDF-1.4")
    flags = ("send", "--from", "hello@acme.example", "--to", "a@example.com", "--subject", "Bill", "--text", "-")
    key = terminal.doors.token()
    assert (await terminal.type(*flags, "--attach", str(bill), key=key, given="Grüße")).code == ExitCode.OK
    assert (await terminal.type(*flags, "--header", "nonsense", key=key, given="x")).code == ExitCode.USAGE


async def test_a_revoked_key_opens_nothing(terminal: Terminal) -> None:
    """After `key revoke` the key is not authorised any more."""
    key = await terminal.ask("key", "create", "acme")
    assert (await terminal.ask("key", "revoke", key["id"]))["revoked"] is True
    said = await terminal.type("tenant", "list", key=f"{key['id']}.{key['secret']}")
    assert said.code == ExitCode.NOT_AUTHORISED
    assert key["id"] in (await terminal.type("key", "list", "acme")).out


async def test_a_key_belongs_to_a_tenant_or_to_the_operator(terminal: Terminal) -> None:
    """`key create` without either, or with both, is wrong use and makes no key."""
    before = len((await terminal.type("key", "list", "--json")).items)
    assert (await terminal.type("key", "create")).code == ExitCode.USAGE
    assert (await terminal.type("key", "create", "acme", "--operator")).code == ExitCode.USAGE
    assert len((await terminal.type("key", "list", "--json")).items) == before
    assert (await terminal.ask("key", "create", "--operator"))["tenant_id"] is None


async def test_the_snippet_is_ready_to_run(terminal: Terminal) -> None:
    """In text, `key create` shows boto3 with this address, this pair and the tenant's own domain filled in."""
    said = await terminal.type("key", "create", "acme")
    code = said.out[said.out.index("import boto3") :]
    compile(code, "snippet", "exec")
    assert terminal.doors.url in code
    assert "hello@acme.example" in code


async def test_a_pause_stops_a_stream_and_reinstating_by_name_ends_it(terminal: Terminal) -> None:
    """`pause`, `pauses`, `reinstate` go together; a scope without a pause is refused with where to look."""
    pause = await terminal.ask("pause", "acme/marketing", "--reason", "under review")
    assert (pause["author"], pause["reason"]) == ("operator", "under review")
    listed = (await terminal.type("pauses", "acme")).out
    assert "acme/marketing" in listed
    assert pause["id"] in listed
    ended = (await terminal.type("reinstate", "acme/marketing", "--reason", "looked at", "--json")).items
    assert [each["id"] for each in ended] == [pause["id"]]
    said = await terminal.type("reinstate", "other/marketing", "--reason", "x")
    assert said.code == ExitCode.REFUSED
    assert "tenantry pauses" in said.errors


@pytest.mark.parametrize(
    "words",
    [
        ("tenant", "list"),
        ("tenant", "show", "acme"),
        ("stream", "list"),
        ("identity", "list", "acme"),
        ("identity", "show", "acme.example"),
        ("key", "list", "acme"),
        ("message", "list", "acme"),
        ("pauses", "--all"),
        ("explain", "acme"),
        ("reputation",),
        ("reputation", "acme/marketing"),
        ("pool", "list"),
        ("cell", "list"),
        ("plan",),
    ],
    ids=" ".join,
)
async def test_every_reading_command_has_both_forms(terminal: Terminal, words: tuple[str, ...]) -> None:
    """With --json it prints one document and nothing else; without, something for people; the codes agree."""
    document, text = await terminal.type(*words, "--json"), await terminal.type(*words)
    json.loads(document.out)
    assert text.out.strip()
    assert (document.errors, text.errors) == ("", "")
    assert document.code == text.code == ExitCode.OK


async def test_the_doctors_code_is_what_it_found(terminal: Terminal) -> None:
    """Exit code 1 exactly when a finding is an error; each finding is shown to people too."""
    document, text = await terminal.type("doctor", "--json"), await terminal.type("doctor")
    wrong = any(finding["level"] == "error" for finding in document.items)
    assert document.code == (ExitCode.REFUSED if wrong else ExitCode.OK)
    assert document.items[0]["what"] in text.out


async def test_a_refusal_keeps_the_words_of_the_api(terminal: Terminal) -> None:
    """Exit code 1, the code and what to do on standard error; with --json the API's own error on standard output."""
    flags = ("send", "--from", "a@foreign.example", "--to", "b@example.com", "--subject", "x", "--text", "y")
    said = await terminal.type(*flags, key=terminal.doors.token())
    assert (said.code, said.out) == (ExitCode.REFUSED, "")
    assert "author_not_yours" in said.errors
    assert "(field: from)" in said.errors
    told = await terminal.type(*flags, "--json", key=terminal.doors.token())
    assert (told.code, told.json["error"]["code"]) == (ExitCode.REFUSED, "author_not_yours")


async def test_a_refusal_on_the_wire_keeps_the_words_of_ses(terminal: Terminal) -> None:
    """A raw message that is refused says SES's own error, with exit code 1."""
    raw = "From: a@foreign.example\r\nTo: b@example.com\r\nSubject: x\r\n\r\ny\r\n"
    said = await terminal.type("send", "-", key=terminal.doors.token(), given=raw)
    assert said.code == ExitCode.REFUSED
    assert "MessageRejected" in said.errors


@pytest.mark.parametrize(
    "words", [("message", "show", NOBODY), ("tenant", "show", "none"), ("identity", "show", "none")]
)
async def test_what_is_not_there_is_a_refusal(terminal: Terminal, words: tuple[str, ...]) -> None:
    """Something unknown ends with exit code 1 and the code not_found."""
    said = await terminal.type(*words, "--json")
    assert (said.code, said.json["error"]["code"]) == (ExitCode.REFUSED, "not_found")


async def test_a_tenants_key_sees_its_own_and_no_more(terminal: Terminal) -> None:
    """With a tenant's key its own stream needs no tenant's name; the operator's commands end with code 4."""
    key = terminal.doors.token()
    assert (await terminal.type("reputation", key=key)).code == ExitCode.OK
    assert (await terminal.type("doctor", key=key)).code == ExitCode.NOT_AUTHORISED
    assert (await terminal.type("tenant", "show", "other", key=key)).code == ExitCode.REFUSED


async def test_an_unreachable_api_has_its_own_code(terminal: Terminal) -> None:
    """Nobody at the address: exit code 3, and the address is named."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        said = await terminal.type("tenant", "list", TENANTRY_URL=url)
    assert said.code == ExitCode.UNREACHABLE
    assert url in said.errors


async def test_a_wrong_command_line_has_clicks_code(terminal: Terminal) -> None:
    """Unknown commands, flags and addresses that are none end with exit code 2."""
    assert (await terminal.type("tenant", "explode")).code == ExitCode.USAGE
    assert (await terminal.type("send", "--nonsense")).code == ExitCode.USAGE
    assert (await terminal.type("send", "/nowhere.eml", key=terminal.doors.token())).code == ExitCode.USAGE
    assert (await terminal.type("tenant", "list", TENANTRY_URL="nonsense")).code == ExitCode.USAGE


async def test_text_of_others_cannot_drive_the_terminal(terminal: Terminal) -> None:
    """A character that turns the text around is shown as a mark; an escape sequence is refused and never sent back."""
    pause = await terminal.ask("pause", "other/transactional", "--reason", "red \u202e alert")
    said = await terminal.type("pauses", "other")
    assert pause["id"] in said.out
    assert "\u202e" not in said.out
    refused = await terminal.type("pause", "other/marketing", "--reason", "red \x1b[31m alert")
    assert refused.code == ExitCode.REFUSED
    assert "\x1b" not in refused.out + refused.errors
