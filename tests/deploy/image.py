"""Runs the steps by which the Dockerfile builds, without Docker: the same commands, in a folder instead of an image.

`python -m tests.deploy.image` takes a minute and downloads what an image would; it prints what the outcome is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.deploy.files import dockerfile
from tests.house.source import ROOT

PLACES = ("/opt/tenantry", "/build")  # as the Dockerfile calls them


def build(place: Path) -> Path:
    """Do what the first stage does, below a folder; return the environment that the second one copies."""
    source = place / "source"
    source.mkdir(parents=True)
    for one in dockerfile():
        if one.stage == 0 and one.word == "COPY":
            *given, goal = one.rest.split()
            for name in given:
                _copy(ROOT / name, source / goal / ("" if (ROOT / name).is_dir() else Path(name).name))
        elif one.stage == 0 and one.word == "RUN":
            command = re.sub(rf"(?<!\S)(?={'|'.join(PLACES)})", str(place), one.rest).replace(
                "python -m venv", f"{sys.executable} -m venv"
            )
            _say(f"RUN {command}")
            subprocess.run(command, shell=True, check=True, cwd=source)
    return place / PLACES[0].lstrip("/")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _copy(given: Path, goal: Path) -> None:
    goal.parent.mkdir(parents=True, exist_ok=True)
    if given.is_dir():
        shutil.copytree(given, goal, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(given, goal)


def main() -> None:
    """Build, and show that what came out runs and has nothing that builds."""
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="tenantry-image-"))
    made = build(place)
    version = subprocess.run([made / "bin" / "tenantry", "--version"], capture_output=True, text=True, check=True)
    listed = {path.name.partition("-")[0] for path in made.glob("lib/python*/site-packages/*.dist-info")}
    assert not listed & {"pip", "setuptools", "wheel", "hatchling", "pytest"}, listed
    megabytes = sum(path.stat().st_size for path in made.rglob("*") if path.is_file()) / 2**20
    _say(f"{version.stdout.strip()}: {len(listed)} packages, {megabytes:.0f} MiB in {made}")


if __name__ == "__main__":
    main()
