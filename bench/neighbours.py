"""Owns what the local SES is measured against, and SDKs to try it with: each in a folder of its own outside the tree.

Leaves what is measured to bench.emulator. What cannot be installed is said, and left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

INSTALL_SECONDS = 600


class NotHereError(Exception):
    """What cannot be had on this machine, and why."""


def folder() -> Path:
    """Return where everything is kept: the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "tenantry-bench"


def python_with(name: str, *packages: str) -> Path:
    """Return the Python of an environment that has these packages, made if need be."""
    place = folder() / name
    python, done = place / "bin" / "python", place / ".done"
    if not done.exists():
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], place)
        done.touch()
    return python


def node_with(name: str, *packages: str) -> Path:
    """Return a folder whose node_modules has these packages, made if need be."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise NotHereError(f"{name}: node and npm are not installed")
    place = folder() / name
    done = place / ".done"
    if not done.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "package.json").write_text('{"private": true, "type": "module"}')
        _run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *packages], place)
        done.touch()
    return place


def _run(words: list[str], place: Path) -> None:
    try:
        subprocess.run(words, cwd=place, check=True, timeout=INSTALL_SECONDS, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or b""
        raise NotHereError(f"{place.name}: {' '.join(words[:4])} … failed: {error} {told[-300:]!r}") from error


def moto() -> Path:
    """Return the Python that has moto's server."""
    return python_with("moto", "moto[server,ses]")


def npm_emulator() -> Path:
    """Return the folder of aws-ses-v2-local."""
    return node_with("aws-ses-v2-local", "aws-ses-v2-local")


if __name__ == "__main__":  # `make sdks`: what tests/emulator/test_sdks.py tries
    for fetch in (lambda: python_with("awscli", "awscli"), lambda: node_with("sdk-js", "@aws-sdk/client-sesv2")):
        try:
            print(fetch(), flush=True)
        except NotHereError as error:
            print(f"not here: {error}", file=sys.stderr)
