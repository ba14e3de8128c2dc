"""Owns identities, configuration sets and tags on the SES wire: a tenant's own, under its own names and account.

Leaves which identities there may be to `flow.manage`, and making them in SES to provision.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.tenant import DkimMode, Identity, IdentityStatus, NewIdentity, Scope
from tenantry.edge.ses_call import Caller, No, Operation, arn, bad, exists, full, not_found, page_of, tags_of
from tenantry.flow import manage
from tenantry.wire.address import AddressError, ascii_domain
from tenantry.wire.aws import Members

TAGS_MOST = 50
TOKENS_SECONDS = 3.0  # Easy DKIM's come from SES, a moment after the identity is made there
POLL_SECONDS = 0.1
ZONE = "dkim.amazonses.com"
TAG_KEY = re.compile(r"[\w .:/=+@-]{1,128}")
TAG_VALUE = re.compile(r"[\w .:/=+@-]{0,256}")
RESERVED = ("aws:", "ses:", "tenantry")
_STATUS = {IdentityStatus.PENDING: "PENDING", IdentityStatus.VERIFIED: "SUCCESS", IdentityStatus.FAILED: "FAILED"}

# ---- identities


async def create_identity(caller: Caller, given: Members) -> Members | No:
    """CreateEmailIdentity: its DKIM tokens are in the answer if SES gives them soon, else in GetEmailIdentity later."""
    tags, default = tags_of(given), given.get("ConfigurationSetName")
    if given.get("DkimSigningAttributes", {}).keys() - {"NextSigningKeyLength"}:
        return bad("Leave out DkimSigningAttributes: DKIM keys are SES's own.", "DkimSigningAttributes")
    if flaw := tags_flaw(tags):
        return flaw
    stream = await caller.stream(default) if default else None
    if isinstance(stream, No):
        return stream
    made = await added(caller, given["EmailIdentity"])
    if isinstance(made, No):
        return made
    if stream is not None:
        await caller.mine.set_identity_stream(made.id, stream.id)
    if refused := await keep_tags(caller, f"identity/{made.name}", tags):
        return refused
    return {
        "IdentityType": _kind(made),
        "VerifiedForSendingStatus": made.status is IdentityStatus.VERIFIED,
        "DkimAttributes": dkim(made),
    }


async def added(caller: Caller, name: str) -> Identity | No:
    """Make an identity and wait a moment for its DKIM tokens."""
    wanted = NewIdentity(name, DkimMode.EASY)
    made = await manage.add_identity(caller.doors.store, await caller.tenant(), wanted)
    if isinstance(made, Refusal):
        if made.code is RefusalCode.CONFLICT:
            return exists(f"Email identity {name[:320]} already exist.", "EmailIdentity")
        return No(made)
    return await with_tokens(caller, made)


async def with_tokens(caller: Caller, identity: Identity) -> Identity:
    """Return the identity, with its tokens if SES gives them within a moment."""
    waited = 0.0
    while "@" not in identity.name and not identity.tokens and waited < TOKENS_SECONDS:
        await caller.doors.clock.sleep(POLL_SECONDS)
        waited += POLL_SECONDS
        identity = await caller.mine.identity(identity.name) or identity
    return identity


async def get_identity(caller: Caller, given: Members) -> Members | No:
    """GetEmailIdentity."""
    found = await identity(caller, given["EmailIdentity"])
    if isinstance(found, No):
        return found
    streams = {stream.id: stream.name for stream in await caller.mine.streams()}
    return {
        "IdentityType": _kind(found),
        "FeedbackForwardingStatus": False,  # bounces and complaints are events here, and are not mailed to authors
        "VerifiedForSendingStatus": found.status is IdentityStatus.VERIFIED,
        "DkimAttributes": dkim(found),
        "Policies": {},
        "Tags": _shown(await caller.mine.tags(f"identity/{found.name}")),
        "ConfigurationSetName": streams.get(found.stream_id) if found.stream_id else None,
        "VerificationStatus": _STATUS[found.status],
        "VerificationInfo": {"LastSuccessTimestamp": found.verified_at} if found.verified_at else {},
    }


async def list_identities(caller: Caller, given: Members) -> Members | No:
    """ListEmailIdentities."""
    wanted = given.get("Filter", {})
    part, kind, status = (
        wanted.get("IDENTITY_NAME_CONTAINS", "").lower(),
        wanted.get("IDENTITY_TYPE"),
        wanted.get("VERIFICATION_STATUS"),
    )
    shown = [
        one
        for one in await caller.mine.identities()
        if part in one.name and kind in (None, _kind(one)) and status in (None, _STATUS[one.status])
    ]
    page = page_of(shown, lambda one: one.name, given)
    if isinstance(page, No):
        return page
    rows = [
        {
            "IdentityType": _kind(one),
            "IdentityName": one.name,
            "SendingEnabled": one.status is IdentityStatus.VERIFIED,
            "VerificationStatus": _STATUS[one.status],
        }
        for one in page.items
    ]
    return {"EmailIdentities": rows, "NextToken": page.next_cursor}


async def set_identity_stream(caller: Caller, given: Members) -> Members | No:
    """PutEmailIdentityConfigurationSetAttributes: the stream of mail that names none."""
    found = await identity(caller, given["EmailIdentity"])
    if isinstance(found, No):
        return found
    name = given.get("ConfigurationSetName")
    stream = await caller.stream(name) if name else None
    if isinstance(stream, No):
        return stream
    await caller.mine.set_identity_stream(found.id, stream.id if stream else None)
    return {}


async def set_dkim(caller: Caller, given: Members) -> Members | No:
    """PutEmailIdentityDkimAttributes: every domain is signed, so that only "on" can be said."""
    found = await identity(caller, given["EmailIdentity"])
    if isinstance(found, No):
        return found
    if given.get("SigningEnabled"):
        return {}
    return bad("DKIM signing cannot be turned off.", "SigningEnabled")


async def identity(caller: Caller, name: str) -> Identity | No:
    """Return the caller's identity of this name, in whatever case; ids are no names here."""
    kept = _kept(name)
    found = next((one for one in await caller.mine.identities() if one.name == kept), None)
    return found or not_found(f"Email identity <{name[:320]}> does not exist.", "EmailIdentity")


