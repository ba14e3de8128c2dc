"""Owns the ids of things: a uuid7 shown with a prefix that names its kind; leaves their making to the store's step."""

from __future__ import annotations

from typing import ClassVar, Self
from uuid import UUID


class Id(str):
    """A uuid with a prefix that shows its kind to people and to the type checker."""

    __slots__ = ()
    prefix: ClassVar[str]

    def __new__(cls, text: str) -> Self:
        """Check the text and raise ValueError when it is not an id of this kind."""
        prefix, _, digits = text.partition("_")
        if prefix != cls.prefix or len(digits) != 32 or digits.strip("0123456789abcdef"):
            raise ValueError(f"{text[:80]!r} is not a {cls.__name__}: it looks like {cls.prefix}_ and 32 hex digits")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, uuid: UUID) -> Self:
        """Show a uuid that comes from the store; trusted, so not checked again."""
        return super().__new__(cls, f"{cls.prefix}_{uuid.hex}")

    @property
    def uuid(self) -> UUID:
        """The uuid that the store keeps."""
        return UUID(self[len(self.prefix) + 1 :])


class TenantId(Id):
    """A tenant."""

    __slots__ = ()
    prefix = "ten"


class StreamId(Id):
    """A tenant's stream."""

    __slots__ = ()
    prefix = "str"


class IdentityId(Id):
    """A domain or address that a tenant may send from."""

    __slots__ = ()
    prefix = "idn"


class KeyId(Id):
    """A key; also the access key id on the SES wire and the user name on SMTP."""

    __slots__ = ()
    prefix = "key"


class PoolId(Id):
    """A group of IPs."""

    __slots__ = ()
    prefix = "pool"


class CellId(Id):
    """One SES account in one Region."""

    __slots__ = ()
    prefix = "cell"


class MessageId(Id):
    """An accepted message."""

    __slots__ = ()
    prefix = "msg"


class AttemptId(Id):
    """One call to SES for a message."""

    __slots__ = ()
    prefix = "att"


class VerdictId(Id):
    """The guard's judgement."""

    __slots__ = ()
    prefix = "ver"


class PauseId(Id):
    """An open or ended pause."""

    __slots__ = ()
    prefix = "pau"
