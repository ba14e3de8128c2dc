"""The lab and the store count alike: the same history ends in the same blocks and the same verdicts."""

from __future__ import annotations

from random import Random

from tenantry.core.policy import POLICIES, Action, judge
from tenantry.core.reputation import BUCKET_RECIPIENTS
from tenantry.flow.dispatch import wake_stranded
from tenantry.flow.ingest import ingest
from tenantry.lab.cohort import Cohort
from tests import worlds
from tests.conformance.conftest import Ground

MAILS = 260


async def test_the_lab_and_the_store_agree(ground: Ground) -> None:
    """Mail to two sorts of providers, with bounces and complaints told in any order: equal blocks after each report."""
    member = await worlds.member(ground.store)
    chance = Random(11)
    cohort = Cohort(POLICIES["standard"], reporting_share=0.5)
    people = [
        f"p{n}@{'a' if n % 4 == 1 else 'b'}.example" if cohort.reports(n) else f"p{n}@gmail.com" for n in range(MAILS)
    ]
    done = []
    for person in people:  # one after another, so that the place in sending order is known
        await worlds.accept(ground.store, [worlds.submission(member, person, stream="marketing")])
        await wake_stranded(ground.store, ground.cell)
        done += await worlds.handed(ground.store, ground.cell)
    cohort.handed = MAILS
    bad = [(n, "Bounce") for n in chance.sample(range(MAILS), 40)]
    bad += [(n, "Complaint") for n in chance.sample(range(MAILS), 20) if cohort.reports(n)]
    chance.shuffle(bad)
    verdicts = set()
    for ordinal, kind in bad:
        told = await ingest(ground.store, ground.cell, [worlds.report(kind, *done[ordinal])])
        verdict = (
            cohort.bounced(ordinal)
            if kind == "Bounce"
            else cohort.complained(ordinal, people[ordinal].rpartition("@")[2])
        )
        assert told.verdicts >= (verdict is not None)  # the store also looks at what the other line says
        if verdict is not None:
            verdicts.add((verdict.kind, verdict.action, verdict.block.first_recipient, verdict.block.size))
        async with ground.store.reading() as step:
            kept = await step.blocks(member.marketing, 0, ordinal // BUCKET_RECIPIENTS)
        mine = cohort.blocks(ordinal)
        assert {kind: list(blocks) for kind, blocks in kept.items()} == mine
        assert judge(kept, cohort.policy) == judge(mine, cohort.policy)
    shown = await ground.store.of(member.tenant_id).reputation(member.marketing)
    assert shown is not None
    assert {(one.kind, one.action, one.block_start, one.block_size) for one in shown.verdicts} >= verdicts
    assert any(action is Action.PAUSE for _, action, _, _ in verdicts)
