"""Owns the templates of custom verification mail.

Leaves sending such a mail to the sending operations.
"""

import re

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import SesError, already_exists, bad_request, not_found
from tenantry.emulator.records import VerificationTemplate
from tenantry.emulator.state import State, tag_list, tags_of

TEMPLATES_MAX = 50
CONTENT_MAX_BYTES = 10 * 1024 * 1024
PAGE_MAX = 50
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_URL = re.compile(r"https?://[^\s]{1,2000}")
_PARTS = ("FromEmailAddress", "TemplateSubject", "TemplateContent", "SuccessRedirectionURL", "FailureRedirectionURL")


class VerificationOperations(State):
    """Create, read, change and delete templates of verification mail."""

    def create_custom_verification_email_template(self, params: Params, call: Call) -> Result:
        name = params["TemplateName"]
        if not _NAME.fullmatch(name):
            raise bad_request(f"Invalid template name <{name}>: 1 to 64 letters, digits, '_' and '-' are allowed.")
        if name in self.verification_templates:
            raise already_exists(f"Custom verification email template <{name}> already exists.")
        if len(self.verification_templates) >= TEMPLATES_MAX:
            raise SesError("LimitExceededException", f"There are {TEMPLATES_MAX} such templates already.")
        arn = self.options.arn("custom-verification-email-template", name)
        self.verification_templates[name] = VerificationTemplate(name, arn, self._parts(params, call), tags_of(params))
        return None

    def get_custom_verification_email_template(self, params: Params, call: Call) -> Result:
        found = self.verification_template(params["TemplateName"])
        return {"TemplateName": found.name, **found.parts, "Tags": tag_list(found.tags)}

    def update_custom_verification_email_template(self, params: Params, call: Call) -> Result:
        self.verification_template(params["TemplateName"]).parts = self._parts(params, call)
        return None

    def delete_custom_verification_email_template(self, params: Params, call: Call) -> Result:
        del self.verification_templates[self.verification_template(params["TemplateName"]).name]
        return None

    def list_custom_verification_email_templates(self, params: Params, call: Call) -> Result:
        shown, token = self.verification_templates.page(params, largest=PAGE_MAX)
        rows = [
            {"TemplateName": each.name, **{name: each.parts[name] for name in _PARTS if name != "TemplateContent"}}
            for each in shown
        ]
        return {"CustomVerificationEmailTemplates": rows, "NextToken": token}

    def verification_template(self, name: str) -> VerificationTemplate:
        """Return the template or raise NotFoundException."""
        if found := self.verification_templates.get(name):
            return found
        raise not_found(f"Custom verification email template <{name}> does not exist.")

    def _parts(self, params: Params, call: Call) -> dict[str, str]:
        for name in ("SuccessRedirectionURL", "FailureRedirectionURL"):
            if not _URL.fullmatch(params[name]):
                raise bad_request(f"{name} must be a URL of http or https.")
        if len(params["TemplateContent"].encode()) > CONTENT_MAX_BYTES:
            raise bad_request("The content of the template is larger than 10 MB.")
        author = params["FromEmailAddress"].rpartition("<")[2].rstrip("> ").lower()
        covering = self.identities.get(author) or self.identities.get(author.rpartition("@")[2])
        if covering is None or covering.status_at(call.now) != "SUCCESS":
            raise not_found(f"<{author[:320]}> is not verified, or no address at all.")
        return {name: params[name] for name in _PARTS}
