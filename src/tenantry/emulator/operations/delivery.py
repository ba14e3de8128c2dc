"""Owns what becomes of an accepted message: each recipient's fate, the events that tell of it, what is suppressed for it.

Leaves the shapes of events to `emulator.events`, chance to `emulator.recipients`, whether it may be sent to `operations.gate`.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tenantry.emulator.calls import Call
from tenantry.emulator.events import (
    EXPIRES_SECONDS,
    Sent,
    bounce_event,
    click_event,
    complaint_event,
    delay_event,
    delivery_event,
    failure_event,
    open_event,
    out_of_office_event,
    reject_event,
    send_event,
)
from tenantry.emulator.ledger import EventRecord, MessageRecord
from tenantry.emulator.links import has_html, link_of
from tenantry.emulator.mail import Mail, bare
from tenantry.emulator.operations.gate import Sender
from tenantry.emulator.operations.outgoing import OutgoingOperations
from tenantry.emulator.operations.subscription import Management
from tenantry.emulator.operations.suppression import Suppression, SuppressionOperations
from tenantry.emulator.recipients import Fate, is_simulated
from tenantry.emulator.records import Deferral, Suppressed
from tenantry.emulator.scripts import RecipientRule
from tenantry.emulator.validation import refuses
from tenantry.emulator.vdm import NO_FEEDBACK, NO_FEEDBACK_DOMAINS, isp_of

# The last three are the deliveries that complaints, opens and clicks are measured against.
DELIVERED = ("DELIVERY", "DELIVERY_COMPLAINT", "DELIVERY_OPEN", "DELIVERY_CLICK")
# Told in bounces, but mail that never left: it does not count in SES's bounce rate.
KEPT_BACK = frozenset(
    {"OnAccountSuppressionList", "OnTenantSuppressionList", "EmailValidationSuppressed", "UnsubscribedRecipient"}
)
REMEMBERED_BOUNCES = frozenset({"General", "NoEmail"})
COUNTED_BOUNCES = frozenset({"General", "NoEmail", "Suppressed"})  # what counts in SES's bounce rate


@dataclass(slots=True)
class Posting:
    """One message that was taken for delivery; `tracking` has what the call says of opens and clicks."""

    sender: Sender
    mail: Mail
    tags: Mapping[str, str]
    content: Mapping[str, Any]
    operation: str = "SendEmail"
    management: Management | None = None
    tracking: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Underway:
    """One message on its way: what its recipients' fates are told with."""

    sent: Sent
    counts: Suppression
    record: MessageRecord
    posting: Posting

    @property
    def expires_at(self) -> float:
        """Until when SES tries to deliver it."""
        return self.sent.sent_at + (self.own_limit or EXPIRES_SECONDS)

    @property
    def own_limit(self) -> float | None:
        """How long its configuration set lets SES try, or None."""
        found = self.posting.sender.found_set
        return found.options.get("DeliveryOptions", {}).get("MaxDeliverySeconds") if found else None


def _outcome(fate: Fate) -> str:
    return "suppressed" if fate.sub_type in KEPT_BACK else fate.outcome


def _tells_of_complaints(fate: Fate) -> bool:
    """Has the recipient's provider a feedback loop?"""
    told = fate.rule.feedback_loop if fate.rule else None
    return fate.domain not in NO_FEEDBACK_DOMAINS if told is None else told