def dkim(found: Identity) -> Members:
    """Return an identity's DKIM as SES tells it: the records are TOKEN._domainkey.DOMAIN CNAME TOKEN.ZONE."""
    if "@" in found.name:
        return {"SigningEnabled": False, "Status": "NOT_STARTED", "Tokens": []}
    byo = found.dkim is DkimMode.BYODKIM
    shown: dict[str, object] = {
        "SigningEnabled": True,
        "Status": _STATUS[found.status],
        "Tokens": [found.selector] if byo else list(found.tokens),
        "SigningAttributesOrigin": "EXTERNAL" if byo else "AWS_SES",
    }
    if not byo:
        shown["SigningHostedZone"] = found.ses_status.get("zone", ZONE)
    return shown


def _kept(name: str) -> str:
    local, at, domain = name.strip().lower().rpartition("@")
    try:
        return f"{local}{at}{ascii_domain(domain)}"
    except AddressError:
        return name.lower()


def _kind(found: Identity) -> str:
    return "EMAIL_ADDRESS" if "@" in found.name else "DOMAIN"


# ---- configuration sets: a tenant's streams


async def list_sets(caller: Caller, given: Members) -> Members | No:
    """ListConfigurationSets."""
    page = page_of([stream.name for stream in await caller.mine.streams()], str, given)
    if isinstance(page, No):
        return page
    return {"ConfigurationSets": list(page.items), "NextToken": page.next_cursor}


