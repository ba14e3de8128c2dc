"""The walls inside PostgreSQL: what each role can reach by whatever SQL, on every table that the catalogue knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest

from tenantry.core.ids import TenantId
from tenantry.core.message import Refusal
from tenantry.core.outcome import Unknown
from tenantry.core.pause import Author, Pause
from tenantry.core.template import TemplateParts
from tenantry.core.tenant import DkimMode, NewIdentity
from tenantry.flow.dispatch import claim, settle, wake_stranded
from tenantry.flow.guard import act, end_pause, open_pause
from tenantry.flow.ingest import ingest
from tenantry.flow.recover import discard, notice, release
from tenantry.ports import StoreConflict
from tenantry.store.bootstrap import ensure_partitions
from tenantry.store.migrate import migrate, pending
from tenantry.store.roles import Role, walled
from tests import worlds
from tests.conformance.conftest import LOGIN, Ground, connect, database

OF_NO_TENANT = {"cell", "pool", "mirror", "quarantine", "worker", "stamp", "alembic_version"}
DELETED_BY_TENANTS = {"suppression", "template", "resource_tag"}
MAIL = ("message", "recipient", "content", "event", "waiting", "attempt")
Denied = asyncpg.InsufficientPrivilegeError


@pytest.fixture
async def two(postgres: Ground) -> tuple[Ground, worlds.Member, worlds.Member]:
    """Two tenants with rows of every kind: mail in all states, events, a verdict, a pause, suppressions, keys."""
    await ensure_partitions(postgres.store)
    members = [await worlds.member(postgres.store, name) for name in ("ours", "theirs")]
    for member in members:
        people = [f"p{number}@{member.domain}" for number in range(40)]
        await worlds.accept(postgres.store, [worlds.submission(member, one, stream="marketing") for one in people])
        done = await worlds.handed(postgres.store, postgres.cell)
        reports = [worlds.report("Bounce" if place < 20 else "Delivery", *one) for place, one in enumerate(done)]
        await ingest(postgres.store, postgres.cell, reports)
        await act(postgres.store, postgres.cell)
        await worlds.accept(postgres.store, [worlds.submission(member, key="k")])
        await postgres.store.of(member.tenant_id).add_template("hello", TemplateParts("Hi", "Hello"))
        await postgres.store.of(member.tenant_id).put_tags("template/hello", {"colour": "blue"}, 50)
    return postgres, members[0], members[1]


@asynccontextmanager
async def acting(
    ground: Ground, role: Role | None, tenant: TenantId | None = None
) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the login, in a transaction of this role, that is rolled back."""
    owner = await connect(ground.owner_url)
    name = await owner.fetchval("SELECT current_database()")
    await owner.close()
    connection = await connect(database(ground.owner_url, name, LOGIN))
    try:
        await connection.transaction().start()
        if role is not None:
            await connection.execute(f"SET LOCAL ROLE {role.value}")
        if tenant is not None:
            await connection.execute(f"SET LOCAL tenantry.tenant = '{tenant.uuid}'")
        yield connection
    finally:
        await connection.close()


async def denied(connection: asyncpg.Connection, sql: str, *given: object) -> str:
    """Execute what must not be allowed, and return why it was not."""
    with pytest.raises(Denied) as refused:
        async with connection.transaction():
            await connection.execute(sql, *given)
    return str(refused.value)


async def as_owner(ground: Ground, sql: str) -> list[asyncpg.Record]:
    connection = await connect(ground.owner_url)
    try:
        return list(await connection.fetch(sql))
    finally:
        await connection.close()


async def tables(ground: Ground) -> list[str]:
    """Return every table of the schema but the partitions."""
    sql = (
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition ORDER BY relname"
    )
    return [row[0] for row in await as_owner(ground, sql)]


async def columns(ground: Ground, table: str, role: Role, privilege: str) -> list[str]:
    """Return the columns of a table that a role has a right on."""
    sql = (
        f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped"
        f" AND has_column_privilege('{role.value}', attrelid, attnum, '{privilege}') ORDER BY attnum"
    )
    return [row[0] for row in await as_owner(ground, sql)]


