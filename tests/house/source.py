"""Owns the walk over Tenantry's own source and pages; leaves what is promised about them to the house tests."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "tenantry"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Module:
    """One Python file, parsed; `place` is its path below the package (or below the root, for tests and bench)."""

    place: str
    text: str
    tree: ast.Module

    def at(self, node: ast.AST) -> str:
        """Say where a node is, as an editor understands it."""
        return f"{self.place}:{getattr(node, 'lineno', 1)}"

    def lives_in(self, homes: Iterable[str]) -> bool:
        """Whether this file is one of the homes: a file, or a folder when the home ends with a slash."""
        return any(self.place.startswith(home) if home.endswith("/") else self.place == home for home in homes)

    def functions(self) -> Iterator[tuple[Function, bool]]:
        """Every function with whether it is a method, nested ones too."""
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, Function):
                    yield child, isinstance(node, ast.ClassDef)

    def imports(self) -> Iterator[tuple[str, ast.stmt]]:
        """Every imported name in full (`a.b.c` for `from a.b import c`), wherever the import stands."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)


def _read(path: Path, below: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    return Module(path.relative_to(below).as_posix(), text, ast.parse(text, str(path)))


@cache
def source() -> tuple[Module, ...]:
    """Every module of the package."""
    return tuple(_read(path, PACKAGE) for path in sorted(PACKAGE.rglob("*.py")))


@cache
def own_tests() -> tuple[Module, ...]:
    """Every module below tests/."""
    return tuple(_read(path, ROOT) for path in sorted((ROOT / "tests").rglob("*.py")))


@cache
def project_files() -> tuple[Path, ...]:
    """Every file of the project as git sees it: tracked, or new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def pages() -> tuple[Path, ...]:
    """Every Markdown page of the project."""
    return tuple(path for path in project_files() if path.suffix == ".md")


def dotted(node: ast.AST) -> str:
    """Write a chain of names and attributes as `a.b.c`; calls in it as `()`; empty for anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{dotted(value)}.{attr}"
        case ast.Call(func=func):
            return f"{dotted(func)}()"
        case _:
            return ""


def expect_none(findings: Iterable[str]) -> None:
    """Fail with one finding a line, so that whoever reads it can go and mend each."""
    found = sorted(findings)
    assert not found, "\n" + "\n".join(found)