async def get_set(caller: Caller, given: Members) -> Members | No:
    """GetConfigurationSet."""
    name = given["ConfigurationSetName"]
    found = await caller.stream(name)
    if isinstance(found, No):
        return found
    stopped = {pause.scope_id for pause in await caller.mine.pauses(open_only=True)}
    return {
        "ConfigurationSetName": name,
        "SendingOptions": {"SendingEnabled": stopped.isdisjoint((found.id, caller.tenant_id))},
        "ReputationOptions": {"ReputationMetricsEnabled": True},
        "DeliveryOptions": {"TlsPolicy": "OPTIONAL"},
        "SuppressionOptions": {"SuppressedReasons": ["BOUNCE", "COMPLAINT"]},
        "Tags": _shown(await caller.mine.tags(f"configuration-set/{name}")),
    }


# ---- tags


async def list_tags(caller: Caller, given: Members) -> Members | No:
    """ListTagsForResource."""
    resource = await _resource(caller, given)
    return resource if isinstance(resource, No) else {"Tags": _shown(await caller.mine.tags(resource))}


async def tag(caller: Caller, given: Members) -> Members | No:
    """TagResource."""
    tags = tags_of(given)
    if flaw := tags_flaw(tags):
        return flaw
    resource = await _resource(caller, given)
    return resource if isinstance(resource, No) else await keep_tags(caller, resource, tags) or {}


async def untag(caller: Caller, given: Members) -> Members | No:
    """UntagResource."""
    resource = await _resource(caller, given)
    if isinstance(resource, No):
        return resource
    await caller.mine.remove_tags(resource, given["TagKeys"])
    return {}


def tags_flaw(tags: Mapping[str, str]) -> No | None:
    """Refuse tags that AWS would not take, or whose names are reserved."""
    for key, value in tags.items():
        if not TAG_KEY.fullmatch(key) or not TAG_VALUE.fullmatch(value) or key.lower().startswith(RESERVED):
            return bad(f"The tag {key[:128]!r} has a name or a value that is reserved or cannot be kept.", "Tags")
    return None


async def keep_tags(caller: Caller, resource: str, tags: Mapping[str, str]) -> No | None:
    """Put tags on a thing, or refuse them when they would be too many."""
    if tags and not await caller.mine.put_tags(resource, tags, TAGS_MOST):
        return full(f"A resource has at most {TAGS_MOST} tags.", "Tags")
    return None


async def _resource(caller: Caller, given: Members) -> str | No:
    """Return what an ARN of the caller's own account names, as its tags are kept under, if it is there."""
    named = given["ResourceArn"]
    own = arn(caller, await caller.tenant(), "")
    kind, _, name = named.removeprefix(own).partition("/")
    missing = not_found(f"Resource <{named[:400]}> does not exist.", "ResourceArn")
    if not named.startswith(own):
        return missing
    match kind:
        case "identity":
            held = any(one.name == name for one in await caller.mine.identities())
        case "configuration-set":
            held = not isinstance(await caller.stream(name), No)
        case "template":
            held = await caller.mine.template(name) is not None
        case _:
            held = False
    return f"{kind}/{name}" if held else missing


def _shown(tags: Mapping[str, str]) -> list[Members]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


OPERATIONS = {
    "CreateEmailIdentity": Operation(Scope.MANAGE, create_identity),
    "GetEmailIdentity": Operation(Scope.READ, get_identity),
    "ListEmailIdentities": Operation(Scope.READ, list_identities),
    "PutEmailIdentityConfigurationSetAttributes": Operation(Scope.MANAGE, set_identity_stream),
    "PutEmailIdentityDkimAttributes": Operation(Scope.MANAGE, set_dkim),
    "ListConfigurationSets": Operation(Scope.READ, list_sets),
    "GetConfigurationSet": Operation(Scope.READ, get_set),
    "ListTagsForResource": Operation(Scope.READ, list_tags),
    "TagResource": Operation(Scope.MANAGE, tag),
    "UntagResource": Operation(Scope.MANAGE, untag),
}
