"""Raw mail's header grammar and the SES content of composed mail: one meaning, nothing smuggled, bounded cost."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from functools import partial

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantry.wire import mime
from tenantry.wire.mime import MimeProblem, RawMail, shown_subject
from tenantry.wire.mime_content import Attachment, Composed, raw_content, simple_content
from tests.cost import cpu_seconds

normalise = partial(mime.normalise, max_bytes=10_000_000)
MAIL = b"From: Ann <ann@example.com>\r\nTo: bob@example.org\r\nSubject: Hi\r\n\r\nHello\r\n"


def accepted(raw: bytes) -> RawMail:
    mail = normalise(raw)
    assert isinstance(mail, RawMail), mail
    return mail


def refused(raw: bytes) -> tuple[str, str]:
    problem = normalise(raw)
    assert isinstance(problem, MimeProblem), problem
    assert problem.message.endswith(".")
    return problem.code, problem.field


def with_headers(*lines: str, body: bytes = b"Hello\r\n") -> bytes:
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_clean_mail_stays_as_it_is() -> None:
    """Mail in the accepted form goes out byte for byte."""
    mail = accepted(MAIL)
    assert mail.content == MAIL
    assert [author.address for author in mail.authors] == ["ann@example.com"]
    assert (mail.to, mail.cc, mail.bcc, mail.subject, mail.removed) == (("bob@example.org",), (), (), "Hi", {})
    assert (mail.sender, mail.return_path) == (None, None)


def test_what_steers_ses_is_cut_out_and_reported() -> None:
    """X-SES-*, Bcc and Return-Path, folded or not and in any case, never reach SES, and the door sees their values."""
    mail = accepted(
        with_headers(
            "X-SES-CONFIGURATION-SET: other",
            "Return-Path: <bounces@example.com>",
            "From: ann@example.com",
            "x-ses-message-tags: a=b,",
            "\tc=d",
            "X-Ses-Tenant: foreign",
            "bcc: x@example.net,",
            " y@example.net",
            "X-SES-TENANT: second",
            "Sender: Office <office@example.com>",
            "Reply-To: r@example.com",
            "Cc: c@example.com, d@example.com",
        )
    )
    assert mail.removed == {
        "x-ses-configuration-set": "other",
        "return-path": "<bounces@example.com>",
        "x-ses-message-tags": "a=b,\tc=d",
        "x-ses-tenant": "foreign, second",
        "bcc": "x@example.net, y@example.net",
    }
    assert (mail.return_path, mail.bcc) == ("bounces@example.com", ("x@example.net", "y@example.net"))
    assert mail.sender
    assert mail.sender.address == "office@example.com"
    assert (mail.reply_to, mail.cc) == (("r@example.com",), ("c@example.com", "d@example.com"))
    lowered = mail.content.lower()
    assert not any(word in lowered for word in (b"x-ses", b"bcc", b"return-path", b"c=d", b"example.net"))


def test_every_author_is_named() -> None:
    """Several addresses in one From are all handed to the binding."""
    mail = accepted(with_headers('From: "Ann, A" <ann@example.com>,', " bob@evil.example", "Sender: ann@example.com"))
    assert [author.address for author in mail.authors] == ["ann@example.com", "bob@evil.example"]


def test_line_endings_become_crlf() -> None:
    """Headers and body with LF, or with both, leave with CRLF only."""
    raw = b"From: a@example.com\nSubject: x\r\n y\n\r\nline\nother\r\n\nlast"
    content = accepted(raw).content
    assert content == b"From: a@example.com\r\nSubject: x\r\n y\r\n\r\nline\r\nother\r\n\r\nlast"


def test_mail_without_a_body_is_mail() -> None:
    """Headers alone are a whole mail; the empty line is added."""
    assert accepted(b"From: a@example.com\r\nSubject: x").content == b"From: a@example.com\r\nSubject: x\r\n\r\n"
    assert accepted(b"From: a@example.com\n").content == b"From: a@example.com\r\n\r\n"


def test_undisclosed_recipients_are_nobody() -> None:
    """The empty group that mail programs write when all are in Bcc names no recipient."""
    mail = accepted(with_headers("From: a@example.com", "To: undisclosed-recipients:;", "Bcc: b@example.com"))
    assert (mail.to, mail.bcc) == ((), ("b@example.com",))


@pytest.mark.parametrize(
    ("raw", "code", "field"),
    [
        (b"", "header_malformed", "headers"),
        (b"\r\nHello", "header_malformed", "headers"),
        (b"\nFrom: a@example.com\n\nx", "header_malformed", "headers"),
        (b" From: a@example.com\r\n\r\n", "header_malformed", "headers"),
        (with_headers("From : a@example.com"), "header_malformed", "headers"),
        (with_headers("From", " : a@example.com"), "header_malformed", "headers"),
        (with_headers("Fr\u00f6m: a@example.com"), "header_malformed", "headers"),
        (with_headers(": a@example.com"), "header_malformed", "headers"),
        (with_headers("From: a@example.com", " \t", "X: y"), "header_malformed", "headers"),
        (with_headers("From: a@example.com", "no colon"), "header_malformed", "headers"),
        (with_headers("Subject: x"), "from_missing", "from"),
        (with_headers("From: a@example.com", "FROM: b@example.com"), "header_repeated", "from"),
        (with_headers("From: a@example.com", "Sender: b@example.com", "sender: c@x.org"), "header_repeated", "sender"),
        (with_headers("From: a@example.com", "Subject: x", "Subject: y"), "header_repeated", "subject"),
        (with_headers("From: a@example.com", "To: x@y.org", "To: z@y.org"), "header_repeated", "to"),
        (with_headers("From: a@example.com", "Date: x", "Date: y"), "header_repeated", "date"),
        (
            with_headers("From: a@example.com", "Content-Type: a/b", "Content-Type: c/d"),
            "header_repeated",
            "content-type",
        ),
        (with_headers("From: a@example.com", "Resent-From: b@evil.org"), "header_refused", "resent-from"),
        (with_headers("From: a@example.com", "Sender: b@x.org, c@x.org"), "address_invalid", "sender"),
        (with_headers("From: a@example.com", "Return-Path: b@x.org, c@x.org"), "address_invalid", "return-path"),
        (with_headers("From: team: a@example.com;"), "address_invalid", "from"),
        (with_headers("From: a@example.com <b@example.com>"), "address_invalid", "from"),
        (with_headers("From: J\u00f6rg <a@example.com>"), "header_not_ascii", "from"),
        (with_headers("From: a@example.com", "To: a@b\u00fccher.example"), "header_not_ascii", "to"),
        (with_headers("From: a@example.com", "To: "), "address_invalid", "to"),
        (b"From: a@example.com\r\nSubject: \xff\r\n\r\n", "header_not_utf8", "headers"),
        (b"From: a@example.com\r\nSubject: x\rBcc: e@x.org\r\n\r\n", "bare_cr", "headers"),
        (b"From: a@example.com\r\r\nSubject: x\r\n\r\n", "bare_cr", "headers"),
        (b"From: a@example.com\r\n\r\nx\ry\r\n", "bare_cr", "body"),
        (b"From: a@example.com\r\n\r\nx\r\r\n", "bare_cr", "body"),
        (b"From: a@example.com\r\n\r\nx\x00y", "body_nul", "body"),
        (b"From: a@example.com\r\nX: \x00\r\n\r\n", "header_control_character", "headers"),
        (b"From: a@example.com\r\nX: \x0b\r\n\r\n", "header_control_character", "headers"),
        (with_headers("From: a@example.com", "X: a\u2028b"), "header_control_character", "headers"),
        (with_headers("From: a@example.com", "X: a\u0085b"), "header_control_character", "headers"),
        (with_headers("From: a@example.com", "X: " + "y" * 996), "line_too_long", "headers"),
        (with_headers("From: a@example.com", "X: " + "\u00e9" * 500), "line_too_long", "headers"),
        (with_headers("From: a@example.com", body=b"x" * 999), "line_too_long", "body"),
        (with_headers("From: a@example.com", body=b"ok\r\n" + b"x" * 999 + b"\r\nok"), "line_too_long", "body"),
        (with_headers("From: a@example.com", body=b"ok\n" + b"x" * 999 + b"\nok"), "line_too_long", "body"),
        (with_headers("From: a@example.com", *["X: y"] * 500), "too_many_headers", "headers"),
        (with_headers("From: a@example.com", *["X: " + "y" * 900] * 80), "headers_too_large", "raw"),
    ],
)
def test_mail_with_two_meanings_is_refused(raw: bytes, code: str, field: str) -> None:
    """What readers could take in different ways is refused by code and field, never repaired by a guess."""
    assert refused(raw) == (code, field)


def test_the_size_cap_holds_for_the_whole_mail() -> None:
    """One byte over the cap is refused before anything is read."""
    assert isinstance(mime.normalise(MAIL, max_bytes=len(MAIL)), RawMail)
    problem = mime.normalise(MAIL, max_bytes=len(MAIL) - 1)
    assert isinstance(problem, MimeProblem)
    assert problem.code == "message_too_large"


@pytest.mark.parametrize("length", [1, 996, 997, 998])
def test_lines_up_to_the_limit_pass(length: int) -> None:
    """Lines of 998 bytes pass wherever they stand, with either line ending."""
    line = b"x" * length
    for ending in (b"\r\n", b"\n"):
        for lines in ([line], [line] * 5, [b"", line, b"y" * 998, b"", line, b""]):
            accepted(b"From: a@example.com\r\n\r\n" + ending.join(lines))


@settings(max_examples=100)
@given(st.lists(st.integers(0, 1_010), max_size=6))
def test_long_lines_are_found_wherever_they_stand(lengths: list[int]) -> None:
    """The stepping search agrees with looking at line after line."""
    body = b"\r\n".join(b"x" * length for length in lengths)
    too_long = any(length > 998 for length in lengths)
    assert isinstance(normalise(b"From: a@example.com\r\n\r\n" + body), MimeProblem) is too_long


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(
            [
                b"From: a@example.com",
                b"Bcc: b@x.org",
                b"X-SES-Tenant: t",
                b"Subject: =?utf-8?q?x?=",
                b" folded",
                b"",
                b"To: c@x.org",
                b"\r",
                b"\x00",
                b"Sender: d@x.org",
                b"Return-Path: <>",
                b"\tX-SES-A: b",
                b"From: e@x.org",
            ]
        ),
        max_size=8,
    ),
    st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b"\n\n"]), min_size=8, max_size=8),
)
def test_normalised_mail_is_stable_and_clean(lines: list[bytes], endings: list[bytes]) -> None:
    """What is accepted normalises to itself, and an independent parser sees one From and nothing cut out in it."""
    mail = normalise(b"".join(line + ending for line, ending in zip(lines, endings, strict=False)))
    if isinstance(mail, MimeProblem):
        return
    again = accepted(mail.content)
    assert again.content == mail.content
    assert again.removed == {}
    seen = message_from_bytes(mail.content)
    assert len(seen.get_all("From", [])) == 1
    assert not [name for name in seen if name.lower().startswith("x-ses") or name.lower() in ("bcc", "return-path")]


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_answered(raw: bytes) -> None:
    """No input raises, with or without a good From before it."""
    normalise(raw)
    normalise(b"From: a@example.com\r\n" + raw)


def test_mail_from_the_standard_library_passes() -> None:
    """Mail that Python's own composer writes, with folded and encoded headers and an attachment, is accepted."""
    message = EmailMessage(policy=SMTP)
    message["From"] = "J\u00f6rg M\u00fcller <j@example.com>"
    message["To"] = ", ".join(f"Person {number} <p{number}@example.org>" for number in range(40))
    message["Subject"] = "Gr\u00fc\u00dfe aus K\u00f6ln " * 5
    message.set_content("text \u20ac\n")
    message.add_alternative("<p>html</p>", subtype="html")
    message.add_attachment(b"\x00\x01" * 500, maintype="application", subtype="pdf", filename="x.pdf")
    mail = accepted(bytes(message))
    assert mail.content == bytes(message)
    assert len(mail.to) == 40
    assert mail.subject == ("Gr\u00fc\u00dfe aus K\u00f6ln " * 5).strip()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("", ""),
        ("=?utf-8?q?caf=C3=A9?= ok", "caf\u00e9 ok"),
        ("=?utf-8*fr?q?caf=C3=A9?=", "caf\u00e9"),
        ("\u20ac =?iso-8859-1?q?=E9?=", "\u20ac \u00e9"),
        ("=?utf-8?q?a=0D=0Ab=00?=", "a  b"),
        ("=?utf-8?b?abcde?=", "=?utf-8?b?abcde?="),
        ("=?hex?q?41?=", "41"),
        ("=?punycode?q?abc?=", "abc"),
        ("x" * 3_000, "x" * 500),
    ],
)
def test_a_subject_is_shown_decoded(value: str, shown: str) -> None:
    """The shown subject is decoded text of one line, whatever stands in the header."""
    assert shown_subject(value) == shown


