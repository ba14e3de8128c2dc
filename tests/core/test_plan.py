"""The plan: what SES should look like, the order of the steps towards it, and what its state makes true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.claim import ses_name
from tenantry.core.ids import CellId, Id, IdentityId, PauseId, PoolId, StreamId, TenantId
from tenantry.core.pause import Author, Pause, ScopeId
from tenantry.core.plan import (
    DOUBT,
    SENDING,
    Change,
    Resource,
    ResourceKind,
    Urgency,
    Wanted,
    desired,
    plan,
    progress,
)
from tenantry.core.tenant import DkimMode, Identity, IdentityStatus, Pool, PoolKind, Stream, StreamClass, Tenant

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
CELL = CellId.of(UUID(int=1))
SHARED = Pool(PoolId.of(UUID(int=2)), CELL, "shared", PoolKind.SHARED)
GOLD = Pool(PoolId.of(UUID(int=3)), CELL, "gold", PoolKind.STANDARD)
Things = dict[tuple[ResourceKind, str], Resource]


def tenant(number: int, **labels: str) -> Tenant:
    return Tenant(TenantId.of(UUID(int=100 + number)), f"tenant-{number}", CELL, f"{number:012}", labels, NOON)


def stream(number: int, owner: Tenant, pool: Pool = SHARED) -> Stream:
    stream_id = StreamId.of(UUID(int=1000 + number))
    return Stream(stream_id, owner.id, CELL, pool.id, f"s{number}", StreamClass.MARKETING, "standard", False, NOON)


def identity(owner: Tenant, name: str, dkim: DkimMode = DkimMode.BYODKIM) -> Identity:
    made = Identity(IdentityId.of(UUID(int=5)), owner.id, CELL, name, dkim, IdentityStatus.PENDING, NOON)
    return replace(made, selector="tenantry1") if dkim is DkimMode.BYODKIM else made


def pause(kind: str, scope: ScopeId, number: int = 1, end_reason: str | None = None) -> Pause:
    opened = Pause(PauseId.of(UUID(int=9000 + number)), kind, scope, Author.OPERATOR, "because", NOON)
    return replace(opened, end_reason=end_reason)


def wanted(
    streams: Sequence[Stream], tenants: Iterable[Tenant], *identities: Identity, pauses: Sequence[Pause] = ()
) -> Wanted:
    return Wanted({one.id: one for one in tenants}, streams, identities, (SHARED, GOLD), pauses)


ACME = tenant(1, unit="shoes")
ONE = stream(1, ACME, GOLD)
WORLD = wanted([ONE], [ACME], identity(ACME, "acme.example"))


def applied(changes: Sequence[Change], there: Things) -> Things:
    """What SES has after these changes."""
    there = dict(there)
    for change in changes:
        if change.delete:
            there.pop(change.resource.key)
        else:
            there[change.resource.key] = replace(change.result, attributes=dict(change.result.attributes))
    return there


def converged(goal: Sequence[Resource], there: Things) -> Things:
    """What SES has after step by step, planned anew each time as provision does it."""
    while changes := plan(goal, list(there.values())):
        there = applied(changes[:1], there)
    return there


def settled(world: Wanted) -> Things:
    return converged(desired(world), {})


def test_a_stream_gets_its_walls() -> None:
    """Per stream: a set with pool, metrics and own suppression, a destination, an SES tenant and its associations."""
    made = {resource.key: resource.attributes for resource in desired(WORLD)}
    name = ses_name(ONE.id)
    assert made[ResourceKind.POOL, "tenantry-gold"] == {"scaling_mode": "STANDARD"}
    attributes = made[ResourceKind.CONFIGURATION_SET, name]
    assert attributes[SENDING] == "true"
    assert attributes["pool"] == "tenantry-gold"
    assert attributes["reputation_metrics"] == "true"
    assert attributes["suppression_scope"] == "TENANT"
    assert attributes["tag:unit"] == "shoes"
    assert made[ResourceKind.IDENTITY, "acme.example"]["selector"] == "tenantry1"
    assert (ResourceKind.EVENT_DESTINATION, f"{name}/events") in made
    assert (ResourceKind.ASSOCIATION, f"{name}/configuration-set/{name}") in made
    assert (ResourceKind.ASSOCIATION, f"{name}/identity/acme.example") in made


def test_onboarding_makes_what_is_needed_first_and_finishes_one_stream_after_the_other() -> None:
    """A destination never comes before its set, an association never before its ends; no stream waits for a later one."""
    other = tenant(2)
    two = stream(2, other)
    world = wanted([ONE, two], [ACME, other], identity(ACME, "acme.example"), identity(other, "other.example"))
    order = [change.resource.key for change in plan(desired(world), [])]
    place = {key: at for at, key in enumerate(order)}
    kinds = [kind for kind, name in order if ses_name(ONE.id) in name or "acme" in name]
    assert kinds == [
        ResourceKind.CONFIGURATION_SET,
        ResourceKind.EVENT_DESTINATION,
        ResourceKind.IDENTITY,
        ResourceKind.TENANT,
        ResourceKind.ASSOCIATION,
        ResourceKind.ASSOCIATION,
    ]
    first_done = max(at for (_, name), at in place.items() if ses_name(ONE.id) in name)
    assert first_done < place[ResourceKind.CONFIGURATION_SET, ses_name(two.id)]


def test_nothing_is_planned_when_nothing_differs() -> None:
    """A reached state needs no call."""
    assert plan(desired(WORLD), list(settled(WORLD).values())) == []


def test_what_ses_alone_decides_is_no_difference() -> None:
    """Verification, tokens and ARNs do not make a change."""
    there = [replace(one, observed={"arn": "arn:x", "verification": "FAILED"}) for one in settled(WORLD).values()]
    assert plan(desired(WORLD), there) == []


def test_a_pause_comes_first_alone_in_one_call_then_its_ending() -> None:
    """A pause jumps before every other change, and an ending before onboarding; each changes the switch alone."""
    other = tenant(2, plan="gold")
    before = settled(wanted([ONE], [ACME]))
    streams = [ONE, stream(2, other), stream(3, ACME)]
    world = wanted(streams, [replace(ACME, labels={"unit": "boots"}), other], pauses=[pause("stream", ONE.id)])
    changes = plan(desired(world), list(before.values()))
    assert changes[0].urgency is Urgency.PAUSE
    assert changes[0].differs == (SENDING,)
    assert changes[0].result.attributes == {
        **before[ResourceKind.CONFIGURATION_SET, ses_name(ONE.id)].attributes,
        SENDING: "false",
    }
    assert [change.urgency for change in changes] == sorted((c.urgency for c in changes), key=list(Urgency).index)
    paused = converged(desired(world), before)
    ended = plan(desired(wanted([*streams, stream(4, other)], [ACME, other])), list(paused.values()))
    assert ended[0].urgency is Urgency.UNPAUSE


def test_every_scope_stops_the_streams_under_it() -> None:
    """A pause of a stream, tenant, pool or cell turns off the sets of exactly the streams in it."""
    other = tenant(2)
    two = stream(2, other)
    scopes: list[tuple[str, ScopeId, set[Id]]] = [
        ("stream", ONE.id, {ONE.id}),
        ("tenant", other.id, {two.id}),
        ("pool", GOLD.id, {ONE.id}),
        ("cell", CELL, {ONE.id, two.id}),
    ]
    for kind, scope, stopped in scopes:
        world = wanted([ONE, two], [ACME, other], pauses=[pause(kind, scope)])
        off = {one.name for one in desired(world) if one.attributes.get(SENDING) == "false"}
        assert off == {ses_name(StreamId(each)) for each in stopped}


def test_what_is_no_longer_wanted_goes_in_the_order_of_the_finalizer_and_only_our_own() -> None:
    """Associations go before what they hold; what carries no mark of ours is never touched."""
    foreign = [
        Resource(ResourceKind.CONFIGURATION_SET, "theirs", {}, {}),
        Resource(ResourceKind.IDENTITY, "theirs.example", {"dkim": "AWS_SES"}, {}),
        Resource(ResourceKind.POOL, "ses-shared-pool", {}, {}),
    ]
    changes = plan([], [*settled(WORLD).values(), *foreign])
    assert all(change.delete for change in changes)
    assert not {change.resource.name for change in changes} & {one.name for one in foreign}
    kinds = [change.resource.kind for change in changes]
    assert kinds == sorted(
        kinds,
        key=[
            ResourceKind.ASSOCIATION,
            ResourceKind.EVENT_DESTINATION,
            ResourceKind.CONFIGURATION_SET,
            ResourceKind.TENANT,
            ResourceKind.IDENTITY,
            ResourceKind.POOL,
        ].index,
    )


def test_a_moved_label_is_a_tag_and_an_untag() -> None:
    """A label that is taken away is removed in SES too, by a call of its own."""
    world = wanted([ONE], [replace(ACME, labels={"centre": "7"})], identity(ACME, "acme.example"))
    there = settled(WORLD)
    changes = [one for one in plan(desired(world), list(there.values())) if one.resource.kind is ResourceKind.TENANT]
    assert sorted(change.differs for change in changes) == [("tag:centre",), ("tag:unit",)]
    after = converged(desired(world), there)[ResourceKind.TENANT, ses_name(ONE.id)].attributes
    assert after["tag:centre"] == "7"
    assert "tag:unit" not in after


ATTRIBUTE = st.sampled_from(
    [SENDING, "pool", "tls", "reputation_metrics", "suppression_scope", "tag:a", "tag:tenantry-tenant"]
)
SETS = st.dictionaries(
    st.sampled_from([f"tenantry-{number}" for number in range(4)] + ["theirs"]),
    st.dictionaries(ATTRIBUTE, st.sampled_from(["true", "false", "x"])),
)


def sets(given_: Mapping[str, Mapping[str, str]]) -> list[Resource]:
    return [Resource(ResourceKind.CONFIGURATION_SET, name, attributes, {}) for name, attributes in given_.items()]


@given(SETS, SETS)
def test_any_two_states_converge_in_one_pass(want: dict[str, dict[str, str]], have: dict[str, dict[str, str]]) -> None:
    """Applying a plan reaches the desired state: planning again gives nothing, whatever was there before."""
    there = {one.key: one for one in sets(have)}
    goal = sets({name: attributes for name, attributes in want.items() if name != "theirs"})
    after = converged(goal, there)
    assert {key: one for key, one in after.items() if key[1] == "theirs"} == {
        key: one for key, one in there.items() if key[1] == "theirs"
    }
    for one in goal:
        assert one.attributes.items() <= after[one.key].attributes.items()


def live(world: Wanted) -> Wanted:
    """The same with every stream provisioned."""
    return replace(world, streams=[replace(one, provisioned_at=NOON) for one in world.streams])


def verified(there: Things, **observed: str) -> list[Resource]:
    words = {"for_sending": "true", "verification": "SUCCESS", **observed}
    return [replace(one, observed=words) if one.kind is ResourceKind.IDENTITY else one for one in there.values()]


def test_a_stream_can_send_once_all_that_a_send_names_is_there() -> None:
    """With any one of its resources missing the stream is not provisioned; with all of them it is."""
    there = settled(WORLD)
    assert progress(WORLD, [], there.values()).provisioned == (ONE.id,)
    for key in there:
        if key[0] in {ResourceKind.POOL, ResourceKind.IDENTITY}:
            continue
        assert progress(WORLD, [], [one for one in there.values() if one.key != key]).provisioned == ()


def test_a_stream_whose_walls_are_gone_no_longer_sends() -> None:
    """A set, SES tenant or association that vanished makes the stream wait instead of failing."""
    gone = [one for one in settled(WORLD).values() if one.kind is not ResourceKind.TENANT]
    assert progress(live(WORLD), [], gone).lost == (ONE.id,)


def test_an_identity_is_verified_once_ses_says_so_and_every_live_stream_may_use_it() -> None:
    """Verified in SES but not associated would be refused at the send, so it counts as pending."""
    there = settled(WORLD)
    (now,) = progress(live(WORLD), [], verified(there)).identities
    assert now.status is IdentityStatus.VERIFIED
    assert now.ses_status == {"verification": "SUCCESS"}
    loose = {key: one for key, one in there.items() if not key[1].endswith("identity/acme.example")}
    assert all(one.status is IdentityStatus.PENDING for one in progress(live(WORLD), [], verified(loose)).identities)
    failed = verified(there, for_sending="false", verification="FAILED")
    assert progress(live(WORLD), [], failed).identities[0].status is IdentityStatus.FAILED


def test_easy_dkim_shows_the_tokens_that_ses_gave() -> None:
    """The owner of the domain can publish them as soon as SES names them."""
    world = wanted([ONE], [ACME], identity(ACME, "acme.example", DkimMode.EASY))
    (now,) = progress(world, [], verified(settled(world), tokens="a b c", zone="dkim.amazonses.com")).identities
    assert now.tokens == ("a", "b", "c")
    assert now.ses_status["zone"] == "dkim.amazonses.com"


def test_a_pause_is_fenced_when_no_set_of_its_scope_sends() -> None:
    """One set that still sends keeps the pause local; sets that are not made yet cannot send."""
    two = stream(2, ACME)
    stop = pause("tenant", ACME.id)
    world = wanted([ONE, two], [ACME], pauses=[stop])
    going = settled(wanted([ONE, two], [ACME]))
    changes = plan(desired(world), list(going.values()))
    assert progress(world, [], going.values()).fenced == ()
    assert progress(world, [], applied(changes[:1], going).values()).fenced == ()
    assert progress(world, [], applied(changes[:2], going).values()).fenced == (stop.id,)
    assert progress(world, [], []).fenced == (stop.id,)


def test_a_set_that_is_being_switched_makes_no_pause_fenced_or_over() -> None:
    """While a call to switch sending has no answer, nobody knows whether SES sends: neither promise may rest on it."""
    stop = pause("stream", ONE.id)
    doubted = {
        key: replace(one, attributes={**one.attributes, SENDING: DOUBT}) if SENDING in one.attributes else one
        for key, one in settled(wanted([ONE], [ACME])).items()
    }
    assert progress(wanted([ONE], [ACME], pauses=[stop]), [], doubted.values()).fenced == ()
    assert progress(wanted([ONE], [ACME]), [replace(stop, end_reason="over")], doubted.values()).ended == ()


def test_a_pause_is_over_once_ses_sends_again_or_another_one_stops_it() -> None:
    """Ending goes SES first; another author's pause does not keep an ended one open."""
    ending = pause("stream", ONE.id, end_reason="appeal granted")
    stopped = settled(wanted([ONE], [ACME], pauses=[ending]))
    free = wanted([ONE], [ACME])
    assert progress(free, [ending], stopped.values()).ended == ()
    again = applied(plan(desired(free), list(stopped.values())), stopped)
    assert progress(free, [ending], again.values()).ended == (ending.id,)
    other = replace(free, pauses=[pause("tenant", ACME.id, 2)])
    assert progress(other, [ending], stopped.values()).ended == (ending.id,)
