"""Owns `tenantry send` and `tenantry message`; leaves what may be sent to the doors."""

from __future__ import annotations

import base64
import json
import mimetypes
import sys
from pathlib import Path

import click

from tenantry.cli.api import Api, part
from tenantry.cli.document import Document, Json, listed
from tenantry.cli.failure import ExitCode, Failure, wrong_use
from tenantry.cli.show import Answer, Screen, asks
from tenantry.cli.tenants import labels_of

WIRE_PATH = "/v2/email/outbound-emails"
WIRE_REGION = "us-east-1"  # the door takes any


@click.command()
@click.argument("eml", type=click.Path(dir_okay=False, path_type=Path, allow_dash=True), required=False)
@click.option("--key", "sender_key", help="A tenant's key as ID.SECRET; TENANTRY_KEY when left out.")
@click.option("--from", "from_", help="Author, such as 'Acme <hello@acme.example>'.")
@click.option("--to", multiple=True, help="Recipient; repeatable. With a raw message: instead of those in its header.")
@click.option("--cc", multiple=True, help="Copy; repeatable.")
@click.option("--bcc", multiple=True, help="Blind copy; repeatable.")
@click.option("--reply-to", multiple=True, help="Where answers go; repeatable.")
@click.option("--subject", help="Subject.")
@click.option("--text", help="Plain text; `-` reads it from standard input.")
@click.option("--html", help="HTML; `-` reads it from standard input.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="Further header; repeatable.")
@click.option(
    "--attach",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File to attach; repeatable.",
)
@click.option("--stream", help="Stream by name; the tenant's default when left out.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Tag; repeatable.")
@click.option("--idempotency-key", help="Sending again with the same one gives the first answer, for 24 hours.")
@asks
def send(
    api: Api,
    eml: Path | None,
    sender_key: str | None,
    idempotency_key: str | None,
    **given: str | tuple[str, ...] | tuple[Path, ...] | None,
) -> Answer:
    """Send as a tenant: from flags, or a raw message (file.eml, or `-` for standard input) through the SES wire."""
    if sender_key:
        api.profile = api.profile.with_key(sender_key)
    if eml is not None:
        accepted = _send_raw(api, _raw(eml), given)
    else:
        remember = {"idempotency-key": idempotency_key} if idempotency_key else None
        accepted = api.post("/v1/messages", _message(given), remember)

    def show(screen: Screen) -> None:
        screen.line(f"accepted  {accepted.text('id')}", style="bold")
        screen.facts(
            [
                ("stream", accepted.text("stream")),
                ("hold", accepted.text("hold")),
                ("suppressed", ", ".join(accepted.texts("suppressed"))),
            ]
        )
        screen.line(f"Follow it:  tenantry message show {accepted.text('id')}")

    return Answer(dict(accepted.raw), show)


Given = dict[str, str | tuple[str, ...] | tuple[Path, ...] | None]


def _message(given: Given) -> dict[str, Json]:
    """Return the REST body that the flags describe."""
    many: dict[str, Json] = {
        name: [str(each) for each in given[name] or ()] for name in ("to", "cc", "bcc", "reply_to")
    }
    if not (given["from_"] and many["to"] and given["subject"] and (given["text"] or given["html"])):
        raise wrong_use("give --from, --to, --subject and one of --text and --html; or a raw message")
    attachments: list[Json] = [_attachment(Path(each)) for each in given["attach"] or ()]
    pairs: dict[str, Json] = {
        name: {**labels_of(_texts(given[f"{name}"]), f"--{name[:-1]}")} for name in ("headers", "tags")
    }
    one: dict[str, Json] = {
        "from": _text(given["from_"]),
        "subject": _text(given["subject"]),
        "stream": _text(given["stream"]),
        "text": _body(given["text"]),
        "html": _body(given["html"]),
    }
    return {**one, **{name: value for name, value in (many | pairs | {"attachments": attachments}).items() if value}}


def _text(value: str | tuple[str, ...] | tuple[Path, ...] | None) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: str | tuple[str, ...] | tuple[Path, ...] | None) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, tuple) else ()


def _body(value: str | tuple[str, ...] | tuple[Path, ...] | None) -> str | None:
    return sys.stdin.read() if value == "-" else _text(value)


def _attachment(path: Path) -> Json:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return {"filename": path.name, "content": base64.b64encode(path.read_bytes()).decode(), "content_type": kind}


