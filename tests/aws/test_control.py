"""The control adapter against the local SES: each change is one call, repetition is harmless, errors are the port's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from uuid import UUID

import boto3
import pytest
from mypy_boto3_sesv2 import SESV2Client

from tenantry.aws.control import BotoControl, Place, control_client
from tenantry.core.claim import ses_name
from tenantry.core.ids import StreamId
from tenantry.core.plan import CELL_TOPIC, EVENT_TYPES, SENDING, SUPPRESSION, Change, Resource, ResourceKind, Urgency
from tenantry.emulator.local import Local
from tenantry.emulator.options import Options
from tenantry.ports import ControlBusy, ControlRefused
from tenantry.store.vault import Vault

NAME = ses_name(StreamId.of(UUID(int=7)))
TAGS = {"tag:tenantry-tenant": "7", "tag:unit": "shoes"}
PRIVATE, PUBLIC = Vault.new_dkim_pair()
SET = Resource(
    ResourceKind.CONFIGURATION_SET,
    NAME,
    {SENDING: "true", "reputation_metrics": "true", "pool": "tenantry-gold", "tls": "OPTIONAL", **SUPPRESSION, **TAGS},
    {},
)
POOL = Resource(ResourceKind.POOL, "tenantry-gold", {"scaling_mode": "STANDARD"}, {})
DESTINATION = Resource(
    ResourceKind.EVENT_DESTINATION,
    f"{NAME}/events",
    {"events": EVENT_TYPES, "enabled": "true", "target": CELL_TOPIC},
    {},
)
IDENTITY = Resource(
    ResourceKind.IDENTITY,
    "acme.example",
    {"dkim": "EXTERNAL", "selector": "tenantry1", **TAGS},
    {"sealed_key": PRIVATE},
)
TENANT = Resource(ResourceKind.TENANT, NAME, {**SUPPRESSION, **TAGS}, {})
OF_SET = Resource(ResourceKind.ASSOCIATION, f"{NAME}/configuration-set/{NAME}", {}, {})
OF_IDENTITY = Resource(ResourceKind.ASSOCIATION, f"{NAME}/identity/acme.example", {}, {})
ALL = (POOL, SET, DESTINATION, IDENTITY, TENANT, OF_SET, OF_IDENTITY)


@dataclass
class Cloud:
    """The adapter and the local SES behind it."""

    control: BotoControl
    client: SESV2Client
    local: Local

    async def make(self, *resources: Resource) -> list[Resource | None]:
        return [await self.control.apply(Change(one, Urgency.ONBOARD, ())) for one in resources]

    async def change(self, wanted: Resource, *differs: str) -> Resource | None:
        there = await self.control.look(wanted)
        assert there is not None
        return await self.control.apply(Change(wanted, Urgency.DRIFT, differs, there=there))

    def calls(self) -> int:
        return len(self.local.account.ledger.calls)


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    options = Options(control_rate_per_second=None)
    local = Local(options)
    await asyncio.to_thread(local.__enter__)
    session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="local")
    client = control_client(session, options.region, local.url)
    place = Place(options.account_id, options.region, options.topic_arn)
    yield Cloud(BotoControl(client, place, lambda sealed: sealed), client, local)
    client.close()
    await asyncio.to_thread(local.__exit__, None, None, None)


async def test_what_is_made_is_what_is_seen(cloud: Cloud) -> None:
    """For every kind, the answer to a creation and a look at it say the same of what we look after."""
    for wanted, made in zip(ALL, await cloud.make(*ALL), strict=True):
        assert made is not None
        seen = await cloud.control.look(wanted)
        assert seen is not None
        assert dict(made.attributes) == dict(wanted.attributes) == dict(seen.attributes), wanted.name
        assert "sealed_key" not in made.observed
        assert seen.observed.items() >= made.observed.items() - {("verification", "SUCCESS")}


async def test_making_it_twice_is_as_making_it_once(cloud: Cloud) -> None:
    """A crash between the call and the mirror repeats the call: it answers with what is there."""
    await cloud.make(*ALL)
    for wanted, again in zip(ALL, await cloud.make(*ALL), strict=True):
        assert again is not None
        assert dict(again.attributes) == dict(wanted.attributes)


async def test_each_creation_and_each_difference_is_one_call(cloud: Cloud) -> None:
    """The budget counts changes, so a change must not be two calls."""
    await cloud.make(POOL, SET, TENANT)
    before = cloud.calls()
    await cloud.make(DESTINATION, IDENTITY, OF_SET)
    assert cloud.calls() == before + 3
    there = SET
    off = replace(SET, attributes={**SET.attributes, SENDING: "false"})
    await cloud.control.apply(Change(off, Urgency.PAUSE, (SENDING,), there=there))
    assert cloud.calls() == before + 4


async def test_every_difference_is_put_right(cloud: Cloud) -> None:
    """Each attribute of each kind can be changed, and a look then shows it."""
    await cloud.make(*ALL)
    changes: list[tuple[Resource, str, str]] = [
        (SET, SENDING, "false"),
        (SET, "reputation_metrics", "false"),
        (SET, "pool", "ses-shared-pool"),
        (SET, "tls", "REQUIRE"),
        (SET, "suppression_reasons", "BOUNCE"),
        (SET, "tag:unit", "boots"),
        (TENANT, "suppression_reasons", "BOUNCE"),
        (TENANT, "tag:unit", "boots"),
        (IDENTITY, "tag:unit", "boots"),
        (IDENTITY, "selector", "tenantry2"),
        (DESTINATION, "events", "SEND BOUNCE"),
        (DESTINATION, "enabled", "false"),
    ]
    for base, name, value in changes:
        wanted = replace(base, attributes={**base.attributes, name: value})
        after = await cloud.change(wanted, name)
        seen = await cloud.control.look(base)
        assert after is not None
        assert seen is not None
        assert after.attributes[name] == seen.attributes[name] == value, (base.kind, name)


async def test_a_tag_can_be_taken_away(cloud: Cloud) -> None:
    """A label that is no longer wanted leaves SES."""
    await cloud.make(TENANT)
    wanted = replace(TENANT, attributes={name: each for name, each in TENANT.attributes.items() if name != "tag:unit"})
    after = await cloud.change(wanted, "tag:unit")
    seen = await cloud.control.look(TENANT)
    assert after is not None
    assert seen is not None
    assert "tag:unit" not in after.attributes
    assert "tag:unit" not in seen.attributes


async def test_what_is_gone_is_said_to_be_gone(cloud: Cloud) -> None:
    """A look at, or change of, what is not there answers None, so that the mirror forgets it."""
    for wanted in ALL:
        assert await cloud.control.look(wanted) is None
    assert await cloud.control.apply(Change(SET, Urgency.DRIFT, (SENDING,), there=SET)) is None
    assert await cloud.control.apply(Change(IDENTITY, Urgency.DRIFT, ("selector",), there=IDENTITY)) is None


async def test_everything_can_be_taken_down_twice(cloud: Cloud) -> None:
    """Deletion in the finalizer's order empties the account, and repeating it is no error."""
    await cloud.make(*ALL)
    order = (OF_IDENTITY, OF_SET, DESTINATION, SET, TENANT, IDENTITY, POOL)
    for _ in range(2):
        for one in order:
            assert await cloud.control.apply(Change(one, Urgency.DRIFT, (), delete=True, there=one)) is None
    account = cloud.local.account
    assert not (account.sets or account.tenants or account.identities or account.pools)


