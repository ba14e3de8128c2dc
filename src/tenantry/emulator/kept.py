"""Owns what a local SES keeps in a file over restarts: what each account remembers, and the mail that it took.

Leaves the form of values to `emulator.kept_values`. The file is an SQLite database: a save is one transaction, so a
process that dies leaves the save before it. What is on its way when the process ends (delayed events, messages in
queues, metrics, faults, the ledger of calls, the clock) is not kept.
"""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable
from copy import copy
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenantry.emulator.kept_values import KeptError, from_text, to_text

if TYPE_CHECKING:
    from tenantry.emulator.account import Account
    from tenantry.emulator.accounts import Accounts

FORMAT = 1
SAVE_SECONDS = 1.0
SHARE = 20  # a save takes at most one part in so many of the process's time
APPLICATION = 0x7E5E5  # says of an SQLite file that it is one of these
# What an account remembers and the file keeps, by its name there.
OF_ACCOUNT = (
    "tenants", "sets", "identities", "pools", "ips", "entities", "associations", "suppressed", "globally_suppressed",
    "templates", "verification_templates", "contact_lists", "import_jobs", "export_jobs", "endpoints",
    "recommendations", "profile", "vdm", "sending_enabled", "enforcement", "is_enforced_by_hand", "accused",
    "hearing_at", "day", "default_pool",
)  # fmt: skip
# And what it does not keep: given anew by options, made of the rest, or gone with the process.
NOT_KEPT = frozenset(
    {
        "options", "elsewhere", "faults", "bearer", "files", "recipients", "send_rate", "control_rate", "neighbours",
        "links", "ledger", "deferred", "order", "random", "ip_numbers",
        "_accounts", "_operations", "_due", "_withheld",
    }
)  # fmt: skip
_TABLES = """
create table place (account_id text, region text, state text not null, messages integer not null,
                    primary key (account_id, region)) strict;
create table message (account_id text, region text, number integer, record text not null, content text,
                      primary key (account_id, region, number)) strict;
"""

_FORGET = "delete from message where account_id = ? and region = ? and number <= ?"
_FORGET_CONTENT = """
update message set content = null where account_id = ? and region = ? and number <= ? and content is not null
"""


class StateError(Exception):
    """A file that cannot be used, and why."""


class StateFile:
    """One file, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, made if it is missing; StateError if it is another's, damaged, or in use."""
        self._path = path
        self._saved: dict[tuple[str, str], tuple[str, int]] = {}
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # keys of DKIM may stand in it
            self._db = sqlite3.connect(  # one thread at a time: opened before the server runs in its own
                path, timeout=0.0, isolation_level=None, check_same_thread=False
            )
            with self._asking():
                self._db.execute("pragma locking_mode = exclusive")
                self._db.execute("pragma synchronous = full")
                self._db.execute("begin exclusive")
                self._check()
                self._db.execute("commit")
        except OSError as error:
            raise StateError(f"{path} cannot be opened: {error.strerror}") from error

    def load(self, accounts: "Accounts") -> None:
        """Give accounts what the file has; StateError if it cannot be read, and then nothing may be served."""
        with self._asking():
            places = self._db.execute("select account_id, region, state, messages from place").fetchall()
            for account_id, region, state, messages in places:
                account = accounts.at(account_id, region)
                if account is None:
                    raise StateError(f"{self._path} is damaged: there is no Region {region} of {account_id}")
                try:
                    _give(account, from_text(state))
                    account.neighbours.cloudwatch.wake(accounts.began_at)
                    self._load_mail(account, messages)
                except (KeptError, AttributeError, TypeError) as error:
                    raise StateError(f"{self._path} is damaged, or of another version: {error}") from error
                self._saved[account_id, region] = (state, messages)

    def save(self, accounts: "Accounts") -> None:
        """Write down what has changed since the last save, all of it or nothing."""
        saved = dict(self._saved)
        with self._asking():
            self._db.execute("begin immediate")
            try:
                for account in accounts:
                    place = (account.options.account_id, account.options.region)
                    saved[place] = self._save_place(account, place)
                self._db.execute("commit")
            except BaseException:
                self._db.execute("rollback")
                raise
        self._saved = saved

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    def _check(self) -> None:
        ((application,),) = self._db.execute("pragma application_id")
        ((version,),) = self._db.execute("pragma user_version")
        ((tables,),) = self._db.execute("select count(*) from sqlite_master")
        if not (application or version or tables):
            self._db.execute(f"pragma application_id = {APPLICATION}")
            self._db.execute(f"pragma user_version = {FORMAT}")
            for statement in filter(str.strip, _TABLES.split(";")):
                self._db.execute(statement)
        elif application != APPLICATION:
            raise StateError(f"{self._path} is the file of another program; give a new name")
        elif version != FORMAT:
            raise StateError(f"{self._path} has form {version}, this program reads form {FORMAT}; give a new name")
        else:
            ((found,),) = self._db.execute("pragma quick_check(1)")
            if found != "ok":
                raise StateError(f"{self._path} is damaged: {found}")

    def _save_place(self, account: "Account", place: tuple[str, str]) -> tuple[str, int]:
        state, total = to_text(_taken(account)), account.ledger.messages_total
        before, known = self._saved.get(place, ("", 0))
        if state == before and total == known:
            return before, known
        self._db.execute("insert or replace into place values (?, ?, ?, ?)", (*place, state, total))
        kept = account.ledger.latest(min(total - known, len(account.ledger.messages)))
        rows = [
            (*place, number, to_text(record), None if content is None else to_text(content))
            for number, (record, content) in enumerate(kept, total - len(kept) + 1)
        ]
        self._db.executemany("insert into message values (?, ?, ?, ?, ?)", rows)
        records_max, contents_max = account.ledger.bounds
        self._db.execute(_FORGET, (*place, total - records_max))
        self._db.execute(_FORGET_CONTENT, (*place, total - contents_max))
        return state, total

    def _load_mail(self, account: "Account", total: int) -> None:
        place = (account.options.account_id, account.options.region)
        rows = self._db.execute(
            "select record, content from message where account_id = ? and region = ? order by number", place
        ).fetchall()
        account.ledger.messages_total = total - len(rows)
        for record, content in rows:
            account.ledger.add_message(from_text(record), None if content is None else from_text(content))

    @contextlib.contextmanager
    def _asking(self) -> Any:
        try:
            yield
        except sqlite3.DatabaseError as error:
            what = "is in use by another process" if "locked" in str(error) else f"cannot be used: {error}"
            raise StateError(f"{self._path} {what}") from error


