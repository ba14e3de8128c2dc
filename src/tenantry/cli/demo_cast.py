"""Owns who plays in the demo: a company, its eight tenants, their mail, and how their recipients behave.

Leaves the acts to `demo_story`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

COMPANY = "Fjordholm Group"
SES_RATE = 200.0
STAGE_SECONDS = 2.5
STAGES = (0.10, 0.25, 0.50, 1.0)

GOOD_INBOXES = ("inbox.example", "post.example", "mailbox.example")
BOUGHT_LIST = "bought-list.example"
RECIPIENT_RULES = (
    *(f"{domain}:delay=0.2" for domain in GOOD_INBOXES),
    f"{BOUGHT_LIST}:bounce=0.4,delay=0.2",
)


@dataclass(frozen=True, slots=True)
class Player:
    """A tenant: its pool and labels, and how its own application sends. A door is `wire` (boto3) or `rest` (HTTP)."""

    name: str
    pool: str
    unit: str
    door: str
    product: str
    marketing_per_second: float = 0.0

    @property
    def domain(self) -> str:
        """The domain that it sends from."""
        return f"{self.name}.example"


POOLS = (("brands", "standard"), ("premium", "managed"))
ROTTEN = "gala-deals"
PLAYERS = (
    Player("alder-books", "shared", "customers", "wire", "order", marketing_per_second=8),
    Player("brightwater", "brands", "utilities", "rest", "bill"),
    Player("cinder-coffee", "shared", "customers", "wire", "receipt", marketing_per_second=8),
    Player("dunes-travel", "premium", "travel", "rest", "booking", marketing_per_second=8),
    Player("elm-pharmacy", "brands", "health", "wire", "prescription"),
    Player("fable-games", "shared", "customers", "rest", "sign-in code", marketing_per_second=8),
    Player(ROTTEN, "shared", "customers", "wire", "voucher"),
    Player("harbour-bank", "premium", "finance", "rest", "statement", marketing_per_second=8),
)
TRANSACTIONAL_PER_SECOND = 2.5
ROTTEN_PER_SECOND = 20.0
CLEANED_PER_SECOND = 12.0


@dataclass(frozen=True, slots=True)
class Mailing:
    """What one sending application does: mail of one stream, to made-up people at these domains, at a steady rate.

    count 0: until it is stopped. stops_when_held: it believes the `hold` that the API answers, and stops.
    """

    name: str
    door: str
    url: str
    key_id: str
    secret: str
    sender: str
    stream: str
    subject: str
    domains: tuple[str, ...]
    per_second: float
    count: int = 0
    stops_when_held: bool = False
    addresses: tuple[str, ...] = ()  # these, in turn, instead of made-up people


def written(mailing: Mailing) -> str:
    """Write a mailing as the line that starts it."""
    return json.dumps(asdict(mailing))


def stopped(name: str) -> str:
    """Write the line that ends a mailing."""
    return json.dumps({"stop": name})


def read(line: str) -> Mailing | str:
    """Read a line: a mailing to start, or the name of one to stop."""
    given = json.loads(line)
    if "stop" in given:
        return str(given["stop"])
    given["domains"], given["addresses"] = tuple(given["domains"]), tuple(given["addresses"])
    return Mailing(**given)
