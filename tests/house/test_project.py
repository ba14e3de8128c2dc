"""What the project's own files promise: a lock without addresses, a changelog, nothing of one person's machine."""

from __future__ import annotations

import re
import tomllib

from tests.house.source import ROOT, expect_none, project_files

# Written so that the patterns do not find themselves.
OF_ONE_MACHINE = re.compile(
    r"(?<![\w.~-])/(?:work|home|root|farm|Users|mnt)/|/simp(?:le)(?:/|\b)|index[-]url|find[-]links"
)
TEXT = {".py", ".md", ".toml", ".txt", ".lock", ".cfg", ".ini", ".json", ".jsonl", ".yaml", ".yml", ".sql", ".sh", ""}


def test_no_file_names_one_persons_machine() -> None:
    """No path of a developer's disk and no address of a package index is in the project."""
    expect_none(
        f"{path.relative_to(ROOT)}:{number}"
        for path in project_files()
        if path.suffix in TEXT
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if OF_ONE_MACHINE.search(line)
    )


NOT_IN_THE_PROJECT = re.compile(r"\bDES(?:IGN)\b(?!\.)|\bses-fa(?:cts)\b|\bSTY(?:LE)\.md|\breliabi(?:lity)\.md section")


def test_no_file_leans_on_a_page_that_is_not_there() -> None:
    """A reader can follow every reference: nothing points at notes that are not part of the project."""
    expect_none(
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in project_files()
        if path.suffix in TEXT
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if (match := NOT_IN_THE_PROJECT.search(line))
    )


def test_the_lock_pins_every_package_by_hash() -> None:
    """Each requirement is an exact version with a hash, and the lock holds no address."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())
    pinned = re.compile(r"[\w.-]+==\S+ .*--hash=sha256:", re.DOTALL)
    expect_none(entry.splitlines()[0] for entry in entries if not pinned.match(entry))
    assert "://" not in text


def test_the_lock_holds_what_the_project_asks_for() -> None:
    """Each dependency in pyproject.toml, of the program and of the dev group, is in the lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = {
        re.split(r"[\[<>=; ]", line)[0].lower()
        for line in [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    }
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE))
    expect_none(asked - locked)


def test_the_changelog_has_a_place_for_what_is_new() -> None:
    """CHANGELOG.md starts with what is not released yet, and every heading is one of Keep a Changelog's."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    kinds = set(re.findall(r"^### (\w+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_licence_is_apaches() -> None:
    """The licence that pyproject.toml declares is the one whose text is there in full."""
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
