"""Owns what a command can end in: exit codes that mean something, and failures that say what to do.

Leaves showing them to `show`.
"""

from __future__ import annotations

from enum import IntEnum

from tenantry.cli.document import Document, Json


class ExitCode(IntEnum):
    """What the shell sees; documented in docs/cli.md."""

    OK = 0
    REFUSED = 1  # the API said no, and why; or a check of `demo`, `doctor` or `migrate` failed
    USAGE = 2  # also click's own; or a program cannot start with what it was given
    UNREACHABLE = 3
    NOT_AUTHORISED = 4


class Failure(Exception):
    """Why a command did not do what it was asked to."""

    def __init__(self, code: ExitCode, word: str, message: str, answer: Document | None = None) -> None:
        super().__init__(message)
        self.code, self.word, self.message, self.answer = code, word, message, answer

    @property
    def field(self) -> str:
        """The field that the API names, if any."""
        return self.answer.text("field") if self.answer else ""

    def document(self) -> Json:
        """Return what `--json` prints: the API's own error where there is one."""
        told: Json = dict(self.answer.raw) if self.answer else {"code": self.word, "message": self.message}
        return {"error": told}


def unreachable(url: str, why: str) -> Failure:
    """Say that nobody answers at the address."""
    return Failure(
        ExitCode.UNREACHABLE,
        "unreachable",
        f"cannot reach the API at {url} ({why}). Is `tenantry up` running there? TENANTRY_URL names another address.",
    )


def refused(status: int, answer: Document) -> Failure:
    """Turn an error answer of the API into a failure."""
    error = answer.one("error") or Document({"code": f"http_{status}", "message": f"the API answered {status}"})
    code = ExitCode.NOT_AUTHORISED if status in {401, 403} else ExitCode.REFUSED
    return Failure(code, error.text("code"), error.text("message"), error)


def cannot_start(message: str) -> Failure:
    """Say what keeps a program from starting: a port, a folder, a database, an account."""
    return Failure(ExitCode.USAGE, "cannot_start", message)


def wrong_use(message: str) -> Failure:
    """Say that the command line does not make sense."""
    return Failure(ExitCode.USAGE, "usage", message)
