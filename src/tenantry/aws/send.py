"""Owns the hot path to SES: one SendEmail call an attempt, and what its answer amounts to.

Leaves when to send to dispatch, and every resend to its rules: nothing here calls twice.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring_ascii as quoted

from tenantry.aws.http import Answer, NotSentError
from tenantry.aws.session import NoCredentialsError
from tenantry.aws.signed import SignedClient
from tenantry.core.claim import ATTEMPT_TAG, MESSAGE_TAG, Claim, ses_name
from tenantry.core.ids import AttemptId
from tenantry.core.outcome import Handed, Hold, Outcome, Refused, Retry, Unknown

PATH = "/v2/email/outbound-emails"
WORDS_MOST = 500  # of SES's own words, kept with the message
SES_ID = re.compile(r"[!-~]{1,200}")
HANDED = re.compile(
    rb'\{"MessageId": ?"([0-9A-Za-z.@<>_-]{1,200})"\}'
)  # SES's answer as it is; any other is read as JSON
THROTTLES = frozenset({"TooManyRequestsException", "ThrottlingException", "Throttling", "LimitExceededException"})
OUR_CREDENTIALS = frozenset(
    {
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
NOT_TAKEN = frozenset(
    {"InvalidAction", "RequestTimeoutException", "UnknownOperationException"}
)  # not the message's fault
HOLDS = {
    "AccessDeniedException": Hold.UNPROVISIONED,  # an association is missing: our own gap
    "NotFoundException": Hold.UNPROVISIONED,
    "SendingPausedException": Hold.PAUSED,
    "ConfigurationSetSendingPausedException": Hold.PAUSED,
    "AccountSuspendedException": Hold.PAUSED,
    "MailFromDomainNotVerifiedException": Hold.UNVERIFIED,
}
OF_THE_ACCOUNT = frozenset({"AccountSuspendedException", "SendingPausedException"})  # the latter of a set, too
REJECTED_FOR_NOW = (
    (re.compile("sending (has been )?disabled|sending is paused", re.IGNORECASE), Hold.PAUSED),
    (re.compile("not verified", re.IGNORECASE), Hold.UNVERIFIED),
)


class SesSender:
    """Implements ports.Ses for one cell."""

    def __init__(self, client: SignedClient) -> None:
        """Take the client of the cell's SES endpoint."""
        self._client = client

    async def send(self, claim: Claim) -> Outcome:
        """See ports.Ses."""
        try:
            answer = await self._client.post(PATH, request_body(claim), "application/json")
        except NotSentError as error:
            return Retry(claim.attempt_id, f"SES: {error}"[:WORDS_MOST], burned=False)
        except NoCredentialsError as error:
            return Retry(claim.attempt_id, str(error)[:WORDS_MOST], burned=False)
        except Exception as error:  # whatever it is, the request may have reached SES
            return Unknown(claim.attempt_id, f"{type(error).__name__}: {error}"[:WORDS_MOST])
        return outcome_of(claim.attempt_id, answer)


def request_body(claim: Claim) -> bytes:
    """Return the SendEmail request around the content bytes that were accepted; tags and names always as parameters."""
    name = ses_name(claim.stream_id)
    lists = (("ToAddresses", claim.to), ("CcAddresses", claim.cc), ("BccAddresses", claim.bcc))
    destination = ",".join(f'"{kind}":[{",".join(map(quoted, found))}]' for kind, found in lists if found)
    tags = [f'{{"Name":{quoted(tag)},"Value":{quoted(value)}}}' for tag, value in claim.tags.items()]
    tags.append(f'{{"Name":"{MESSAGE_TAG}","Value":"{claim.message_id}"}}')
    tags.append(f'{{"Name":"{ATTEMPT_TAG}","Value":"{claim.attempt_id}"}}')
    reply_to = f',"ReplyToAddresses":[{",".join(map(quoted, claim.reply_to))}]' if claim.reply_to else ""
    head = (
        f'{{"FromEmailAddress":{quoted(claim.sender)},"Destination":{{{destination}}}{reply_to},'
        f'"EmailTags":[{",".join(tags)}],"ConfigurationSetName":"{name}","TenantName":"{name}","Content":'
    )
    return head.encode() + claim.content + b"}"


def outcome_of(attempt_id: AttemptId, answer: Answer) -> Outcome:
    """Say what SES's answer amounts to; whatever is not clearly one of the others is unknown."""
    if answer.status == 200:
        if plain := HANDED.fullmatch(answer.body):
            return Handed(attempt_id, plain[1].decode())
        ses_id = _member(answer.body, "MessageId") or ""
        if SES_ID.fullmatch(ses_id):
            return Handed(attempt_id, ses_id)
        return Unknown(attempt_id, "SES answered 200 without a MessageId")
    if not 400 <= answer.status < 500:
        return Unknown(attempt_id, f"SES answered {answer.status}")
    return _no(attempt_id, answer)


def _no(attempt_id: AttemptId, answer: Answer) -> Outcome:
    code = (answer.error_type or _member(answer.body, "code") or _member(answer.body, "__type") or "").partition(":")[0]
    code = code.rpartition("#")[2]
    words = _fit(f"{code or answer.status}: {_member(answer.body, 'message') or _member(answer.body, 'Message') or ''}")
    if answer.status == 429 or code in THROTTLES:
        return Retry(attempt_id, words, burned=False, throttled=True)
    if not code:
        return Unknown(attempt_id, f"an answer {answer.status} without a code may not be SES's")
    if code in OUR_CREDENTIALS or code in NOT_TAKEN:
        return Retry(attempt_id, words, burned=False)
    hold = HOLDS.get(code) or _rejection_hold(code, words)
    if hold is None:
        return Refused(attempt_id, words)
    return Retry(attempt_id, words, hold=hold, burned=False, doubts_account=code in OF_THE_ACCOUNT)


def _rejection_hold(code: str, words: str) -> Hold | None:
    if code not in ("MessageRejected", "BadRequestException"):
        return None
    return next((hold for pattern, hold in REJECTED_FOR_NOW if pattern.search(words)), None)


def _fit(words: str) -> str:
    """Return words that a store can hold: SES may echo what a tenant sent, NULs and halves of characters included."""
    return words[:WORDS_MOST].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _member(body: bytes, name: str) -> str | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):  # as deep as somebody likes
        return None
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str) else None
