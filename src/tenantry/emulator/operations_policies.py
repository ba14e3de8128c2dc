"""Owns sending authorization policies and S/MIME certificates of email identities.

Leaves whether a policy lets another account send to `operations_sending`. Certificates are kept, mail is not signed.
"""

import json

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.coverage import partly
from tenantry.emulator.errors import SesError, already_exists, bad_request, not_found
from tenantry.emulator.records import Identity
from tenantry.emulator.state import State

POLICIES_MAX = 20
POLICY_MAX_BYTES = 4_096
CERTIFICATE_SECONDS = 395 * 86_400.0  # as long as ACM's certificates are valid


class PolicyOperations(State):
    """Create, read, change and delete policies; associate certificates."""

    def create_email_identity_policy(self, params: Params, call: Call) -> Result:
        found, name = self.identity(params["EmailIdentity"]), params["PolicyName"]
        if name in found.policies:
            raise already_exists(f"Policy <{name}> already exists.")
        if len(found.policies) >= POLICIES_MAX:
            raise SesError("LimitExceededException", f"An identity has at most {POLICIES_MAX} policies.")
        found.policies[name] = _checked(params["Policy"])
        return None

    def update_email_identity_policy(self, params: Params, call: Call) -> Result:
        found = self.identity(params["EmailIdentity"])
        found.policies[_existing(found, params["PolicyName"])] = _checked(params["Policy"])
        return None

    def delete_email_identity_policy(self, params: Params, call: Call) -> Result:
        found = self.identity(params["EmailIdentity"])
        del found.policies[_existing(found, params["PolicyName"])]
        return None

    def get_email_identity_policies(self, params: Params, call: Call) -> Result:
        return {"Policies": self.identity(params["EmailIdentity"]).policies}

    @partly("the certificate is kept and shown; mail is not signed with it, ACM is not asked")
    def associate_email_identity_certificate(self, params: Params, call: Call) -> Result:
        found, address = self.identity(params["EmailIdentity"]), _author(params)
        if address in found.certificates:
            raise already_exists(f"A certificate is already associated with <{address}>.")
        found.certificates[address] = {
            "FromAddress": address,
            "Status": "ACTIVE",
            "CertificateArn": params["CertificateArn"],
            "CertificateExpiryTime": call.now + CERTIFICATE_SECONDS,
        }
        return None

    def disassociate_email_identity_certificate(self, params: Params, call: Call) -> Result:
        found, address = self.identity(params["EmailIdentity"]), _author(params)
        if address not in found.certificates:
            raise not_found(f"No certificate is associated with <{address}>.")
        del found.certificates[address]
        return None

    def list_email_identity_certificates(self, params: Params, call: Call) -> Result:
        shown, token = self.identity(params["EmailIdentity"]).certificates.page(params)
        return {"Certificates": shown, "NextToken": token}


def _author(params: Params) -> str:
    """Return the from-address that a certificate is for, in lower case; it belongs to the identity."""
    identity: str = params["EmailIdentity"].lower()
    address: str = params.get("FromAddress", "").lower()
    if "@" in identity:
        if address not in ("", identity):
            raise bad_request(f"FromAddress must be <{identity}> or absent.")
        return identity
    if not address or address.rpartition("@")[2] != identity:
        raise bad_request(f"FromAddress must be an address of <{identity}>.")
    return address


def _checked(policy: str) -> str:
    try:
        document = json.loads(policy)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or "Statement" not in document or len(policy.encode()) > POLICY_MAX_BYTES:
        raise bad_request(f"The policy must be a policy document in JSON of at most {POLICY_MAX_BYTES} bytes.")
    return policy


def _existing(found: Identity, name: str) -> str:
    if name not in found.policies:
        raise not_found(f"Policy <{name}> does not exist.")
    return name
