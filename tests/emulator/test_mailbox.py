"""The mailbox page of the local SES: what a person reads of what was sent, also when it was written to do harm."""

from collections.abc import Iterator
from email.message import EmailMessage
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from tenantry.emulator.mailbox.letter import PARTS_MAX, read_letter
from tests.emulator.worlds import World, world

PICTURE = b"\x89PNG\r\n\x1a\n"
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def ses() -> Iterator[World]:
    with world() as made:
        made.sender()
        yield made


def page(ses: World, path: str) -> tuple[int, dict[str, str], bytes]:
    """Ask for a page as a browser does; return status, headers (lower case) and body."""
    try:
        with urlopen(f"{ses.local.url}{path}", timeout=10) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    except HTTPError as error:
        with error:
            return error.code, {name.lower(): value for name, value in error.headers.items()}, error.read()


def raw(html: str) -> dict[str, dict[str, dict[str, bytes]]]:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Acme <news@acme.example>", "ann@inbox.example", "Grüße"
    message.set_content("In plain words")
    message.add_alternative(html, subtype="html")
    message.add_attachment(PICTURE, maintype="image", subtype="png", filename="logo.png", cid="<logo@acme>")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="Rechnung é.pdf")
    return {"Content": {"Raw": {"Data": bytes(message)}}}


def test_a_browser_at_the_front_door_finds_the_mailbox(ses: World) -> None:
    """Who opens the address of the local SES sees the newest mail first, with what became of it."""
    ses.send("ann@inbox.example")
    ses.send(
        "bounce@simulator.amazonses.com",
        Content={"Simple": {"Subject": {"Data": "Second"}, "Body": {"Text": {"Data": "x"}}}},
    )
    status, _, body = page(ses, "/")
    assert status == 200
    text = body.decode()
    assert text.index("Second") < text.index("Hello")
    assert "bounced</span>" in text and "delivered</span>" in text


def test_search_finds_by_address_subject_set_and_tag(ses: World) -> None:
    """Each word must occur somewhere; what matches nothing says so."""
    ses.send("ann@inbox.example", EmailTags=[{"Name": "campaign", "Value": "spring"}])
    ses.send("bob@inbox.example")
    for q, seen, unseen in (
        ("ANN@", "ann@inbox.example", "bob@inbox.example"),
        ("campaign=spring hello", "ann@inbox.example", "bob@inbox.example"),
        ("acme-set bob", "bob@inbox.example", "ann@inbox.example"),
    ):
        text = page(ses, f"/_local/mailbox?q={quote(q)}")[2].decode()
        assert seen in text and unseen not in text
    assert "Nothing that is kept matches" in page(ses, "/_local/mailbox?q=nobody")[2].decode()


def test_pages_follow_one_another_without_gaps(ses: World) -> None:
    """The link to older mail goes on where the page ended."""
    for number in range(60):
        ses.send(f"person-{number}@inbox.example")
    first = page(ses, "/_local/mailbox")[2].decode()
    link = first.split('href="/_local/mailbox?', 1)[1].split('"', 1)[0].replace("&amp;", "&")
    second = page(ses, f"/_local/mailbox?{link}")[2].decode()
    seen = [first.count(f"person-{n}@") + second.count(f"person-{n}@") for n in range(60)]
    assert seen == [1] * 60
    assert "Older" not in second


def test_a_message_shows_all_of_itself(ses: World) -> None:
    """Header, recipients, events, text, HTML, attachments and source of one raw message."""
    sent = ses.send("ann@inbox.example", **raw('<p>Hi <img src="cid:logo@acme"></p>'))
    text = page(ses, f"/_local/mailbox/{sent}")[2].decode()
    for part in (
        "Grüße",
        "ann@inbox.example",
        "In plain words",
        "logo.png",
        "Rechnung é.pdf",
        "DELIVERY",
        "smtpResponse",
    ):
        assert part in text
    html = page(ses, f"/_local/mailbox/{sent}/html")[2]
    assert b'src="data:image/png;base64,' in html
    status, headers, body = page(ses, f"/_local/mailbox/{sent}/attachments/2")
    assert (status, body) == (200, b"%PDF")
    assert headers["content-disposition"].startswith("attachment;")
    assert headers["content-type"] == "application/octet-stream"
    assert b"Content-Type: multipart/" in page(ses, f"/_local/mailbox/{sent}/source")[2]
    assert page(ses, f"/_local/mailbox/{sent}/attachments/3")[0] == 404


def test_simple_content_reads_as_the_mail_that_it_stands_for(ses: World) -> None:
    """Simple content has texts, attachments and a source too."""
    attachment = {"RawContent": b"a,b", "FileName": "list.csv", "ContentType": "text/csv"}
    simple = {
        "Subject": {"Data": "Hello"},
        "Body": {"Text": {"Data": "Plain"}, "Html": {"Data": "<b>Rich</b>"}},
        "Attachments": [attachment],
    }
    sent = ses.send("ann@inbox.example", Content={"Simple": simple})
    text = page(ses, f"/_local/mailbox/{sent}")[2].decode()
    assert "Plain" in text and "list.csv" in text
    assert page(ses, f"/_local/mailbox/{sent}/html")[2].strip() == b"<b>Rich</b>"
    assert page(ses, f"/_local/mailbox/{sent}/attachments/1")[2] == b"a,b"


def test_hostile_mail_harms_nobody_who_reads_it(ses: World) -> None:
    """Markup in headers is text; HTML is shown where nothing runs and nothing is fetched; pages may run no script at all."""
    content = {"Subject": {"Data": SCRIPT}, "Body": {"Html": {"Data": SCRIPT}, "Text": {"Data": SCRIPT}}}
    sent = ses.send("ann@inbox.example", Content={"Simple": content})
    for path in ("/_local/mailbox", f"/_local/mailbox/{sent}", f"/_local/mailbox?q={quote(SCRIPT)}"):
        _, headers, body = page(ses, path)
        assert SCRIPT.encode() not in body
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
        assert "script-src" not in headers["content-security-policy"]
    _, headers, _ = page(ses, f"/_local/mailbox/{sent}/html")
    assert headers["content-security-policy"].startswith("sandbox; default-src 'none';")
    assert "iframe sandbox title" in page(ses, f"/_local/mailbox/{sent}")[2].decode()
    for odd in (f"/_local/mailbox/{sent}%0d%0aX: y", "/_local/mailbox/../../etc/passwd", "/_local/mailbox/none/html"):
        assert page(ses, odd.replace(" ", "%20"))[0] == 404


@pytest.mark.parametrize("parts", [1_000, 100_000])
def test_a_mail_of_endless_parts_is_read_in_part(parts: int) -> None:
    """A message made of very many parts shows a bounded number of them."""
    part = b"--b\r\nContent-Type: application/x\r\n\r\nx\r\n"
    flat = b"Subject: many\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + part * parts + b"--b--\r\n"
    letter = read_letter({"Raw": {"Data": flat}}, {})
    assert len(letter.attachments) <= PARTS_MAX
    assert ("Subject", "many") in letter.headers


@pytest.mark.parametrize("levels", [100, 1_500, 50_000])
def test_a_mail_nested_without_end_is_read_in_part(levels: int) -> None:
    """A message of parts within parts can be opened: at least its header and its source are shown."""
    each = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n"
    deep = b"Subject: deep\r\n" + b"".join(each % (n, n) for n in range(levels))
    letter = read_letter({"Raw": {"Data": deep}}, {})
    assert ("Subject", "deep") in letter.headers
    assert letter.source == deep
