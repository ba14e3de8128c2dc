"""Owns how a command finds the API: TENANTRY_URL and TENANTRY_KEY, or the profile that `up` leaves in its data folder.

The key may lie in a file of its own; leaves the data folder's other content to the processes that run there.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tenantry.cli.document import Document
from tenantry.cli.failure import ExitCode, Failure

PROFILE = "profile.json"
DEFAULT_DATA = "~/.tenantry"  # the settings' default, written again because reading it there costs a quarter second


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the API is, and a key for it as `id.secret`."""

    url: str
    key: str

    def with_key(self, key: str) -> Profile:
        """Return the same address with another key."""
        return Profile(self.url, key)


def find(data: Path | None) -> Profile:
    """Return where to go: the environment first, each part on its own, then the profile in the data folder."""
    url, key = os.environ.get("TENANTRY_URL", ""), os.environ.get("TENANTRY_KEY", "") or _key_in_file()
    if url and key:
        return Profile(url, key)
    left = read(folder(data))
    if left is None and not url:
        raise Failure(
            ExitCode.UNREACHABLE,
            "no_profile",
            f"no profile in {folder(data)}. Start `tenantry up` (with the same --data), "
            "or set TENANTRY_URL and TENANTRY_KEY.",
        )
    if not (key or left):
        raise Failure(ExitCode.NOT_AUTHORISED, "no_key", "TENANTRY_URL is set but TENANTRY_KEY (`id.secret`) is not.")
    return Profile(url or (left.url if left else ""), key or (left.key if left else ""))


def _key_in_file() -> str:
    """Return the key in the folder of secrets, "" when there is none that can be read."""
    secrets = os.environ.get("TENANTRY_SECRETS", "")
    try:
        return (Path(secrets).expanduser() / "TENANTRY_KEY").read_text(encoding="utf-8").strip() if secrets else ""
    except (OSError, UnicodeDecodeError):
        return ""


def folder(data: Path | None) -> Path:
    """Return the data folder that is meant."""
    return Path(data or os.environ.get("TENANTRY_DATA") or DEFAULT_DATA).expanduser().absolute()


def read(data: Path) -> Profile | None:
    """Return the profile in a data folder, or None when there is none that can be read."""
    try:
        document = Document.parsed((data / PROFILE).read_bytes())
    except (OSError, ValueError):
        return None
    return Profile(document.text("url"), document.text("key"))


def write(data: Path, profile: Profile) -> Path:
    """Leave a profile in the data folder, readable by its owner only, and return its path.

    Written beside and moved into place, so that a command never reads half of it.
    """
    path = data / PROFILE
    if read(data) == profile:
        return path  # it is there already, and the disk may be full
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump({"url": profile.url, "key": profile.key}, file)
    draft.replace(path)
    return path
