"""Owns the operations on email identities: verification, MAIL FROM, feedback, default configuration set.

Leaves DKIM to `operations_dkim` and whether a sender is covered to `operations_sending`; DNS is never asked,
verification is by setting.
"""

import re
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.coverage import partly
from tenantry.emulator.errors import SesError, already_exists, bad_request
from tenantry.emulator.operations_dkim import DkimOperations, dkim_at
from tenantry.emulator.records import Identity
from tenantry.emulator.state import tag_list, tags_of

_DOMAIN = re.compile(
    r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])", re.IGNORECASE
)
_LOCAL = re.compile(r"[^\s@<>\x00-\x1f\x7f]{1,64}")
STATUSES = ("PENDING", "SUCCESS", "FAILED", "TEMPORARY_FAILURE", "NOT_STARTED")


class IdentityOperations(DkimOperations):
    """Create, read, change and delete email identities."""

    @partly("DNS is never asked: verification is by setting or by the admin API")
    def create_email_identity(self, params: Params, call: Call) -> Result:
        name = params["EmailIdentity"].lower()
        local, at, domain = name.rpartition("@")
        if not _DOMAIN.fullmatch(domain) or (at and not _LOCAL.fullmatch(local)):
            raise bad_request(f"Invalid email identity <{params['EmailIdentity']}>: give a domain or an address.")
        if name in self.identities:
            raise already_exists(f"Email identity {name} already exist.")
        if (most := self.options.identities_max) is not None and len(self.identities) >= most:
            raise SesError("LimitExceededException", f"There are {most:.0f} email identities already.")
        default = params.get("ConfigurationSetName")
        if default:
            self.configuration_set(default)
        made = Identity(
            name=name,
            arn=self.options.arn("identity", name),
            tags=tags_of(params),
            status="PENDING",
            verify_at=self.verify_at(call),
            created_at=call.now,
            dkim=self.new_dkim(name, params.get("DkimSigningAttributes", {}), call),
        )
        self.identities[name] = made
        self._set_default(made, default)
        return {
            "IdentityType": _kind(made),
            "VerifiedForSendingStatus": made.status_at(call.now) == "SUCCESS",
            "DkimAttributes": dkim_at(made, call.now),
        }

    @partly("no SOA record is shown")
    def get_email_identity(self, params: Params, call: Call) -> Result:
        found = self.identity(params["EmailIdentity"])
        status = found.status_at(call.now)
        info: dict[str, Any] = {"LastCheckedTimestamp": call.now}
        if status == "SUCCESS":
            info["LastSuccessTimestamp"] = call.now
        if status == "FAILED":
            info["ErrorType"] = "TYPE_NOT_FOUND"
        if error := found.dkim.get("Error"):
            info["ErrorType"] = error
        mail_from_status = {"MailFromDomainStatus": "SUCCESS" if status == "SUCCESS" else "PENDING"}
        return {
            "IdentityType": _kind(found),
            "FeedbackForwardingStatus": found.is_forwarding,
            "VerifiedForSendingStatus": status == "SUCCESS",
            "DkimAttributes": dkim_at(found, call.now),
            "MailFromAttributes": {**found.mail_from, **mail_from_status} if found.mail_from else None,
            "Policies": found.policies,
            "Tags": tag_list(found.tags),
            "ConfigurationSetName": found.configuration_set,
            "VerificationStatus": status,
            "VerificationInfo": info,
        }

    def list_email_identities(self, params: Params, call: Call) -> Result:
        wanted = params.get("Filter", {})
        part, kind = wanted.get("IDENTITY_NAME_CONTAINS", "").lower(), wanted.get("IDENTITY_TYPE")
        status = wanted.get("VERIFICATION_STATUS")

        def is_wanted(each: Identity) -> bool:
            return part in each.name and kind in (None, _kind(each)) and status in (None, each.status_at(call.now))

        shown, token = self.identities.page(params, is_wanted if wanted else None)
        rows = [
            {
                "IdentityType": _kind(each),
                "IdentityName": each.name,
                "SendingEnabled": each.status_at(call.now) == "SUCCESS",
                "VerificationStatus": each.status_at(call.now),
            }
            for each in shown
        ]
        return {"EmailIdentities": rows, "NextToken": token}

    def delete_email_identity(self, params: Params, call: Call) -> Result:
        found = self.identity(params["EmailIdentity"])
        self.refuse_if_associated(found.arn)
        self._set_default(found, None)
        del self.identities[found.name]
        return None

    def put_email_identity_mail_from_attributes(self, params: Params, call: Call) -> Result:
        found, domain = self.identity(params["EmailIdentity"]), params.get("MailFromDomain", "").lower()
        if domain and (not _DOMAIN.fullmatch(domain) or not domain.endswith(f".{found.name.rpartition('@')[2]}")):
            raise bad_request(f"The MAIL FROM domain must be a sub-domain of <{found.name.rpartition('@')[2]}>.")
        behavior = params.get("BehaviorOnMxFailure", "USE_DEFAULT_VALUE")
        found.mail_from = {"MailFromDomain": domain, "BehaviorOnMxFailure": behavior} if domain else {}
        return None

    @partly("the setting is kept; no feedback is mailed")
    def put_email_identity_feedback_attributes(self, params: Params, call: Call) -> Result:
        # Whether SES would also mail the feedback: no such mail is written here, only the setting is kept.
        self.identity(params["EmailIdentity"]).is_forwarding = params.get("EmailForwardingEnabled", False)
        return None

    def put_email_identity_configuration_set_attributes(self, params: Params, call: Call) -> Result:
        found, name = self.identity(params["EmailIdentity"]), params.get("ConfigurationSetName")
        if name:
            self.configuration_set(name)
        self._set_default(found, name or None)
        return None

    def set_verification(self, name: str, status: str) -> None:
        """Decide an identity's verification by hand; the clock no longer does."""
        if status not in STATUSES:
            raise bad_request(f"status must be one of {', '.join(STATUSES)}")
        found = self.identity(name)
        found.status, found.verify_at = status, None

    def _set_default(self, identity: Identity, name: str | None) -> None:
        if before := self.sets.get(identity.configuration_set or ""):
            before.default_of.discard(identity.name)
        identity.configuration_set = name
        if name:
            self.sets[name].default_of.add(identity.name)


def _kind(identity: Identity) -> str:
    return "DOMAIN" if identity.is_domain else "EMAIL_ADDRESS"
