"""Secrets lie in files: they are read from there, and shown nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from tenantry.cli.profile import find
from tenantry.settings import Settings
from tenantry.store.vault import Vault
from tests.e2e.running import run

CANARY = "canary-4711"
URL = f"postgresql://tenantry:{CANARY}@127.0.0.1:1/tenantry"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("TENANTRY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TENANTRY_SECRETS", str(tmp_path))
    return tmp_path


def test_a_setting_may_lie_in_a_file(folder: Path) -> None:
    """The file is called like the variable; blanks and line ends around its text do not count."""
    key = Vault.new_key()
    (folder / "TENANTRY_DATABASE_URL").write_text(f"{URL}\n")
    (folder / "TENANTRY_SECRET_KEY").write_text(f" {key}\r\n")
    (folder / "TENANTRY_PORT").write_text("9000")
    (folder / "something-else").write_bytes(b"\xff")
    read = Settings()
    assert (read.database, read.port) == (URL, 9000)
    assert read.secret_key is not None and read.secret_key.get_secret_value() == key


def test_a_variable_wins_over_a_file_and_a_flag_over_both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that somebody who tries something sees it take effect."""
    (folder / "TENANTRY_PORT").write_text("9000")
    (folder / "TENANTRY_HOST").write_text("127.0.0.3")
    monkeypatch.setenv("TENANTRY_PORT", "9001")
    assert (Settings().port, Settings(port=9002).port, Settings().host) == (9001, 9002, "127.0.0.3")


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("secrets", lambda folder: folder.rmdir()),
        ("secret_key", lambda folder: (folder / "TENANTRY_SECRET_KEY").mkdir()),
        ("database_url", lambda folder: (folder / "TENANTRY_DATABASE_URL").write_bytes(b"\xff")),
    ],
)
def test_what_cannot_be_read_is_an_error_of_its_setting(folder: Path, name: str, spoil: object) -> None:
    """A process without its secret does not start as if it had none."""
    assert callable(spoil)
    spoil(folder)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert caught.value.errors()[0]["loc"] == (name,)


def test_a_secret_is_not_in_what_the_settings_say(folder: Path) -> None:
    """Neither their text nor the error about a wrong one repeats it."""
    (folder / "TENANTRY_DATABASE_URL").write_text(URL)
    (folder / "TENANTRY_METRICS_TOKEN").write_text(CANARY * 2)
    assert CANARY not in repr(Settings()) + str(Settings()) + str(Settings().model_dump())
    (folder / "TENANTRY_SECRET_KEY").write_text(CANARY)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert CANARY not in str(caught.value)


def test_a_program_says_which_file_is_wrong_and_not_what_is_in_it(tmp_path: Path) -> None:
    """Whoever reads the log of a start that failed learns what to mend, and no secret."""
    (tmp_path / "TENANTRY_DATABASE_URL").write_text(URL)
    (tmp_path / "TENANTRY_SECRET_KEY").write_text(CANARY)
    said = run("gateway", secrets=str(tmp_path))
    assert said.code == 2 and "TENANTRY_SECRET_KEY" in said.errors
    assert CANARY not in said.out + said.errors
    (tmp_path / "TENANTRY_SECRET_KEY").write_text(Vault.new_key())
    said = run("gateway", secrets=str(tmp_path))  # nobody listens there
    assert said.code == 2 and "cannot be reached" in said.errors
    assert CANARY not in said.out + said.errors


def test_a_client_finds_its_key_in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's key need not be in an environment either; one that is there wins."""
    monkeypatch.setenv("TENANTRY_URL", "http://127.0.0.1:1")
    (folder / "TENANTRY_KEY").write_text("key_a.secret\n")
    assert find(None).key == "key_a.secret"
    monkeypatch.setenv("TENANTRY_KEY", "key_b.other")
    assert find(None).key == "key_b.other"
