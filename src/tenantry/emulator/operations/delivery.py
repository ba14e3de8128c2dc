"""Owns what becomes of an accepted message: each recipient's fate, the events that tell of it, what is suppressed for it.

Leaves the shapes of events to `emulator.events`, chance to `emulator.recipients`, whether it may be sent to `operations.gate`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tenantry.emulator.calls import Call
from tenantry.emulator.events import (
    Sent,
    bounce_event,
    complaint_event,
    delay_event,
    delivery_event,
    failure_event,
    reject_event,
    send_event,
)
from tenantry.emulator.ledger import EventRecord, MessageRecord
from tenantry.emulator.mail import Mail, bare
from tenantry.emulator.operations.gate import Sender
from tenantry.emulator.operations.subscription import Management
from tenantry.emulator.operations.suppression import Suppression, SuppressionOperations
from tenantry.emulator.recipients import Fate, is_simulated
from tenantry.emulator.records import ConfigurationSet, Suppressed
from tenantry.emulator.validation import refuses
from tenantry.emulator.vdm import NO_FEEDBACK, isp_of

# The last three are the deliveries that complaints, opens and clicks are measured against.
DELIVERED = ("DELIVERY", "DELIVERY_COMPLAINT", "DELIVERY_OPEN", "DELIVERY_CLICK")
# Told in bounces, but mail that never left: it does not count in SES's bounce rate.
KEPT_BACK = frozenset(
    {"OnAccountSuppressionList", "OnTenantSuppressionList", "EmailValidationSuppressed", "UnsubscribedRecipient"}
)
REMEMBERED_BOUNCES = frozenset({"General", "NoEmail"})


@dataclass(slots=True)
class Posting:
    """One message that was taken for delivery."""

    sender: Sender
    mail: Mail
    tags: Mapping[str, str]
    content: Mapping[str, Any]
    operation: str = "SendEmail"
    management: Management | None = None


COUNTED_BOUNCES = frozenset({"General", "NoEmail", "Suppressed"})  # what counts in SES's bounce rate


def _outcome(fate: Fate) -> str:
    return "suppressed" if fate.sub_type in KEPT_BACK else fate.kind


class DeliveryOperations(SuppressionOperations):
    """Deliver, in the scripted world of mailboxes."""

    def deliver(self, posting: Posting, call: Call) -> Sent:
        """Take a message, decide every recipient's fate, and tell of it."""
        sender, mail = posting.sender, posting.mail
        sent = self._sent(posting, call)
        counts = self.suppression_for(sender.found_set, sender.tenant)
        fates = [(each, self._fate(each, posting, counts, call.now)) for each in mail.recipients]
        self._remember(
            posting, sent, [(each, "rejected" if mail.has_virus else _outcome(fate)) for each, fate in fates]
        )
        self._happen(sent, call.now, "SEND", partial(send_event, sent), ("SEND",))
        self._weigh("Sends", sent, mail.recipients, call.now)
        if mail.has_virus:
            self._happen(sent, call.now, "REJECT", partial(reject_event, sent))
            return sent
        groups: dict[Fate, list[str]] = {}
        for address, fate in fates:
            groups.setdefault(fate, []).append(bare(address))
        for fate, addresses in groups.items():
            self._tell_fate(sent, fate, addresses, counts)
        return sent

    def fail(self, posting: Posting, template: str, reason: str, call: Call) -> Sent:
        """Take a message whose template cannot be rendered: SES accepts it, and tells of the failure instead of sending."""
        sent = self._sent(posting, call)
        self._remember(posting, sent, [(each, "failed") for each in posting.mail.recipients])
        self._happen(sent, call.now, "RENDERING_FAILURE", partial(failure_event, sent, template, reason))
        return sent

    def _remember(self, posting: Posting, sent: Sent, outcomes: list[tuple[str, str]]) -> None:
        mail = posting.mail
        record = MessageRecord(
            message_id=sent.message_id,
            at=sent.sent_at,
            source=mail.source,
            to=mail.to,
            cc=mail.cc,
            bcc=mail.bcc,
            subject=mail.subject,
            configuration_set=sent.configuration_set,
            tenant=sent.tenant,
            tags=posting.tags,
            outcomes=outcomes,
        )
        self.ledger.add_message(record, posting.content)

    def _fate(self, address: str, posting: Posting, counts: Suppression, now: float) -> Fate:
        """Return a recipient's fate: kept back by a list or a check, or as the world's script has it."""
        plain = bare(address)
        if counts.entries and counts.holds(plain, now):
            return Fate("bounced", counts.sub_type)
        if self.globally_suppressed and self.is_globally_suppressed(plain, now):
            return Fate("bounced", "Suppressed")
        if posting.management and posting.management.has_left(plain):
            return Fate("bounced", "UnsubscribedRecipient")
        found = posting.sender.found_set
        own = found.options.get("SuppressionOptions") if found else None
        options = (own and own.get("ValidationOptions")) or self.profile.validation
        if options and not is_simulated(plain) and refuses(options, plain, self.recipients.rule_for(plain)):
            return Fate("bounced", "EmailValidationSuppressed")
        return self.recipients.fate(address, self.random)

    def _sent(self, posting: Posting, call: Call) -> Sent:
        sender, mail = posting.sender, posting.mail
        auto = {
            "ses:operation": posting.operation,
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
            tags=posting.tags,
            auto_tags=auto,
            outgoing_ip=self._outgoing_ip(sender.found_set),
        )

    def _outgoing_ip(self, found: ConfigurationSet | None) -> str:
        name = found.options.get("DeliveryOptions", {}).get("SendingPoolName") if found else None
        pool = self.pools.get(name) if name else None
        return self.random.choice(pool.ips) if pool and pool.ips else "192.0.2.1"

    def _tell_fate(self, sent: Sent, fate: Fate, addresses: list[str], counts: Suppression) -> None:
        at = sent.sent_at + fate.delay_seconds
        if fate.is_deferred:
            self._happen(sent, at, "DELIVERY_DELAY", partial(delay_event, sent, addresses, at))
            at += fate.delay_seconds
        if fate.kind == "bounced":
            feedback_id = self.new_message_id(at)
            metric = "PERMANENT_BOUNCE" if fate.is_permanent else "TRANSIENT_BOUNCE"
            render = partial(bounce_event, sent, addresses, fate, at, feedback_id)
            self._happen(sent, at, "BOUNCE", render, (metric,))
            if fate.is_permanent and fate.sub_type in COUNTED_BOUNCES:
                self._weigh("Bounces", sent, addresses, at)
            if fate.is_permanent and fate.sub_type in REMEMBERED_BOUNCES:
                self._suppress(sent, counts, addresses, ("BOUNCE", feedback_id, at))
            return
        self._happen(sent, at, "DELIVERY", partial(delivery_event, sent, addresses, at), DELIVERED)
        if fate.kind == "complained":
            at += fate.delay_seconds
            feedback_id = self.new_message_id(at)
            render = partial(complaint_event, sent, addresses, at, feedback_id)
            self._happen(sent, at, "COMPLAINT", render, ("COMPLAINT",))
            self._weigh("Complaints", sent, addresses, at)
            self._suppress(sent, counts, addresses, ("COMPLAINT", feedback_id, at))

    def _suppress(self, sent: Sent, counts: Suppression, addresses: list[str], why: tuple[str, str, float]) -> None:
        reason, feedback_id, at = why
        for address in addresses:
            if not is_simulated(address):
                self.suppress(counts, Suppressed(address, reason, at, sent.message_id, feedback_id))

    def _weigh(self, what: str, sent: Sent, addresses: list[str], at: float) -> None:
        if number := sum(not is_simulated(each) for each in addresses):
            self.bearer.weigh(what, number, sent, at)

    def _happen(
        self, sent: Sent, at: float, kind: str, render: Callable[[], str], metrics: tuple[str, ...] = ()
    ) -> None:
        name = sent.configuration_set or ""
        event = EventRecord(at, kind, render, sent)
        self.ledger.add_event(sent.message_id, event)
        if metrics and self.profile.vdm["VdmEnabled"] == "ENABLED":
            self._count(sent, at, metrics)
        if at <= sent.sent_at:
            self.publish(name, event)
        else:
            self.schedule(name, event)

    def _count(self, sent: Sent, at: float, metrics: tuple[str, ...]) -> None:
        recipients = sent.mail.recipients
        if len(recipients) != 1 or is_simulated(recipients[0]):
            return
        identity, provider = sent.identity_arn.partition("/")[2], isp_of(recipients[0])
        place = (identity, sent.configuration_set or "", provider, sent.tenant or "")
        for metric in metrics:
            if metric != "DELIVERY_COMPLAINT" or provider not in NO_FEEDBACK:
                self.vdm.count(metric, place, at)
