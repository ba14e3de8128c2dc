"""The address grammar: what is read, what is refused, and how long it may take."""

from __future__ import annotations

import contextlib
from email.utils import getaddresses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantry.wire.address import AddressError, Mailbox, ascii_domain, encoded_words, parse_mailbox, parse_mailboxes
from tests.cost import cpu_seconds

ATEXT = "abcXYZ019!#$%&'*+/=^_`{|}~-"
locals_ = st.lists(st.text(ATEXT, min_size=1, max_size=8), min_size=1, max_size=3).map(".".join)
domains = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True), min_size=2, max_size=4).map(".".join)
addresses = st.tuples(locals_, domains).map("@".join)
displays = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@pytest.mark.parametrize(
    ("text", "display", "address"),
    [
        ("ann@example.com", "", "ann@example.com"),
        ("Ann.B+tag@EXAMPLE.Com", "", "Ann.B+tag@example.com"),
        ("  <ann@example.com>  ", "", "ann@example.com"),
        ("Ann Bee <ann@example.com>", "Ann Bee", "ann@example.com"),
        ("John Q. Public <j@example.com>", "John Q. Public", "j@example.com"),
        ('"Bee, Ann" <ann@example.com>', "Bee, Ann", "ann@example.com"),
        ('"say \\"hi\\"" <ann@example.com>', 'say "hi"', "ann@example.com"),
        ('"Ann" Bee\t<ann@example.com>', "Ann Bee", "ann@example.com"),
        ('"boss@bank.example" <ann@example.com>', "boss@bank.example", "ann@example.com"),
        ("=?utf-8?q?J=C3=B6rg?= <j@example.com>", "=?utf-8?q?J=C3=B6rg?=", "j@example.com"),
        ("Jörg <j@example.com>", "Jörg", "j@example.com"),
        ("ann@example.com (Ann)", "", "ann@example.com"),
        ("(c (d (e))) Ann (x\\)y) <ann@example.com> (z)", "Ann", "ann@example.com"),
        ("ann@bücher.example", "", "ann@xn--bcher-kva.example"),
        ("ann@xn--bcher-kva.example", "", "ann@xn--bcher-kva.example"),
    ],
)
def test_a_mailbox_is_read(text: str, display: str, address: str) -> None:
    """Each usual way of writing one mailbox gives its display name and its one address."""
    local, _, domain = address.partition("@")
    assert parse_mailbox(text) == Mailbox(display, address, local, domain)
    assert parse_mailboxes(text) == (parse_mailbox(text),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "ann",
        "@example.com",
        "ann@",
        "ann@@example.com",
        "ann@b@example.com",
        "ann @example.com",
        "ann@ example.com",
        "ann@example.com.",
        "ann@.example.com",
        "ann@example..com",
        "ann@localhost",
        "ann@-x.example",
        "ann@x-.example",
        "ann@exa_mple.com",
        "ann@[192.0.2.1]",
        "ann@192.0.2.1",
        ".ann@example.com",
        "ann.@example.com",
        "a..b@example.com",
        '"ann"@example.com',
        '"a b"@example.com',
        "<ann@example.com",
        "ann@example.com>",
        "<<ann@example.com>>",
        "<ann@example.com> x",
        "<ann@example.com> <bob@example.com>",
        "<ann@example.com>bob@example.com",
        "ann@example.com bob@example.com",
        "ann@example.com <bob@example.com>",
        "bob@evil.example, <ann@example.com",
        "< ann@example.com>",
        "<ann@example.com(x)>",
        "<ann(x)@example.com>",
        "ann(x)@example.com",
        "<@route.example:ann@example.com>",
        "team: ann@example.com;",
        "undisclosed-recipients:;",
        "ann@example.com;bob@example.com",
        "ann@example.com,",
        ",ann@example.com",
        "ann@example.com,,bob@example.com",
        "ann@example.com (open",
        "ann@example.com (((((x)))))",
        '"open <ann@example.com>',
        "Ann\r\nBcc: x@example.com <ann@example.com>",
        "ann\x00@example.com",
        "Ann\u2028 <ann@example.com>",
        "Ann\ud800 <ann@example.com>",
        "Ann\x7f <ann@example.com>",
        "jörg@example.com",
        "=?utf-8?q?ann=40evil.example=3E?=@example.com",
        "ann@straße.example",
        "ann@example。com",
        "ann@ｅxample.com",
        "ann@exam\u00adple.com",
        "ann@" + "a" * 64 + ".example",
        "a" * 65 + "@example.com",
        "ann@" + "abc." * 70 + "example",
        "a" * 64 + "@" + ("b" * 60 + ".") * 3 + "example",
    ],
)
def test_an_ambiguous_address_is_an_error(text: str) -> None:
    """What two readers could take for different addresses is refused with a sentence, never guessed."""
    with pytest.raises(AddressError, match=r"^[A-Z].*\.$"):
        parse_mailboxes(text)
    with pytest.raises(AddressError):
        parse_mailbox(text)