async def test_every_table_is_behind_the_wall_or_known_to_have_no_tenant(postgres: Ground) -> None:
    """A new table must be thought of: it is walled, or it is on the list of those that speak of no tenant."""
    found = set(await tables(postgres))
    assert found == set(walled()) | OF_NO_TENANT
    secured = "SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity"
    assert {row[0] for row in await as_owner(postgres, secured)} == set(walled())


async def _streams(ground: Ground, member: worlds.Member) -> set[str]:
    rows = await as_owner(ground, f"SELECT id FROM stream WHERE tenant_id = '{member.tenant_id.uuid}'")
    return {str(row[0]) for row in rows}


def _is_ours(row: asyncpg.Record, table: str, member: worlds.Member, streams: set[str]) -> bool:
    if table == "tenant":
        return bool(row["id"] == member.tenant_id.uuid)
    if "tenant_id" in row.keys():  # noqa: SIM118 - a record iterates its values
        return bool(row["tenant_id"] == member.tenant_id.uuid)
    return str(row["stream_id"]) in streams


async def test_a_tenant_sees_only_its_own_rows_of_any_table(two: tuple[Ground, worlds.Member, worlds.Member]) -> None:
    """Whatever a statement forgets to say, the tenant role is given this tenant's rows: all of them and no other."""
    ground, ours, _ = two
    streams = await _streams(ground, ours)
    seen = 0
    for table in sorted(walled()):
        wanted = ", ".join(await columns(ground, table, Role.TENANT, "SELECT"))
        async with acting(ground, Role.TENANT, ours.tenant_id) as connection:
            if not wanted:
                assert "permission denied" in await denied(connection, f"SELECT FROM {table}")
                continue
            rows = await connection.fetch(f"SELECT {wanted} FROM {table}")
        everything = await as_owner(ground, f"SELECT * FROM {table}")
        own = [row for row in everything if _is_ours(row, table, ours, streams)]
        assert len(rows) == len(own) < len(everything), table
        assert all(_is_ours(row, table, ours, streams) for row in rows), table
        seen += 1
    assert seen >= 10


async def test_without_a_tenant_the_tenant_role_sees_nothing(two: tuple[Ground, worlds.Member, worlds.Member]) -> None:
    """A transaction that never said for whom gets no row of anybody."""
    ground, _, _ = two
    for table in sorted(walled()):
        wanted = ", ".join(await columns(ground, table, Role.TENANT, "SELECT"))
        if wanted:
            async with acting(ground, Role.TENANT) as connection:
                assert await connection.fetch(f"SELECT {wanted} FROM {table}") == [], table


async def test_a_tenant_changes_nothing_of_another(two: tuple[Ground, worlds.Member, worlds.Member]) -> None:
    """UPDATE and DELETE, where there are any, reach own rows alone; no row can be put into, or moved to, another tenant."""
    ground, ours, theirs = two
    streams = await _streams(ground, ours)
    for table in await tables(ground):
        rows = await as_owner(ground, f"SELECT * FROM {table}")
        async with acting(ground, Role.TENANT, ours.tenant_id) as connection:
            for column in await columns(ground, table, Role.TENANT, "UPDATE"):
                done = await connection.execute(f"UPDATE {table} SET {column} = {column}")
                assert int(done.split()[-1]) == sum(_is_ours(row, table, ours, streams) for row in rows), table
            if await columns(ground, table, Role.TENANT, "INSERT"):
                await _cannot_insert(
                    connection, table, next(r for r in rows if r["tenant_id"] == theirs.tenant_id.uuid)
                )
            if table in DELETED_BY_TENANTS:
                done = await connection.execute(f"DELETE FROM {table}")
                assert int(done.split()[-1]) == sum(_is_ours(row, table, ours, streams) for row in rows) > 0, table
            else:
                assert "permission denied" in await denied(connection, f"DELETE FROM {table}")


