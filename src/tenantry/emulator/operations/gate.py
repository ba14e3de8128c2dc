"""Owns whether a message may be sent: SES's checks in SES's order, with its words.

Leaves what then happens to it to `operations.delivery`.
"""

import json
from dataclasses import dataclass
from typing import Any

from tenantry.emulator.calls import Call, Params
from tenantry.emulator.errors import SesError, bad_request, not_found
from tenantry.emulator.mail import Mail, bare
from tenantry.emulator.recipients import is_simulated
from tenantry.emulator.records import ConfigurationSet, Identity, Template, Tenant
from tenantry.emulator.state import State

RECIPIENTS_MAX = 50


@dataclass(slots=True)
class Sender:
    """Who sends: the names that the call gives and what they stand for."""

    identity: Identity | None
    identity_arn: str
    set_name: str | None
    found_set: ConfigurationSet | None
    tenant: Tenant | None
    template: Template | None = None


class GateOperations(State):
    """Refuse what SES would not send."""

    def sender_of(self, params: Params, mail: Mail, template: Template | None = None) -> Sender:
        """Return who sends a message, or raise SES's error for a tenant or an owner that there is not."""
        tenant_name = params.get("TenantName") or mail.wishes.get("x-ses-tenant")
        tenant = self.tenants.get(tenant_name) if tenant_name else None
        if tenant_name and tenant is None:
            raise not_found(f"Tenant <{tenant_name}> does not exist.")
        author = mail.author.lower()
        if owner := params.get("FromEmailAddressIdentityArn"):
            identity, arn = self._owned(owner, author), owner
        else:
            identity = self._covering(author)
            arn = identity.arn if identity else self.options.arn("identity", author)
        set_name = params.get("ConfigurationSetName") or mail.wishes.get("x-ses-configuration-set")
        if not set_name and identity:
            set_name = identity.configuration_set
        found_set = self.sets.get(set_name) if set_name else None
        return Sender(identity, arn, set_name, found_set, tenant, template)

    def check(self, sender: Sender, mail: Mail, call: Call) -> None:
        """Raise SES's error unless the message may be sent now; the quota is not taken yet."""
        self._check_tenant(sender)
        self._check_set_and_account(sender)
        self._check_verified(sender, mail, call)

    def take_quota(self, mail: Mail, call: Call) -> None:
        """Take the message's recipients from the rate and the daily quota, or raise SES's error."""
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

    def _owned(self, arn: str, author: str) -> Identity | None:
        """Return the identity of an ARN, of this account or of one whose policy lets this account send."""
        parts = arn.split(":", 5)
        if len(parts) < 6 or not parts[5].startswith("identity/"):
            raise bad_request(f"Invalid identity ARN <{arn[:256]}>.")
        region, account_id, name = parts[3], parts[4], parts[5].removeprefix("identity/").lower()
        owner = self.elsewhere(account_id, region)
        found = owner.identities.get(name) if owner else None
        covers = author == name or author.endswith((f"@{name}", f".{name}"))
        own = (account_id, region) == (self.options.account_id, self.options.region)
        allowed = found is not None and covers and (own or _allows(found, self.options.account_id))
        if not allowed:
            raise SesError("AccessDeniedException", f"This account may not send from <{arn[:256]}>.", 403)
        return found

    def _check_tenant(self, sender: Sender) -> None:
        tenant = sender.tenant
        if tenant is None:
            return
        if not sender.set_name:
            raise bad_request("A send for a tenant needs a configuration set that is associated with it.")
        wanted = [sender.identity_arn, self.options.arn("configuration-set", sender.set_name)]
        if sender.template:
            wanted.append(sender.template.arn)
        if missing := [arn for arn in wanted if arn not in tenant.resources]:
            raise SesError("AccessDeniedException", f"Tenant not associated with resources [{', '.join(missing)}]", 403)
        if self.entities[tenant.arn].aggregate == "DISABLED":
            raise SesError("MessageRejected", f"Sending disabled for {tenant.arn}")

    def _check_set_and_account(self, sender: Sender) -> None:
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

    def _check_verified(self, sender: Sender, mail: Mail, call: Call) -> None:
        failed = []
        if sender.identity is None or sender.identity.status_at(call.now) != "SUCCESS":
            failed.append(mail.author)
        if self.is_sandbox:
            failed += [each for each in mail.recipients if not is_simulated(each) and not self._is_verified(each, call)]
        if failed:
            names = ", ".join(dict.fromkeys(failed))
            where = f"in region {self.options.region.upper()}"
            sentence = f"Email address is not verified. The following identities failed the check {where}: {names}"
            raise SesError("MessageRejected", sentence)

    def _is_verified(self, address: str, call: Call) -> bool:
        found = self._covering(bare(address).lower())
        return found is not None and found.status_at(call.now) == "SUCCESS"


def _allows(identity: Identity, account_id: str) -> bool:
    """Does one of an identity's policies let another account send, read as far as principal and action?"""
    for policy in identity.policies.values():
        statements = json.loads(policy)["Statement"]
        for each in statements if isinstance(statements, list) else [statements]:
            if isinstance(each, dict) and each.get("Effect") == "Allow" and _names(each, account_id):
                return True
    return False


def _names(statement: dict[str, Any], account_id: str) -> bool:
    principal = statement.get("Principal")
    given = principal.get("AWS", ()) if isinstance(principal, dict) else principal
    who = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    actions = statement.get("Action", ())
    what = [actions] if isinstance(actions, str) else actions if isinstance(actions, list) else []
    named = any(each in ("*", account_id) or f"::{account_id}:" in str(each) for each in who)
    return named and any(str(each).lower() in ("*", "ses:*", "ses:send*", "ses:sendemail") for each in what)