def test_non_ascii_subjects_stay_as_given() -> None:
    """UTF-8 in headers that hold no address passes through."""
    raw = with_headers("From: a@example.com", "Subject: Gr\u00fc\u00dfe")
    assert (accepted(raw).content, accepted(raw).subject) == (raw, "Gr\u00fc\u00dfe")


@pytest.mark.parametrize(
    "raw",
    [
        b"From: a@example.com\r\nSubject: " + b"=?utf-8?q?x?= " * 40_000 + b"\r\n\r\n",
        b"From: a@example.com\r\nSubject: " + b"=?utf-8?q?x?=\r\n " * 4_000 + b"x\r\n\r\n",
        with_headers("From: a@example.com", body=b"--x\r\n\r\n\r\n" * 100_000),
        with_headers("From: a@example.com", body=b"\n" * 1_000_000),
        b"From: a@example.com\r\nTo: " + b",\r\n ".join(b"u%d@example.com" % n for n in range(20_000)) + b"\r\n\r\n",
        b"From: a@example.com\r\nTo: " + b",\r\n ".join(b"u%d@example.com" % n for n in range(3_000)) + b"\r\n\r\n",
        b"From: a@example.com\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n",
        b"From: a@example.com\r\n" + b"A:\r\n" * 10_000 + b"\r\n",
        b"From: " + b"\r\n ".join([b"(" * 900] * 60) + b"\r\n\r\n",
        b"From: a@example.com\r\nTo: " + b"\r\n ".join([b"_ " * 450] * 60) + b"x\r\n\r\n",
        b"\n\r" * 500_000,
        b"a" * 1_000_000,
    ],
    ids=range(12),
)
def test_hostile_mail_takes_little_time(raw: bytes) -> None:
    """Encoded words, empty parts, recipients and headers by the thousand take at most 200 ms of CPU."""
    assert cpu_seconds(lambda: normalise(raw)) < 0.2


