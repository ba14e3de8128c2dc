"""Owns list management in a send: who is unsubscribed, the headers and links that let a recipient leave, and leaving.

Leaves the lists themselves to `operations.contacts`. SES adds the List-Unsubscribe headers and puts its link where the
text says {{amazonSESUnsubscribeUrl}} (SES guide: using list management).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tenantry.emulator.calls import Call, Params
from tenantry.emulator.errors import bad_request
from tenantry.emulator.events import Sent, subscription_event
from tenantry.emulator.ledger import EventRecord
from tenantry.emulator.mail import Mail, bare
from tenantry.emulator.operations.contacts import ContactOperations, choice, topic_rows
from tenantry.emulator.records import Contact, ContactList

PLACEHOLDER = "{{amazonSESUnsubscribeUrl}}"
LINKS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Management:
    """A send to contacts: of which list, about which topic (None: about everything), and the way out."""

    found: ContactList
    topic: str | None
    url: str
    token: str

    def has_left(self, address: str) -> bool:
        """Does this contact want no such mail?"""
        contact = self.found.contacts.get(bare(address).lower())
        if contact is not None and contact.unsubscribed:
            return True
        return self.topic is not None and choice(self.found, contact, self.topic) == "OPT_OUT"


@dataclass(frozen=True, slots=True)
class Link:
    """How the recipient of one message leaves."""

    management: Management
    sent: Sent


class SubscriptionOperations(ContactOperations):
    """Manage subscriptions by what is sent and by what recipients do."""

    def management_of(self, params: Params, mail: Mail, call: Call) -> Management | None:
        """Return what ListManagementOptions say of a send, or None; raise SES's error for what there is not."""
        given = params.get("ListManagementOptions")
        if given is None:
            return None
        found, topic = self.contact_list(given["ContactListName"]), given.get("TopicName")
        if topic is not None and topic not in found.topics:
            raise bad_request(f"List {found.name} doesn't contain Topic {topic[:64]}.")
        if len(mail.recipients) != 1:
            raise bad_request("A message with ListManagementOptions goes to exactly one recipient.")
        token = f"{self.random.getrandbits(160):040x}"
        return Management(found, topic, f"{call.endpoint}/_local/unsubscribe/{token}", token)

    def managed(self, mail: Mail, management: Management) -> Mail:
        """Return the mail with the headers by which a recipient leaves with one click (RFC 8058)."""
        way = [("List-Unsubscribe", f"<{management.url}>"), ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")]
        return replace(mail, headers=[*mail.headers, *way])

    def remember_link(self, management: Management, sent: Sent) -> None:
        """Let the recipient of a message leave by its link; the latest 10,000 are remembered."""
        if len(self.links) >= LINKS_MAX:
            self.links.popitem(last=False)
        self.links[management.token] = Link(management, sent)

    def unsubscribe(self, token: str, now: float) -> str | None:
        """Let the recipient behind a link leave the topic or the list; return its address, or None for no such link."""
        link = self.links.get(token)
        if link is None:
            return None
        address, found, topic = bare(link.sent.mail.recipients[0]), link.management.found, link.management.topic
        contact = found.contacts.get(address.lower()) or Contact(address, now, now, {})
        old = _preferences(contact)
        if topic is None:
            contact.unsubscribed = True
        else:
            contact.preferences[topic] = "OPT_OUT"
        contact.changed_at = now
        found.contacts[address.lower()] = contact
        render = partial(subscription_event, link.sent, found.name, (old, _preferences(contact)), now)
        event = EventRecord(now, "SUBSCRIPTION", render, link.sent)
        self.ledger.add_event(link.sent.message_id, event)
        self.publish(link.sent.configuration_set or "", event)
        return address


def with_link(content: Mapping[str, Any], url: str) -> dict[str, Any]:
    """Return Simple or Raw content with the link in place of its placeholder."""
    if raw := content.get("Raw"):
        return {"Raw": {"Data": raw["Data"].replace(PLACEHOLDER.encode(), url.encode())}}
    simple = content["Simple"]
    body = {name: {**part, "Data": part["Data"].replace(PLACEHOLDER, url)} for name, part in simple["Body"].items()}
    return {"Simple": {**simple, "Body": body}}


def _preferences(contact: Contact) -> dict[str, Any]:
    rows = [
        {
            "topicName": each["TopicName"],
            "subscriptionStatus": "OptIn" if each["SubscriptionStatus"] == "OPT_IN" else "OptOut",
        }
        for each in topic_rows(contact.preferences)
    ]
    return {"unsubscribeAll": contact.unsubscribed, "topicSubscriptionStatus": rows}
