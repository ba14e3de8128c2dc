"""Owns the operations of SES v1: each is told in the terms of v2, and its answer in those of v1.

Leaves the query protocol to `ses_v1`, and everything that v2 has too to its modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import cast

from tenantry.core.message import Accepted, Refusal, RefusalCode
from tenantry.core.tenant import Identity, IdentityStatus, Scope
from tenantry.edge import ses_account, ses_templates, ses_things
from tenantry.edge.ses_call import Caller, No, Operation, page_of, page_size
from tenantry.edge.ses_message import SendEmail, decode
from tenantry.wire.aws import Members

STATISTICS_DAYS = 14
LIST_MOST = 1_000
OTHERS_NAMES = ("SourceArn", "ReturnPathArn", "FromArn")  # sending authorisation names another's AWS resources
_STATUS = {IdentityStatus.PENDING: "Pending", IdentityStatus.VERIFIED: "Success", IdentityStatus.FAILED: "Failed"}

# ---- sending


async def send_email(caller: Caller, given: Members) -> Members | No:
    """SendEmail."""
    mail = given["Message"]
    content = {"Simple": {"Subject": mail["Subject"], "Body": mail["Body"]}}
    return await _send(caller, given, {**_common(given), "Destination": given["Destination"], "Content": content})


async def send_raw_email(caller: Caller, given: Members) -> Members | No:
    """SendRawEmail: Destinations, where given, are the envelope, whatever the header says."""
    made = {**_common(given), "Content": {"Raw": {"Data": given["RawMessage"]["Data"]}}}
    if given.get("Destinations"):
        made["Destination"] = {"ToAddresses": given["Destinations"]}
    return await _send(caller, given, made)


async def send_templated_email(caller: Caller, given: Members) -> Members | No:
    """SendTemplatedEmail."""
    if refused := _of_others(given):
        return refused
    template = {"TemplateName": given["Template"], "TemplateData": given["TemplateData"]}
    made = {**_common(given), "Destination": given["Destination"], "Content": {"Template": template}}
    return await ses_templates.send(caller, made)


async def _send(caller: Caller, given: Members, made: Members) -> Members | No:
    if refused := _of_others(given):
        return refused
    decoded = decode(caller.call, cast(SendEmail, made))
    if isinstance(decoded, Refusal):
        return No(decoded)
    for name in decoded.tenant_names:  # of a header of raw mail
        if foreign := await caller.foreign_tenant({"TenantName": name}):
            return foreign._replace(refusal=Refusal(RefusalCode.INVALID_FIELD, foreign.refusal.message))
    outcome = await caller.accept(decoded.submission)
    if isinstance(outcome, Accepted):
        return {"MessageId": str(outcome.id)}
    return ses_templates.refused(caller, outcome, decoded)


def _of_others(given: Members) -> No | None:
    name = next((name for name in OTHERS_NAMES if name in given), None)
    if name is None:
        return None
    return No(Refusal(RefusalCode.UNSUPPORTED, f"Leave out {name}: Tenantry does not take it.", name))


def _common(given: Members) -> dict[str, object]:
    names = {
        "Source": "FromEmailAddress",
        "ReplyToAddresses": "ReplyToAddresses",
        "ReturnPath": "FeedbackForwardingEmailAddress",
        "Tags": "EmailTags",
        "ConfigurationSetName": "ConfigurationSetName",
    }
    return {name: given[old] for old, name in names.items() if given.get(old)}


# ---- the account


async def get_send_quota(caller: Caller, _given: Members) -> Members | No:
    """GetSendQuota."""
    return {
        "Max24HourSend": ses_account.QUOTA_24H,
        "MaxSendRate": ses_account.RATE_PER_SECOND,
        "SentLast24Hours": float(await ses_account.sent(caller)),
    }


async def get_send_statistics(caller: Caller, _given: Members) -> Members | No:
    """GetSendStatistics: a point a day, by the day on which mail was handed over."""
    sums: dict[datetime, list[int]] = {}
    for row in await caller.mine.mail_days(STATISTICS_DAYS):
        point = sums.setdefault(datetime.combine(row.day, time(), UTC), [0, 0, 0])
        for place, count in enumerate((row.counts.handed, row.counts.bounced, row.counts.complained)):
            point[place] += count
    points = [
        {"Timestamp": day, "DeliveryAttempts": handed, "Bounces": bounced, "Complaints": complained, "Rejects": 0}
        for day, (handed, bounced, complained) in sorted(sums.items())
    ]
    return {"SendDataPoints": points}


async def get_sending_enabled(caller: Caller, _given: Members) -> Members | No:
    """GetAccountSendingEnabled."""
    return {"Enabled": await ses_account.is_sending(caller)}


# ---- identities


async def verify_domain(caller: Caller, given: Members) -> Members | No:
    """VerifyDomainIdentity; the token is shown since old code wants one: what verifies a domain are its DKIM records."""
    found = await _made(caller, given["Domain"])
    return found if isinstance(found, No) else {"VerificationToken": found.id}


async def verify_dkim(caller: Caller, given: Members) -> Members | No:
    """VerifyDomainDkim."""
    found = await _made(caller, given["Domain"])
    return found if isinstance(found, No) else {"DkimTokens": ses_things.dkim(found)["Tokens"]}


async def verify_address(caller: Caller, given: Members) -> Members | No:
    """VerifyEmailIdentity, VerifyEmailAddress."""
    found = await _made(caller, given["EmailAddress"])
    return found if isinstance(found, No) else {}


async def list_identities(caller: Caller, given: Members) -> Members | No:
    """ListIdentities."""
    size = page_size(given, LIST_MOST, "MaxItems")
    if isinstance(size, No):
        return size
    kind = given.get("IdentityType")
    names = [
        one.name
        for one in await caller.mine.identities()
        if kind is None or (kind == "EmailAddress") == ("@" in one.name)
    ]
    page = page_of(names, str, {**given, "PageSize": size})
    return page if isinstance(page, No) else {"Identities": list(page.items), "NextToken": page.next_cursor}


async def get_verification(caller: Caller, given: Members) -> Members | No:
    """GetIdentityVerificationAttributes: what is not the caller's is left out, as what nobody has."""
    return {
        "VerificationAttributes": {
            name: {"VerificationStatus": _STATUS[one.status], "VerificationToken": None if "@" in name else one.id}
            for name, one in (await _asked(caller, given)).items()
        }
    }


