"""Owns stopping and starting again: verdicts become pauses or limits, pauses drain, ramps climb.

Leaves judging to policy, the second fence (SES itself) to provision, which finds the open pauses by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from tenantry.core.ids import CellId, PauseId, StreamId
from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.pause import Author, Pause, PauseState, ScopeId
from tenantry.core.policy import POLICIES, Action, Policy, Probation, next_stage, ramp_fraction
from tenantry.core.reading import VerdictView
from tenantry.ports import Clock, Store, StoreStep

DRAIN_SECONDS = 10.0  # the send's own deadline: a claim older than this has no call under way
POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Ramp:
    """How long a stage of probation lasts, where a setting says otherwise than the policy."""

    stage_seconds: float | None = None

    def of(self, policy: Policy) -> Policy:
        """Return the policy with this stage length."""
        return policy if self.stage_seconds is None else replace(policy, stage_seconds=self.stage_seconds)


async def act(store: Store, cell: CellId) -> tuple[list[Pause], list[StreamId]]:
    """Act on every verdict that is due; return the pauses opened and the streams throttled.

    Takes the cell's lock, so that no later turn claims for what is paused. A verdict is marked in the same
    transaction: after a crash it is due again or done, never both.
    """
    paused: list[Pause] = []
    throttled: list[StreamId] = []
    async with store.reading() as step:
        if not await step.due_verdicts(cell):
            return paused, throttled
    async with store.step(lock=cell) as step:
        for verdict in await step.due_verdicts(cell):
            stream = await step.stream(verdict.stream_id)
            pause = None
            if verdict.cohort == stream.cohort and verdict.action == Action.PAUSE:
                pause = await step.open_pause(("stream", stream.id), Author.GUARD, verdict.words, verdict.id)
                paused += [pause] if pause else []
            elif verdict.cohort == stream.cohort:
                await _throttle(step, verdict)
                throttled.append(stream.id)
            await step.acted(verdict.id, pause.id if pause else None)
    return paused, throttled


async def _throttle(step: StoreStep, verdict: VerdictView) -> None:
    """Slow a stream to its policy's fraction; clean stages of the ramp lead back."""
    policy = POLICIES[verdict.policy.partition(" ")[0]]
    await step.set_limit(verdict.stream_id, policy.throttle_fraction, 0)


async def open_pause(
    store: Store, clock: Clock, scope: tuple[str, ScopeId], author: Author, reason: str
) -> Pause | Refusal:
    """Stop a scope and return once no older claim of it is open, or its deadline has passed: the pause is then local."""
    async with store.reading() as step:
        owner = await step.scope_owner(*scope)
    if owner is None:
        return Refusal(RefusalCode.NOT_FOUND, f"There is no {scope[0]} {scope[1]}.", "scope")
    async with store.step(lock=owner[0]) as step:
        pause = await step.open_pause(scope, author, reason, None)
    assert pause is not None
    while pause is not None and pause.state is PauseState.OPENING:
        await drain(store, pause.id)
        async with store.reading() as step:
            pause = await step.pause(pause.id)
        if pause is not None and pause.state is PauseState.OPENING:
            await clock.sleep(POLL_SECONDS)
    assert pause is not None
    return pause


async def drain(store: Store, pause_id: PauseId) -> bool:
    """Acknowledge a pause if no older claim of its scope is open any more; say whether it is acknowledged."""
    async with store.step() as step:
        if await step.draining(pause_id, step.now - timedelta(seconds=DRAIN_SECONDS)):
            return False
        await step.mark_local(pause_id)
        return True


async def drain_all(store: Store, cell: CellId) -> list[PauseId]:
    """Acknowledge every pause of a cell that has drained; also finishes what a dead process began."""
    async with store.reading() as step:
        waiting = await step.undrained(cell)
    return [pause_id for pause_id in waiting if await drain(store, pause_id)]


async def end_pause(store: Store, pause_id: PauseId, author: Author, reason: str) -> Pause | Refusal:
    """Begin to end a pause for a stated reason: SES is switched on first, then the lanes.

    The guard's pause of a stream ends on probation: a new cohort, counted from zero, on the ramp of its policy. Each
    author ends its own pause; an operator may end the guard's.
    """
    async with store.step() as step:
        pause = await step.pause(pause_id)
        if pause is None:
            return Refusal(RefusalCode.NOT_FOUND, f"There is no pause {pause_id}.", "pause")
        if pause.ended_at is not None:
            return Refusal(RefusalCode.CONFLICT, "This pause has ended already.", "pause")
        if author is not Author.OPERATOR and author is not pause.author:
            return Refusal(
                RefusalCode.FORBIDDEN, f"Only the {pause.author} or an operator may end this pause.", "pause"
            )
        if pause.end_reason is None and pause.author is Author.GUARD and isinstance(pause.scope_id, StreamId):
            stream = await step.stream(pause.scope_id)
            await step.begin_cohort(stream.id, ramp_fraction(POLICIES[stream.policy], 0), 0)
        await step.end_pause(pause_id, reason)
        ended = await step.pause(pause_id)
    assert ended is not None
    return ended


async def climb(store: Store, cell: CellId, ramp: Ramp) -> list[StreamId]:
    """Move each stream on a ramp to the stage it has earned; return those that moved."""
    moved: list[StreamId] = []
    async with store.reading() as step:
        if not await step.ramping(cell):
            return moved
    async with store.step(lock=cell) as step:
        for stream, since, handed in await step.ramping(cell):
            assert stream.ramp_stage is not None
            policy = ramp.of(POLICIES[stream.policy])
            worst = await step.worst_since(stream.id, stream.cohort, since)
            probation = Probation(stream.ramp_stage, (step.now - since).total_seconds(), handed, worst)
            stage = next_stage(policy, probation)
            if stage != stream.ramp_stage or (worst.severity >= Action.THROTTLE.severity):
                await step.set_limit(stream.id, None if stage is None else ramp_fraction(policy, stage), stage)
                moved.append(stream.id)
    return moved