class DeliveryOperations(SuppressionOperations, OutgoingOperations):
    """Deliver, in the scripted world of mailboxes."""

    def deliver(self, posting: Posting, call: Call) -> Sent:
        """Take a message, decide every recipient's fate, and tell of it."""
        sender, mail = posting.sender, posting.mail
        sent = self._sent(posting, call)
        counts = self.suppression_for(sender.found_set, sender.tenant)
        fates = [(each, self._fate(bare(each), posting, counts, call.now)) for each in mail.recipients]
        words = [(each, "rejected" if mail.has_virus else _outcome(fate)) for each, fate in fates]
        record = self._remember(posting, sent, words)
        self._happen(sent, call.now, "SEND", partial(send_event, sent), ("SEND",))
        self._weigh("Sends", sent, mail.recipients, call.now)
        if mail.has_virus:
            self._happen(sent, call.now, "REJECT", partial(reject_event, sent))
            return sent
        self._tell_fates(
            Underway(sent, counts, record, posting), [(bare(each), fate) for each, fate in fates], call.now
        )
        return sent

    def fail(self, posting: Posting, template: str, reason: str, call: Call) -> Sent:
        """Take a message whose template cannot be rendered: SES accepts it, and tells of the failure instead of sending."""
        sent = self._sent(posting, call)
        self._remember(posting, sent, [(each, "failed") for each in posting.mail.recipients])
        self._happen(sent, call.now, "RENDERING_FAILURE", partial(failure_event, sent, template, reason))
        return sent

    def next_due(self) -> float | None:
        """Return when the next event is due, or mail that waits is tried again, or None."""
        due = super().next_due()
        if not self.deferred:
            return due
        return self.deferred[0].at if due is None else min(due, self.deferred[0].at)

    def publish_due(self, now: float) -> int:
        """Try the mail whose time has come again, and publish what is due; return how many events."""
        while self.deferred and self.deferred[0].at <= now:
            self._try_again(heapq.heappop(self.deferred), now)
        return super().publish_due(now)

    def _remember(self, posting: Posting, sent: Sent, outcomes: list[tuple[str, str]]) -> MessageRecord:
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
        return record

    def _fate(self, plain: str, posting: Posting, counts: Suppression, now: float) -> Fate:
        """Return an address's fate: kept back by a list or a check, or as the world's script has it."""
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
        return self.recipients.fate(plain, self.random, now)

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
            outgoing_ip=self.outgoing_ip(sender.found_set, mail.recipients, call.now),
        )

    def _tell_fates(self, way: Underway, fates: list[tuple[str, Fate]], since: float) -> None:
        """Tell of fates that were decided at a time: those that are alike, but for what follows, in one event."""
        if len(fates) == 1:
            self._tell_alike(way, fates, since)
            return
        groups: dict[tuple[Any, ...], list[tuple[str, Fate]]] = {}
        for each in fates:
            groups.setdefault((*each[1][:-2], id(each[1].rule)), []).append(each)
        for group in groups.values():
            self._tell_alike(way, group, since)

    def _tell_alike(self, way: Underway, group: list[tuple[str, Fate]], since: float) -> None:
        fate, sent = group[0][1], way.sent
        if fate.kind == "silent":
            return
        addresses, at = [address for address, _ in group], since + fate.delay
        if fate.kind == "deferred":
            self._defer(way, addresses, since, fate.delay)
            return
        if fate.is_deferred:
            self._happen(sent, at, "DELIVERY_DELAY", partial(delay_event, sent, addresses, at, way.expires_at))
            at += fate.delay
        if fate.kind == "bounced":
            self._bounce(way, addresses, fate, at)
            return
        self._happen(sent, at, "DELIVERY", partial(delivery_event, sent, addresses, at), DELIVERED)
        if not _tells_of_complaints(fate):
            self._weigh("Untold sends", sent, addresses, at)
        if any(each.then for _, each in group):
            self._follow(way, group, at)

    def _bounce(self, way: Underway, addresses: list[str], fate: Fate, at: float) -> None:
        sent, feedback_id = way.sent, self.new_message_id(at)
        is_hard = fate.bounce_type == "Permanent"
        metrics = (f"{fate.bounce_type.upper()}_BOUNCE",)
        self._happen(sent, at, "BOUNCE", partial(bounce_event, sent, addresses, fate, at, feedback_id), metrics)
        if is_hard and fate.sub_type in COUNTED_BOUNCES and fate.domain not in self.identities:
            self._weigh("Bounces", sent, addresses, at)  # those at one's own verified domains do not count
        if is_hard and fate.sub_type in REMEMBERED_BOUNCES:
            self._suppress(sent, way.counts, addresses, ("BOUNCE", feedback_id, at))

    def _follow(self, way: Underway, group: list[tuple[str, Fate]], delivered_at: float) -> None:
        """Tell what recipients did with what they got: complain, answer that they are away, open, click."""
        sent, rule = way.sent, group[0][1].rule
        if complaining := [address for address, each in group if "complaint" in each.then]:
            at = delivered_at + (rule.after("complaint") if rule else 0.0)
            if _tells_of_complaints(group[0][1]):
                self._complain(way, complaining, at)
            else:
                self._weigh("Untold complaints", sent, complaining, at)
        if rule is None:
            return
        if away := [address for address, each in group if "out_of_office" in each.then]:
            at = delivered_at + rule.after("out_of_office")
            feedback_id = self.new_message_id(at)
            self._happen(sent, at, "BOUNCE", partial(out_of_office_event, sent, away, at, feedback_id))
        for _, each in group:
            if "open" in each.then:
                self._read(way, rule, delivered_at, clicks="click" in each.then)

    def _complain(self, way: Underway, addresses: list[str], at: float) -> None:
        sent, feedback_id = way.sent, self.new_message_id(at)
        render = partial(complaint_event, sent, addresses, at, feedback_id)
        self._happen(sent, at, "COMPLAINT", render, ("COMPLAINT",))
        self._weigh("Complaints", sent, addresses, at)
        self._suppress(sent, way.counts, addresses, ("COMPLAINT", feedback_id, at))

    def _read(self, way: Underway, rule: RecipientRule, delivered_at: float, *, clicks: bool) -> None:
        """Tell that a recipient opened the message, and clicked, as far as SES can see that."""
        sent, content, tracking = way.sent, way.posting.content, way.posting.tracking
        at = delivered_at + rule.after("open")
        if tracking.get("OpenTrackingEnabled") != "DISABLED" and has_html(content):
            self._happen(sent, at, "OPEN", partial(open_event, sent, at), ("OPEN",))
        if clicks and tracking.get("ClickTrackingEnabled") != "DISABLED" and (link := link_of(content, self.random)):
            at += rule.after("click")
            self._happen(sent, at, "CLICK", partial(click_event, sent, at, link), ("CLICK",), link_tags=link.tags)

    def _defer(self, way: Underway, addresses: list[str], since: float, delay: float) -> None:
        """Tell that a provider is down, and keep its mail until it is up again or the message expires."""
        at = since + delay
        self._happen(way.sent, at, "DELIVERY_DELAY", partial(delay_event, way.sent, addresses, at, way.expires_at))
        until = self.recipients.down_until(addresses[0], since) or at
        self._wait(Deferral(min(max(until, at), way.expires_at), next(self.order), addresses, way))

    def _wait(self, deferral: Deferral) -> None:
        heapq.heappush(self.deferred, deferral)

    def _try_again(self, deferral: Deferral, now: float) -> None:
        way, addresses, at = deferral.way, deferral.addresses, deferral.at or now
        until = self.recipients.down_until(addresses[0], at)
        if at >= way.expires_at:
            sub_type = "General" if way.own_limit is None else "CustomTimeoutExceeded"
            fates = [(each, Fate("bounced", sub_type, "Transient")) for each in addresses]
        elif until is not None:
            self._wait(Deferral(min(until, way.expires_at), next(self.order), addresses, way))
            return
        else:
            fates = [(each, self.recipients.fate(each, self.random, at)) for each in addresses]
        known = {each: _outcome(fate) for each, fate in fates}
        way.record.outcomes[:] = [(each, known.get(bare(each), word)) for each, word in way.record.outcomes]
        self._tell_fates(way, fates, at)

    def _suppress(self, sent: Sent, counts: Suppression, addresses: list[str], why: tuple[str, str, float]) -> None:
        reason, feedback_id, at = why
        for address in addresses:
            if not is_simulated(address):
                self.suppress(counts, Suppressed(address, reason, at, sent.message_id, feedback_id))

    def _weigh(self, what: str, sent: Sent, addresses: list[str], at: float) -> None:
        if number := sum(not is_simulated(each) for each in addresses):
            self.bearer.weigh(what, number, sent, at)

    def _happen(
        self,
        sent: Sent,
        at: float,
        kind: str,
        render: Callable[[], str],
        metrics: tuple[str, ...] = (),
        *,
        link_tags: Mapping[str, list[str]] | None = None,
    ) -> None:
        name = sent.configuration_set or ""
        event = EventRecord(at, kind, render, sent, link_tags)
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
