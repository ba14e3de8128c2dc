"""What is known of receiving providers: who tells of complaints, and who is no real recipient."""

from __future__ import annotations

import pytest

from tenantry.core.provider import is_simulator, reports_complaints


@pytest.mark.parametrize("address", ["bounce@simulator.amazonses.com", "complaint+label@simulator.amazonses.com"])
def test_the_simulator_is_known(address: str) -> None:
    """Mail to SES's mailbox simulator counts nowhere, with or without a label."""
    assert is_simulator(address)


@pytest.mark.parametrize(
    "address",
    [
        "a@amazonses.com",
        "simulator.amazonses.com@there.example",
        "a@simulator.amazonses.com.there.example",
        "a@my-simulator.amazonses.com",
        "a@sub.simulator.amazonses.com",
    ],
)
def test_nobody_else_passes_for_the_simulator(address: str) -> None:
    """A hostile sender cannot hide real recipients from the counts behind a similar name."""
    assert not is_simulator(address)


def test_gmail_tells_nobody_of_complaints() -> None:
    """Its recipients are left out of what complaints are divided by; a look-alike is not."""
    assert not reports_complaints("ann@gmail.com")
    assert not reports_complaints("ann@googlemail.com")
    assert reports_complaints("ann@gmail.com.there.example")
    assert reports_complaints("gmail.com@there.example")
