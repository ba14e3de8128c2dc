"""Owns the demo's processes: `up` on a fresh folder and a free port, and the tenants' applications.

Leaves what is played to `demo_story`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Self

from tenantry.cli.api import Api
from tenantry.cli.demo_cast import RECIPIENT_RULES, SES_RATE, STAGE_SECONDS, Mailing, stopped, written
from tenantry.cli.document import Document
from tenantry.cli.failure import ExitCode, Failure
from tenantry.cli.profile import Profile

STOP_SECONDS = 10.0
LOG_LINES = 15


class Stage:
    """A running Tenantry of its own; use it as a context. `folder` is gone when it is left."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._home = tempfile.TemporaryDirectory(prefix="tenantry-demo-")
        self.folder = Path(self._home.name)
        self._up: subprocess.Popen[str] | None = None
        self.started = Document({})

    def __enter__(self) -> Self:
        log = (self.folder / "up.log").open("w")
        with log:
            self._up = subprocess.Popen(
                [sys.executable, "-m", "tenantry", "up", "--json"],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self._environment(),
                text=True,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops it in order
            )
        try:
            self.started = self._first_document(self._up)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    @property
    def url(self) -> str:
        """Where the doors are."""
        return self.started.text("url")

    @property
    def key(self) -> str:
        """The operator's key as `id.secret`."""
        key = self.started.one("key") or Document({})
        return f"{key.text('id')}.{key.text('secret')}"

    def api(self) -> Api:
        """Return the API as the operator sees it; one for each thread."""
        return Api(Profile(self.url, self.key))

    def local_ses(self) -> Api:
        """Return the local SES's own pages, which tell what it was asked and what it did."""
        return Api(Profile(self.started.text("ses_url"), ""))

    def log_tail(self) -> str:
        """Return the last words of `up`."""
        lines = (self.folder / "up.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])

    def _environment(self) -> dict[str, str]:
        """Only our settings: what the caller's shell says of Tenantry is for another one."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TENANTRY_")}
        return inherited | {
            "TENANTRY_DATA": str(self.folder),
            "TENANTRY_PORT": "0",
            "TENANTRY_RAMP_STAGE_SECONDS": str(STAGE_SECONDS),
            "TENANTRY_RAMP_POLL_SECONDS": "0.2",
            "TENANTRY_IDENTITY_POLL_SECONDS": "0.5",
            "TENANTRY_LOCAL_SES_RATE": str(SES_RATE),
            "TENANTRY_LOCAL_SES_SEED": str(self._seed),
            "TENANTRY_LOCAL_SES_RECIPIENTS": " ".join(RECIPIENT_RULES),
            "TENANTRY_LOG_LEVEL": "warning",
        }

    def _first_document(self, up: subprocess.Popen[str]) -> Document:
        """Read what `up --json` prints once it is ready."""
        assert up.stdout is not None
        text = ""
        for line in up.stdout:
            text += line
            if line.rstrip() == "}":
                return Document.parsed(text.encode())
        up.wait()
        raise Failure(
            ExitCode.REFUSED, "up_failed", f"`tenantry up` ended before it was ready:\n{text}{self.log_tail()}"
        )

    def _stop(self) -> None:
        if self._up is not None and self._up.poll() is None:
            self._up.terminate()
            try:
                self._up.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._up.kill()
                self._up.wait()
        if self._up is not None and self._up.stdout is not None:
            self._up.stdout.close()
        self._home.cleanup()


class Traffic:
    """The tenants' applications, running as a process of their own; use it as a context."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[str, list[Document]] = defaultdict(list)
        self._done: set[str] = set()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tenantry.cli.demo_traffic"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_direct(),
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def start(self, mailing: Mailing) -> None:
        """Let one application send."""
        self._write(written(mailing))

    def stop(self, name: str) -> None:
        """Let it come to an end; `done` says when it has."""
        self._write(stopped(name))

    def close(self) -> None:
        """Stop all and wait until they have ended."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
            self._reader.join(STOP_SECONDS)

    def is_done(self, name: str) -> bool:
        """Whether an application has sent all that it will."""
        with self._lock:
            return name in self._done

    def answers(self, name: str | None = None) -> list[Document]:
        """Return what the doors answered, to one application or to all."""
        with self._lock:
            if name is not None:
                return list(self._answers[name])
            return [answer for answers in self._answers.values() for answer in answers]

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = Document(json.loads(line))
            with self._lock:
                if answer.text("done"):
                    self._done.add(answer.text("mailing"))
                else:
                    self._answers[answer.text("mailing")].append(answer)


def _direct() -> dict[str, str]:
    """What the shell says of AWS profiles and proxies must not lead the applications away from this machine."""
    kept = {name: value for name, value in os.environ.items() if name not in {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"}}
    return kept | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
