"""Owns the pytest plugin of the local SES: the fixture `local_ses`, for tests of anything that sends mail through SES.

Leaves the local SES itself to `tenantry.emulator`, which is imported only once a test asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import OK, HTTPConnection
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from tenantry.emulator import Local
    from tenantry.emulator.ledger import CallRecord
    from tenantry.emulator.mailbox.letter import Attachment

REGION = "us-east-1"
KEYS = ("local", "local")
TIMEOUT_SECONDS = 30.0


class SentMail(NamedTuple):
    """One message that the local SES took: its parts decoded, and what becomes of each recipient (`outcomes`)."""

    message_id: str
    sender: str
    to: list[str]
    cc: list[str]
    bcc: list[str]
    subject: str
    text: str | None
    html: str | None
    headers: dict[str, str]
    attachments: tuple[Attachment, ...]
    configuration_set: str | None
    tenant: str | None
    tags: dict[str, str]
    outcomes: dict[str, str]


class LocalSes:
    """A local SES that lives as long as a test."""

    def __init__(self, local: Local) -> None:
        self._local = local

    @property
    def url(self) -> str:
        """The endpoint of SES, and of SQS, SNS and the other services beside it."""
        return self._local.url

    @property
    def aws(self) -> dict[str, str]:
        """The arguments of a client: `boto3.client("sesv2", **local_ses.aws)`."""
        key_id, secret = KEYS
        return {
            "endpoint_url": self.url,
            "region_name": REGION,
            "aws_access_key_id": key_id,
            "aws_secret_access_key": secret,
        }

    @property
    def env(self) -> dict[str, str]:
        """The environment that leads any AWS SDK here."""
        key_id, secret = KEYS
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key_id,
            "AWS_SECRET_ACCESS_KEY": secret,
        }

    @property
    def queue_url(self) -> str:
        """The queue that hears from the topic of events, which both exist from the start."""
        return self._local.queue_url

    @property
    def topic_arn(self) -> str:
        """The topic for a configuration set's event destination."""
        return self._local.account.options.topic_arn

    @property
    def sent(self) -> list[SentMail]:
        """The messages that were taken, the oldest first; their content for the latest 2,000."""
        from tenantry.emulator.mailbox.letter import letter_of

        ledger, found = self._local.account.ledger, []
        for each in list(ledger.messages):
            letter = letter_of(each, ledger.content(each.message_id))
            found.append(
                SentMail(
                    message_id=each.message_id,
                    sender=each.source,
                    to=each.to,
                    cc=each.cc,
                    bcc=each.bcc,
                    subject=each.subject or "",
                    text=letter.text if letter else None,
                    html=letter.html if letter else None,
                    headers=dict(letter.headers) if letter else {},
                    attachments=letter.attachments if letter else (),
                    configuration_set=each.configuration_set,
                    tenant=each.tenant,
                    tags=dict(each.tags),
                    outcomes=dict(each.outcomes),
                )
            )
        return found

    @property
    def calls(self) -> list[CallRecord]:
        """The calls of SES that came, the oldest first: time, operation, status, error, hash of the body, what befell it."""
        return list(self._local.account.ledger.calls)

    def fault(self, **order: object) -> None:
        """Order a fault: `fault(call="SendEmail", kind="cut-after", times=1)`, `fault(event="BOUNCE", kind="lose")`.

        ValueError says what is wrong with an order; docs/local-ses.md lists the kinds.
        """
        self._ask("faults", order)

    def clear_faults(self) -> None:
        """End all faults, and let the feed flow."""
        self._ask("faults", None, "DELETE")

    def stop_feed(self) -> None:
        """Hold events back until `start_feed`."""
        self._ask("feed", {"stopped": True})

    def start_feed(self) -> None:
        """Let events flow again, what was held back first."""
        self._ask("feed", {"stopped": False})

    def advance(self, seconds: float) -> None:
        """Let that much time pass at once: events fall due, windows roll."""
        self._ask("clock", {"advance": seconds})

    def script(self, *rules: str) -> None:
        """Say how recipients behave from now on, in place of all rules before: `script("rotten.example:bounce=0.3")`.

        ValueError says what is wrong with a rule; docs/local-ses.md lists the settings.
        """
        self._ask("options", {"recipients": list(rules)})

    def stop_clock(self) -> None:
        """Let time pass only by `advance` from now on."""
        self._ask("clock", {"stopped": True})

    def _ask(self, path: str, given: Mapping[str, object] | None, method: str = "POST") -> None:
        host = urlsplit(self.url)
        connection = HTTPConnection(host.hostname or "", host.port, timeout=TIMEOUT_SECONDS)
        with closing(connection):
            connection.request(method, f"/_local/{path}", None if given is None else json.dumps(given))
            answer = connection.getresponse()
            told = json.load(answer)
        if answer.status != OK:
            raise ValueError(told["error"])


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "local_ses(**options): how the local SES of this test behaves, as tenantry.emulator.Options has it"
    )


@pytest.fixture
def local_ses(request: pytest.FixtureRequest) -> Iterator[LocalSes]:
    """Give a test a local SES of its own; `@pytest.mark.local_ses(sandbox=True)` sets its options."""
    from tenantry.emulator import Local, Options

    marker = request.node.get_closest_marker("local_ses")
    options = {"control_rate_per_second": None, "region": REGION, **(marker.kwargs if marker else {})}
    with Local(Options(**options)) as local:
        yield LocalSes(local)