class Keeper:
    """Saves what has changed once a second, and at the end; more seldom where a save takes long."""

    def __init__(self, path: Path, accounts: "Accounts", on_failure: Callable[[StateError], None]) -> None:
        """Open the file and give the accounts what it has; StateError as of StateFile.

        A save that fails later is told to `on_failure` and tried again: a full disk may have room then.
        """
        self._on_failure = on_failure
        self._accounts = accounts
        self._file = StateFile(path)
        self._file.load(accounts)
        self._is_changed = False

    def note(self) -> None:
        """Take note that something may have changed."""
        self._is_changed = True

    async def run(self) -> None:
        """Save until cancelled."""
        pause, clock = SAVE_SECONDS, asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(pause)
            if self._is_changed:
                self._is_changed, began = False, clock()
                self._save()
                pause = max(SAVE_SECONDS, SHARE * (clock() - began))

    def end(self) -> None:
        """Save for the last time and let the file go."""
        self._save()
        self._file.close()

    def _save(self) -> None:
        try:
            self._file.save(self._accounts)
        except StateError as error:
            self._is_changed = True
            self._on_failure(error)


def _taken(account: "Account") -> dict[str, Any]:
    """Return what is kept of an account."""
    near = account.neighbours
    return {
        **{name: getattr(account, name) for name in OF_ACCOUNT},
        "ip_number": next(copy(account.ip_numbers)),
        "random": account.random.getstate(),
        "neighbours": {
            "random": near.place.random.getstate(),
            "queues": near.place.queues,
            "described": near.sqs.described,
            "topics": near.sns.topics,
            "rules": near.events.rules,
            "alarms": near.cloudwatch.alarms,
        },
    }


def _give(account: "Account", kept: dict[str, Any]) -> None:
    near, given = account.neighbours, kept["neighbours"]
    for name in OF_ACCOUNT:
        setattr(account, name, kept[name])
    for each in account.sets.values():
        each.destinations_changed()  # listeners are the destinations themselves
    account.ip_numbers = count(kept["ip_number"])
    account.random.setstate(kept["random"])
    near.place.random.setstate(given["random"])
    for held, found in (
        (near.place.queues, given["queues"]),
        (near.sqs.described, given["described"]),
        (near.sns.topics, given["topics"]),
        (near.events.rules, given["rules"]),
        (near.cloudwatch.alarms, given["alarms"]),
    ):
        held.clear()
        held.update(found)