SHAPES = ServiceModel(Loader().load_service_model("sesv2", "service-2"))
FULL = Composed(
    subject="Gr\u00fc\u00dfe \U0001f600",
    text="hello\r\nworld\u2028",
    html="<p>\u20ac</p>",
    headers={"List-Unsubscribe": "<https://example.com/u?x=1>", "X-Campaign": "spring"},
    attachments=(
        Attachment("r\u00e9sum\u00e9.pdf", b"\x00\xff" * 10, "application/pdf"),
        Attachment("logo.png", b"png", 'image/png; name="logo.png"', inline=True, content_id="logo@example.com"),
    ),
)


def content_of(mail: Composed) -> dict[str, dict[str, object]]:
    content = simple_content(mail)
    assert isinstance(content, bytes), content
    parsed: dict[str, dict[str, object]] = json.loads(content)
    return parsed


def problem_of(mail: Composed) -> tuple[str, str]:
    problem = simple_content(mail)
    assert isinstance(problem, MimeProblem)
    assert problem.message.endswith(".")
    return problem.code, problem.field


def test_composed_mail_becomes_ses_content() -> None:
    """The content has the members, limits and types of botocore's own SES model, and says what was given."""
    parsed = content_of(FULL)
    assert not ParamValidator().validate(parsed, SHAPES.shape_for("EmailContent")).has_errors()
    assert parsed == {
        "Simple": {
            "Subject": {"Data": "Gr\u00fc\u00dfe \U0001f600", "Charset": "UTF-8"},
            "Body": {
                "Text": {"Data": "hello\r\nworld\u2028", "Charset": "UTF-8"},
                "Html": {"Data": "<p>\u20ac</p>", "Charset": "UTF-8"},
            },
            "Headers": [
                {"Name": "List-Unsubscribe", "Value": "<https://example.com/u?x=1>"},
                {"Name": "X-Campaign", "Value": "spring"},
            ],
            "Attachments": [
                {
                    "FileName": "r\u00e9sum\u00e9.pdf",
                    "RawContent": base64.b64encode(b"\x00\xff" * 10).decode(),
                    "ContentDisposition": "ATTACHMENT",
                    "ContentTransferEncoding": "BASE64",
                    "ContentType": "application/pdf",
                },
                {
                    "FileName": "logo.png",
                    "RawContent": base64.b64encode(b"png").decode(),
                    "ContentDisposition": "INLINE",
                    "ContentTransferEncoding": "BASE64",
                    "ContentType": 'image/png; name="logo.png"',
                    "ContentId": "logo@example.com",
                },
            ],
        }
    }


