"""Owns templates on the SES wire: keeping them, rendering them, and sending by them, one message or fifty.

Leaves which templates there may be, and what comes of one, to `flow.template`; what a mail is to `ses_message`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import cast

from tenantry.core.message import Accepted, Refusal, RefusalCode
from tenantry.core.template import TemplateParts
from tenantry.core.tenant import Scope
from tenantry.edge import errors
from tenantry.edge.ses_call import Caller, No, Operation, bad, bad_token, exists, full, not_found, page_size, tags_of
from tenantry.edge.ses_message import Decoded, SendEmail, decode
from tenantry.edge.ses_things import keep_tags, tags_flaw
from tenantry.flow import template as flow
from tenantry.ports import StoreRejected
from tenantry.wire.aws import Members

LIST_MOST = 100
ENTRIES_MOST = 50  # destinations of one SendBulkEmail (SES quotas)
BULK_CONTENT_BYTES_MAX = 40_000_000  # of all entries together: each is a message that is held while it is committed

# ---- keeping


async def create(caller: Caller, given: Members) -> Members | No:
    """CreateEmailTemplate."""
    name, tags = given["TemplateName"], tags_of(given)
    if flaw := tags_flaw(tags):
        return flaw
    made = await flow.add(caller.doors.store, caller.tenant_id, name, _parts(given["TemplateContent"]))
    if isinstance(made, Refusal):
        match made.code:
            case RefusalCode.CONFLICT:
                return exists(made.message, "TemplateName")
            case RefusalCode.TOO_LARGE:
                return full(made.message, "TemplateName")
            case _:
                return No(made)
    return await keep_tags(caller, f"template/{name}", tags) or {}


async def get(caller: Caller, given: Members) -> Members | No:
    """GetEmailTemplate."""
    name = given["TemplateName"]
    found = await caller.mine.template(name)
    if found is None:
        return No(flow.missing(name))
    tags = await caller.mine.tags(f"template/{name}")
    shown = [{"Key": key, "Value": value} for key, value in tags.items()]
    return {"TemplateName": name, "TemplateContent": _content(found.parts), "Tags": shown}


async def list_all(caller: Caller, given: Members) -> Members | No:
    """ListEmailTemplates."""
    size = page_size(given, LIST_MOST)
    if isinstance(size, No):
        return size
    try:
        page = await caller.mine.templates(given.get("NextToken"), size)
    except StoreRejected:
        return bad_token()
    rows = [{"TemplateName": one.name, "CreatedTimestamp": one.created_at} for one in page.items]
    return {"TemplatesMetadata": rows, "NextToken": page.next_cursor}


async def update(caller: Caller, given: Members) -> Members | No:
    """UpdateEmailTemplate."""
    parts = _parts(given["TemplateContent"])
    made = await flow.change(caller.doors.store, caller.tenant_id, given["TemplateName"], parts)
    return No(made) if isinstance(made, Refusal) else {}


async def delete(caller: Caller, given: Members) -> Members | No:
    """DeleteEmailTemplate."""
    name = given["TemplateName"]
    return {} if await caller.mine.remove_template(name) else No(flow.missing(name))


async def test_render(caller: Caller, given: Members) -> Members | No:
    """TestRenderEmailTemplate."""
    parts = await _template(caller, given)
    if isinstance(parts, No):
        return parts
    data = flow.read_data(given["TemplateData"])
    made = data if isinstance(data, Refusal) else await asyncio.to_thread(flow.filled, parts, data)
    return No(made) if isinstance(made, Refusal) else {"RenderedTemplate": _as_mail(made, caller.doors.clock.wall())}


# ---- sending


async def send(caller: Caller, given: Members) -> Members | No:
    """SendEmail by a template: rendered here, then as any Simple mail; what cannot be rendered is refused at once."""
    if foreign := await caller.foreign_tenant(given):
        return foreign
    wanted = given["Content"]["Template"]
    parts = await _template(caller, wanted)
    if isinstance(parts, No):
        return parts
    data = flow.read_data(wanted.get("TemplateData"))
    made = data if isinstance(data, Refusal) else await asyncio.to_thread(flow.filled, parts, data)
    if isinstance(made, Refusal):
        return No(made)
    decoded = _decoded(caller, given, made, wanted)
    if isinstance(decoded, Refusal):
        return No(decoded)
    outcome = await caller.accept(decoded.submission)
    return {"MessageId": str(outcome.id)} if isinstance(outcome, Accepted) else refused(caller, outcome, decoded)


def refused(caller: Caller, refusal: Refusal, decoded: Decoded) -> No:
    """Return a refusal of admission in SES's words."""
    if refusal.code is RefusalCode.UNKNOWN_STREAM and decoded.submission.stream:
        return No(refusal, None, f"Configuration set <{decoded.submission.stream}> does not exist.")
    return No(refusal, None, errors.verification_words(refusal, decoded.submission, caller.doors.region))


