"""Owns DKIM of email identities: Easy DKIM, keys of one's own, and replicas of an identity in another Region.

Leaves the identities themselves to `operations_identities`. No DNS is asked: keys count as published with the verification.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import bad_request
from tenantry.emulator.records import Identity
from tenantry.emulator.state import State

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
DAY_SECONDS = 86_400.0
# Regions whose Easy DKIM keys stand in a zone of their own; elsewhere it is dkim.amazonses.com.
_OWN_ZONES = frozenset(
    {"af-south-1", "ap-northeast-3", "ap-south-2", "ap-southeast-3", "ap-southeast-5", "ca-west-1", "eu-central-2",
     "eu-south-1", "il-central-1", "me-central-1", "us-gov-east-1"}
)  # fmt: skip


class DkimOperations(State):
    """Read and change the signing of an identity."""

    def put_email_identity_dkim_signing_attributes(self, params: Params, call: Call) -> Result:
        found = self.identity(params["EmailIdentity"])
        if not found.is_domain:
            raise bad_request("DKIM signing attributes belong to a domain identity.")
        origin, given = params["SigningAttributesOrigin"], params.get("SigningAttributes", {})
        if (origin == "EXTERNAL") != ("DomainSigningPrivateKey" in given):
            raise bad_request(
                "EXTERNAL needs DomainSigningSelector and DomainSigningPrivateKey, AWS_SES takes neither."
            )
        if origin not in ("EXTERNAL", "AWS_SES"):
            given = {**given, "DomainSigningAttributesOrigin": origin}
        self._refuse_second_length(found, given, call)
        found.dkim = self.new_dkim(found.name, given, call)
        if found.status_at(call.now) in ("FAILED", "NOT_STARTED"):
            # Applying DKIM attributes again is SES's way to restart a verification that failed.
            found.status, found.verify_at = "PENDING", self.verify_at(call)
        shown = dkim_at(found, call.now)
        return {
            "DkimStatus": shown["Status"],
            "DkimTokens": shown["Tokens"],
            "SigningHostedZone": shown.get("SigningHostedZone"),
        }

    def put_email_identity_dkim_attributes(self, params: Params, call: Call) -> Result:
        found = self.identity(params["EmailIdentity"])
        found.dkim["SigningEnabled"] = params.get("SigningEnabled", False)
        return None

    def verify_at(self, call: Call) -> float | None:
        """Return when the verification that starts now succeeds, or None for never by itself."""
        return call.now + self.options.verify_after_seconds if self.options.verify_identities else None

    def new_dkim(self, name: str, given: Mapping[str, Any], call: Call) -> dict[str, Any]:
        """Return the DKIM attributes that an identity gets from its DkimSigningAttributes, or raise SES's error."""
        if "@" in name:
            return {"SigningEnabled": False, "Tokens": [], "SigningAttributesOrigin": "AWS_SES"}
        has_selector, has_key = "DomainSigningSelector" in given, "DomainSigningPrivateKey" in given
        if has_selector != has_key:
            raise bad_request("Give both DomainSigningSelector and DomainSigningPrivateKey, or neither.")
        if has_key:
            if "NextSigningKeyLength" in given:
                raise bad_request("NextSigningKeyLength belongs to Easy DKIM, not to a key of your own.")
            _check_key(given["DomainSigningPrivateKey"])
            tokens = [given["DomainSigningSelector"]]
            return {"SigningEnabled": True, "Tokens": tokens, "SigningAttributesOrigin": "EXTERNAL"}
        origin = given.get("DomainSigningAttributesOrigin", "AWS_SES")
        if origin not in ("AWS_SES", "EXTERNAL"):
            return self._replica(name, origin)
        length = given.get("NextSigningKeyLength", "RSA_2048_BIT")
        region = self.options.region
        return {
            "SigningEnabled": True,
            "Tokens": ["".join(self.random.choices(_ALPHABET, k=32)) for _ in range(3)],
            "SigningHostedZone": f"dkim.{region}.amazonses.com" if region in _OWN_ZONES else "dkim.amazonses.com",
            "SigningAttributesOrigin": "AWS_SES",
            "NextSigningKeyLength": length,
            "CurrentSigningKeyLength": length,
            "LastKeyGenerationTimestamp": call.now,
        }

    def _replica(self, name: str, origin: str) -> dict[str, Any]:
        """Return the attributes of a replica (Deterministic Easy DKIM): the tokens of its parent in another Region."""
        region = origin.removeprefix("AWS_SES_").lower().replace("_", "-")
        made: dict[str, Any] = {"SigningEnabled": True, "Tokens": [], "SigningAttributesOrigin": origin}
        parent_state = self.elsewhere(self.options.account_id, region)
        parent = parent_state.identities.get(name) if parent_state else None
        if region == self.options.region:
            made["Error"] = "REPLICATION_PRIMARY_INVALID_REGION"
        elif parent is None:
            made["Error"] = "REPLICATION_PRIMARY_NOT_FOUND"
        elif parent.dkim["SigningAttributesOrigin"] == "EXTERNAL":
            made["Error"] = "REPLICATION_PRIMARY_BYO_DKIM_NOT_SUPPORTED"
        elif parent.dkim["SigningAttributesOrigin"] != "AWS_SES":
            made["Error"] = "REPLICATION_REPLICA_AS_PRIMARY_NOT_SUPPORTED"
        else:
            made |= {key: parent.dkim[key] for key in ("Tokens", "SigningHostedZone", "CurrentSigningKeyLength")}
        return made

    def _refuse_second_length(self, found: Identity, given: Mapping[str, Any], call: Call) -> None:
        """SES changes the length of an Easy DKIM key at most once a day."""
        before, wanted = found.dkim.get("NextSigningKeyLength"), given.get("NextSigningKeyLength")
        changed_at = found.dkim.get("LastKeyGenerationTimestamp")
        is_change = before is not None and wanted is not None and before != wanted
        if is_change and changed_at is not None and found.created_at < changed_at > call.now - DAY_SECONDS:
            raise bad_request("The DKIM signing key length of an identity can be changed once a day.")


def dkim_at(identity: Identity, now: float) -> dict[str, Any]:
    """Return DKIM attributes as the API shows them."""
    shown = {key: value for key, value in identity.dkim.items() if key != "Error"}
    status = identity.status_at(now) if identity.dkim["SigningEnabled"] else "NOT_STARTED"
    return {**shown, "Status": "FAILED" if "Error" in identity.dkim else status}


def _check_key(text: str) -> None:
    try:
        key = load_der_private_key(base64.b64decode(text, validate=True), None)
    except (binascii.Error, ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey) or key.key_size not in (1_024, 2_048):
        raise bad_request("DomainSigningPrivateKey must be an RSA private key of 1024 or 2048 bits, its DER in base64.")
