"""Owns which accounts and Regions there are in one process, and whose an access key is.

Leaves what an account does to `emulator.account`. An account is made when it is first called, as SES is in each Region.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from zlib import crc32

from tenantry.emulator.account import Account
from tenantry.emulator.faults import Faults
from tenantry.emulator.keys import Key as Key
from tenantry.emulator.neighbours.place import News
from tenantry.emulator.options import Options

PLACES_MAX = 1_000
_ACCOUNT_ID = re.compile(r"[0-9]{12}")
_REGION = re.compile(r"[a-z]{2}(-[a-z]{1,12}){1,3}-[0-9]{1,2}")


class Accounts:
    """Every account in every Region, found in one step; `home` is the one of the options, which others resemble."""

    def __init__(self, options: Options, now: float) -> None:
        self._options = options
        self.began_at = now
        self._places: dict[tuple[str, str], Account] = {}
        self._by_caller: dict[tuple[str, str], Account] = {}
        self._ids = {options.account_id}
        self.news = News()
        self.faults = Faults(Random(f"faults of {options.seed}"))
        self.keys = {key.id: key for key in options.keys}
        self._ids |= {key.account_id for key in options.keys}
        self.home = self._make(options.account_id, options.region)

    def __iter__(self) -> Iterator[Account]:
        return iter(self._places.values())

    def called(self, key_id: str, region: str) -> Account | None:
        """Return the account of a signed call, made if it is the first; None for a Region that cannot be one.

        A key belongs to the account that it was made for; a key of twelve digits names its account; any other is home's.
        """
        if found := self._by_caller.get((key_id, region)):
            return found
        found = self.at(self.owner_of(key_id), region or self._options.region)
        if found and len(self._by_caller) < 10 * PLACES_MAX:
            self._by_caller[key_id, region] = found
        return found

    def owner_of(self, key_id: str) -> str:
        """Return the account of an access key."""
        if key := self.keys.get(key_id):
            return key.account_id
        return key_id if _ACCOUNT_ID.fullmatch(key_id) else self._options.account_id

    def at(self, account_id: str, region: str) -> Account | None:
        """Return the account in a Region, made if need be; None if there can be none such, or no more of them."""
        if found := self.find(account_id, region):
            return found
        if not _ACCOUNT_ID.fullmatch(account_id) or not _REGION.fullmatch(region) or len(self._places) >= PLACES_MAX:
            return None
        return self._make(account_id, region)

    def find(self, account_id: str, region: str) -> Account | None:
        """Return the account in a Region if it was ever called, else None."""
        return self._places.get((account_id, region))

    def knows(self, account_id: str) -> bool:
        """Is there such an account, in whatever Region?"""
        return account_id in self._ids

    def add(self, account_id: str) -> None:
        """Let an account exist, as Organizations makes one; it has no Region until it is called there."""
        self._ids.add(account_id)

    def add_key(self, key: Key) -> None:
        """Let an access key be one of an account's; calls signed with it go there from now on."""
        self.keys[key.id] = key
        self._by_caller = {caller: each for caller, each in self._by_caller.items() if caller[0] != key.id}

    def next_due(self) -> float | None:
        """Return when the next event of any account is due, or None."""
        return min((due for each in self._places.values() if (due := each.next_due()) is not None), default=None)

    def publish_due(self, now: float) -> int:
        """Publish the events whose time has come; return how many."""
        return sum(each.publish_due(now) for each in list(self._places.values()))

    def _make(self, account_id: str, region: str) -> Account:
        seed = self._options.seed
        if self._places:  # a chance of its own, or its ids would be the first account's
            seed = crc32(f"{seed}/{account_id}/{region}".encode())
        options = replace(self._options, account_id=account_id, region=region, seed=seed)
        made = self._places[account_id, region] = Account(options, self.began_at, self)
        self._ids.add(account_id)
        return made
