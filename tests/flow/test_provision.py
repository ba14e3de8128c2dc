"""Provision against the local SES: it converges from anywhere, keeps its budget, lets a pause jump, and then is silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import boto3
import pytest
from mypy_boto3_sesv2 import SESV2Client

from tenantry.aws.control import BotoControl, Place, control_client
from tenantry.core.claim import ses_name
from tenantry.core.ids import CellId
from tenantry.core.pause import Author, Pause, PauseState, ScopeId
from tenantry.core.plan import Change, Resource
from tenantry.core.tenant import DkimMode, IdentityStatus, NewIdentity, NewTenant
from tenantry.emulator.local import Local
from tenantry.emulator.options import Options
from tenantry.flow.guard import end_pause
from tenantry.flow.manage import MadeTenant, add_tenant
from tenantry.flow.provision import FOUND_OFF, Course, Pace, Provisioning, Reconciled, reconcile
from tenantry.ports import AccountReading, ControlBusy, ControlRefused
from tenantry.store.bootstrap import ensure_cell
from tenantry.store.engine import Opening, open_store
from tenantry.store.store import Store
from tenantry.store.vault import Vault
from tests.worlds import OPERATOR, FixedClock

NEVER = 1e12


class Crash(Exception):
    """The process died here."""


@dataclass
class Watched:
    """The real control plane, with every call noted; it can die after a call, or say no."""

    inner: BotoControl
    clock: FixedClock
    calls: list[tuple[float, str]] = field(default_factory=list)
    crash_after: int | None = None
    refuses: str | None = None
    busy: int = 0

    async def account(self) -> AccountReading:
        return await self.inner.account()

    async def apply(self, change: Change) -> Resource | None:
        self._note(f"{'delete ' if change.delete else ''}{change.resource.kind} {change.resource.name}")
        if self.refuses and self.refuses in change.resource.name:
            raise ControlRefused("BadRequestException: not that one")
        there = await self.inner.apply(change)
        if self.crash_after is not None and len(self.calls) > self.crash_after:
            raise Crash
        return there

    async def look(self, resource: Resource) -> Resource | None:
        self._note(f"look {resource.kind} {resource.name}")
        return await self.inner.look(resource)

    def _note(self, call: str) -> None:
        if self.busy:
            self.busy -= 1
            raise ControlBusy("TooManyRequestsException")
        self.calls.append((self.clock.elapsed, call))


@dataclass
class World:
    """A store, a cell and a local SES, joined by provision on a clock that stands until it is told."""

    store: Store
    cell: CellId
    local: Local
    client: SESV2Client
    control: Watched
    clock: FixedClock
    course: Course

    def forget(self) -> None:
        """Start provision's process anew."""
        self.course = Course(Pace(self.clock), self.course.waits)
        self.course.refreshed_at = self.clock.monotonic()

    async def run(self) -> Reconciled:
        return await reconcile(self.store, self.control, self.cell, self.course)

    async def tenant(self, name: str = "acme", dkim: DkimMode = DkimMode.EASY) -> MadeTenant:
        made = await add_tenant(self.store, OPERATOR, NewTenant(name), NewIdentity(f"{name}.example", dkim), "shared")
        assert isinstance(made, MadeTenant)
        return made

    async def pause(self, kind: str, scope: ScopeId) -> Pause:
        async with self.store.step(lock=self.cell) as step:
            opened = await step.open_pause((kind, scope), Author.OPERATOR, "a test", None)
        assert opened is not None
        return opened

    async def state(self, pause: Pause) -> PauseState:
        found = await self.store.fleet(OPERATOR).pause(pause.id)
        assert found is not None
        return found.state

    def sends(self, name: str) -> bool:
        return self.local.account.sets[name].sending_enabled


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    vault, clock = Vault([Vault.new_key()]), FixedClock()
    store = await open_store(Opening(f"sqlite:///{tmp_path}/t.db", vault, clock.wall))
    options = Options(control_rate_per_second=None)
    local = Local(options)
    await asyncio.to_thread(local.__enter__)
    session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="local")
    client = control_client(session, options.region, local.url)
    inner = BotoControl(client, Place(options.account_id, options.region, options.topic_arn), vault.unseal)
    course = Course(Pace(clock), Provisioning(refresh=NEVER))
    course.refreshed_at = 0.0
    cell = await ensure_cell(store, "main", options.region)
    yield World(store, cell, local, client, Watched(inner, clock), clock, course)
    await store.close()
    client.close()
    await asyncio.to_thread(local.__exit__, None, None, None)