def test_a_plain_mail_has_no_empty_members() -> None:
    """What was not given is not sent."""
    assert content_of(Composed("x", text="y")) == {
        "Simple": {"Subject": {"Data": "x", "Charset": "UTF-8"}, "Body": {"Text": {"Data": "y", "Charset": "UTF-8"}}}
    }


def test_raw_mail_becomes_ses_content() -> None:
    """Raw mail is carried as base64 and comes out as it went in."""
    assert base64.b64decode(json.loads(raw_content(MAIL))["Raw"]["Data"]) == MAIL


@pytest.mark.parametrize("bad", ["\r", "\n", "\r\nBcc: x@y.org", "\x00", "\u2028", "\u2029", "\x85", "\ud800", "\x7f"])
def test_no_field_can_inject_a_header(bad: str) -> None:
    """CR, LF, NUL, separators and half characters are refused in every one-line field, by its name."""
    text = f"a{bad}b"
    logo = FULL.attachments[1]
    assert problem_of(FULL._replace(subject=text)) == ("control_character", "subject")
    assert problem_of(FULL._replace(headers={"X-A": text}))[0] == "control_character"
    assert problem_of(FULL._replace(headers={text: "b"}))[0] == "control_character"
    for name in ("filename", "content_type", "content_id"):
        poisoned = FULL._replace(attachments=(replace(logo, **{name: text}),))
        assert problem_of(poisoned) == ("control_character", f"attachments[0].{name}")


