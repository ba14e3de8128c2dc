"""Reads the files of deploy/ as their tools would; leaves what must hold to the tests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.house.source import ROOT

DEPLOY = ROOT / "deploy"
Document = dict[str, Any]


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile: its word, the rest of it, and which stage it belongs to."""

    word: str
    rest: str
    stage: int


def dockerfile() -> list[Instruction]:
    """Return the instructions in their order, lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    found, stage = [], -1
    for line in filter(None, re.sub(r"\\\n\s*", " ", text).splitlines()):
        word, _, rest = line.strip().partition(" ")
        stage += word == "FROM"
        found.append(Instruction(word, rest.strip(), stage))
    return found


def image_environment() -> dict[str, str]:
    """Return what ENV sets in the image that runs."""
    pairs = (pair for one in dockerfile() if one.word == "ENV" for pair in shlex.split(one.rest))
    return dict(pair.split("=", 1) for pair in pairs)


def documents(path: Path) -> list[Document]:
    """Return the documents of a YAML file."""
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one is not None]


def compose() -> Document:
    """Return compose.yaml, with its anchors merged."""
    (one,) = documents(DEPLOY / "compose.yaml")
    return one


def manifests() -> list[Document]:
    """Return every object of the Kubernetes manifests."""
    files = sorted((DEPLOY / "kubernetes").rglob("*.yaml"))
    return [one for path in files if path.name != "kustomization.yaml" for one in documents(path)]


@dataclass(frozen=True)
class Unit:
    """A systemd unit: its name, and the values of each key in their order."""

    name: str
    keys: dict[str, list[str]]


def units() -> list[Unit]:
    """Return the systemd units."""
    return [Unit(path.name, _keys(path)) for path in sorted((DEPLOY / "systemd").glob("*.service"))]


def _keys(path: Path) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            keys.setdefault(name, []).append(value)
    return keys


def env_files() -> Iterator[tuple[str, dict[str, str]]]:
    """Return each file of plain settings with what it sets."""
    for path in sorted(DEPLOY.rglob("*.env")):
        lines = (line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#"))
        yield path.relative_to(ROOT).as_posix(), dict(line.split("=", 1) for line in lines)
