"""Owns the routes of policies: what is shipped, and what a policy would have done; leaves replaying to `core.backtest`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from tenantry.core.backtest import BASELINES, History, Replay, replay
from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.policy import POLICIES, Policy
from tenantry.core.policy_text import TEXT_MOST, read_policy, write_policy
from tenantry.core.tenant import Tenant
from tenantry.edge.api.reach import Operator
from tenantry.edge.api.shapes import Listing, Shape
from tenantry.edge.errors import RefusedError

router = APIRouter(prefix="/v1")
IN_FORCE = "in force"


class PolicyOut(Shape):
    """A policy, and its text to begin an own one with."""

    name: str
    version: int
    acts: bool
    text: str


class BacktestIn(BaseModel):
    """The policy to try, as YAML, on how many days of whom."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"text": "policy: mine\nlines:\n  - counts: bounce\n    line: 5%\n"}]},
    )

    text: Annotated[str, Field(max_length=TEXT_MOST)]
    days: Annotated[int, Field(ge=1, le=90)] = 28
    whose: str | None = None  # a tenant's name or id


class ReplayOut(Shape):
    """What a policy had done to a stream that it would have slowed or paused."""

    stream_id: str
    tenant: str
    stream: str
    policy: str
    in_force: str
    throttled_at: datetime | None
    paused_at: datetime | None
    words: str
    before: int
    after: int
    bad_before: int
    bad_after: int
    wrong: bool

    @classmethod
    def of(cls, tenant: Tenant, history: History, one: Replay, policy: str) -> ReplayOut:
        """Show a replay."""
        return cls(
            stream_id=one.stream_id,
            tenant=tenant.name,
            stream=one.stream,
            policy=policy,
            in_force=history.policy,
            throttled_at=one.throttled_at,
            paused_at=one.paused_at,
            words=one.words,
            before=one.before,
            after=one.after,
            bad_before=one.bad_before,
            bad_after=one.bad_after,
            wrong=one.wrong,
        )


class BacktestOut(Shape):
    """What was found over how many streams; `policy` in each is this one's name, `in force`, or a rule to compare with."""

    policy: str
    days: int
    streams: int
    found: list[ReplayOut]


@router.get("/policies")
async def list_policies(caller: Operator) -> Listing[PolicyOut]:
    """List the shipped policies."""
    return Listing(
        items=[
            PolicyOut(name=one.name, version=one.version, acts=one.acts, text=write_policy(one))
            for one in POLICIES.values()
        ]
    )


@router.post("/policies/backtest")
async def backtest(caller: Operator, wanted: BacktestIn) -> BacktestOut:
    """Replay the last days under a policy, those in force, and plain rules; changes nothing."""
    tried = read_policy(wanted.text)
    if not isinstance(tried, Policy):
        wrong = "; ".join(str(one) for one in tried)[:2_000]
        raise RefusedError(Refusal(RefusalCode.INVALID_FIELD, f"The policy is wrong: {wrong}.", "text"))
    streams = 0
    found: list[ReplayOut] = []
    cursor: str | None = None
    while True:
        if wanted.whose is not None:
            tenants, cursor = [await caller.tenant(wanted.whose)], None
        else:
            page = await caller.fleet.tenants(cursor, 100)
            tenants, cursor = list(page.items), page.next_cursor
        for tenant in tenants:
            histories = await caller.of(tenant).histories(wanted.days)
            streams += len(histories)
            found += await asyncio.to_thread(_replayed, tenant, histories, tried)  # work for the CPU
        if cursor is None:
            return BacktestOut(policy=tried.name, days=wanted.days, streams=streams, found=found)


def _replayed(tenant: Tenant, histories: Sequence[History], tried: Policy) -> list[ReplayOut]:
    found = []
    for history in histories:
        for called, policy in (
            (tried.name, tried),
            (IN_FORCE, POLICIES[history.policy]),
            *((one.name, one) for one in BASELINES),
        ):
            one = replay(history, policy)
            if one.paused_at or one.throttled_at:
                found.append(ReplayOut.of(tenant, history, one, called))
    return found
