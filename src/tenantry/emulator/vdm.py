"""Owns the counts behind the Virtual Deliverability Manager's metrics: per day, identity, set, provider and tenant.

Leaves which events happen to others. As in SES, a message to several recipients and the mailbox simulator do not count.
"""

from collections import Counter
from collections.abc import Mapping

DAY_SECONDS = 86_400.0
DAYS_MAX = 61
ALL = "*"
_ISPS = {
    "gmail.com": "Gmail", "googlemail.com": "Gmail", "hotmail.com": "Hotmail", "outlook.com": "Hotmail",
    "live.com": "Hotmail", "msn.com": "Hotmail", "yahoo.com": "Yahoo", "ymail.com": "Yahoo", "aol.com": "AOL",
    "icloud.com": "iCloud", "me.com": "iCloud", "mac.com": "iCloud", "comcast.net": "Comcast", "gmx.net": "GMX",
    "gmx.de": "GMX", "web.de": "WEB.DE", "orange.fr": "Orange", "yandex.ru": "Yandex", "mail.ru": "Mail.Ru",
}  # fmt: skip
NO_FEEDBACK = frozenset({"Gmail"})  # providers that tell senders of no complaint
NO_FEEDBACK_DOMAINS = frozenset(domain for domain, isp in _ISPS.items() if isp in NO_FEEDBACK)
_DIMENSIONS = ("EMAIL_IDENTITY", "CONFIGURATION_SET", "ISP", "TENANT_NAME")
Place = tuple[str, str, str, str]  # the values of these dimensions


def isp_of(address: str) -> str:
    """Return the provider of an address, as VDM names it: the domain itself where it is none of the large ones."""
    domain = address.rpartition("@")[2].rstrip("> ").lower()
    return _ISPS.get(domain, domain)


class Vdm:
    """The counts of the last 60 days."""

    def __init__(self) -> None:
        self._days: dict[int, Counter[tuple[str, Place]]] = {}

    def count(self, metric: str, place: Place, at: float) -> None:
        """Count one event."""
        day = int(at // DAY_SECONDS)
        counts = self._days.get(day)
        if counts is None:
            counts = self._days[day] = Counter()
            for old in [each for each in self._days if each <= day - DAYS_MAX]:
                del self._days[old]
        counts[metric, place] += 1

    def series(self, metric: str, dimensions: Mapping[str, str], start: float, end: float) -> list[tuple[float, int]]:
        """Return (start of the day, count) for each day of the range that has counts, in order."""
        wanted = [dimensions.get(name, ALL) for name in _DIMENSIONS]
        found = []
        for day in sorted(self._days):
            if start - DAY_SECONDS < day * DAY_SECONDS <= end:
                number = sum(
                    count
                    for (name, place), count in self._days[day].items()
                    if name == metric and all(want in (ALL, have) for want, have in zip(wanted, place, strict=True))
                )
                found.append((day * DAY_SECONDS, number))
        return found
