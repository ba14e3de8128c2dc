"""Owns SES's templates: the subset of Handlebars that SES documents, parsed and rendered within bounds.

Leaves what a rendering is for to others. As SES does, it escapes nothing (SES guide: advanced email personalization).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STEPS_MAX = 30_000
DEPTH_MAX = 40
OUTPUT_MAX_CHARS = 10_000_000
TAG_MAX_CHARS = 1_000
_MARKS = (("{{!--", "--}}"), ("{{!", "}}"), ("{{{", "}}}"), ("{{", "}}"))
_INLINE = re.compile(r"#\*\s*inline\s+[\"']([\w.-]+)[\"']")
_PATH = re.compile(r"(\.\./)*(this|\.|@\w+|[\w$-]+|\[[^\]]+\])([./]([\w$-]+|\[[^\]]+\]))*")


class RenderingError(ValueError):
    """A template that cannot be read, or data that it cannot be rendered with; the text is SES's reason."""


@dataclass(slots=True)
class _Block:
    """One block: `kind` is root, if, unless, each, with or inline; each branch has its path, None for else."""

    kind: str
    branches: list[tuple[str | None, list[Any]]]

    def add(self, node: Any) -> None:
        self.branches[-1][1].append(node)


@dataclass(frozen=True, slots=True)
class _Value:
    path: str


@dataclass(frozen=True, slots=True)
class _Partial:
    name: str


@dataclass(frozen=True, slots=True)
class _Scope:
    """The value that names are looked up in, the scope around it, and the @-names of an iteration."""

    value: Any
    outer: "_Scope | None" = None
    loop: Mapping[str, Any] | None = None


_MISSING = object()


def parse(text: str) -> "Template":
    """Read a template, or raise RenderingError for blocks that do not close or tags that SES does not know."""
    root = _Block("root", [(None, [])])
    open_blocks = [root]
    partials: dict[str, list[Any]] = {}
    for is_tag, part in _parts(text):
        if is_tag:
            _take(part, open_blocks, partials)
        else:
            open_blocks[-1].add(part)
    if len(open_blocks) > 1:
        raise RenderingError(f"The block {open_blocks[-1].kind} is not closed.")
    return Template(root.branches[0][1], partials)


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """Split a template into texts and tags, in one pass; comments are left out, what never closes is text."""
    at = 0
    while (start := text.find("{{", at)) >= 0:
        opening, closing = next(pair for pair in _MARKS if text.startswith(pair[0], start))
        end = text.find(closing, start + len(opening))
        if end < 0:
            break
        if start > at:
            yield False, text[at:start]
        at = end + len(closing)
        if not opening.startswith("{{!"):
            yield True, text[start + len(opening) : end].strip("~ \t\r\n")
    if at < len(text):
        yield False, text[at:]


def _take(tag: str, open_blocks: list[_Block], partials: dict[str, list[Any]]) -> None:
    now = open_blocks[-1]
    if len(tag) > TAG_MAX_CHARS:
        raise RenderingError(f"'{tag[:80]}' is no attribute of the rendering data.")
    if inline := _INLINE.fullmatch(tag):
        _open(open_blocks, _Block("inline", [(inline[1], [])]))
    elif tag.startswith("#"):
        kind, _, path = tag[1:].partition(" ")
        if kind not in ("if", "unless", "each", "with"):
            raise RenderingError(f"There is no helper {kind}.")
        _open(open_blocks, _Block(kind, [(_path(path.strip()), [])]))
    elif tag.startswith("/"):
        if now.kind != tag[1:].strip() or len(open_blocks) == 1:
            raise RenderingError(f"There is no block {tag[1:].strip()} to close.")
        _close(open_blocks, partials)
    elif tag == "else" or tag.startswith("else "):
        if now.kind not in ("if", "unless", "each", "with"):
            raise RenderingError("There is no block that else belongs to.")
        if now.branches[-1][0] is None:
            raise RenderingError("There is an else already.")
        kind, _, path = tag[4:].strip().partition(" ")
        if kind not in ("", "if"):
            raise RenderingError(f"There is no else {kind}.")
        now.branches.append((_path(path.strip()) if kind else None, []))
    elif tag.startswith(">"):
        now.add(_Partial(tag[1:].strip()))
    else:
        now.add(_Value(_path(tag.removeprefix("&").strip())))