async def _cannot_insert(connection: asyncpg.Connection, table: str, row: asyncpg.Record) -> None:
    """Try to put a row like another tenant's beside it."""
    fresh = {"id": uuid4(), "name": "unheard-of", "stream_id": uuid4()}
    values = {name: fresh.get(name, value) for name, value in row.items()}
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    why = await denied(connection, f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", *values.values())
    assert "row-level security" in why, why


async def test_names_around_anothers_domain_are_still_refused(two: tuple[Ground, worlds.Member, worlds.Member]) -> None:
    """Though the tenant role sees no other's identity, nobody takes a name in or around another's domain."""
    ground, ours, _ = two
    for name in ("mail.theirs.example", "ann@theirs.example", "theirs.example"):
        with pytest.raises(StoreConflict):
            await ground.store.of(ours.tenant_id).add_identity(NewIdentity(name, DkimMode.EASY))
    assert await ground.store.of(ours.tenant_id).add_identity(NewIdentity("mail.ours.example", DkimMode.EASY))


async def test_names_that_overlap_are_given_once_though_claimed_at_the_same_moment(
    two: tuple[Ground, worlds.Member, worlds.Member],
) -> None:
    """Neither transaction sees the other's row: they go one after the other, and the second is told."""
    ground, ours, theirs = two
    for number in range(8):
        domain = f"new{number}.example"
        claims = [
            ground.store.of(ours.tenant_id).add_identity(NewIdentity(domain, DkimMode.EASY)),
            ground.store.of(theirs.tenant_id).add_identity(NewIdentity(f"mail.{domain}", DkimMode.EASY)),
        ]
        answers = await asyncio.gather(*claims, return_exceptions=True)
        assert sum(isinstance(answer, StoreConflict) for answer in answers) == 1, answers


async def test_accept_inserts_mail_and_can_do_nothing_else_to_it(
    two: tuple[Ground, worlds.Member, worlds.Member],
) -> None:
    """The role of the doors' commit neither reads, changes nor deletes mail, and reads only what admit needs."""
    ground, _, _ = two
    reads = {
        "key",
        "tenant",
        "stream",
        "identity",
        "suppression",
        "pause",
        "lane",
        "remembered",
        "wake",
        "alembic_version",
    }
    async with acting(ground, Role.ACCEPT) as connection:
        for table in await tables(ground):
            assert bool(await columns(ground, table, Role.ACCEPT, "SELECT")) == (table in reads), table
            assert not await columns(ground, table, Role.ACCEPT, "UPDATE"), table
            if table != "remembered":
                assert "permission denied" in await denied(connection, f"DELETE FROM {table}")
        for table in MAIL:
            assert "permission denied" in await denied(connection, f"SELECT FROM {table}")
        assert "permission denied" in await denied(connection, "SELECT private_key FROM identity")


async def test_secrets_are_read_by_who_needs_them_alone(two: tuple[Ground, worlds.Member, worlds.Member]) -> None:
    """A key's secret is accept's, to check signatures; a DKIM key is the worker's, to hand it to SES; nobody else's."""
    ground, ours, _ = two
    for secret, table, reader in (("secret", "key", Role.ACCEPT), ("private_key", "identity", Role.WORKER)):
        for role in Role:
            async with acting(ground, role, ours.tenant_id) as connection:
                if role is reader:
                    assert await connection.fetchval(f"SELECT COUNT({secret}) FROM {table}") == 2
                else:
                    assert "permission denied" in await denied(connection, f"SELECT {secret} FROM {table}")
    async with acting(ground, Role.WORKER) as connection:
        assert "permission denied" in await denied(connection, "SELECT id FROM key")


async def test_a_login_that_takes_no_role_has_no_rights(two: tuple[Ground, worlds.Member, worlds.Member]) -> None:
    """A transaction that forgot its role fails, rather than run without walls."""
    ground, _, _ = two
    async with acting(ground, None) as connection:
        for table in await tables(ground):
            assert "permission denied" in await denied(connection, f"SELECT FROM {table}")


async def test_partitions_are_no_way_round(two: tuple[Ground, worlds.Member, worlds.Member]) -> None:
    """A partition, old or new, is denied to every role; and were the right given by mistake, it would show no row."""
    ground, ours, _ = two
    parts = [
        row[0] for row in await as_owner(ground, "SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")
    ]
    assert len(parts) == 4 * (5 + 1)
    for role in Role:
        async with acting(ground, role, ours.tenant_id) as connection:
            for part in parts:
                assert "permission denied" in await denied(connection, f"SELECT FROM {part}")
    filled = [part for part in parts if (await as_owner(ground, f"SELECT COUNT(*) FROM {part}"))[0][0]]
    assert len(filled) == 4
    for part in filled:
        await ground.as_owner(f"GRANT SELECT ON {part} TO {Role.TENANT}")
        async with acting(ground, Role.TENANT, ours.tenant_id) as connection:
            assert await connection.fetchval(f"SELECT COUNT(*) FROM {part}") == 0


async def test_the_helpers_of_the_schema_do_no_more_than_they_say(
    two: tuple[Ground, worlds.Member, worlds.Member],
) -> None:
    """What a role may have done as the owner is bounded: no other table, no odd week, no week that is not over."""
    ground, _, _ = two
    async with acting(ground, Role.WORKER) as connection:
        for bad in ("'key', '2026-11-23'", "'message', '2026-11-24'", "'message; DROP TABLE key', '2026-11-23'"):
            with pytest.raises(asyncpg.RaiseError):
                async with connection.transaction():
                    await connection.fetch(f"SELECT tenantry_make_partition({bad})")
        for (week,) in await connection.fetch("SELECT DISTINCT date_trunc('week', accepted_at)::date FROM message"):
            assert not await connection.fetchval("SELECT tenantry_drop_partition('message', $1, '{}')", week)
    for role in (Role.ACCEPT, Role.TENANT, Role.OPERATOR):
        async with acting(ground, role) as connection:
            await denied(connection, "SELECT tenantry_drop_partition('message', '2024-01-01', '{}')")


async def test_the_operator_does_all_that_the_doors_ask_of_it(two: tuple[Ground, worlds.Member, worlds.Member]) -> None:
    """Pausing, ending on probation, figures, plans and owners need no right that the operator's role lacks."""
    ground, ours, _ = two
    doors = ground.store.acting(Role.OPERATOR)
    held = await open_pause(doors, ground.clock, ("tenant", ours.tenant_id), Author.OPERATOR, "a reason")
    assert isinstance(held, Pause) and held.local_at is not None
    for pause in await doors.fleet(worlds.OPERATOR).pauses(open_only=True):
        assert not isinstance(await end_pause(doors, pause.id, Author.OPERATOR, "mended"), Refusal)
        assert await doors.fleet(worlds.OPERATOR).owner(pause.id) is not None
    fleet = doors.fleet(worlds.OPERATOR)
    assert (await fleet.figures()).pauses == () and await fleet.changes()
    assert await fleet.keys() == [] and len((await fleet.tenants(None, 10)).items) == 2


async def test_the_operator_decides_about_what_recovery_holds(postgres: Ground) -> None:
    """Releasing and discarding what a restored database may have sent goes through the doors, as the operator's role."""
    member = await worlds.member(postgres.store)
    doors = postgres.store.acting(Role.OPERATOR)
    for decide, left in ((release, 2), (discard, 0)):
        await worlds.accepted(postgres.store, member, 2)
        (lost,) = (await claim(postgres.store, postgres.cell, 1)).claims
        await settle(postgres.store, [Unknown(lost.attempt_id, "cut")])
        await notice(postgres.store, postgres.cell)
        await postgres.as_owner("UPDATE stamp SET value = '1/00000001/1'")
        assert await notice(postgres.store, postgres.cell)
        assert await decide(doors, member.tenant_id) == 2
        await wake_stranded(postgres.store, postgres.cell)
        assert len(await worlds.handed(postgres.store, postgres.cell)) == left


async def test_walls_that_were_moved_are_put_back(postgres: Ground) -> None:
    """Migrating again takes away a right that nobody needs, gives back one that is missing, and mends the rows' walls."""
    assert (await asyncio.to_thread(pending, postgres.owner_url)).current
    for damage in (
        f"GRANT DELETE ON message TO {Role.TENANT}",
        f"GRANT SELECT (secret) ON key TO {Role.WORKER}",
        f"REVOKE INSERT ON message FROM {Role.ACCEPT}",
        "ALTER TABLE recipient NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE message_rest DISABLE ROW LEVEL SECURITY",
        f"CREATE POLICY open ON pause TO {Role.TENANT} USING (true)",
        "DO $$ DECLARE p name; BEGIN SELECT policyname INTO p FROM pg_policies WHERE tablename = 'key'"
        " AND policyname LIKE 'own%'; EXECUTE format('DROP POLICY %I ON key', p); END $$",
    ):
        await postgres.as_owner(damage)
    assert (await asyncio.to_thread(pending, postgres.owner_url)).mended == 7
    assert (await asyncio.to_thread(migrate, postgres.owner_url)).mended == 7
    assert (await asyncio.to_thread(migrate, postgres.owner_url)).current