async def get_dkim(caller: Caller, given: Members) -> Members | No:
    """GetIdentityDkimAttributes."""
    return {
        "DkimAttributes": {
            name: {
                "DkimEnabled": "@" not in name,
                "DkimVerificationStatus": "NotStarted" if "@" in name else _STATUS[one.status],
                "DkimTokens": ses_things.dkim(one)["Tokens"],
            }
            for name, one in (await _asked(caller, given)).items()
        }
    }


async def _made(caller: Caller, name: str) -> Identity | No:
    """Return the caller's identity of this name; made if it is not there yet, as v1 does."""
    found = await ses_things.identity(caller, name)
    if isinstance(found, No):
        return await ses_things.added(caller, name)
    return await ses_things.with_tokens(caller, found)


async def _asked(caller: Caller, given: Members) -> Mapping[str, Identity]:
    held = {one.name: one for one in await caller.mine.identities()}
    return {name: held[name.lower()] for name in given["Identities"] if name.lower() in held}


OPERATIONS = {
    "SendEmail": Operation(Scope.SEND, send_email),
    "SendRawEmail": Operation(Scope.SEND, send_raw_email),
    "SendTemplatedEmail": Operation(Scope.SEND, send_templated_email),
    "GetSendQuota": Operation(Scope.READ, get_send_quota),
    "GetSendStatistics": Operation(Scope.READ, get_send_statistics),
    "GetAccountSendingEnabled": Operation(Scope.READ, get_sending_enabled),
    "VerifyDomainIdentity": Operation(Scope.MANAGE, verify_domain),
    "VerifyDomainDkim": Operation(Scope.MANAGE, verify_dkim),
    "VerifyEmailIdentity": Operation(Scope.MANAGE, verify_address),
    "ListIdentities": Operation(Scope.READ, list_identities),
    "GetIdentityVerificationAttributes": Operation(Scope.READ, get_verification),
    "GetIdentityDkimAttributes": Operation(Scope.READ, get_dkim),
}
