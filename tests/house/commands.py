"""Owns reading the command tree of `tenantry`; leaves what is promised about it to the house tests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click

from tests.house.source import pages

FENCED = re.compile(r"^(?P<indent> *)```(?P<kind>\w*)[^\n]*\n(?P<body>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
SHELLS = {"", "sh", "bash", "shell", "console"}


def every_command(group: click.Command, path: str = "tenantry") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with the words that lead to it."""
    if not isinstance(group, click.Group):
        yield path, group
        return
    if group.invoke_without_command:
        yield path, group
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from every_command(command, f"{path} {name}")


def parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """Read the words as click would before running anything; raises click's UsageError where they do not fit."""
    try:
        context = command.make_context(command.name or "tenantry", words, parent=parent)
    except click.exceptions.Exit:  # --help and --version end the reading
        return
    if isinstance(command, click.Group):
        if command.invoke_without_command and not context._protected_args:
            return
        _, child, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert child is not None
        parse(child, rest, context)


def shell_lines() -> Iterator[tuple[str, str]]:
    """Every line of a shell block in the pages, continuation lines joined, prompts removed, with its page."""
    for page in pages():
        for block in FENCED.finditer(page.read_text(encoding="utf-8")):
            if block["kind"] not in SHELLS:
                continue
            for line in block["body"].replace("\\\n", " ").splitlines():
                yield page.name, line.strip().removeprefix("$ ").strip()


def written_commands() -> Iterator[tuple[str, list[str]]]:
    """Every `tenantry` command that a page tells its reader to type, as words without the program, with its page."""
    for page, line in shell_lines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue  # a quotation that goes over lines is a script, not a command to type
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words and words[0].split("/")[-1] == "tenantry":
            ends = [n for n, word in enumerate(words) if word in {"|", ">", ">>", "&", "&&", "||", ";"}]
            yield page, words[1 : min(ends, default=len(words))]
