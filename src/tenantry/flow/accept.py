"""Owns accept: a batch of submissions becomes messages or refusals in one read, one decision each, one write.

Leaves decoding and authentication to the doors, gathering the batch to app/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tenantry.core.admission import Stamp, admit, bare_address, stream_for
from tenantry.core.ids import KeyId, MessageId, StreamId, TenantId
from tenantry.core.message import Accepted, Message, Refusal, RefusalCode, Submission
from tenantry.core.tenant import Sender, Stream
from tenantry.ports import (
    AcceptStep,
    Asked,
    Remembered,
    Store,
    StoreBusy,
    StoreConflict,
    StoreInDoubt,
    StoreRejected,
    Told,
)

Answer = Accepted | Refusal
Names = dict[tuple[TenantId, str], Remembered]

REVOKED = Refusal(RefusalCode.KEY_REVOKED, "This key is revoked or was never yours: ask for a new one.")
UNSTORABLE = Refusal(
    RefusalCode.INVALID_FIELD, "The message holds a value that cannot be stored, such as a NUL character."
)
BUSY = Refusal(RefusalCode.BUSY, "The store cannot commit now and nothing was done: try again in a second.")
IN_DOUBT = Refusal(
    RefusalCode.BUSY,
    "The store was lost while it committed, so whether this was done is not known: repeat it with the same Idempotency-Key"
    " (an AWS SDK does so by itself), or look first.",
)


def busy(error: StoreBusy) -> Refusal:
    """Return the refusal for a store that is busy: nothing was done, or that is not known."""
    return IN_DOUBT if isinstance(error, StoreInDoubt) else BUSY


async def accept(store: Store, submissions: Sequence[Submission]) -> list[Answer]:
    """Answer each submission after its message is on stable storage; a refused one changes nothing.

    A batch that the store rejects is split until only the bad submission is refused; where the store becomes busy
    meanwhile, what was not committed is refused as busy. Raises StoreBusy when nothing at all was accepted.
    """
    try:
        return await _commit(store, submissions)
    except (StoreRejected, StoreConflict):
        # a conflict is two equal idempotency names in two steps at once: the second reads the first one's answer
        if len(submissions) == 1:
            return await _alone(store, submissions[0])
    middle = len(submissions) // 2
    return await _part(store, submissions[:middle]) + await _part(store, submissions[middle:])


async def _commit(store: Store, submissions: Sequence[Submission]) -> list[Answer]:
    async with store.accepting() as step:
        return await _accept(step, submissions)


async def _alone(store: Store, submission: Submission) -> list[Answer]:
    """Decide again what failed alone: a conflict has an answer to read now, what is rejected again is refused."""
    try:
        return await _commit(store, [submission])
    except StoreRejected:
        return [UNSTORABLE]


async def _part(store: Store, submissions: Sequence[Submission]) -> list[Answer]:
    """Accept a part of a batch: what happens here takes back no yes of another part."""
    try:
        return await accept(store, submissions)
    except StoreBusy as error:
        return [busy(error)] * len(submissions)


async def _accept(step: AcceptStep, submissions: Sequence[Submission]) -> list[Answer]:
    told, streams = await _look_up(step, submissions)
    senders, names = told.senders, dict(told.remembered)
    ids = sorted(step.new_id(MessageId) for _ in submissions)  # within a batch, too, ids are in the order of arrival
    now = step.now
    answers: list[Answer] = []
    fresh: list[tuple[Message, Accepted]] = []
    for submission, stream, message_id in zip(submissions, streams, ids, strict=True):
        sender = senders.get(submission.key_id)
        answer = REVOKED if sender is None else _known(submission, sender, names)
        if answer is None and sender is not None:
            decided = admit(submission, sender, told.suppressed, Stamp(message_id, now))
            if isinstance(decided, Message) and stream is not None:
                answer = _accepted(decided, stream, told.holds)
                fresh.append((decided, answer))
                _remember(names, decided, answer)
            elif isinstance(decided, Refusal):
                answer = decided
        assert answer is not None
        answers.append(answer)
    if fresh:
        await step.insert_accepted(fresh)
    return answers


async def _look_up(step: AcceptStep, submissions: Sequence[Submission]) -> tuple[Told, Sequence[Stream | None]]:
    """Ask for all by one statement, with the senders as they were last known; where they have changed, ask again."""
    keys = {submission.key_id for submission in submissions}
    senders = step.expected(keys)
    while True:
        streams = [_stream(submission, senders) for submission in submissions]
        known = {stream.id: stream for stream in streams if stream is not None}.values()
        asked = Asked(keys, _addresses(submissions, streams), known, _names(submissions, senders))
        told = await step.look_up(asked)
        if told.senders == senders:
            return told, streams
        senders = told.senders


def _stream(submission: Submission, senders: Mapping[KeyId, Sender]) -> Stream | None:
    sender = senders.get(submission.key_id)
    stream = None if sender is None else stream_for(submission, sender)
    return None if isinstance(stream, Refusal) else stream


def _known(submission: Submission, sender: Sender, names: Names) -> Answer | None:
    """Return the answer that the submission's idempotency name stands for, if it has one that is known."""
    if submission.idempotency_key is None:
        return None
    known = names.get((sender.tenant.id, submission.idempotency_key))
    if known is None:
        return None
    return known.answer._replace(repeated=True) if known.body_digest == submission.body_digest else MISMATCH


MISMATCH = Refusal(
    RefusalCode.IDEMPOTENCY_MISMATCH,
    "This idempotency key was used with another body: send the same body, or use a new key.",
    "Idempotency-Key",
)


def _remember(names: Names, message: Message, answer: Accepted) -> None:
    """Let an equal name later in the same batch find this answer."""
    name = message.submission.idempotency_key
    if name is not None:
        names[message.tenant_id, name] = Remembered(message.submission.body_digest, answer, message.expires_at)


def _accepted(message: Message, stream: Stream, holds: Mapping[StreamId, str]) -> Accepted:
    suppressed: tuple[str, ...] = ()
    if message.cost < len(message.addressees):
        suppressed = tuple(one.address for one in message.addressees if one.suppressed is not None)
    return Accepted(message.id, stream.name, message.accepted_at, suppressed, False, holds.get(stream.id))


def _names(submissions: Sequence[Submission], senders: Mapping[KeyId, Sender]) -> set[tuple[TenantId, str]]:
    return {
        (sender.tenant.id, submission.idempotency_key)
        for submission in submissions
        if submission.idempotency_key is not None and (sender := senders.get(submission.key_id)) is not None
    }


def _addresses(
    submissions: Sequence[Submission], streams: Sequence[Stream | None]
) -> set[tuple[TenantId, StreamId, str]]:
    return {
        (stream.tenant_id, stream.id, bare_address(mailbox))
        for submission, stream in zip(submissions, streams, strict=True)
        if stream is not None
        for mailbox in submission.recipients
    }
