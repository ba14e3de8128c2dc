"""Owns SendEmail, SendBulkEmail and SendCustomVerificationEmail: from a call to messages that are checked and delivered.

Leaves SES's checks to `operations.gate`, templates to `operations.templates`, recipients' fates to `operations.delivery`.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.coverage import partly
from tenantry.emulator.errors import SesError, bad_request, not_found
from tenantry.emulator.mail import Mail, read_mail
from tenantry.emulator.operations.delivery import DeliveryOperations, Posting
from tenantry.emulator.operations.gate import GateOperations
from tenantry.emulator.operations.subscription import PLACEHOLDER, SubscriptionOperations, with_link
from tenantry.emulator.operations.templates import TemplateOperations, checked_parts, read_data, render
from tenantry.emulator.operations.verification import VerificationOperations
from tenantry.emulator.operations_identities import IdentityOperations
from tenantry.emulator.records import Template
from tenantry.wire.handlebars import RenderingError

BULK_MAX = 50
_TAG_NAME = re.compile(r"[A-Za-z0-9_-]{1,256}")
_TAG_VALUE = re.compile(r"[A-Za-z0-9_.@-]{1,256}")
_NOT_RENDERED = {"Subject": {"Data": ""}, "Body": {"Text": {"Data": ""}}}
# How SendBulkEmail tells per entry what SendEmail would answer as an error.
_BULK_STATUSES = {
    "MessageRejected": "MESSAGE_REJECTED",
    "AccountSuspendedException": "ACCOUNT_SUSPENDED",
    "TooManyRequestsException": "ACCOUNT_THROTTLED",
    "ThrottlingException": "ACCOUNT_DAILY_QUOTA_EXCEEDED",
    "BadRequestException": "INVALID_PARAMETER",
}


class SendingOperations(
    GateOperations,
    DeliveryOperations,
    TemplateOperations,
    SubscriptionOperations,
    VerificationOperations,
    IdentityOperations,
):
    """Send mail, or refuse it as SES does."""

    @partly("EndpointId sends in the Region that was called")
    def send_email(self, params: Params, call: Call) -> Result:
        if (template := params["Content"].get("Template")) is not None:
            return {"MessageId": self._send_template(params, template, call)}
        mail = read_mail(params)
        tags = message_tags(params.get("EmailTags", ()), mail)
        sender = self.sender_of(params, mail)
        self.check(sender, mail, call)
        content, management = params["Content"], None
        if "ListManagementOptions" in params and (management := self.management_of(params, mail, call)):
            mail, content = self.managed(mail, management), with_link(content, management.url)
        self.take_quota(mail, call)
        posting = Posting(sender, mail, tags, content, management=management, tracking=_tracking(params))
        sent = self.deliver(posting, call)
        if management:
            self.remember_link(management, sent)
        return {"MessageId": sent.message_id}

    @partly("EndpointId sends in the Region that was called")
    def send_bulk_email(self, params: Params, call: Call) -> Result:
        entries, template = params["BulkEmailEntries"], params["DefaultContent"].get("Template")
        if template is None:
            raise bad_request("DefaultContent must have a Template.")
        if not 1 <= len(entries) <= BULK_MAX:
            raise bad_request(f"A call has 1 to {BULK_MAX} entries.")
        return {"BulkEmailEntryResults": [self._bulk_entry(params, template, entry, call) for entry in entries]}

    @partly("the recipient becomes an identity that waits; a person or the admin API verifies it, no link does")
    def send_custom_verification_email(self, params: Params, call: Call) -> Result:
        address, template = params["EmailAddress"], self.verification_template(params["TemplateName"])
        body = {"Html": {"Data": template.parts["TemplateContent"]}}
        content = {"Simple": {"Subject": {"Data": template.parts["TemplateSubject"]}, "Body": body}}
        asked = {
            **params,
            "FromEmailAddress": template.parts["FromEmailAddress"],
            "Destination": {"ToAddresses": [address]},
            "Content": content,
        }
        mail = read_mail(asked)
        if address.lower() not in self.identities:
            self.create_email_identity({"EmailIdentity": address}, call)
            self.set_verification(address, "PENDING")
        sender = self.sender_of(asked, mail)
        self._check_author(asked, mail, call)
        self.take_quota(mail, call)
        sent = self.deliver(Posting(sender, mail, {}, content, "SendCustomVerificationEmail"), call)
        return {"MessageId": sent.message_id}

    def _check_author(self, asked: Params, mail: Mail, call: Call) -> None:
        """Check as for any mail, but for the recipient: verifying it is what this mail is for."""
        simulated = {**asked, "Destination": {"ToAddresses": ["success@simulator.amazonses.com"]}}
        self.check(self.sender_of(asked, mail), read_mail(simulated), call)

    def _send_template(self, params: Params, given: Mapping[str, Any], call: Call) -> str:
        if set(params["Content"]) != {"Template"}:
            raise bad_request("Exactly one of Simple, Raw and Template content must be given.")
        template, parts = self._template_of(given)
        data = read_data(given.get("TemplateData", ""))
        shown, failure = _NOT_RENDERED, ""
        try:
            url = {"amazonSESUnsubscribeUrl": PLACEHOLDER} if "ListManagementOptions" in params else {}
            shown = _simple(render(parts, {**url, **data}), given)
        except RenderingError as error:
            failure = str(error)
        content: dict[str, Any] = {"Simple": shown}
        mail = read_mail({**params, "Content": content})
        sender = self.sender_of(params, mail, template)
        self.check(sender, mail, call)
        management = self.management_of(params, mail, call)
        if management:
            mail, content = self.managed(mail, management), with_link(content, management.url)
        self.take_quota(mail, call)
        tags = message_tags(params.get("EmailTags", ()), mail)
        operation = "SendBulkEmail" if params.get("IsBulk") else "SendEmail"
        posting = Posting(sender, mail, tags, content, operation, management, _tracking(params))
        if failure:
            return self.fail(posting, template.name if template else "inline template", failure, call).message_id
        sent = self.deliver(posting, call)
        if management:
            self.remember_link(management, sent)
        return sent.message_id

    def _template_of(self, given: Mapping[str, Any]) -> tuple[Template | None, dict[str, str]]:
        """Return the template that a call names, and its parts; an inline one is none of the account's."""
        named = [name for name in ("TemplateName", "TemplateArn", "TemplateContent") if name in given]
        if len(named) != 1:
            raise bad_request("Give exactly one of TemplateName, TemplateArn and TemplateContent.")
        if named == ["TemplateContent"]:
            return None, checked_parts(given["TemplateContent"])
        if named == ["TemplateName"]:
            found = self.template(given["TemplateName"])
        else:
            found = self.template(given["TemplateArn"].rpartition("template/")[2])
            if found.arn != given["TemplateArn"]:
                raise not_found(f"Template <{given['TemplateArn'][:256]}> does not exist.")
        return found, found.content

    def _bulk_entry(
        self, params: Params, template: Mapping[str, Any], entry: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        replaced = entry.get("ReplacementEmailContent", {}).get("ReplacementTemplate", {})
        headers = {header["Name"]: header for header in template.get("Headers", ())}
        headers |= {header["Name"]: header for header in entry.get("ReplacementHeaders", ())}
        try:
            data = {
                **read_data(template.get("TemplateData", "")),
                **read_data(replaced.get("ReplacementTemplateData", "")),
            }
            tags = {tag["Name"]: tag for tag in params.get("DefaultEmailTags", ())}
            tags |= {tag["Name"]: tag for tag in entry.get("ReplacementTags", ())}
            own = {**template, "Headers": [*headers.values()], "TemplateData": json.dumps(data)}
            one = {**params, "Destination": entry["Destination"], "Content": {"Template": own}, "IsBulk": True}
            one["EmailTags"] = [*tags.values()]
            return {"Status": "SUCCESS", "MessageId": self._send_template(one, own, call)}
        except SesError as error:
            if error.code == "AccessDeniedException" or (params.get("TenantName") and "enant" in error.message):
                raise  # what is wrong with the tenant is wrong with the whole call: entries have no status for it
            return {"Status": _status_of(error), "Error": error.message}


def _tracking(params: Params) -> Mapping[str, Any]:
    """Return what a call says of opens and clicks; SendBulkEmail says it for all its entries."""
    found: Mapping[str, Any] = params.get("ConfigurationOverrides", {}).get("Tracking", {})
    return found


def message_tags(rows: Any, mail: Mail) -> dict[str, str]:
    """Return the message's tags: the API's, else those of the X-SES-MESSAGE-TAGS header; raise SES's error for odd ones."""
    given: list[tuple[str, Any]] = [(tag["Name"], tag["Value"]) for tag in rows]
    if not given and (wish := mail.wishes.get("x-ses-message-tags")):
        given = [(name.strip(), value.strip()) for name, _, value in (each.partition("=") for each in wish.split(","))]
    for name, value in given:
        if not _TAG_NAME.fullmatch(name):
            raise bad_request(f"Invalid tag name <{name}>: only alphanumeric ASCII characters, '_',  '-' are allowed.")
        if not _TAG_VALUE.fullmatch(value):
            raise bad_request(
                f"Invalid tag value <{value}>: only alphanumeric ASCII characters, '_',  '-' , '.', '@' are allowed."
            )
    return dict(given)


def _simple(parts: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    body = {name: {"Data": parts[name]} for name in ("Text", "Html") if parts.get(name)}
    made: dict[str, Any] = {"Subject": {"Data": parts["Subject"]}, "Body": body or {"Text": {"Data": ""}}}
    return made | {name: given[name] for name in ("Headers", "Attachments") if name in given}


def _status_of(error: SesError) -> str:
    if error.code == "NotFoundException":
        return "TEMPLATE_NOT_FOUND" if error.message.startswith("Template") else "CONFIGURATION_SET_NOT_FOUND"
    if error.code == "SendingPausedException":
        return "CONFIGURATION_SET_SENDING_PAUSED" if "configuration set" in error.message else "ACCOUNT_SENDING_PAUSED"
    return _BULK_STATUSES.get(error.code, "FAILED")