async def send_bulk(caller: Caller, given: Members) -> Members | No:
    """SendBulkEmail: each entry is a message of its own, accepted or refused for itself."""
    entries = given["BulkEmailEntries"]
    if not 1 <= len(entries) <= ENTRIES_MOST:
        return bad(f"BulkEmailEntries must have 1 to {ENTRIES_MOST} entries.", "BulkEmailEntries")
    if foreign := await caller.foreign_tenant(given):
        return foreign
    wanted = given["DefaultContent"].get("Template")
    if wanted is None:
        return bad("DefaultContent must have a Template.", "DefaultContent")
    parts = await _template(caller, wanted)
    if isinstance(parts, No):
        return parts
    common = flow.read_data(wanted.get("TemplateData"))
    if isinstance(common, Refusal):
        return No(common)
    made = await asyncio.to_thread(_entries, caller, given, parts, common)
    results = await asyncio.gather(*(_one(caller, each) for each in made))
    return {"BulkEmailEntryResults": results}


def _entries(
    caller: Caller, given: Members, parts: TemplateParts, common: Mapping[str, object]
) -> list[Decoded | Refusal]:
    """Render every entry; CPU alone, so that it can be done in a thread."""
    found: list[Decoded | Refusal] = []
    size = 0
    for number, entry in enumerate(given["BulkEmailEntries"]):
        made = _entry(caller, given, entry, parts, common)
        if isinstance(made, Decoded):
            size += len(made.submission.content)
            if size > BULK_CONTENT_BYTES_MAX:
                words = f"The entries of one call may have {BULK_CONTENT_BYTES_MAX:,} bytes together."
                made = Refusal(RefusalCode.TOO_LARGE, words, "BulkEmailEntries")
            else:
                made = _named(made, number)
        found.append(made)
    return found


def _named(made: Decoded, number: int) -> Decoded:
    """Give an entry a name of its own for retries of the whole call."""
    name = made.submission.idempotency_key
    return made if name is None else Decoded(made.submission._replace(idempotency_key=f"{name}:{number}"))


def _entry(
    caller: Caller, given: Members, entry: Members, parts: TemplateParts, common: Mapping[str, object]
) -> Decoded | Refusal:
    own = entry.get("ReplacementEmailContent", {}).get("ReplacementTemplate", {}).get("ReplacementTemplateData")
    data = flow.read_data(own)
    made = data if isinstance(data, Refusal) else flow.filled(parts, {**common, **data})
    if isinstance(made, Refusal):
        return made
    wanted = given["DefaultContent"]["Template"]
    headers = {row["Name"].lower(): row for row in (*wanted.get("Headers", ()), *entry.get("ReplacementHeaders", ()))}
    tags = {
        row["Name"]: row["Value"] for row in (*given.get("DefaultEmailTags", ()), *entry.get("ReplacementTags", ()))
    }
    kept = ("FromEmailAddress", "ReplyToAddresses", "FeedbackForwardingEmailAddress", "ConfigurationSetName")
    refused = ("FromEmailAddressIdentityArn", "FeedbackForwardingEmailAddressIdentityArn", "EndpointId")
    mail = {name: given[name] for name in (*kept, *refused) if name in given}
    mail["Destination"] = entry["Destination"]
    if tags:
        mail["EmailTags"] = [{"Name": name, "Value": value} for name, value in tags.items()]
    return _decoded(caller, mail, made, {**wanted, "Headers": list(headers.values())})


