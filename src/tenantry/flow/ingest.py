"""Owns ingest: a batch of reports becomes facts, suppressions, counts and verdicts in one transaction.

Leaves reading the queue to the Feed port, acting on verdicts to the guard; order and repetition cannot matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tenantry.core.claim import ses_name
from tenantry.core.counts import day_number
from tenantry.core.event import Fact, NewFact, RecipientRow, Report
from tenantry.core.ids import CellId, MessageId, StreamId
from tenantry.core.news import News, news
from tenantry.core.policy import POLICIES, Action, judge
from tenantry.core.provider import is_simulator, provider_of
from tenantry.core.reputation import BUCKET_RECIPIENTS
from tenantry.core.tenant import StreamClass
from tenantry.ports import Owner, Store, StoreStep, Suppression, Tally

Owned = tuple[Owner, Report]
SET_TAG = "ses:configuration-set"
# SES names our message in every event but DeliveryDelay and Rendering Failure, which only have its own id: known once the
# hand-over is written down, or its Send event has come. Until then such a report is left in the queue, which brings it again.
EARLY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Ingested:
    """What a batch amounted to; early: reports left in the queue, by digest, since whose mail it is may still show."""

    reports: int
    new: int
    foreign: int
    verdicts: int
    early: frozenset[bytes] = frozenset()


async def ingest(
    store: Store, cell: CellId, reports: Sequence[Report], poison: Sequence[tuple[str, str]] = ()
) -> Ingested:
    """Apply reports once each, whatever their order and repetition; poison, (raw text, reason), is kept in quarantine.

    Returns after the commit, so that the caller may acknowledge all but the early. A report acts only on the owner of its mail.
    """
    async with store.step() as step:
        owners = await step.owners(reports)
        owned = [
            (owner, one) for one in reports if (owner := owners.get(one.digest)) is not None and _belongs(owner, one)
        ]
        known = {one.digest for _, one in owned}
        unknown = [one for one in reports if one.digest not in known]
        early = frozenset(one.digest for one in unknown if one.message_id is None and one.at > step.now - EARLY)
        foreign = [(one.raw, "it is about no mail of ours") for one in unknown if one.digest not in early]
        await step.quarantine([*poison, *foreign])
        fresh_digests = await step.record(owned) if owned else set()
        fresh = list({one.digest: (owner, one) for owner, one in owned if one.digest in fresh_digests}.values())
        verdicts = await _apply(step, fresh) if fresh else 0
        await step.saw_events(cell)
        handled = sum(one.digest not in early for one in reports)
        return Ingested(handled, len(fresh), len(foreign), verdicts, early)


def _belongs(owner: Owner, report: Report) -> bool:
    """Say whether the configuration set that SES names is the one of the mail's stream."""
    own = ses_name(owner.stream_id)
    return all(name == own for name in report.tags.get(SET_TAG, ()))


async def _apply(step: StoreStep, fresh: Sequence[Owned]) -> int:
    """Turn new reports into facts, suppressions and counts, and judge each stream whose bad counts changed."""
    await step.hand([(owner, report.ses_id) for owner, report in fresh if not owner.handed])
    rows = await step.recipients({owner.message_id for owner, _ in fresh})
    by_message: dict[MessageId, list[Owned]] = defaultdict(list)
    for owner, report in fresh:
        by_message[owner.message_id].append((owner, report))
    facts: list[NewFact] = []
    suppressions: list[Suppression] = []
    tallies: list[Tally] = []
    for message_id, reported in by_message.items():
        owner = reported[0][0]
        found = news(rows.get(message_id, ()), [report for _, report in reported])
        facts += found.facts
        suppressions += _suppressions(owner, found)
        tallies += _tallies(owner.stream_id, found)
    if facts:
        await step.add_facts(facts)
    if suppressions:
        await step.suppress(suppressions)
    if not tallies:
        return 0
    await step.count(tallies)
    return await _judge(step, tallies)


def _suppressions(owner: Owner, found: News) -> list[Suppression]:
    """A hard bounce suppresses for the tenant, a complaint about marketing for its stream."""
    suppressions = []
    for address, fact in found.suppressed:
        if is_simulator(address):
            continue  # SES puts it on no list either
        if fact is Fact.BOUNCED:
            suppressions.append(Suppression(owner.tenant_id, None, address, "bounce"))
        elif owner.stream_class is StreamClass.MARKETING:
            suppressions.append(Suppression(owner.tenant_id, owner.stream_id, address, "complaint"))
    return suppressions


def _tallies(stream_id: StreamId, found: News) -> list[Tally]:
    bounced = [_tally(stream_id, row, bounced=1) for row in found.bounced]
    return bounced if found.complained is None else [*bounced, _tally(stream_id, found.complained, complained=1)]


def _tally(stream_id: StreamId, row: RecipientRow, bounced: int = 0, complained: int = 0) -> Tally:
    assert row.ordinal is not None and row.handed_at is not None
    return Tally(
        stream_id=stream_id,
        cohort=row.cohort,
        bucket=row.ordinal // BUCKET_RECIPIENTS,
        day=day_number(row.handed_at),
        provider=provider_of(row.address),
        bounced=bounced,
        complained=complained,
    )


async def _judge(step: StoreStep, tallies: Sequence[Tally]) -> int:
    """Write down each crossing in a block that a tally touched; only the present cohort is judged."""
    crossed = 0
    touched: Mapping[tuple[StreamId, int, int], None] = {
        (one.stream_id, one.cohort, one.bucket): None for one in tallies
    }
    for stream_id, cohort, bucket in touched:
        stream = await step.stream(stream_id)
        if cohort != stream.cohort:
            continue
        verdict = judge(await step.blocks(stream_id, cohort, bucket), POLICIES[stream.policy])
        if verdict.action.severity >= Action.THROTTLE.severity:
            await step.insert_verdict(stream, verdict)
            crossed += 1
    return crossed