def _raw(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise wrong_use(f"cannot read the message: {error}") from error


def _send_raw(api: Api, raw: bytes, given: Given) -> Document:
    """Hand a raw message in at the SES wire, signed with the key as an AWS SDK would."""
    from tenantry.wire.sigv4 import Signer

    body: dict[str, Json] = {"Content": {"Raw": {"Data": base64.b64encode(raw).decode()}}}
    places = {
        name: [*_texts(given[flag])]
        for name, flag in (("ToAddresses", "to"), ("CcAddresses", "cc"), ("BccAddresses", "bcc"))
        if given[flag]
    }
    if places:
        body["Destination"] = {name: [*each] for name, each in places.items()}
    if given["stream"]:
        body["ConfigurationSetName"] = _text(given["stream"])
    tags = labels_of(_texts(given["tags"]), "--tag")
    if tags:
        body["EmailTags"] = [{"Name": name, "Value": value} for name, value in tags.items()]
    api.call("GET", "/healthz", None, {})  # signed with the server's time, so that a wrong clock here does no harm
    content = json.dumps(body).encode()
    key_id, _, secret = api.profile.key.partition(".")
    signer = Signer(key_id, secret, WIRE_REGION, "ses")
    signed = signer.headers("POST", WIRE_PATH, "", api.host, content, now=api.now, content_type="application/json")
    reply = api.call("POST", WIRE_PATH, content, signed)
    answer = Document.parsed(reply.body)
    if reply.status >= 400:
        code = ExitCode.NOT_AUTHORISED if reply.status in {401, 403} else ExitCode.REFUSED
        raise Failure(code, reply.kind or f"http_{reply.status}", answer.text("message") or answer.text("Message"))
    return Document({"id": answer.text("MessageId")})


@click.group()
def message() -> None:
    """What was accepted, and what became of it."""


@message.command("show")
@click.argument("id")
@asks
def show_message(api: Api, id: str) -> Answer:
    """Show a message with its recipients and all that happened to it."""
    one = api.get(f"/v1/messages/{part(id)}")

    def show(screen: Screen) -> None:
        screen.line(f"{one.text('id')}  {one.text('state')}", style="bold")
        screen.facts(
            [
                ("hold", one.text("hold")),
                ("reason", one.text("reason")),
                ("from", one.text("from")),
                ("subject", one.text("subject")),
                ("stream", f"{one.text('stream')}  {one.text('stream_id')}"),
                ("accepted", screen.moment(one.text("accepted_at"))),
                ("due", screen.moment(one.text("due_at"))),
                ("tags", ", ".join(f"{name}={value}" for name, value in one.pairs("tags").items())),
                ("SES id", one.text("ses_id")),
                ("duplicate", "possibly sent twice" if one.flag("possible_duplicate") else ""),
            ]
        )
        rows = [
            (r.text("address"), r.text("kind"), r.text("standing"), ", ".join(r.texts("facts")))
            for r in one.many("recipients")
        ]
        screen.table(("recipient", "kind", "standing", "seen of it"), rows)
        screen.table(
            ("when", "what", "recipients", "detail"), [_happened(screen, entry) for entry in one.many("timeline")]
        )

    return Answer(dict(one.raw), show)


@message.command("list")
@click.argument("tenant", required=False)
@click.option("--stream", help="Only of this stream (name or id).")
@click.option("--state", help="Only in this state: waiting, claimed, handed, unknown, refused, suppressed, expired.")
@click.option("--to", help="Only to this address.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many.")
@asks
def list_messages(
    api: Api, tenant: str | None, stream: str | None, state: str | None, to: str | None, limit: int
) -> Answer:
    """List a tenant's messages, newest first; its own key need not name it."""
    found = api.some("/v1/messages", limit, tenant=tenant, stream=stream, state=state, recipient=to)

    def show(screen: Screen) -> None:
        rows = [
            (
                screen.moment(m.text("accepted_at")),
                m.text("state"),
                m.text("hold"),
                m.text("stream"),
                ", ".join(r.text("address") for r in m.many("recipients")[:3]),
                m.text("subject"),
                m.text("id"),
            )
            for m in found
        ]
        screen.table(("accepted", "state", "hold", "stream", "to", "subject", "id"), rows)

    return Answer(listed(found), show)


def _happened(screen: Screen, entry: Document) -> tuple[str, ...]:
    detail = "; ".join(f"{name} {value}" for name, value in entry.pairs("detail").items())
    return screen.precise(entry.text("at")), entry.text("what"), ", ".join(entry.texts("recipients")), detail