@pytest.mark.parametrize("bad", ["\x00", "\udfff"])
def test_bodies_hold_text_only(bad: str) -> None:
    """A body with NUL or half a character is refused, since it can be neither kept nor sent."""
    assert problem_of(Composed("x", text=f"a{bad}")) == ("control_character", "text")
    assert problem_of(Composed("x", html=f"a{bad}")) == ("control_character", "html")


@pytest.mark.parametrize(
    ("mail", "code", "field"),
    [
        (Composed("x"), "body_missing", "text"),
        (Composed("x" * 999, text="y"), "subject_too_long", "subject"),
        (Composed("=?utf-8?q?x?= " * 40_000, text="y"), "subject_too_long", "subject"),
        (Composed("x", text="y", headers={f"X-{n}": "v" for n in range(16)}), "too_many_headers", "headers"),
        (Composed("x", text="y", headers={"X Y": "v"}), "header_name_invalid", "headers.X Y"),
        (Composed("x", text="y", headers={"": "v"}), "header_name_invalid", "headers."),
        (Composed("x", text="y", headers={"X:": "v"}), "header_name_invalid", "headers.X:"),
        (Composed("x", text="y", headers={"X" * 127: "v"}), "header_name_invalid", "headers." + "X" * 126),
        (Composed("x", text="y", headers={"X-A": ""}), "header_value_invalid", "headers.X-A"),
        (Composed("x", text="y", headers={"X-A": "\u00e9"}), "header_value_invalid", "headers.X-A"),
        (Composed("x", text="y", headers={"X-A": "v" * 996}), "header_value_invalid", "headers.X-A"),
        (Composed("x", text="y", headers={"X-A": "v", "x-a": "w"}), "header_repeated", "headers.x-a"),
    ],
)  # fmt: skip
def test_what_ses_does_not_take_is_refused(mail: Composed, code: str, field: str) -> None:
    """Each limit of SES is told by code and field before anything is kept."""
    assert problem_of(mail) == (code, field)


