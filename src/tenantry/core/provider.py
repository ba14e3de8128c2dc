"""Owns what is known of receiving providers; leaves counting to the store."""

from __future__ import annotations

SILENT = frozenset({"gmail.com", "googlemail.com"})  # they send SES no complaints

SIMULATOR = "@simulator.amazonses.com"


def is_simulator(address: str) -> bool:
    """Say whether this lower-case address is of SES's mailbox simulator, which counts nowhere."""
    return address.endswith(SIMULATOR)


def reports_complaints(address: str) -> bool:
    """Say whether this lower-case address lies with a provider that tells SES of complaints."""
    return address.rpartition("@")[2] not in SILENT