def _open(open_blocks: list[_Block], block: _Block) -> None:
    if len(open_blocks) >= DEPTH_MAX:
        raise RenderingError("The blocks of the template are nested too deeply.")
    open_blocks.append(block)


def _close(open_blocks: list[_Block], partials: dict[str, list[Any]]) -> None:
    done = open_blocks.pop()
    if done.kind == "inline":
        name, body = done.branches[0]
        partials[name or ""] = body
    else:
        open_blocks[-1].add(done)


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise RenderingError(f"'{text[:80]}' is no attribute of the rendering data.")
    return text


class Template:
    """One parsed template text."""

    def __init__(self, body: Sequence[Any], partials: Mapping[str, Sequence[Any]]) -> None:
        self._body = body
        self._partials = partials

    def render(self, data: Mapping[str, Any]) -> str:
        """Return the text with the data filled in; RenderingError names what is missing, as SES does."""
        return "".join(_Rendering(self._partials).of(self._body, _Scope(data), 0))


class _Rendering:
    """One run: it counts its steps, so that no template runs away."""

    def __init__(self, partials: Mapping[str, Sequence[Any]]) -> None:
        self._partials = partials
        self._steps = 0
        self._size = 0

    def of(self, nodes: Sequence[Any], scope: _Scope, depth: int) -> Iterator[str]:
        if depth > DEPTH_MAX:
            raise RenderingError("The template calls itself.")
        for node in nodes:
            self._steps += 1
            match node:
                case str():
                    yield self._measured(node)
                case _Value(path=path):
                    yield self._measured(_shown(self._found(path, scope)))
                case _Partial(name=name):
                    if name not in self._partials:
                        raise RenderingError(f"The partial {name} could not be found.")
                    yield from self.of(self._partials[name], scope, depth + 1)
                case _Block():
                    yield from self._block(node, scope, depth + 1)

    def _measured(self, text: str) -> str:
        self._size += len(text)
        if self._steps > STEPS_MAX or self._size > OUTPUT_MAX_CHARS:
            raise RenderingError("The rendered template is too large.")
        return text

    def _block(self, block: _Block, scope: _Scope, depth: int) -> Iterator[str]:
        for number, (path, body) in enumerate(block.branches):
            value = True if path is None else _look_up(path, scope)
            is_true = value is not _MISSING and bool(value)
            if is_true == (block.kind == "unless" and number == 0):
                continue
            if path is None or number or block.kind in ("if", "unless"):
                yield from self.of(body, scope, depth)
            elif block.kind == "with":
                yield from self.of(body, _Scope(value, scope), depth)
            else:
                yield from self._each(body, value, scope, depth)
            return

    def _each(self, body: Sequence[Any], value: Any, scope: _Scope, depth: int) -> Iterator[str]:
        rows = [*value.items()] if isinstance(value, dict) else [*enumerate(value if isinstance(value, list) else ())]
        for index, (key, each) in enumerate(rows):
            self._steps += 1
            self._measured("")
            loop = {"index": index, "key": key, "first": index == 0, "last": index == len(rows) - 1}
            yield from self.of(body, _Scope(each, scope, loop), depth)

    def _found(self, path: str, scope: _Scope) -> Any:
        value = _look_up(path, scope)
        if value is _MISSING:
            raise RenderingError(f"Attribute '{path}' is not present in the rendering data.")
        return value


def _look_up(path: str, scope: _Scope) -> Any:
    while path.startswith("../"):
        path = path[3:]
        scope = scope.outer or scope
    if path.startswith("@"):
        at: _Scope | None = scope
        name, _, rest = path[1:].partition(".")
        if name == "root":
            while at is not None and at.outer is not None:
                at = at.outer
            return _member(at.value if at else {}, rest)
        while at is not None:
            if at.loop and name in at.loop:
                return at.loop[name]
            at = at.outer
        return _MISSING
    return _member(scope.value, "" if path in ("this", ".") else re.sub(r"^this[./]", "", path))


def _member(value: Any, path: str) -> Any:
    for name in filter(None, re.split(r"[./]", path)):
        name = name.strip("[]")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return _MISSING
    return value


def _shown(value: Any) -> str:
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
    return str(value)
