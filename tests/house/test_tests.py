"""The tests themselves: each states a promise, uses real parts and waits for nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.house.source import Module, dotted, expect_none, own_tests


def test_every_test_states_a_promise() -> None:
    """The docstring of a test says what would be broken if it went red."""
    expect_none(
        f"{m.at(f)} {f.name}"
        for m in own_tests()
        for f, _ in m.functions()
        if f.name.startswith("test_") and len((ast.get_docstring(f) or "").split()) < 4
    )


REPLACERS = {"patch", "patch.object", "monkeypatch.setattr"}


def _mocks(module: Module) -> Iterator[str]:
    ours = {name.split(".")[-1] for name, _ in module.imports() if name.startswith("tenantry")}
    for name, node in module.imports():
        if name.startswith("unittest.mock") and name != "unittest.mock.patch":
            yield f"{module.at(node)} imports {name}"
    for node in ast.walk(module.tree):
        if (
            isinstance(node, ast.Call)
            and node.args
            and dotted(node.func) in {"patch", "patch.object", "monkeypatch.setattr"}
        ):
            match node.args[0]:
                case ast.Constant(value=str(target)) if target.startswith("tenantry"):
                    yield f"{module.at(node)} replaces {target}"
                case target if dotted(target).split(".")[0] in ours:
                    yield f"{module.at(node)} replaces part of {dotted(target)}"


def test_no_part_of_ours_is_mocked() -> None:
    """Ports have real adapters, so no test builds a mock or replaces a part of Tenantry."""
    expect_none(mock for m in own_tests() for mock in _mocks(m))


def test_no_test_sleeps_on_the_wall_clock() -> None:
    """A test waits for a condition or moves a fixed clock; time.sleep makes it slow and flaky."""
    expect_none(
        m.at(node)
        for m in own_tests()
        for node in ast.walk(m.tree)
        if isinstance(node, ast.Call) and dotted(node.func) == "time.sleep"
    )


def test_no_test_is_put_aside() -> None:
    """No test is marked as skipped or expected to fail: what cannot run says so where it is decided, loudly."""
    expect_none(
        m.at(node)
        for m in own_tests()
        for node in ast.walk(m.tree)
        if isinstance(node, ast.Attribute) and dotted(node) in {"pytest.mark.skip", "pytest.mark.xfail"}
    )
