"""Owns SendEmail: SES's checks in SES's order, and the events that follow from the recipients' fates.

Leaves the shapes of events to `emulator.events` and reading of content to `emulator.mail`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import SesError, bad_request, not_found, unsupported
from tenantry.emulator.events import (
    Sent,
    bounce_event,
    complaint_event,
    delay_event,
    delivery_event,
    reject_event,
    send_event,
)
from tenantry.emulator.ledger import EventRecord, MessageRecord
from tenantry.emulator.mail import Mail, bare, read_mail
from tenantry.emulator.recipients import Fate, is_simulated
from tenantry.emulator.records import ConfigurationSet, Identity, Tenant
from tenantry.emulator.state import State

RECIPIENTS_MAX = 50
_TAG_NAME = re.compile(r"[A-Za-z0-9_-]{1,256}")
_TAG_VALUE = re.compile(r"[A-Za-z0-9_.@-]{1,256}")
_REFUSED_PARAMS = ("EndpointId", "ListManagementOptions", "FromEmailAddressIdentityArn")


@dataclass(slots=True)
class _Sender:
    """Who sends: the names that the call gives and what they stand for."""

    identity: Identity | None
    identity_arn: str
    set_name: str | None
    found_set: ConfigurationSet | None
    tenant: Tenant | None


class SendingOperations(State):
    """Send mail, or refuse it as SES does."""

    def send_email(self, params: Params, call: Call) -> Result:
        for name in _REFUSED_PARAMS:
            if name in params:
                raise unsupported(f"{name} in SendEmail")
        mail = read_mail(params)
        tags = _tags(params, mail)
        sender = self._sender(params, mail)
        self._check_tenant(sender)
        self._check_set_and_account(sender)
        self._check_verified(sender, mail, call)
        self._check_quota(mail, call)
        sent = self._sent(sender, mail, tags, call)
        fates = [(each, self.recipients.fate(each, self.random)) for each in mail.recipients]
        record = MessageRecord(
            message_id=sent.message_id,
            at=call.now,
            source=mail.source,
            to=mail.to,
            cc=mail.cc,
            bcc=mail.bcc,
            subject=mail.subject,
            configuration_set=sender.set_name,
            tenant=sent.tenant,
            tags=tags,
            outcomes=[(each, "rejected" if mail.has_virus else fate.kind) for each, fate in fates],
        )
        self.ledger.add_message(record, params["Content"])
        self._tell_events(sent, fates, call.now)
        return {"MessageId": sent.message_id}

    def _sender(self, params: Params, mail: Mail) -> _Sender:
        tenant_name = params.get("TenantName") or mail.wishes.get("x-ses-tenant")
        tenant = self.tenants.get(tenant_name) if tenant_name else None
        if tenant_name and tenant is None:
            raise not_found(f"Tenant <{tenant_name}> does not exist.")
        author = mail.author.lower()
        identity = self._covering(author)
        arn = identity.arn if identity else self.options.arn("identity", author)
        set_name = params.get("ConfigurationSetName") or mail.wishes.get("x-ses-configuration-set")
        if not set_name and identity:
            set_name = identity.configuration_set
        return _Sender(identity, arn, set_name, self.sets.get(set_name) if set_name else None, tenant)

    def _covering(self, address: str) -> Identity | None:
        """Return the most specific identity that covers an address, a verified one first."""
        if found := self.identities.get(address):
            return found if found.status == "SUCCESS" else self._covering_domain(address, found)
        return self._covering_domain(address, None)

    def _covering_domain(self, address: str, fallback: Identity | None) -> Identity | None:
        domain = address.rpartition("@")[2]
        while domain:
            if found := self.identities.get(domain):
                if found.status == "SUCCESS" or found.verify_at is not None:
                    return found
                fallback = fallback or found
            domain = domain.partition(".")[2]
        return fallback

    def _check_tenant(self, sender: _Sender) -> None:
        tenant = sender.tenant
        if tenant is None:
            return
        if not sender.set_name:
            raise bad_request("A send for a tenant needs a configuration set that is associated with it.")
        wanted = (sender.identity_arn, self.options.arn("configuration-set", sender.set_name))
        if missing := [arn for arn in wanted if arn not in tenant.resources]:
            raise SesError("AccessDeniedException", f"Tenant not associated with resources [{', '.join(missing)}]", 403)
        if self.entities[tenant.arn].aggregate == "DISABLED":
            raise SesError("MessageRejected", f"Sending disabled for {tenant.arn}")

    def _check_set_and_account(self, sender: _Sender) -> None:
        if sender.set_name:
            if sender.found_set is None:
                raise not_found(f"Configuration set <{sender.set_name}> does not exist.")
            if not sender.found_set.sending_enabled:
                raise SesError(
                    "SendingPausedException", f"Sending is paused for configuration set <{sender.set_name}>."
                )
        if self.enforcement == "SHUTDOWN":
            raise SesError("AccountSuspendedException", "Sending is permanently restricted for this account.")
        if not self.sending_enabled:
            raise SesError("SendingPausedException", "Sending is paused for this account.")

    def _check_verified(self, sender: _Sender, mail: Mail, call: Call) -> None:
        failed = []
        if sender.identity is None or sender.identity.status_at(call.now) != "SUCCESS":
            failed.append(mail.author)
        if self.options.sandbox:
            failed += [each for each in mail.recipients if not is_simulated(each) and not self._is_verified(each, call)]
        if failed:
            names = ", ".join(dict.fromkeys(failed))
            where = f"in region {self.options.region.upper()}"
            sentence = f"Email address is not verified. The following identities failed the check {where}: {names}"
            raise SesError("MessageRejected", sentence)

    def _is_verified(self, address: str, call: Call) -> bool:
        found = self._covering(bare(address).lower())
        return found is not None and found.status_at(call.now) == "SUCCESS"

    def _check_quota(self, mail: Mail, call: Call) -> None:
        number = len(mail.recipients)
        if number > RECIPIENTS_MAX:
            raise bad_request(f"Recipient count exceeds {RECIPIENTS_MAX}.")
        counted = sum(not is_simulated(each) for each in mail.recipients)
        most = self.options.max_24_hour_send
        if most is not None and counted and self.day.total(call.now) + counted > most:
            raise SesError("ThrottlingException", "Daily message quota exceeded.")
        if not self.send_rate.take(number, call.now):
            raise SesError("TooManyRequestsException", "Maximum sending rate exceeded.", 429)
        if counted:
            self.day.add(counted, call.now)

    def _sent(self, sender: _Sender, mail: Mail, tags: Mapping[str, str], call: Call) -> Sent:
        auto = {
            "ses:operation": "SendEmail",
            "ses:source-ip": call.source_ip,
            "ses:from-domain": mail.author.rpartition("@")[2],
            "ses:caller-identity": call.key_id,
        }
        if sender.set_name:
            auto["ses:configuration-set"] = sender.set_name
        return Sent(
            message_id=self.new_message_id(call.now),
            sent_at=call.now,
            mail=mail,
            identity_arn=sender.identity_arn,
            account_id=self.options.account_id,
            configuration_set=sender.set_name,
            tenant=sender.tenant.name if sender.tenant else None,
            tags=tags,
            auto_tags=auto,
            outgoing_ip=self._outgoing_ip(sender.found_set),
        )

    def _outgoing_ip(self, found: ConfigurationSet | None) -> str:
        name = found.options.get("DeliveryOptions", {}).get("SendingPoolName") if found else None
        pool = self.pools.get(name) if name else None
        return self.random.choice(pool.ips) if pool and pool.ips else "192.0.2.1"

    def _tell_events(self, sent: Sent, fates: list[tuple[str, Fate]], now: float) -> None:
        self._happen(sent, now, now, "SEND", partial(send_event, sent))
        if sent.mail.has_virus:
            self._happen(sent, now, now, "REJECT", partial(reject_event, sent))
            return
        groups: dict[Fate, list[str]] = {}
        for address, fate in fates:
            groups.setdefault(fate, []).append(bare(address))
        for fate, addresses in groups.items():
            self._tell_fate(sent, fate, addresses, now)

    def _tell_fate(self, sent: Sent, fate: Fate, addresses: list[str], now: float) -> None:
        at = now + fate.delay_seconds
        if fate.is_deferred:
            self._happen(sent, now, at, "DELIVERY_DELAY", partial(delay_event, sent, addresses, at))
            at += fate.delay_seconds
        if fate.kind == "bounced":
            render = partial(bounce_event, sent, addresses, fate, at, self.new_message_id(at))
            self._happen(sent, now, at, "BOUNCE", render)
            return
        self._happen(sent, now, at, "DELIVERY", partial(delivery_event, sent, addresses, at))
        if fate.kind == "complained":
            at += fate.delay_seconds
            render = partial(complaint_event, sent, addresses, at, self.new_message_id(at))
            self._happen(sent, now, at, "COMPLAINT", render)

    def _happen(self, sent: Sent, now: float, at: float, kind: str, render: Callable[[], str]) -> None:
        name = sent.configuration_set or ""
        event = EventRecord(at, kind, render, sent)
        self.ledger.add_event(sent.message_id, event)
        if at <= now:
            self.publish(name, event)
        else:
            self.schedule(name, event)


def _tags(params: Params, mail: Mail) -> dict[str, str]:
    """Return the message's tags: the API's, else those of the X-SES-MESSAGE-TAGS header."""
    given: list[tuple[str, Any]] = [(tag["Name"], tag["Value"]) for tag in params.get("EmailTags", ())]
    if not given and (wish := mail.wishes.get("x-ses-message-tags")):
        given = [(name.strip(), value.strip()) for name, _, value in (each.partition("=") for each in wish.split(","))]
    for name, value in given:
        if not _TAG_NAME.fullmatch(name):
            raise bad_request(f"Invalid tag name <{name}>: only alphanumeric ASCII characters, '_',  '-' are allowed.")
        if not _TAG_VALUE.fullmatch(value):
            raise bad_request(
                f"Invalid tag value <{value}>: only alphanumeric ASCII characters, '_',  '-' , '.', '@' are allowed."
            )
    return dict(given)
