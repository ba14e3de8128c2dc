"""Owns SES's "no": the error that an operation raises inside the core and that leaves it as an answer.

Leaves the HTTP form to `wire.aws`.
"""


class SesError(Exception):
    """An answer with one of SES's error codes; the state is as it was before the call."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def bad_request(message: str) -> SesError:
    """Return SES's answer to a request that is wrong in itself."""
    return SesError("BadRequestException", message)


def not_found(message: str) -> SesError:
    """Return SES's answer when what is named does not exist."""
    return SesError("NotFoundException", message, 404)


def already_exists(message: str) -> SesError:
    """Return SES's answer to a second creation."""
    return SesError("AlreadyExistsException", message)


def unsupported(what: str) -> SesError:
    """Return the loud answer to what this local SES does not do: tests must not turn green on it."""
    return SesError("UnsupportedOperation", f"Local SES does not do {what}. Real SES may; do not rely on this answer.")
