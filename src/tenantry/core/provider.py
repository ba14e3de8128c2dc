"""Owns what is known of receiving providers; leaves counting to the store."""

from __future__ import annotations

SILENT = frozenset({"gmail.com", "googlemail.com"})  # they send SES no complaints

SIMULATOR = "@simulator.amazonses.com"
OTHERS = "others"

_DOMAINS = {
    "gmail": "gmail.com googlemail.com",
    "microsoft": "outlook.com hotmail.com live.com msn.com outlook.de hotmail.de live.de hotmail.fr outlook.fr live.fr"
    " hotmail.co.uk live.co.uk hotmail.it live.it hotmail.es outlook.es live.nl",
    "yahoo": "yahoo.com ymail.com rocketmail.com aol.com yahoo.co.uk yahoo.de yahoo.fr yahoo.it yahoo.es yahoo.ca"
    " yahoo.com.br yahoo.co.in yahoo.in",
    "yahoo_japan": "yahoo.co.jp",
    "apple": "icloud.com me.com mac.com",
    "gmx": "gmx.de gmx.net gmx.at gmx.ch gmx.com web.de mail.com",
    "comcast": "comcast.net xfinity.com",
    "att": "att.net sbcglobal.net bellsouth.net",
    "t_online": "t-online.de magenta.de",
    "orange": "orange.fr wanadoo.fr",
    "mail_ru": "mail.ru inbox.ru list.ru bk.ru",
    "yandex": "yandex.ru yandex.com ya.ru",
    "qq": "qq.com foxmail.com",
    "netease": "163.com 126.com yeah.net",
    "proton": "proton.me protonmail.com pm.me",
}
PROVIDERS = (*_DOMAINS, OTHERS)
"""The names that mail is counted by: few, so that a day of a stream is a handful of rows."""

_PROVIDER_OF = {domain: name for name, domains in _DOMAINS.items() for domain in domains.split()}


def provider_of(address: str) -> str:
    """Return which of PROVIDERS takes mail for this lower-case address; a firm's own domain is of the others."""
    return _PROVIDER_OF.get(address.rpartition("@")[2], OTHERS)


def is_simulator(address: str) -> bool:
    """Say whether this lower-case address is of SES's mailbox simulator, which counts nowhere."""
    return address.endswith(SIMULATOR)


def reports_complaints(address: str) -> bool:
    """Say whether this lower-case address lies with a provider that tells SES of complaints."""
    return address.rpartition("@")[2] not in SILENT
