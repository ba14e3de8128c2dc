"""Owns what a refusal is called on the SMTP wire: the reply code that makes a client give up or try again (RFC 3463).

Leaves which refusal it is to decoding and to the flows; docs/errors.md says what each code means.
"""

from __future__ import annotations

from tenantry.core.message import Accepted, Refusal, RefusalCode
from tenantry.wire.smtp import Reply

_PERMANENT = (550, "5.6.0")
_CODES: dict[RefusalCode, tuple[int, str]] = {
    RefusalCode.BUSY: (451, "4.3.0"),
    RefusalCode.INTERNAL: (451, "4.3.0"),
    RefusalCode.TOO_LARGE: (552, "5.3.4"),
    RefusalCode.TOO_MANY_RECIPIENTS: (554, "5.5.3"),
    RefusalCode.NO_RECIPIENTS: (554, "5.5.1"),
    RefusalCode.AUTHOR_NOT_YOURS: (550, "5.7.1"),
    RefusalCode.IDENTITY_UNVERIFIED: (550, "5.7.1"),
    RefusalCode.FORBIDDEN: (550, "5.7.1"),
    RefusalCode.KEY_REVOKED: (535, "5.7.8"),
    RefusalCode.UNAUTHENTICATED: (535, "5.7.8"),
    RefusalCode.UNKNOWN_STREAM: (554, "5.7.1"),
    RefusalCode.NOT_FOUND: (554, "5.7.1"),
}


def refused(refusal: Refusal) -> Reply:
    """Return a refusal as the answer to a command: our code goes first, since mailers show people these words."""
    code, status = _CODES.get(refusal.code, _PERMANENT)
    return Reply(code, status, f"{refusal.code}: {refusal.message}")


def accepted(answer: Accepted) -> Reply:
    """Return the answer to mail that is on stable storage."""
    return Reply(250, "2.0.0", f"Ok {answer.id}")