async def _one(caller: Caller, made: Decoded | Refusal) -> Members:
    outcome = made if isinstance(made, Refusal) else await caller.accept(made.submission)
    if isinstance(outcome, Accepted):
        return {"Status": "SUCCESS", "MessageId": str(outcome.id)}
    caller.doors.refused(outcome.code)
    no = No(outcome) if isinstance(made, Refusal) else refused(caller, outcome, made)
    return {"Status": STATUSES.get(outcome.code, "INVALID_PARAMETER"), "Error": no.words or outcome.message}


STATUSES = {
    RefusalCode.AUTHOR_NOT_YOURS: "MESSAGE_REJECTED",
    RefusalCode.IDENTITY_UNVERIFIED: "MESSAGE_REJECTED",
    RefusalCode.UNKNOWN_STREAM: "CONFIGURATION_SET_NOT_FOUND",
    RefusalCode.BUSY: "TRANSIENT_FAILURE",
    RefusalCode.KEY_REVOKED: "FAILED",
    RefusalCode.IDEMPOTENCY_MISMATCH: "FAILED",
}
"""What a refusal of one entry is called; what is not here is INVALID_PARAMETER."""


async def _template(caller: Caller, wanted: Members) -> TemplateParts | No:
    """Return the parts of a template that is named, by name or ARN, or written out in the call."""
    inline, name, arn = wanted.get("TemplateContent"), wanted.get("TemplateName"), wanted.get("TemplateArn")
    if sum(each is not None for each in (inline, name, arn)) != 1:
        return bad("Give exactly one of TemplateName, TemplateArn and TemplateContent.", "Template")
    if inline is not None:
        parts = _parts(inline)
        flaw = flow.parts_flaw(parts)
        return No(flaw) if flaw else parts
    if arn is not None:
        tenant = await caller.tenant()
        own = f"arn:aws:ses:{caller.doors.region}:{tenant.account}:template/"
        if not arn.startswith(own):
            return not_found(f"Template <{arn[:200]}> does not exist.", "TemplateArn")
        name = arn.removeprefix(own)
    found = await caller.mine.template(str(name))
    return No(flow.missing(str(name))) if found is None else found.parts


def _decoded(caller: Caller, given: Members, made: TemplateParts, wanted: Members) -> Decoded | Refusal:
    """Decode a call whose content is a rendered template."""
    body = {
        name: {"Data": text, "Charset": "UTF-8"} for name, text in (("Text", made.text), ("Html", made.html)) if text
    }
    simple: dict[str, object] = {"Subject": {"Data": made.subject, "Charset": "UTF-8"}, "Body": body}
    simple |= {name: wanted[name] for name in ("Headers", "Attachments") if wanted.get(name)}
    return decode(caller.call, cast(SendEmail, {**given, "Content": {"Simple": simple}}))


def _parts(content: Members) -> TemplateParts:
    return TemplateParts(content.get("Subject", ""), content.get("Text"), content.get("Html"))


def _content(parts: TemplateParts) -> Members:
    return {"Subject": parts.subject, "Text": parts.text, "Html": parts.html}


def _as_mail(parts: TemplateParts, now: datetime) -> str:
    mail = EmailMessage(policy=SMTP)
    mail["Date"] = format_datetime(now)
    mail["Subject"] = parts.subject
    if parts.text:
        mail.set_content(parts.text)
    if parts.html and parts.text:
        mail.add_alternative(parts.html, subtype="html")
    elif parts.html:
        mail.set_content(parts.html, subtype="html")
    return mail.as_bytes().decode("utf-8", "replace")


OPERATIONS = {
    "CreateEmailTemplate": Operation(Scope.MANAGE, create),
    "GetEmailTemplate": Operation(Scope.READ, get),
    "ListEmailTemplates": Operation(Scope.READ, list_all),
    "UpdateEmailTemplate": Operation(Scope.MANAGE, update),
    "DeleteEmailTemplate": Operation(Scope.MANAGE, delete),
    "TestRenderEmailTemplate": Operation(Scope.READ, test_render),
    "SendEmail": Operation(Scope.SEND, send),
    "SendBulkEmail": Operation(Scope.SEND, send_bulk),
}
