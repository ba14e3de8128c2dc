"""The admin API and the mailbox of every account and Region, and links that name none."""

import json
from collections.abc import Iterator
from urllib.request import Request, urlopen

import pytest

from tests.emulator.test_mailbox import page
from tests.emulator.worlds import World, world

OTHER, REGION = "111122223333", "eu-west-1"
BODY = {"Text": {"Data": "{{amazonSESUnsubscribeUrl}}"}, "Html": {"Data": "<p>x"}}
AT = f"/_local/at/{OTHER}/{REGION}"


@pytest.fixture(scope="module")
def ses() -> Iterator[World]:
    with world() as made:
        made.sender()
        made.send("ann@inbox.example")
        other = made.client("sesv2", key_id=OTHER, region=REGION)
        other.create_email_identity(EmailIdentity="other.example")
        other.create_contact_list(
            ContactListName="readers",
            Topics=[{"TopicName": "news", "DisplayName": "News", "DefaultSubscriptionStatus": "OPT_IN"}],
        )
        other.create_contact(ContactListName="readers", EmailAddress="ben@inbox.example")
        other.send_email(
            FromEmailAddress="a@other.example", Destination={"ToAddresses": ["ben@inbox.example"]},
            Content={"Simple": {"Subject": {"Data": "Elsewhere"}, "Body": BODY}},
            ListManagementOptions={"ContactListName": "readers", "TopicName": "news"},
        )  # fmt: skip
        yield made


def test_each_account_and_region_has_pages_of_its_own(ses: World) -> None:
    """What one account sent stands in its own list alone, and the list of places says where that is."""
    places = {each["account_id"]: each for each in ses.admin("accounts")["accounts"]}
    assert (places[OTHER]["pages"], places[OTHER]["messages"]) == (AT, 1)
    there = ses.admin(f"at/{OTHER}/{REGION}/messages")["messages"]
    assert [each["subject"] for each in there] == ["Elsewhere"]
    assert [each["subject"] for each in ses.admin("messages")["messages"]] == ["Hello"]
    assert ses.admin(f"at/{OTHER}/{REGION}/state")["account_id"] == OTHER
    assert "SendEmail" in [each["operation"] for each in ses.admin(f"at/{OTHER}/{REGION}/calls")["calls"]]


def test_the_mailbox_leads_from_place_to_place(ses: World) -> None:
    """Its links stay within the account that is shown, and lead to the others' mailboxes by name."""
    home = page(ses, "/_local/mailbox")[2].decode()
    assert f'href="{AT}/mailbox"' in home
    assert "Elsewhere" not in home
    listed = page(ses, f"{AT}/mailbox")[2].decode()
    assert "Elsewhere" in listed
    message_id = ses.admin(f"at/{OTHER}/{REGION}/messages")["messages"][0]["message_id"]
    assert f'href="{AT}/mailbox/{message_id}"' in listed
    status, _, shown = page(ses, f"{AT}/mailbox/{message_id}")
    assert status == 200
    assert f'src="{AT}/mailbox/{message_id}/html"'.encode() in shown
    assert page(ses, f"{AT}/mailbox/{message_id}/html")[0] == 200
    assert page(ses, f"/_local/mailbox/{message_id}")[0] == 404


def test_a_place_that_was_never_called_has_no_pages(ses: World) -> None:
    """Looking makes no account."""
    before = ses.admin("accounts")
    assert page(ses, f"/_local/at/999999999999/{REGION}/messages")[0] == 404
    assert ses.admin("accounts") == before


def test_decisions_are_for_the_account_of_the_page(ses: World) -> None:
    """An account that is shut down stops; another sends on."""
    ses.admin(f"at/{OTHER}/{REGION}/account", {"sending_enabled": False})
    assert not ses.admin(f"at/{OTHER}/{REGION}/state")["sending_enabled"]
    assert ses.admin("state")["sending_enabled"]


def test_a_link_to_leave_a_list_is_found_in_whatever_account(ses: World) -> None:
    """The link in a mail names no account; who follows it leaves the list of the one that sent it."""
    message = ses.admin(f"at/{OTHER}/{REGION}/messages")["messages"][0]
    url = message["content"]["Simple"]["Body"]["Text"]["Data"]
    with urlopen(Request(url, b"List-Unsubscribe=One-Click"), timeout=5) as answer:
        assert answer.status == 200
    contact = ses.client("sesv2", key_id=OTHER, region=REGION).get_contact(
        ContactListName="readers", EmailAddress="ben@inbox.example"
    )
    assert json.dumps(contact["TopicPreferences"]) == '[{"TopicName": "news", "SubscriptionStatus": "OPT_OUT"}]'
