"""Owns how likely an address is a good one: the verdicts of SES's email address insights, without asking anybody.

Leaves the mailboxes' fates to `emulator.recipients`: a domain whose script bounces most of its mail has no such mailbox.
"""

import re
from collections.abc import Mapping
from typing import Any

from tenantry.emulator.scripts import RecipientRule

_SYNTAX = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@([A-Za-z0-9-]{1,63}\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]"
)
_ROLES = frozenset(
    {"abuse", "admin", "billing", "contact", "help", "hostmaster", "info", "jobs", "mail", "marketing", "no-reply",
     "noreply", "office", "postmaster", "root", "sales", "security", "support", "team", "webmaster"}
)  # fmt: skip
_DISPOSABLE = frozenset(
    {"10minutemail.com", "guerrillamail.com", "mailinator.com", "sharklasers.com", "temp-mail.org", "trashmail.com",
     "yopmail.com"}
)  # fmt: skip
_RANDOM = re.compile(r"(?=.*\d)(?!.*[aeiouy]{1}.*[aeiouy])[a-z0-9]{10,}", re.IGNORECASE)
_NO_DOMAINS = (".invalid", ".test.invalid")
ORDER = ("LOW", "MEDIUM", "HIGH")


def insights(address: str, rule: RecipientRule | None) -> dict[str, Any]:
    """Return MailboxValidation as the API shows it; `rule` is the script of the address's domain, if it has one."""
    local, _, domain = address.lower().rpartition("@")
    bounces = rule.bounce + rule.no_email + rule.suppressed if rule else 0.0
    good = {
        "HasValidSyntax": "HIGH" if _SYNTAX.fullmatch(address[:400]) else "LOW",
        "HasValidDnsRecords": "LOW" if domain.endswith(_NO_DOMAINS) or "." not in domain else "HIGH",
        "MailboxExists": "LOW" if bounces > 0.5 else "MEDIUM" if bounces > 0.05 else "HIGH",
    }
    bad = {
        "IsRoleAddress": "HIGH" if local.partition("+")[0] in _ROLES else "LOW",
        "IsDisposable": "HIGH" if domain in _DISPOSABLE else "LOW",
        "IsRandomInput": "HIGH" if len(local) <= 64 and _RANDOM.fullmatch(local) else "LOW",
    }
    verdict = min(good.values(), key=ORDER.index)
    if "HIGH" in (bad["IsDisposable"], bad["IsRandomInput"]) and verdict == "HIGH":
        verdict = "MEDIUM"
    shown = {name: {"ConfidenceVerdict": each} for name, each in (good | bad).items()}
    return {"IsValid": {"ConfidenceVerdict": verdict}, "Evaluations": shown}


def refuses(options: Mapping[str, Any] | None, address: str, rule: RecipientRule | None) -> bool:
    """Do these ValidationOptions keep mail from an address? MANAGED is read as MEDIUM."""
    threshold = (options or {}).get("ConditionThreshold", {})
    if threshold.get("ConditionThresholdEnabled") != "ENABLED":
        return False
    wanted = threshold.get("OverallConfidenceThreshold", {}).get("ConfidenceVerdictThreshold", "MANAGED")
    lowest = "HIGH" if wanted == "HIGH" else "MEDIUM"
    verdict: str = insights(address, rule)["IsValid"]["ConfidenceVerdict"]
    return ORDER.index(verdict) < ORDER.index(lowest)