async def test_a_new_tenant_becomes_able_to_send(world: World) -> None:
    """After one pass its streams are provisioned, its identity verified, and SES has exactly the walls."""
    made = await world.tenant(dkim=DkimMode.BYODKIM)
    done = await world.run()
    assert (done.remaining, done.failed) == (0, ())
    mine = world.store.of(made.tenant.id)
    assert all(stream.provisioned_at for stream in await mine.streams())
    (identity,) = await mine.identities()
    assert identity.status is IdentityStatus.VERIFIED
    names = {ses_name(stream.id) for stream in made.streams}
    account = world.local.account
    assert set(account.sets) == set(account.tenants) == names
    assert account.identities["acme.example"].dkim["SigningAttributesOrigin"] == "EXTERNAL"
    assert all(len(tenant.resources) == 2 for tenant in account.tenants.values())
    assert await world.store.fleet(OPERATOR).changes() == []


async def test_nothing_differs_so_nothing_is_called(world: World) -> None:
    """In steady state provision is silent."""
    await world.tenant()
    await world.run()
    before = len(world.control.calls)
    assert await world.run() == Reconciled()
    world.forget()
    assert await world.run() == Reconciled()
    assert len(world.control.calls) == before


async def test_it_converges_from_a_crash_after_any_call(world: World) -> None:
    """Wherever the process dies, at most three passes later all is as wanted and provision is silent."""
    for number in range(10):
        made = await world.tenant(f"t{number}", DkimMode.BYODKIM)
        world.control.crash_after = len(world.control.calls) + number
        with pytest.raises(Crash):
            await world.run()
        world.control.crash_after = None
        passes = 0
        while (await world.run()).changes_made:
            world.forget()
            passes += 1
        assert passes <= 3
        calls = len(world.control.calls)
        assert await world.run() == Reconciled()
        assert len(world.control.calls) == calls
        assert all(stream.provisioned_at for stream in await world.store.of(made.tenant.id).streams())


async def test_the_budget_holds_and_a_pause_jumps_the_queue(world: World) -> None:
    """A hundred changes take 99 seconds at one call a second, and a pause opened meanwhile is the next call."""
    first = await world.tenant("first")
    await world.run()
    start = len(world.control.calls)
    for number in range(10):
        await world.tenant(f"t{number}")
    assert len(await world.store.fleet(OPERATOR).changes()) >= 100
    work = asyncio.create_task(world.run())
    while len(world.control.calls) < start + 20:
        await asyncio.sleep(0)
    pause = await world.pause("tenant", first.tenant.id)
    while await world.state(pause) is not PauseState.FENCED:
        await asyncio.sleep(0)
    fenced_at = len(world.control.calls)
    await work
    times = [at for at, _ in world.control.calls[start:]]
    assert len(times) >= 100
    assert times[-1] - times[0] >= 99
    assert all(later - earlier >= 1 for earlier, later in pairwise(times))
    opened = [place for place, (_, call) in enumerate(world.control.calls) if place >= start + 19]
    names = {ses_name(stream.id) for stream in first.streams}
    jumped = [world.control.calls[place][1] for place in opened[: fenced_at - start - 19]]
    stops = [place for place, call in enumerate(jumped) if call.split()[1] in names]
    assert len(stops) == 2
    assert stops[0] <= 2, jumped  # one call may have been under way, and one decided, when the pause was opened
    assert stops[1] == stops[0] + 1
    assert not any(map(world.sends, names))


