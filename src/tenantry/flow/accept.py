"""Owns accept: a batch of submissions becomes messages or refusals in one read, one decision each, one write.

Leaves decoding and authentication to the doors, gathering the batch to app/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tenantry.core.admission import Stamp, Suppressed, admit, bare_address, stream_for
from tenantry.core.ids import KeyId, MessageId, StreamId, TenantId
from tenantry.core.message import Accepted, Message, Refusal, RefusalCode, Submission
from tenantry.core.tenant import Sender, Stream
from tenantry.ports import AcceptStep, Remembered, Store, StoreConflict, StoreRejected

Answer = Accepted | Refusal
Names = dict[tuple[TenantId, str], Remembered]

REVOKED = Refusal(RefusalCode.KEY_REVOKED, "This key is revoked or was never yours: ask for a new one.")
UNSTORABLE = Refusal(
    RefusalCode.INVALID_FIELD, "The message holds a value that cannot be stored, such as a NUL character."
)


async def accept(store: Store, submissions: Sequence[Submission]) -> list[Answer]:
    """Answer each submission after its message is on stable storage; a refused one changes nothing.

    A batch that the store rejects is split until only the bad submission is refused. Raises StoreBusy, with nothing
    accepted, when the store cannot commit now.
    """
    try:
        async with store.step() as step:
            return await _accept(step, submissions)
    except (StoreRejected, StoreConflict) as error:
        # a conflict is two equal idempotency names in two steps at once: the second reads the first one's answer
        if len(submissions) == 1:
            return [UNSTORABLE] if isinstance(error, StoreRejected) else await accept(store, submissions)
    middle = len(submissions) // 2
    return await accept(store, submissions[:middle]) + await accept(store, submissions[middle:])


async def _accept(step: AcceptStep, submissions: Sequence[Submission]) -> list[Answer]:
    senders = await step.senders({submission.key_id for submission in submissions})
    suppressed = await _suppressed(step, submissions, senders)
    names = dict(await step.remembered(_names(submissions, senders)))
    ids = sorted(
        step.new_id(MessageId) for _ in submissions
    )  # within a batch, too, the order of arrival is the order of ids
    answers: list[Answer] = []
    fresh: list[tuple[int, Message, Stream]] = []
    for submission, message_id in zip(submissions, ids, strict=True):
        sender = senders.get(submission.key_id)
        stamp = Stamp(message_id, step.now)
        answer = REVOKED if sender is None else _answer(stamp, submission, sender, names, suppressed)
        if isinstance(answer, Message):
            assert sender is not None
            stream = next(one for one in sender.streams.values() if one.id == answer.stream_id)
            fresh.append((len(answers), answer, stream))
            answers.append(_accepted(answer, stream))
            _remember(names, answer, stream)
        else:
            answers.append(answer)
    await _write(step, answers, fresh)
    return answers


async def _write(step: AcceptStep, answers: list[Answer], fresh: Sequence[tuple[int, Message, Stream]]) -> None:
    """Insert the new messages; their answers name the hold that they are already under."""
    if not fresh:
        return
    holds = await step.holds({stream.id: stream for _, _, stream in fresh}.values())
    accepted: list[tuple[Message, Accepted]] = []
    for place, message, stream in fresh:
        answer = replace(_accepted(message, stream), hold=holds.get(stream.id))
        answers[place] = answer
        accepted.append((message, answer))
    await step.insert_accepted(accepted)


def _answer(
    stamp: Stamp, submission: Submission, sender: Sender, names: Names, suppressed: Suppressed
) -> Message | Answer:
    """Decide on one submission: what its idempotency name stands for, else what the rules say."""
    if submission.idempotency_key is not None:
        known = names.get((sender.tenant.id, submission.idempotency_key))
        if known is not None:
            return replace(known.answer, repeated=True) if known.body_digest == submission.body_digest else MISMATCH
    return admit(submission, sender, suppressed, stamp)


MISMATCH = Refusal(
    RefusalCode.IDEMPOTENCY_MISMATCH,
    "This idempotency key was used with another body: send the same body, or use a new key.",
    "Idempotency-Key",
)


def _remember(names: Names, message: Message, stream: Stream) -> None:
    """Let an equal name later in the same batch find this answer."""
    name = message.submission.idempotency_key
    if name is not None:
        answer = _accepted(message, stream)
        names[message.tenant_id, name] = Remembered(message.submission.body_digest, answer, message.expires_at)


def _accepted(message: Message, stream: Stream) -> Accepted:
    suppressed = tuple(one.address for one in message.addressees if one.suppressed is not None)
    return Accepted(message.id, stream.name, message.accepted_at, suppressed)


def _names(submissions: Sequence[Submission], senders: Mapping[KeyId, Sender]) -> set[tuple[TenantId, str]]:
    return {
        (sender.tenant.id, submission.idempotency_key)
        for submission in submissions
        if submission.idempotency_key is not None and (sender := senders.get(submission.key_id)) is not None
    }


async def _suppressed(
    step: AcceptStep, submissions: Sequence[Submission], senders: Mapping[KeyId, Sender]
) -> Suppressed:
    wanted: set[tuple[TenantId, StreamId, str]] = set()
    for submission in submissions:
        if (sender := senders.get(submission.key_id)) is None:
            continue
        if not isinstance(stream := stream_for(submission, sender), Refusal):
            wanted.update((sender.tenant.id, stream.id, bare_address(mailbox)) for mailbox in submission.recipients)
    return await step.suppressed(wanted) if wanted else {}
