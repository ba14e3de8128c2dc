"""Owns the operations on email identities: verification, DKIM, MAIL FROM, default configuration set.

Leaves whether a sender is covered to `operations_sending`; DNS is never asked, verification is by setting.
"""

import re
from collections.abc import Mapping
from typing import Any

from tenantry.emulator.errors import already_exists, bad_request
from tenantry.emulator.state import Call, Identity, Params, Result, State, page, tag_list, tags_of

_DOMAIN = re.compile(
    r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])", re.IGNORECASE
)
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
STATUSES = ("PENDING", "SUCCESS", "FAILED", "TEMPORARY_FAILURE", "NOT_STARTED")


class IdentityOperations(State):
    """Create, read, change and delete email identities."""

    def create_email_identity(self, params: Params, call: Call) -> Result:
        name = params["EmailIdentity"].lower()
        local, at, domain = name.rpartition("@")
        if not _DOMAIN.fullmatch(domain) or (at and not local):
            raise bad_request(f"Invalid email identity <{params['EmailIdentity']}>: give a domain or an address.")
        if name in self.identities:
            raise already_exists(f"Email identity {name} already exist.")
        default = params.get("ConfigurationSetName")
        if default:
            self.configuration_set(default)
        made = Identity(
            name=name,
            arn=self.options.arn("identity", name),
            tags=tags_of(params),
            status="PENDING",
            verify_at=self._verify_at(call),
            created_at=call.now,
            dkim=self._dkim(name, params.get("DkimSigningAttributes", {}), call),
            configuration_set=default,
        )
        self.identities[name] = made
        return {
            "IdentityType": _kind(made),
            "VerifiedForSendingStatus": made.status_at(call.now) == "SUCCESS",
            "DkimAttributes": _dkim_at(made, call.now),
        }

    def get_email_identity(self, params: Params, call: Call) -> Result:
        found = self.identity(params["EmailIdentity"])
        status = found.status_at(call.now)
        info: dict[str, Any] = {"LastCheckedTimestamp": call.now}
        if status == "SUCCESS":
            info["LastSuccessTimestamp"] = call.now
        if status == "FAILED":
            info["ErrorType"] = "TYPE_NOT_FOUND"
        mail_from_status = {"MailFromDomainStatus": "SUCCESS" if status == "SUCCESS" else "PENDING"}
        return {
            "IdentityType": _kind(found),
            "FeedbackForwardingStatus": True,
            "VerifiedForSendingStatus": status == "SUCCESS",
            "DkimAttributes": _dkim_at(found, call.now),
            "MailFromAttributes": {**found.mail_from, **mail_from_status} if found.mail_from else None,
            "Policies": {},
            "Tags": tag_list(found.tags),
            "ConfigurationSetName": found.configuration_set,
            "VerificationStatus": status,
            "VerificationInfo": info,
        }

    def list_email_identities(self, params: Params, call: Call) -> Result:
        wanted = params.get("Filter", {})
        part = wanted.get("EMAIL_IDENTITY_NAME_CONTAINS", "").lower()
        shown, token = page((name for name in self.identities if part in name), params)
        rows = [
            {
                "IdentityType": _kind(each),
                "IdentityName": each.name,
                "SendingEnabled": each.status_at(call.now) == "SUCCESS",
                "VerificationStatus": each.status_at(call.now),
            }
            for each in map(self.identities.__getitem__, shown)
        ]
        return {"EmailIdentities": rows, "NextToken": token}

    def delete_email_identity(self, params: Params, call: Call) -> Result:
        found = self.identity(params["EmailIdentity"])
        self.refuse_if_associated(found.arn)
        del self.identities[found.name]
        return None

    def put_email_identity_dkim_signing_attributes(self, params: Params, call: Call) -> Result:
        found = self.identity(params["EmailIdentity"])
        if not found.is_domain:
            raise bad_request("DKIM signing attributes belong to a domain identity.")
        origin, given = params["SigningAttributesOrigin"], params.get("SigningAttributes", {})
        if (origin == "EXTERNAL") != ("DomainSigningPrivateKey" in given):
            raise bad_request(
                "EXTERNAL needs DomainSigningSelector and DomainSigningPrivateKey, AWS_SES takes neither."
            )
        found.dkim = self._dkim(found.name, given, call)
        if found.status_at(call.now) in ("FAILED", "NOT_STARTED"):
            # Applying DKIM attributes again is SES's way to restart a verification that failed.
            found.status, found.verify_at = "PENDING", self._verify_at(call)
        shown = _dkim_at(found, call.now)
        return {
            "DkimStatus": shown["Status"],
            "DkimTokens": shown["Tokens"],
            "SigningHostedZone": shown.get("SigningHostedZone"),
        }

    def put_email_identity_mail_from_attributes(self, params: Params, call: Call) -> Result:
        found, domain = self.identity(params["EmailIdentity"]), params.get("MailFromDomain", "").lower()
        if domain and not domain.endswith(f".{found.name.rpartition('@')[2]}"):
            raise bad_request(f"The MAIL FROM domain must be a sub-domain of <{found.name.rpartition('@')[2]}>.")
        behavior = params.get("BehaviorOnMxFailure", "USE_DEFAULT_VALUE")
        found.mail_from = {"MailFromDomain": domain, "BehaviorOnMxFailure": behavior} if domain else {}
        return None

    def put_email_identity_configuration_set_attributes(self, params: Params, call: Call) -> Result:
        found, name = self.identity(params["EmailIdentity"]), params.get("ConfigurationSetName")
        if name:
            self.configuration_set(name)
        found.configuration_set = name or None
        return None

    def set_verification(self, name: str, status: str) -> None:
        """Decide an identity's verification by hand; the clock no longer does."""
        if status not in STATUSES:
            raise bad_request(f"status must be one of {', '.join(STATUSES)}")
        found = self.identity(name)
        found.status, found.verify_at = status, None

    def _verify_at(self, call: Call) -> float | None:
        return call.now + self.options.verify_after_seconds if self.options.verify_identities else None

    def _dkim(self, name: str, given: Mapping[str, Any], call: Call) -> dict[str, Any]:
        if "@" in name:
            return {"SigningEnabled": False, "Tokens": [], "SigningAttributesOrigin": "AWS_SES"}
        has_selector, has_key = "DomainSigningSelector" in given, "DomainSigningPrivateKey" in given
        if has_selector != has_key:
            raise bad_request("Give both DomainSigningSelector and DomainSigningPrivateKey, or neither.")
        if has_key:
            tokens = [given["DomainSigningSelector"]]
            return {"SigningEnabled": True, "Tokens": tokens, "SigningAttributesOrigin": "EXTERNAL"}
        length = given.get("NextSigningKeyLength", "RSA_2048_BIT")
        return {
            "SigningEnabled": True,
            "Tokens": ["".join(self.random.choices(_ALPHABET, k=32)) for _ in range(3)],
            "SigningHostedZone": "dkim.amazonses.com",
            "SigningAttributesOrigin": "AWS_SES",
            "NextSigningKeyLength": length,
            "CurrentSigningKeyLength": length,
            "LastKeyGenerationTimestamp": call.now,
        }


def _kind(identity: Identity) -> str:
    return "DOMAIN" if identity.is_domain else "EMAIL_ADDRESS"


def _dkim_at(identity: Identity, now: float) -> dict[str, Any]:
    status = identity.status_at(now) if identity.dkim["SigningEnabled"] else "NOT_STARTED"
    return {**identity.dkim, "Status": status}