async def test_a_pause_ends_in_ses_first(world: World) -> None:
    """An ended pause is over only once SES sends again, and another author's pause keeps the set off."""
    made = await world.tenant()
    await world.run()
    name = ses_name(made.streams[0].id)
    pause = await world.pause("stream", made.streams[0].id)
    await world.run()
    assert await world.state(pause) is PauseState.FENCED
    assert not world.sends(name)
    async with world.store.step(lock=world.cell) as step:
        await step.end_pause(pause.id, "appeal granted")
    assert await world.state(pause) is not PauseState.ENDED
    await world.run()
    assert await world.state(pause) is PauseState.ENDED
    assert world.sends(name)


async def test_a_lost_answer_fences_no_pause(world: World) -> None:
    """SES sends again, but that answer was lost; a pause that holds again meanwhile waits until SES stops once more."""
    made = await world.tenant()
    pause = await world.pause("stream", made.streams[0].id)
    await world.run()
    async with world.store.step(lock=world.cell) as step:
        await step.end_pause(pause.id, "appeal granted")
    world.control.crash_after = len(world.control.calls)
    with pytest.raises(Crash):
        await world.run()
    world.control.crash_after = None
    assert world.sends(ses_name(made.streams[0].id))
    await world.pause("stream", made.streams[0].id)
    async with world.store.step() as step:
        await step.note_progress(world.cell, [made.tenant.id])
    assert await world.state(pause) is PauseState.OPENING
    await world.run()
    assert await world.state(pause) is PauseState.FENCED
    assert not world.sends(ses_name(made.streams[0].id))


async def test_a_pause_of_what_ses_does_not_know_is_fenced_without_a_call(world: World) -> None:
    """Where there is no set, nothing can be sent; when the set is made it is made off."""
    made = await world.tenant()
    pause = await world.pause("tenant", made.tenant.id)
    async with world.store.step() as step:
        await step.note_progress(world.cell, [made.tenant.id])
    assert await world.state(pause) is PauseState.FENCED
    assert world.control.calls == []
    await world.run()
    assert not any(world.sends(ses_name(stream.id)) for stream in made.streams)


async def test_a_set_that_somebody_else_switched_off_stays_off(world: World) -> None:
    """An alarm's Lambda, a person in the console, or a pause that a restored database forgot: it becomes a pause here."""
    made = await world.tenant()
    await world.run()
    name = ses_name(made.streams[0].id)
    await asyncio.to_thread(
        world.client.put_configuration_set_sending_options, ConfigurationSetName=name, SendingEnabled=False
    )
    async with world.store.step() as step:
        await step.begin_recovery(world.cell)  # each thing is looked at once then, without waiting for its turn
    await world.run()
    assert not world.sends(name)
    (pause,) = await world.store.fleet(OPERATOR).pauses(open_only=True)
    assert (pause.scope_id, pause.author, pause.reason) == (made.streams[0].id, Author.OPERATOR, FOUND_OFF)
    await end_pause(world.store, pause.id, Author.OPERATOR, "it was a drill")
    await world.run()
    assert world.sends(name)


async def test_what_ses_refuses_is_left_alone_for_a_while_and_harms_no_other(world: World) -> None:
    """A refused change is tried again after a growing wait; everything else goes on."""
    bad = await world.tenant("bad")
    good = await world.tenant("good")
    world.control.refuses = "bad.example"
    done = await world.run()
    assert {one.words for one in done.failed} == {"BadRequestException: not that one"}
    assert all(stream.provisioned_at for stream in await world.store.of(good.tenant.id).streams())
    assert (await world.run()).failed == ()
    world.clock.advance(world.course.waits.refused_max)
    assert (await world.run()).failed
    world.control.refuses = None
    world.clock.advance(world.course.waits.refused_max)
    assert (await world.run()).remaining == 0
    (identity,) = await world.store.of(bad.tenant.id).identities()
    assert identity.status is IdentityStatus.VERIFIED


