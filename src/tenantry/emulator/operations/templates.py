"""Owns the operations on email templates, and rendering them.

Leaves sending what was rendered to the sending operations.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import lru_cache
from typing import Any

from tenantry.emulator.calls import Call, Params, Result
from tenantry.emulator.errors import SesError, already_exists, bad_request, not_found
from tenantry.emulator.records import Template
from tenantry.emulator.state import State, tag_list, tags_of
from tenantry.wire.handlebars import RenderingError, parse

TEMPLATES_MAX = 20_000
TEMPLATE_MAX_BYTES = 500 * 1024
PAGE_MAX = 100
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class TemplateOperations(State):
    """Create, read, change, delete and try templates."""

    def create_email_template(self, params: Params, call: Call) -> Result:
        name = params["TemplateName"]
        if not _NAME.fullmatch(name):
            raise bad_request(f"Invalid template name <{name}>: 1 to 64 letters, digits, '_' and '-' are allowed.")
        if name in self.templates:
            raise already_exists(f"Template <{name}> already exists.")
        if len(self.templates) >= TEMPLATES_MAX:
            raise SesError("LimitExceededException", f"There are {TEMPLATES_MAX} templates already.")
        content = checked_parts(params["TemplateContent"])
        arn = self.options.arn("template", name)
        self.templates[name] = Template(name, arn, content, call.now, tags_of(params))
        return None

    def get_email_template(self, params: Params, call: Call) -> Result:
        found = self.template(params["TemplateName"])
        return {"TemplateName": found.name, "TemplateContent": found.content, "Tags": tag_list(found.tags)}

    def update_email_template(self, params: Params, call: Call) -> Result:
        self.template(params["TemplateName"]).content = checked_parts(params["TemplateContent"])
        return None

    def delete_email_template(self, params: Params, call: Call) -> Result:
        found = self.template(params["TemplateName"])
        self.refuse_if_associated(found.arn)
        del self.templates[found.name]
        return None

    def list_email_templates(self, params: Params, call: Call) -> Result:
        shown, token = self.templates.page(params, largest=PAGE_MAX)
        rows = [{"TemplateName": each.name, "CreatedTimestamp": each.created_at} for each in shown]
        return {"TemplatesMetadata": rows, "NextToken": token}

    def test_render_email_template(self, params: Params, call: Call) -> Result:
        found = self.template(params["TemplateName"])
        try:
            parts = render(found.content, read_data(params["TemplateData"]))
        except RenderingError as error:
            raise bad_request(str(error)) from None
        return {"RenderedTemplate": _as_mail(parts, call.now)}

    def template(self, name: str) -> Template:
        """Return the template or raise NotFoundException."""
        if found := self.templates.get(name):
            return found
        raise not_found(f"Template <{name}> does not exist.")


def checked_parts(content: Mapping[str, str]) -> dict[str, str]:
    """Return template parts that SES would take, or raise its error; what they say is checked when rendered."""
    if not content.get("Subject"):
        raise bad_request("The template must have a Subject.")
    if not (content.get("Text") or content.get("Html")):
        raise bad_request("The template must have a Text or an Html part.")
    if sum(len(each.encode()) for each in content.values()) > TEMPLATE_MAX_BYTES:
        raise bad_request(f"A template has at most {TEMPLATE_MAX_BYTES // 1024} KB.")
    return dict(content)


def read_data(text: str) -> dict[str, Any]:
    """Read TemplateData, or raise SES's error unless it is a JSON object."""
    try:
        data = json.loads(text or "{}")
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise bad_request("TemplateData must be a JSON object.")
    return data


def render(content: Mapping[str, str], data: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts of a template filled in, or raise RenderingError."""
    parts = {name: _parsed(text).render(data) for name, text in content.items()}
    parts["Subject"] = " ".join(parts.get("Subject", "").splitlines())
    return parts


_parsed = lru_cache(maxsize=256)(parse)


def _as_mail(parts: Mapping[str, str], now: float) -> str:
    mail = EmailMessage(policy=SMTP)
    mail["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    mail["Subject"] = parts["Subject"]
    if text := parts.get("Text"):
        mail.set_content(text)
    if html := parts.get("Html"):
        mail.add_alternative(html, subtype="html") if parts.get("Text") else mail.set_content(html, subtype="html")
    return mail.as_bytes().decode("utf-8", "replace")
