"""What the pages promise: codes, settings, commands, links and invariants are all there, and all true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

from tenantry.core.message import RefusalCode
from tests.house.commands import every_command, parse, shell_lines, written_commands
from tests.house.source import PACKAGE, ROOT, Module, expect_none, pages, source

INVARIANTS = range(1, 20)
LATER_PARTS = range(2, 6)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def _page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("code", RefusalCode)
def test_every_refusal_is_documented(code: RefusalCode) -> None:
    """An operator can look up any code that a tenant may see."""
    assert f"\n### {code}\n" in _page("docs/errors.md")


def test_no_refusal_is_documented_that_cannot_happen() -> None:
    """The list of codes in the docs has no left-over."""
    documented = re.findall(r"^### (\S+)$", _page("docs/errors.md"), re.MULTILINE)
    expect_none(set(documented) - set(RefusalCode))


def test_every_setting_is_documented() -> None:
    """A setting that the docs do not name does not exist for the person who runs it."""
    from tenantry.settings import Settings

    prefix = str(Settings.model_config.get("env_prefix", ""))
    named = {f"`{(prefix + name).upper()}`" for name in Settings.model_fields}
    text = _page("docs/settings.md")
    expect_none(name for name in named if name not in text)


def test_no_setting_is_documented_that_does_not_exist() -> None:
    """What the page of settings names, the settings read."""
    from tenantry.settings import Settings

    prefix = str(Settings.model_config.get("env_prefix", ""))
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", _page("docs/settings.md"), re.MULTILINE))
    expect_none(documented - {(prefix + name).upper() for name in Settings.model_fields})


def _commands() -> dict[str, click.Command]:
    from tenantry.cli import main

    assert isinstance(main, click.Command)
    return dict(every_command(main))


def test_every_command_is_documented() -> None:
    """Each command has its place in docs/cli.md and a sentence of help."""
    text = _page("docs/cli.md")
    expect_none(path for path, command in _commands().items() if f"`{path}" not in text or not command.help)


def test_commands_in_the_pages_can_be_typed() -> None:
    """Each `tenantry` line of the README and the docs is a command with arguments that the program takes."""
    from tenantry.cli import main

    wrong = []
    for page, words in written_commands():
        try:
            parse(main, words)
        except click.UsageError as error:
            wrong.append(f"{page}: tenantry {' '.join(words)}: {error.format_message()}")
    expect_none(wrong)


def test_the_readme_shows_the_first_steps() -> None:
    """Whoever reads only the README learns how to start, to make a tenant and a key, and to send."""
    typed = [words for page, words in written_commands() if page == "README.md"]
    for step in (["up"], ["tenant", "add"], ["key", "create"]):
        assert any(words[: len(step)] == step for words in typed), step


def test_make_targets_in_the_pages_exist() -> None:
    """Each `make` line of the pages names a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", _page("Makefile"), re.MULTILINE))
    typed = {word for _, line in shell_lines() if line.startswith("make ") for word in line.split("#")[0].split()[1:]}
    expect_none({word for word in typed if "=" not in word} - targets)


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _broken(page: Path) -> list[str]:
    broken = []
    for link in LINK.finditer(page.read_text(encoding="utf-8")):
        path, _, anchor = link["target"].partition("#")
        if ":" in path:
            continue
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists() or (anchor and goal.suffix == ".md" and anchor not in _anchors(goal.read_text("utf-8"))):
            broken.append(f"{page.relative_to(ROOT)}: {link['target']}")
    return broken


def test_links_between_pages_lead_somewhere() -> None:
    """Each relative link in a page leads to a file of the project, and to a heading where it names one."""
    expect_none(link for page in pages() for link in _broken(page))


def test_every_page_of_the_docs_is_reachable() -> None:
    """No page in docs/ is an orphan: another page links to it."""
    linked = {
        (page.parent / link["target"].partition("#")[0]).resolve()
        for page in pages()
        for link in LINK.finditer(page.read_text(encoding="utf-8"))
    }
    in_docs = {page for page in pages() if ROOT / "docs" in page.parents}
    expect_none(str(page.relative_to(ROOT)) for page in in_docs - linked)


def _invariants() -> dict[int, str]:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", _page("ARCHITECTURE.md"), re.MULTILINE)
    return {int(number): rest.rsplit(" | ", 1)[-1] for number, rest in rows}


@pytest.mark.parametrize("number", INVARIANTS)
def test_every_invariant_has_a_guard(number: int) -> None:
    """ARCHITECTURE.md names for each invariant a test that exists, or the later part that brings it."""
    guard = _invariants()[number]
    named = re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", guard)
    parts = {int(part) for part in re.findall(r"part (\d)", guard)}
    assert named or parts
    assert parts <= set(LATER_PARTS)
    for path, test in named:
        assert (ROOT / path).is_file(), f"{path} does not exist"
        assert not test or f"def {test}(" in _page(path), f"{path} has no {test}"


def _map_line(module: Module) -> str:
    """Propose a line for the code map from the module's own first sentence."""
    owns = (ast.get_docstring(module.tree) or "").partition("\n")[0].removeprefix("Owns ").partition(";")[0]
    return f"- `{module.place}`: {owns.rstrip('.')}"


def test_the_code_map_is_complete() -> None:
    """ARCHITECTURE.md has a line for every module, so that a newcomer finds the room before the file."""
    text = _page("ARCHITECTURE.md")
    modules = [m for m in source() if not m.place.endswith("__init__.py") and "/versions/" not in m.place]
    expect_none(_map_line(module) for module in modules if f"\n- `{module.place}`: " not in text)


def test_the_code_map_names_nothing_that_is_gone() -> None:
    """Each module that the code map names is there."""
    named = re.findall(r"^- `([\w/]+\.py)`", _page("ARCHITECTURE.md"), re.MULTILINE)
    assert named
    expect_none(name for name in named if not (PACKAGE / name).is_file())


def test_every_decision_record_tells_the_whole() -> None:
    """An ADR has a context, a decision, a consequence and says what enforces it."""
    records = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    assert records
    for record in records:
        headings = re.findall(r"^## (.+)$", record.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequence", "What enforces it"], record.name
