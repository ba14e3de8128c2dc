"""Owns the operations on contact lists and their contacts.

Leaves what a subscription means to a send to `operations.subscription`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import SesError, already_exists, bad_request, not_found
from tenantry.emulator.records import Contact, ContactList
from tenantry.emulator.state import State, tag_list, tags_of

LISTS_MAX = 1  # SES has one list an account and Region, with as many topics as needed
TOPICS_MAX = 20
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ADDRESS = re.compile(r"[^\s@<>]{1,64}@[^\s@<>]{1,255}")


class ContactOperations(State):
    """Create, read, change and delete contact lists and contacts."""

    def create_contact_list(self, params: Params, call: Call) -> Result:
        name = params["ContactListName"]
        if not _NAME.fullmatch(name):
            raise bad_request(f"Invalid contact list name <{name}>.")
        if name in self.contact_lists:
            raise already_exists(f"List with name {name} already exists.")
        if len(self.contact_lists) >= LISTS_MAX:
            raise SesError("LimitExceededException", "Max number of contact lists reached.")
        topics = _topics(params.get("Topics", []))
        arn, tags = self.options.arn("contact-list", name), tags_of(params)
        made = ContactList(name, arn, call.now, call.now, tags, params.get("Description"), topics)
        self.contact_lists[name] = made
        return None

    def get_contact_list(self, params: Params, call: Call) -> Result:
        found = self.contact_list(params["ContactListName"])
        return {
            "ContactListName": found.name,
            "Topics": list(found.topics.values()),
            "Description": found.description,
            "CreatedTimestamp": found.created_at,
            "LastUpdatedTimestamp": found.changed_at,
            "Tags": tag_list(found.tags),
        }

    def list_contact_lists(self, params: Params, call: Call) -> Result:
        shown, token = self.contact_lists.page(params)
        rows = [{"ContactListName": each.name, "LastUpdatedTimestamp": each.changed_at} for each in shown]
        return {"ContactLists": rows, "NextToken": token}

    def update_contact_list(self, params: Params, call: Call) -> Result:
        found = self.contact_list(params["ContactListName"])
        found.topics = _topics(params.get("Topics", []))
        found.description, found.changed_at = params.get("Description"), call.now
        return None

    def delete_contact_list(self, params: Params, call: Call) -> Result:
        del self.contact_lists[self.contact_list(params["ContactListName"]).name]
        return None

    def create_contact(self, params: Params, call: Call) -> Result:
        found = self.contact_list(params["ContactListName"])
        address = params["EmailAddress"]
        if not _ADDRESS.fullmatch(address):
            raise bad_request(f"<{address[:320]}> is no email address.")
        if address.lower() in found.contacts:
            raise already_exists(f"Email address {address} already exists in List {found.name}.")
        preferences = _preferences(found, params)
        found.contacts[address.lower()] = Contact(
            address, call.now, call.now, preferences, params.get("UnsubscribeAll", False), params.get("AttributesData")
        )
        return None

    def get_contact(self, params: Params, call: Call) -> Result:
        found = self.contact_list(params["ContactListName"])
        contact = _contact(found, params["EmailAddress"])
        return {
            "ContactListName": found.name,
            **_shown(found, contact),
            "AttributesData": contact.attributes,
            "CreatedTimestamp": contact.created_at,
        }

    def list_contacts(self, params: Params, call: Call) -> Result:
        found, wanted = self.contact_list(params["ContactListName"]), params.get("Filter", {})

        def is_wanted(contact: Contact) -> bool:
            return _fits(found, contact, wanted)

        shown, token = found.contacts.page(params, is_wanted if wanted else None)
        return {"Contacts": [_shown(found, each) for each in shown], "NextToken": token}

    def update_contact(self, params: Params, call: Call) -> Result:
        found = self.contact_list(params["ContactListName"])
        contact = _contact(found, params["EmailAddress"])
        contact.preferences = _preferences(found, params)
        contact.unsubscribed = params.get("UnsubscribeAll", False)
        contact.attributes = params.get("AttributesData", contact.attributes)
        contact.changed_at = call.now
        return None

    def delete_contact(self, params: Params, call: Call) -> Result:
        found = self.contact_list(params["ContactListName"])
        del found.contacts[_contact(found, params["EmailAddress"]).address.lower()]
        return None

    def contact_list(self, name: str) -> ContactList:
        """Return the contact list or raise NotFoundException."""
        if found := self.contact_lists.get(name):
            return found
        raise not_found(f"List with name: {name} doesn't exist.")


def choice(found: ContactList, contact: Contact | None, topic: str) -> str:
    """Return what somebody chose for a topic: OPT_IN or OPT_OUT, the topic's default where nothing was chosen."""
    if contact is not None and (chosen := contact.preferences.get(topic)):
        return chosen
    default: str = found.topics[topic]["DefaultSubscriptionStatus"]
    return default


def topic_rows(preferences: Mapping[str, str]) -> list[dict[str, str]]:
    """Return preferences as the API lists them."""
    return [{"TopicName": name, "SubscriptionStatus": status} for name, status in preferences.items()]


def _topics(given: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    topics = {topic["TopicName"]: dict(topic) for topic in given}
    for name in topics:
        if not _NAME.fullmatch(name):
            raise bad_request(f"Invalid topic name <{name}>.")
    if len(topics) > TOPICS_MAX:
        raise bad_request(f"A contact list has at most {TOPICS_MAX} topics.")
    return topics


def _preferences(found: ContactList, params: Params) -> dict[str, str]:
    preferences = {each["TopicName"]: each["SubscriptionStatus"] for each in params.get("TopicPreferences", ())}
    if unknown := preferences.keys() - found.topics.keys():
        raise bad_request(f"List {found.name} doesn't contain Topic {min(unknown)}.")
    return preferences


def _contact(found: ContactList, address: str) -> Contact:
    if contact := found.contacts.get(address.lower()):
        return contact
    raise not_found(f"Email address {address[:320]} doesn't exist in List {found.name}.")


def _shown(found: ContactList, contact: Contact) -> dict[str, Any]:
    defaults = {name: topic["DefaultSubscriptionStatus"] for name, topic in found.topics.items()}
    return {
        "EmailAddress": contact.address,
        "TopicPreferences": topic_rows(contact.preferences),
        "TopicDefaultPreferences": topic_rows(defaults),
        "UnsubscribeAll": contact.unsubscribed,
        "LastUpdatedTimestamp": contact.changed_at,
    }


def _fits(found: ContactList, contact: Contact, wanted: Mapping[str, Any]) -> bool:
    status, topic = wanted.get("FilteredStatus"), wanted.get("TopicFilter", {})
    name = topic.get("TopicName")
    if name is None:
        return status is None or (status == "OPT_OUT") == contact.unsubscribed
    if name not in found.topics:
        return False
    chosen = contact.preferences.get(name)
    if chosen is None and topic.get("UseDefaultIfPreferenceUnavailable"):
        chosen = choice(found, None, name)
    return chosen is not None and status in (None, chosen)
