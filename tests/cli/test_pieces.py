"""What the command line does before it calls: profiles, settings, names, ages, a light start."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tenantry.cli import main, names, profile
from tenantry.cli.document import Document
from tenantry.cli.failure import ExitCode, Failure
from tenantry.cli.profile import DEFAULT_DATA, Profile
from tenantry.cli.show import age, clean
from tenantry.settings import DEFAULT_DATA as SETTINGS_DATA

OURS = Profile("http://127.0.0.1:8025", "key_1.secret")


def test_the_profile_is_for_its_owner_alone(tmp_path: Path) -> None:
    """It holds the operator's key: mode 0600, also when an older one with other rights was there."""
    (tmp_path / "profile.json").write_text("{}")
    (tmp_path / "profile.json").chmod(0o644)
    path = profile.write(tmp_path, OURS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert profile.read(tmp_path) == OURS


def test_the_environment_goes_before_the_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Address and key are each taken from the environment if set, else from the profile of the data folder."""
    profile.write(tmp_path, OURS)
    monkeypatch.delenv("TENANTRY_URL", raising=False)
    monkeypatch.setenv("TENANTRY_DATA", str(tmp_path))
    monkeypatch.setenv("TENANTRY_KEY", "key_2.other")
    assert profile.find(None) == Profile(OURS.url, "key_2.other")
    monkeypatch.delenv("TENANTRY_KEY")
    assert profile.find(None) == OURS
    assert profile.find(tmp_path) == OURS


def test_no_profile_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without address and profile the failure names `tenantry up` and the variables; a key alone that is missing is 4."""
    for name in ("TENANTRY_URL", "TENANTRY_KEY", "TENANTRY_DATA"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Failure, match="tenantry up") as nowhere:
        profile.find(tmp_path)
    assert nowhere.value.code is ExitCode.UNREACHABLE
    monkeypatch.setenv("TENANTRY_URL", OURS.url)
    with pytest.raises(Failure, match="TENANTRY_KEY") as keyless:
        profile.find(tmp_path)
    assert keyless.value.code is ExitCode.NOT_AUTHORISED


def test_both_sides_mean_the_same_folder() -> None:
    """`up` writes the profile where the commands look for it, with nothing said."""
    assert Path(DEFAULT_DATA) == SETTINGS_DATA


def test_a_wrong_setting_is_named() -> None:
    """`up` with a setting that does not fit ends with code 2 and the variable's name, before anything starts."""
    for name, wrong in (("TENANTRY_IN_FLIGHT", "many"), ("TENANTRY_SECRET_KEY", "short")):
        done = CliRunner().invoke(main, ["up"], env={name: wrong})
        assert done.exit_code == ExitCode.USAGE
        assert name in done.stderr


def test_a_wrong_recipient_rule_is_explained() -> None:
    """`ses-local` reads every rule before it listens; a wrong one ends with code 2 and says what is wrong."""
    done = CliRunner().invoke(main, ["ses-local", "--recipients", "rotten.example:bounce=lots"])
    assert done.exit_code == ExitCode.USAGE
    assert "lots" in done.stderr


def test_help_loads_nothing_heavy() -> None:
    """`tenantry --help` answers at once: no HTTP server, cloud client, database, or terminal library is loaded for it."""
    heavy = ("httptools", "boto3", "botocore", "fastapi", "sqlalchemy", "pydantic", "rich", "uvicorn")
    code = "import sys, tenantry.cli; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(heavy) & set(loaded)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ten_" + "0a" * 16, "tenant"),
        ("pau_" + "f" * 32, "pause"),
        ("acme", None),
        ("ten_acme", None),
        ("msg_" + "g" * 32, None),
    ],
)
def test_an_id_is_told_from_a_name(text: str, kind: str | None) -> None:
    """A tenant may be called ten_acme: only a prefix with 32 hex digits is an id."""
    assert names.kind_of(text) == kind


@given(st.floats(0, 10**9))
def test_an_age_has_one_number_and_one_unit(seconds: float) -> None:
    """Whatever its length, an age is read at a glance."""
    assert re.fullmatch(r"now|\d+ (s|min|h|d) ago", age(seconds))


@given(st.text())
def test_no_control_character_is_left(text: str) -> None:
    """Whatever others wrote, what is printed is printable, and no shorter."""
    cleaned = clean(text)
    assert all(char.isprintable() or char == "\n" for char in cleaned)
    assert len(cleaned) == len(text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_a_document_of_another_shape_reads_as_empty(value: object) -> None:
    """A newer API may answer otherwise: reading it never breaks a command."""
    document = Document({"x": value})  # type: ignore[dict-item]
    assert isinstance(document.text("x"), str)
    assert isinstance(document.count("x"), int)
    assert document.one("x") is None
    assert document.pairs("x") == {}
    assert all(isinstance(each, str) for each in document.texts("x"))