async def test_a_throttled_control_plane_is_given_rest(world: World) -> None:
    """When SES throttles, the pass ends at once and the next call waits."""
    await world.tenant()
    world.control.busy = 1
    assert (await world.run()).busy
    resumed = world.clock.elapsed
    assert (await world.run()).remaining == 0
    assert world.control.calls[0][0] - resumed >= world.course.waits.busy


async def test_an_unverified_identity_is_polled_until_ses_verifies_it(world: World) -> None:
    """SES tells nobody about a verification, so provision looks again, at its interval and no oftener."""
    account = world.local.account
    account.configure(account.options.changed({"verify_identities": False}))
    made = await world.tenant()
    await world.run()
    looks = len(world.control.calls)
    mine = world.store.of(made.tenant.id)
    assert (await mine.identities())[0].status is IdentityStatus.PENDING
    assert len((await mine.identities())[0].tokens) == 3
    assert await world.run() == Reconciled()
    account.set_verification("acme.example", "SUCCESS")
    world.clock.advance(world.course.waits.poll)
    assert (await world.run()).looks == 1
    assert (await mine.identities())[0].status is IdentityStatus.VERIFIED
    world.clock.advance(world.course.waits.poll)
    assert await world.run() == Reconciled()
    assert len(world.control.calls) == looks + 1


async def test_drift_is_found_and_put_right(world: World) -> None:
    """What somebody changed or deleted in SES is seen by the slow refresh and made as wanted again."""
    made = await world.tenant()
    await world.run()
    name = ses_name(made.streams[0].id)
    client = world.client
    await asyncio.to_thread(
        lambda: client.put_configuration_set_reputation_options(
            ConfigurationSetName=name, ReputationMetricsEnabled=False
        )
    )
    await asyncio.to_thread(
        lambda: client.delete_configuration_set_event_destination(
            ConfigurationSetName=name, EventDestinationName="events"
        )
    )
    world.course = Course(Pace(world.clock), Provisioning(refresh=60.0))
    for _ in range(20):
        world.clock.advance(60)
        await world.run()
    assert world.local.account.sets[name].options["ReputationOptions"]["ReputationMetricsEnabled"]
    assert list(world.local.account.sets[name].destinations) == ["events"]
    looked = [call for _, call in world.control.calls if call.startswith("look")]
    assert len(set(looked)) == 11, "each of our objects is looked at in its turn"


async def test_many_tenants_are_made_portion_by_portion(world: World) -> None:
    """However small a look is, one pass makes all that can be made, and a tenant that SES refuses holds up nobody."""
    world.course.portion = 2
    bad = [await world.tenant(f"bad{number}") for number in range(3)]
    good = [await world.tenant(f"good{number}") for number in range(5)]
    world.control.refuses = "bad"
    for _ in range(
        len(bad) + 1
    ):  # a pass ends with a portion of which nothing can be done now; the next goes on behind it
        await world.run()
    for made in good:
        assert all(stream.provisioned_at for stream in await world.store.of(made.tenant.id).streams())
    world.control.refuses = None
    world.clock.advance(world.course.waits.refused_max)
    for _ in range(3):
        await world.run()
    for made in bad:
        assert (await world.store.of(made.tenant.id).identities())[0].status is IdentityStatus.VERIFIED
    assert await world.store.fleet(OPERATOR).changes() == []


async def test_what_another_made_in_ses_is_not_touched(world: World) -> None:
    """An identity that exists in the account without our tag is refused, not taken over."""
    client = world.client
    await asyncio.to_thread(lambda: client.create_email_identity(EmailIdentity="acme.example"))
    await asyncio.to_thread(lambda: client.create_configuration_set(ConfigurationSetName="theirs"))
    made = await world.tenant()
    done = await world.run()
    assert any("left alone" in one.words for one in done.failed)
    assert "theirs" in world.local.account.sets
    assert (await world.store.of(made.tenant.id).identities())[0].status is IdentityStatus.PENDING
