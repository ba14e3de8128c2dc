"""The files of deploy/ and the program agree: names, commands, ports, pages and times are the program's own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import SecretStr

from tenantry.app.doors import GRACE_SECONDS
from tenantry.app.process import LEAVE_SECONDS
from tenantry.app.watch import Watch
from tenantry.cli import main
from tenantry.edge.watch import Pages
from tenantry.settings import PREFIX, Settings
from tenantry.store.roles import GATEWAY_ROLES, WORKER_ROLES, Role
from tests import worlds
from tests.deploy.files import (
    DEPLOY,
    Document,
    compose,
    dockerfile,
    documents,
    env_files,
    image_environment,
    manifests,
    units,
)
from tests.house.commands import parse
from tests.house.source import ROOT, expect_none

SETTINGS = {f"{PREFIX}{name.upper()}": name for name in Settings.model_fields}
SECRETS = {
    name
    for name, field in SETTINGS.items()
    if SecretStr in getattr(Settings.model_fields[field].annotation, "__args__", ())
}
MOUNTED = "TENANTRY_SECRETS"
PORT = 8025  # of every process in a container
SECOND = {"s": 1, "m": 60, "h": 3_600}


class Process(NamedTuple):
    """One program of ours as a file of deploy/ starts it."""

    where: str
    words: list[str]
    settings: dict[str, str]
    secrets: set[str]  # by the names of the files that it finds in TENANTRY_SECRETS
    grace: float  # seconds between being told to end and being killed


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([smh]?)", text).groups()  # type: ignore[union-attr]
    return float(number) * SECOND[unit or "s"]


def of_systemd() -> Iterator[Process]:
    for unit in units():
        (start,) = unit.keys["ExecStart"]
        credentials = {value.partition(":")[0] for value in unit.keys.get("LoadCredential", [])}
        given = dict(pair.split("=", 1) for pair in unit.keys.get("Environment", []))
        grace = seconds((unit.keys.get("TimeoutStopSec") or ["0"])[0])
        yield Process(unit.name, start.split()[1:], given, credentials, grace)


def of_compose() -> Iterator[Process]:
    for name, service in compose()["services"].items():
        if service["image"].startswith("${TENANTRY_IMAGE"):
            files = {one["target"] for one in service.get("secrets", [])}
            grace = seconds(service.get("stop_grace_period", "10s"))
            yield Process(f"compose {name}", service["command"], service.get("environment", {}), files, grace)


def pods() -> Iterator[tuple[str, Document]]:
    for one in manifests():
        if one["kind"] in ("Deployment", "Job"):
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def of_kubernetes() -> Iterator[Process]:
    keys = {one["metadata"]["name"]: set(one["stringData"]) for one in manifests() if one["kind"] == "Secret"}
    for name, pod in pods():
        (container,) = pod["containers"]
        given = {one["name"]: one["value"] for one in container["env"]}
        (volume,) = pod["volumes"]
        assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": given[MOUNTED], "readOnly": True}], (
            "secrets are where they are looked for"
        )
        grace = pod.get("terminationGracePeriodSeconds", 30)
        yield Process(f"pod {name}", container["args"], given, keys[volume["secret"]["secretName"]], grace)


def processes() -> list[Process]:
    return [*of_systemd(), *of_compose(), *of_kubernetes()]


@pytest.mark.parametrize("process", processes(), ids=lambda process: process.where)
def test_what_is_started_is_a_command_with_its_flags(process: Process) -> None:
    """`%i` stands for a port there; all else is taken as it is."""
    parse(main, [word.replace("%i", "8025") for word in process.words])


def test_each_shape_starts_gateways_workers_and_the_migration() -> None:
    """None of the ways to deploy leaves a process out."""
    for shape in (of_systemd(), of_compose(), of_kubernetes()):
        assert {process.words[0] for process in shape} >= {"migrate", "gateway", "worker"}


@pytest.mark.parametrize("process", processes(), ids=lambda process: process.where)
def test_each_process_has_the_secrets_that_it_needs_as_files(process: Process) -> None:
    """The owner's database for the migration; a login of its own and the sealing key for gateways and workers."""
    wanted = {
        "migrate": {"TENANTRY_DATABASE_URL"},
        "gateway": {"TENANTRY_DATABASE_URL", "TENANTRY_SECRET_KEY", "TENANTRY_METRICS_TOKEN"},
        "worker": {"TENANTRY_DATABASE_URL", "TENANTRY_SECRET_KEY", "TENANTRY_METRICS_TOKEN"},
    }.get(process.words[0], set())
    assert process.secrets == wanted <= SECRETS
    assert bool(wanted) == (MOUNTED in process.settings)


def named() -> Iterator[tuple[str, dict[str, str]]]:
    yield from ((process.where, process.settings) for process in processes())
    yield from env_files()
    yield "Dockerfile", {name: value for name, value in image_environment().items() if name.startswith(PREFIX)}