@pytest.mark.parametrize(
    ("attachment", "code", "field"),
    [
        (Attachment("", b""), "filename_invalid", ".filename"),
        (Attachment("n" * 256, b""), "filename_invalid", ".filename"),
        (Attachment("n", b"", "png"), "content_type_invalid", ".content_type"),
        (Attachment("n", b"", "a/" + "b" * 77), "content_type_invalid", ".content_type"),
        (Attachment("n", b"", content_id="<a>"), "content_id_invalid", ".content_id"),
    ],
)
def test_an_unfit_attachment_is_named(attachment: Attachment, code: str, field: str) -> None:
    """The one attachment at fault is named by its place."""
    assert problem_of(Composed("x", text="y", attachments=(Attachment("ok", b""), attachment))) == (
        code,
        f"attachments[1]{field}",
    )


def test_attachments_fit_in_what_ses_takes() -> None:
    """Too many files and too many bytes are refused before they are encoded."""
    many = Composed("x", text="y", attachments=(Attachment("n", b""),) * 491)
    assert problem_of(many) == ("too_many_attachments", "attachments")
    big = Composed("x", text="y", attachments=(Attachment("n", bytes(31_000_000)),))
    assert problem_of(big) == ("message_too_large", "attachments")


@pytest.mark.parametrize(
    "name",
    [
        "From",
        "To",
        "CC",
        "Bcc",
        "subject",
        "Sender",
        "Return-Path",
        "Reply-To",
        "DATE",
        "Message-ID",
        "MIME-Version",
        "Content-Type",
        "X-SES-Tenant",
        "dkim-signature",
        "Resent-From",
        "Received",
        "ARC-Seal",
    ],
)
def test_reserved_headers_are_refused(name: str) -> None:
    """No custom header names an author, a recipient, or steers SES."""
    assert problem_of(Composed("x", text="y", headers={name: "v"})) == ("header_reserved", f"headers.{name}")


@settings(max_examples=150)
@given(
    st.text(max_size=20), st.text(max_size=20), st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
    st.text(max_size=10), st.one_of(st.none(), st.text(max_size=10)), st.one_of(st.none(), st.text(max_size=10)),
)  # fmt: skip
def test_any_fields_are_answered(
    subject: str, text: str, headers: dict[str, str], filename: str, kind: str | None, content_id: str | None
) -> None:
    """Whatever the fields hold, the answer is a problem or content that fits botocore's SES model."""
    attachment = Attachment(filename, b"x", kind, content_id=content_id)
    content = simple_content(Composed(subject, text=text, headers=headers, attachments=(attachment,)))
    if isinstance(content, bytes):
        parsed = json.loads(content)
        assert not ParamValidator().validate(parsed, SHAPES.shape_for("EmailContent")).has_errors()