def test_two_authors_are_seen_as_two() -> None:
    """No second address hides behind the first."""
    found = parse_mailboxes('Ann <ann@example.com>, "x, y" <bob@evil.example>,(c) eve@other.example')
    assert [mailbox.address for mailbox in found] == ["ann@example.com", "bob@evil.example", "eve@other.example"]
    with pytest.raises(AddressError, match="one address, not 2"):
        parse_mailbox("ann@example.com, bob@example.com")


@settings(max_examples=200)
@given(st.lists(st.tuples(displays, addresses), min_size=1, max_size=6))
def test_what_is_written_is_read_back(pairs: list[tuple[str, str]]) -> None:
    """Any list of quoted names and plain addresses reads back as itself."""
    text = ", ".join(Mailbox(name, address, *address.split("@")).header() for name, address in pairs)
    expected = [(name, address) for name, address in pairs]
    found = [(mailbox.display, mailbox.address) for mailbox in parse_mailboxes(text)]
    assert found == expected


@settings(max_examples=300)
@given(st.text('a.@<>,:;()[]\\" \t=?\r\n\x00é', max_size=40))
def test_any_text_gives_addresses_or_an_address_error(text: str) -> None:
    """Nothing but AddressError is raised, and whatever is read is an address that an independent reader finds too."""
    try:
        found = parse_mailboxes(text)
    except AddressError:
        return
    assert [mailbox.address for mailbox in found] == [address for _, address in getaddresses([text])]


@settings(max_examples=100)
@given(st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=80))
def test_encoded_words_are_ascii_and_decode_to_the_text(text: str) -> None:
    """Each encoded word fits in 75 characters and the whole decodes to what was written."""
    from email.header import decode_header, make_header

    words = encoded_words(text)
    assert words.isascii()
    assert max(map(len, words.split(" "))) <= 75
    assert str(make_header(decode_header(words))) == text


def test_an_encoded_display_name_goes_out_unquoted() -> None:
    """Encoded words from the sender stay encoded words, and other text becomes some."""
    raw = "=?utf-8?q?J=C3=B6rg?= <j@example.com>"
    assert parse_mailbox(raw).header() == raw
    assert parse_mailbox("Jörg <j@example.com>").header() == "=?utf-8?B?SsO2cmc=?= <j@example.com>"


@pytest.mark.parametrize(
    "text",
    [
        ",".join(f"u{number}@example.com" for number in range(20_000)),
        ",".join("a@b.cd" for _ in range(9_000)),
        "(" * 3_000 + "ann@example.com",
        "(" * 65_000,
        "()" * 32_000 + "a@b.cd",
        '"' * 65_000,
        '"\\' * 32_000,
        "a " * 32_000,
        "a." * 32_000 + "@b.cd",
        "a@" + "b." * 32_000,
        "<" * 65_000,
        "a@b.cd (" * 8_000,
        "\t" * 65_000,
        '"x" ' * 16_000 + "<a@b.cd>",
    ],
    ids=lambda text: f"{text[:8]!r}",
)
def test_hostile_lists_take_little_time(text: str) -> None:
    """Whatever is read or refused, it takes at most 200 ms of CPU."""

    def read() -> None:
        with contextlib.suppress(AddressError):
            parse_mailboxes(text)

    assert cpu_seconds(read) < 0.2


def test_a_domain_is_lower_case_ascii() -> None:
    """A domain has one form, so that comparing it is comparing text."""
    assert ascii_domain("BÜCHER.Example") == "xn--bcher-kva.example"
