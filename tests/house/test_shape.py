"""The shape of the source: sizes, names and parameters."""

from __future__ import annotations

import ast

from tests.house.source import Function, Module, dotted, expect_none, source

MODULE_LINES = 400
FUNCTION_LINES = 60
PARAMETERS = 5
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "manager", "service", "base", "common", "misc"}


def test_modules_are_short() -> None:
    """No module has more than 400 lines: beyond that it holds a second concept."""
    expect_none(f"{m.place}: {lines} lines" for m in source() if (lines := m.text.count("\n")) > MODULE_LINES)


def test_functions_are_short() -> None:
    """No function has more than 60 lines, docstring included."""
    expect_none(
        f"{m.at(f)} {f.name}: {lines} lines"
        for m in source()
        for f, _ in m.functions()
        if (lines := (f.end_lineno or f.lineno) - f.lineno + 1) > FUNCTION_LINES
    )


def _positional(function: Function, is_method: bool) -> int:
    static = any(dotted(decorator) == "staticmethod" for decorator in function.decorator_list)
    return len(function.args.posonlyargs) + len(function.args.args) - (is_method and not static)


def _is_command(function: Function) -> bool:
    return any(dotted(decorator).removesuffix("()").endswith((".command", ".option", ".argument", ".group"))
               for decorator in function.decorator_list)  # fmt: skip


def test_functions_take_five_positional_parameters_at_most() -> None:
    """A call can be read without counting commas: five positional parameters, then a value.

    self and cls do not count. Keyword-only parameters do not count either, since each call names them; nor do those of
    a click command, which click fills by name.
    """
    expect_none(
        f"{m.at(f)} {f.name}: {count} positional parameters"
        for m in source()
        for f, is_method in m.functions()
        if (count := _positional(f, is_method)) > PARAMETERS and not (m.lives_in(["cli/"]) and _is_command(f))
    )


def test_names_say_what_is_inside() -> None:
    """No module or package is called by a word that fits anything."""
    expect_none(
        m.place
        for m in source()
        if any(
            word in NAMES_THAT_SAY_NOTHING
            for part in m.place.removesuffix(".py").split("/")
            for word in part.split("_")
        )
    )


def _unfinished(module: Module) -> list[str]:
    marks = [f"{module.place}:{number}" for number, line in enumerate(module.text.splitlines(), 1)
             if any(mark in line for mark in ("TODO", "FIXME", "XXX"))]  # fmt: skip
    names = (node for node in ast.walk(module.tree) if isinstance(node, ast.Name) and node.id == "NotImplementedError")
    return marks + [module.at(node) for node in names]


def test_nothing_is_left_for_later_in_the_source() -> None:
    """What is there works: no TODO, no FIXME, no NotImplementedError."""
    expect_none(place for m in source() for place in _unfinished(m))
