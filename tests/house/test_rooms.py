"""What each room may do: types, errors, time, randomness, logging; imports between rooms are import-linter's."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.house.source import Function, Module, dotted, expect_none, source

ANY_HOMES = ("wire/", "emulator/", "store/seam.py")  # the seam: where a driver's untyped rows come in
CATCH_ALL_HOMES = ("app/", "edge/", "emulator/server.py", "aws/send.py")
CLOCK_HOMES = ("app/clock.py", "emulator/clock.py", "emulator/server.py", "emulator/local.py")
CHANCE_HOMES = ("store/", "app/", "emulator/server.py")
LOG_HOMES = ("app/", "emulator/server.py")

# Libraries that import-linter cannot see (driver names in a URL) or that are too small for a contract of their own.
HOMES = {
    "aiosqlite": ("store/",),
    "asyncpg": ("store/",),
    "sqlite3": ("store/", "emulator/kept.py"),  # the file of the local SES
    "structlog": LOG_HOMES,
    "logging": LOG_HOMES,
    "time": CLOCK_HOMES,
    "random": (*CHANCE_HOMES, "emulator/", "lab/"),  # the local SES and the lab draw from a seed
    "secrets": CHANCE_HOMES,
    "uuid_utils": CHANCE_HOMES,
}

CLOCK_CALLS = (
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "loop.time",
    "get_running_loop().time",
    "get_event_loop().time",
)
CHANCE_CALLS = ("uuid1", "uuid4", "uuid6", "uuid7", "urandom")

VALUES = {
    *("ids", "tenant", "message", "event", "outcome", "pause", "claim", "reputation", "reading", "provider"),
    *("figures", "finding", "counts", "policy"),
}


def _astray(module: Module) -> Iterator[str]:
    for name, node in module.imports():
        homes = HOMES.get(name.split(".")[0])
        if homes is not None and not module.lives_in(homes):
            yield f"{module.at(node)} imports {name}, which lives in {', '.join(homes)}"


def test_small_libraries_stay_at_home() -> None:
    """Drivers, logging, clocks and randomness are imported only where they live."""
    expect_none(stray for m in source() for stray in _astray(m))


def _calls(module: Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def _is_one_of(call: str, names: tuple[str, ...]) -> bool:
    return any(call == name or call.endswith(f".{name}") for name in names)


def test_only_the_step_and_the_clock_ask_for_the_time() -> None:
    """Time comes from the store's step or the Clock port, so that a jump of one clock can be tested and survived."""
    expect_none(
        f"{m.at(node)} calls {call}"
        for m in source()
        if not m.lives_in(CLOCK_HOMES)
        for call, node in _calls(m)
        if _is_one_of(call, CLOCK_CALLS)
    )


def test_ids_and_jitter_come_from_the_step() -> None:
    """Nothing outside the store's step and the composition root draws ids or random numbers."""
    expect_none(
        f"{m.at(node)} calls {call}"
        for m in source()
        if not m.lives_in(CHANCE_HOMES)
        for call, node in _calls(m)
        if _is_one_of(call, CHANCE_CALLS)
    )


def test_any_is_for_the_wire_only() -> None:
    """Outside wire/, emulator/ and the store's seam, whose data is untyped by nature, no value is of type Any."""
    expect_none(
        m.at(node)
        for m in source()
        if not m.lives_in(ANY_HOMES)
        for node in ast.walk(m.tree)
        if (isinstance(node, ast.Name) and node.id == "Any") or (isinstance(node, ast.Attribute) and node.attr == "Any")
    )


def _catches_all(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False  # it tidies up and passes the error on
    match handler.type:
        case None:
            return True
        case ast.Tuple(elts=caught):
            return any(dotted(one) in {"Exception", "BaseException"} for one in caught)
        case one:
            return dotted(one) in {"Exception", "BaseException"}


def test_only_the_loops_and_edges_catch_everything() -> None:
    """`except Exception` stands only in app/, at the doors' and the emulator's edge, and around the send call."""
    expect_none(
        m.at(node)
        for m in source()
        if not m.lives_in(CATCH_ALL_HOMES)
        for node in ast.walk(m.tree)
        if isinstance(node, ast.ExceptHandler) and _catches_all(node)
    )


def test_core_has_an_inner_order() -> None:
    """Decisions depend on values and never on each other; values depend on values alone."""
    expect_none(
        f"{m.at(node)} imports {name}"
        for m in source()
        if m.lives_in(["core/"])
        for name, node in m.imports()
        if name.startswith("tenantry.core.") and name.split(".")[2] not in VALUES
    )


def test_core_values_cannot_change() -> None:
    """Every dataclass in core is frozen and slotted."""
    expect_none(
        f"{m.at(node)} {node.name}"
        for m in source()
        if m.lives_in(["core/"])
        for node in ast.walk(m.tree)
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        if dotted(decorator).removesuffix("()").endswith("dataclass") and not _frozen_and_slotted(decorator)
    )


def _frozen_and_slotted(decorator: ast.expr) -> bool:
    if not isinstance(decorator, ast.Call):
        return False
    said = {
        word.arg for word in decorator.keywords if isinstance(word.value, ast.Constant) and word.value.value is True
    }
    return {"frozen", "slots"} <= said


def _whole_stores(function: Function) -> set[str]:
    """Name the variables of a function that hold the whole store rather than one scope of it."""
    parameters = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    given = {one.arg for one in parameters if one.annotation and dotted(one.annotation) == "Store"}
    taken = {
        dotted(target)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and dotted(node.value).split(".")[-1].strip("_") == "store"
        for target in node.targets
    }
    return given | taken


def _unscoped(module: Module) -> Iterator[str]:
    whole = {name for function, _ in module.functions() for name in _whole_stores(function)}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr not in {"of", "fleet"}:
            holder = dotted(node.value)
            if holder in whole or ("." in holder and holder.split(".")[-1].strip("_") == "store"):
                yield f"{module.at(node)} uses {holder}.{node.attr}"
    for name, node in module.imports():
        if name.startswith("tenantry.ports.") and name.endswith("Step"):
            yield f"{module.at(node)} imports {name}"


def test_the_edge_reaches_data_only_through_a_scope() -> None:
    """A door asks `store.of(tenant)` or `store.fleet(operator)`; nothing else of a store can be written in edge/.

    The whole store is what is annotated as `Store` or reached as an attribute (`doors.store`); the scopes that `of` and
    `fleet` open are stores of their own. Flows may be handed the whole.
    """
    expect_none(place for m in source() if m.lives_in(["edge/"]) for place in _unscoped(m))


def test_decisions_and_codecs_have_no_colour() -> None:
    """Nothing in core/ or wire/ is async: what does no I/O can be called, replayed and simulated from anywhere."""
    expect_none(
        m.at(node)
        for m in source()
        if m.lives_in(["core/", "wire/"])
        for node in ast.walk(m.tree)
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
    )
