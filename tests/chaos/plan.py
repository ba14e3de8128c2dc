"""Owns what a chaos run sends: tenants, and each mail with its token, drawn from the seed; leaves sending to clients.py.

A mail's token is the local part of its only recipient, so that the local SES's ledger tells which mail it saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from random import Random

SETTINGS = {
    # a kill takes what is in these with it: small enough to come back within a test
    "unknown_silence_seconds": "6",
    "feed_hidden_seconds": "3",
    "feed_wait_seconds": "2",
    "identity_poll_seconds": "0.2",
    "ramp_stage_seconds": "0.2",
    "ramp_poll_seconds": "0.1",
    "log_format": "json",
}
RULES = (
    "good.example:bounce=0.005",
    "mixed.example:bounce=0.02,soft_bounce=0.05,complaint=0.0005,defer=0.05",
    "rotten.example:bounce=0.3",
)
STREAMS = ("transactional", "marketing")
WAYS = {"rest": 0.47, "wire": 0.47, "sdk": 0.06}


@dataclass(frozen=True, slots=True)
class Part:
    """A tenant's part in the play: its share of the mail, and the domain of its recipients."""

    name: str
    share: float
    people: str

    @property
    def domain(self) -> str:
        """The domain that it sends from."""
        return f"{self.name}.example"


PARTS = (
    Part("acme", 0.40, "good.example"),
    Part("brio", 0.30, "good.example"),
    Part("cove", 0.25, "mixed.example"),
    Part("dusk", 0.05, "rotten.example"),  # the guard stops it
)


@dataclass(frozen=True, slots=True)
class Mail:
    """One message: by which door it goes, and what its client does besides sending it.

    hangs_up: leaves once without reading the answer. asks_again: calls once more when it has the answer.
    """

    token: str
    part: Part
    stream: str
    way: str
    hangs_up: bool = False
    asks_again: bool = False

    @property
    def to(self) -> str:
        """Its recipient."""
        return f"{self.token}@{self.part.people}"


def mails(seed: int, count: int) -> Iterator[Mail]:
    """Draw the mails of a run; the same for the same seed."""
    random = Random(seed)
    shares = [part.share for part in PARTS]
    for number in range(count):
        (part,) = random.choices(PARTS, shares)
        (way,) = random.choices(list(WAYS), list(WAYS.values()))
        stream = STREAMS[random.random() < 0.3]
        plain = way == "sdk"
        yield Mail(
            f"m{number}", part, stream, way, not plain and random.random() < 0.02, not plain and random.random() < 0.01
        )


def last_mails() -> Iterator[Mail]:
    """One mail for each stream, sent when all trouble is over: its event proves that the feed of that stream is well."""
    for part, stream in product(PARTS, STREAMS):
        yield Mail(f"last-{part.name}-{stream}", part, stream, "rest")