@pytest.mark.parametrize(("where", "settings"), list(named()))
def test_what_is_set_is_a_setting_and_no_secret(where: str, settings: dict[str, str]) -> None:
    """A name that no process reads does nothing, silently; a secret in an environment is shown to whoever looks."""
    expect_none(settings.keys() - SETTINGS.keys())
    expect_none(settings.keys() & SECRETS)
    expect_none(settings.keys() & {"TENANTRY_KEY"})
    plain = {SETTINGS[name]: value for name, value in settings.items() if "%" not in value and name != MOUNTED}
    Settings(**plain)  # type: ignore[arg-type]


def test_no_secret_is_written_down() -> None:
    """The example of the Secrets has empty values, and nothing applies it."""
    for one in documents(DEPLOY / "kubernetes" / "secrets.example.yaml"):
        assert one["kind"] == "Secret" and set(one["stringData"].values()) == {""}
    for path in DEPLOY.rglob("kustomization.yaml"):
        assert "secrets" not in str(documents(path)[0]["resources"])
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix != ".lock":
            assert not re.search(r"://\w+:[^%$\s{]+@", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("process", processes(), ids=lambda process: process.where)
def test_nobody_is_killed_while_it_ends_in_good_order(process: Process) -> None:
    """A gateway answers what it has begun; a worker ends its turn, waits for its calls and writes their outcomes."""
    turn = Settings.model_fields["database_statement_seconds"].default
    drain = float(process.settings.get("TENANTRY_DRAIN_SECONDS", Settings.model_fields["drain_seconds"].default))
    needs = {
        "gateway": drain + GRACE_SECONDS,
        "worker": turn + LEAVE_SECONDS,
        "up": GRACE_SECONDS + turn + LEAVE_SECONDS,
    }
    assert process.grace >= needs.get(process.words[0], 0), needs


def pages() -> Pages:
    """Return the pages that every process has."""
    nobody = type("Nobody", (), {"fleet": lambda self, key: None})()
    return Watch(Settings(), nobody, worlds.FixedClock()).pages(tenants_reach=True)


def test_probes_ask_the_pages_that_there_are() -> None:
    """Alive is one page, ready another, on the port that the image sets for gateways and workers alike."""
    assert {image_environment()[name] for name in ("TENANTRY_PORT", "TENANTRY_WATCH_PORT")} == {str(PORT)}
    for _, pod in pods():
        (container,) = pod["containers"]
        ports = {one["name"]: one["containerPort"] for one in container.get("ports", [])}
        probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness") if ports}
        for name, probe in probes.items():
            assert probe["path"] == ("/readyz" if name == "readiness" else "/healthz") and probe["path"] in pages()
            assert ports[probe["port"]] == PORT
    (check,) = (one.rest for one in dockerfile() if one.word == "HEALTHCHECK")
    assert f"'127.0.0.1', {PORT}," in check and "'/healthz'" in check
    services = compose()["services"]
    for name, service in services.items():
        for published in service.get("ports", []):
            assert published.startswith("127.0.0.1:") and published.endswith(":8026" if name == "ses" else f":{PORT}")
    assert [name for name, one in services.items() if one.get("healthcheck") == {"disable": True}] == ["migrate", "ses"]


def test_the_check_of_the_image_is_a_program() -> None:
    """It ends with 1 where nobody answers, as Docker wants it, and not by a mistake in its line."""
    (check,) = (one.rest for one in dockerfile() if one.word == "HEALTHCHECK")
    words = json.loads(check.partition("CMD ")[2])
    done = subprocess.run([*words[:2], words[2].replace(str(PORT), "1")], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "ConnectionRefusedError" in done.stderr


def test_pods_may_do_nothing_that_they_need_not() -> None:
    """No root, no writing, no capabilities, no token of the cluster, none of the variables that a Service makes."""
    for _, pod in pods():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
        assert pod["enableServiceLinks"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]


def test_selectors_find_their_pods() -> None:
    """Each Deployment, Service and disruption budget selects the labels of the pods that it is for."""
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in manifests() if one["kind"] == "Deployment"]
    for one in manifests():
        if one["kind"] in ("Deployment", "Service", "PodDisruptionBudget"):
            selector = one["spec"]["selector"]
            assert selector.get("matchLabels", selector) in labels, one["metadata"]
    assert len([one for one in manifests() if one["kind"] == "PodDisruptionBudget"]) == len(labels)


def test_the_image_runs_without_root_pip_or_a_compiler() -> None:
    """Only the environment with what runs leaves the building stage, each package of it by its hash."""
    steps = dockerfile()
    last = [one for one in steps if one.stage == 1]
    assert [one.rest for one in last if one.word == "COPY"] == ["--from=build /opt/tenantry /opt/tenantry"]
    assert [one.rest for one in last if one.word == "USER"] == ["tenantry"]
    assert "pip uninstall" in next(one.rest for one in last if one.word == "RUN")
    installs = [one.rest for one in steps if one.stage == 0 and " install " in one.rest]
    assert all("--require-hashes" in one or "--no-index" in one for one in installs)
    assert json.loads(next(one.rest for one in last if one.word == "ENTRYPOINT")) == ["tenantry"]
    for name in (name for one in steps if one.word == "COPY" and one.stage == 0 for name in one.rest.split()[:-1]):
        assert (ROOT / name).exists()
        assert f"!{name}\n" in (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8")


def entries(path: Path) -> dict[str, tuple[str, frozenset[str]]]:
    found = re.split(r"\n(?=\S)", path.read_text(encoding="utf-8").strip())
    return {one.split("==")[0]: (one.splitlines()[0], frozenset(re.findall(r"sha256:(\w+)", one))) for one in found}


def test_the_image_holds_the_packages_that_were_tested() -> None:
    """Its locks are parts of requirements.lock, and name all that pyproject.toml asks for; `make lock` writes them."""
    whole = entries(ROOT / "requirements.lock")
    for name in ("requirements.lock", "build.lock"):
        for package, entry in entries(DEPLOY / name).items():
            assert whole[package] == entry, package
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = {re.split(r"[\[<>=; ]", line)[0].lower() for line in project["project"]["dependencies"]}
    expect_none(asked - entries(DEPLOY / "requirements.lock").keys())
    expect_none({"hatchling"} - entries(DEPLOY / "build.lock").keys())


def test_the_logins_may_take_the_roles_that_their_processes_take() -> None:
    """What logins.sql makes and grants is what the program asks for at its start."""
    text = (DEPLOY / "postgres" / "logins.sql").read_text(encoding="utf-8")
    assert set(re.findall(r"^CREATE ROLE (\w+) NOLOGIN;", text, re.MULTILINE)) == set(Role)
    for login, roles in (("gateway", GATEWAY_ROLES), ("work", WORKER_ROLES)):
        (granted,) = re.findall(rf"^GRANT ([\w, ]+) TO tenantry_{login};", text, re.MULTILINE)
        assert granted.split(", ") == list(roles)


@pytest.mark.parametrize("unit", units(), ids=lambda unit: unit.name)
def test_systemd_takes_the_units(unit: object, tmp_path: Path) -> None:
    """Each key and value is one that systemd knows."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("NOT CHECKED: systemd-analyze is not here, so nobody has read the units as systemd does")
    name = getattr(unit, "name", "")
    text = (DEPLOY / "systemd" / name).read_text(encoding="utf-8")
    place = tmp_path / name.replace("@", "@8025")
    place.write_text(text.replace("/opt/tenantry/bin/tenantry", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", place], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and name.split("@")[0] not in done.stderr, done.stderr


@pytest.mark.parametrize("folder", ["kubernetes", "kubernetes/migrate"])
def test_kustomize_builds_the_manifests(folder: str) -> None:
    """What would be applied has the settings' ConfigMap under the name that the pods ask for, and no Secret."""
    if shutil.which("kubectl") is None:
        pytest.skip("NOT CHECKED: kubectl is not here, so nobody has built the manifests as kustomize does")
    done = subprocess.run(["kubectl", "kustomize", DEPLOY / folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    import yaml

    built = list(yaml.safe_load_all(done.stdout))
    assert {one["kind"] for one in built}.isdisjoint({"Secret"})
    maps = {one["metadata"]["name"] for one in built if one["kind"] == "ConfigMap"}
    asked = re.findall(r"configMapRef:\s+name: (\S+)", done.stdout)
    assert set(asked) == maps


def test_the_page_counts_connections_as_the_processes_do() -> None:
    """Whoever sets max_connections by the table has room for a rolling upgrade."""
    fields = Settings.model_fields
    pools = fields["database_writers"].default + fields["database_readers"].default
    gateway, worker = pools + fields["accept_connections"].default, pools + 1  # and its presence
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert f"≥ {gateway} × (gateways + 1) + {worker} × (workers + 1) + 10" in page
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    assert len(rows) == 3
    for gateways, workers, least in (map(int, row) for row in rows):
        assert least == gateway * (gateways + 1) + worker * (workers + 1) + 10


def test_every_file_to_deploy_with_is_on_the_page() -> None:
    """Nothing lies in deploy/ that nobody is told of."""
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    told = ("Dockerfile", "compose", "make-secrets.sh", "logins.sql", "database.sql", "aws.env", "tenantry.env")
    for name in (*told, "requirements.lock", "build.lock", "kubernetes/migrate", "namespace.yaml", "systemd/"):
        assert name in page, name
    for unit in units():
        assert unit.name.removesuffix(".service") in page, unit.name