async def test_ses_says_no_in_its_own_words(cloud: Cloud) -> None:
    """A refusal carries SES's code and sentence; a destination of a set that is not there is one."""
    with pytest.raises(ControlRefused, match=r"NotFoundException.*does not exist"):
        await cloud.make(DESTINATION)
    with pytest.raises(ControlRefused, match="BadRequestException"):
        await cloud.make(replace(IDENTITY, name="not a domain"))


async def test_what_is_another_tenants_or_nobodys_is_left_alone(cloud: Cloud) -> None:
    """An identity that exists without our tag, or with another tenant's, is refused and not changed."""
    await asyncio.to_thread(lambda: cloud.client.create_email_identity(EmailIdentity="acme.example"))
    with pytest.raises(ControlRefused, match="left alone"):
        await cloud.make(IDENTITY)
    other = replace(IDENTITY, name="other.example", attributes={**IDENTITY.attributes, "tag:tenantry-tenant": "8"})
    await cloud.make(other)
    with pytest.raises(ControlRefused, match="left alone"):
        await cloud.make(replace(other, attributes=IDENTITY.attributes))
    assert cloud.local.account.identities["other.example"].tags["tenantry-tenant"] == "8"


async def test_a_throttle_is_busy_and_not_tried_again_by_the_client(cloud: Cloud) -> None:
    """SES's throttle is told at once: the caller keeps the rate, so the client makes no second attempt."""
    account = cloud.local.account
    account.configure(account.options.changed({"control_rate_per_second": 0.001}))
    with pytest.raises(ControlBusy, match="TooManyRequests"):
        await asyncio.gather(*(cloud.control.account() for _ in range(5)))


async def test_no_answer_is_busy() -> None:
    """Where SES cannot be reached, every change waits."""
    session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="local")
    client = control_client(session, "us-east-1", "http://127.0.0.1:9")
    control = BotoControl(client, Place("123456789012", "us-east-1", ""), lambda sealed: sealed)
    with pytest.raises(ControlBusy):
        await control.account()
    client.close()


async def test_the_account_is_read_as_it_stands(cloud: Cloud) -> None:
    """Rate, quota, use, and whether SES lets the account send at all."""
    reading = await cloud.control.account()
    assert (reading.rate_per_second, reading.quota_24h, reading.sent_24h) == (14.0, 50_000.0, 0.0)
    assert reading.sending_enabled
    assert reading.enforcement == "HEALTHY"
