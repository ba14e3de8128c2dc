"""Owns named things kept in the order of their names, so that one page of a list costs the same among a million.

Leaves what the things are to `emulator.records`. Page tokens hold the last name that was shown.
"""

import base64
import binascii
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from tenantry.emulator.errors import bad_request

T = TypeVar("T")
BLOCK_MAX = 1_024
PAGE_SIZE = 100
PAGE_SIZE_MAX = 1_000
# A filter that fits nothing ends the page after this many names, with a token to go on: no call is long.
SCANNED_MAX = 20_000


class Registry(dict[str, T]):
    """A dictionary that also knows its keys in order; adding, removing and paging cost the logarithm of its size."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[list[str]] = [[]]
        self._firsts: list[str] = [""]  # the first name of each block; the first block takes all that is lower

    def __setitem__(self, name: str, value: T) -> None:
        if name not in self:
            at = bisect_right(self._firsts, name) - 1
            block = self.blocks[at]
            insort(block, name)
            if len(block) > BLOCK_MAX:
                half = block[BLOCK_MAX // 2 :]
                del block[BLOCK_MAX // 2 :]
                self.blocks.insert(at + 1, half)
                self._firsts.insert(at + 1, half[0])
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        at = bisect_right(self._firsts, name) - 1
        block = self.blocks[at]
        del block[bisect_left(block, name)]
        if not block and at:
            del self.blocks[at], self._firsts[at]

    def after(self, name: str | None) -> Iterator[str]:
        """Iterate over the names that follow a name (None: all of them), in their order."""
        at = 0 if name is None else bisect_right(self._firsts, name) - 1
        start = 0 if name is None else bisect_right(self.blocks[at], name)
        for block in islice(self.blocks, at, None):  # a copy of the list would cost more than the page
            yield from islice(block, start, None)
            start = 0

    def page(
        self, params: Mapping[str, Any], keep: Callable[[T], bool] | None = None, largest: int = PAGE_SIZE_MAX
    ) -> tuple[list[T], str | None]:
        """Return one page of the things that are kept and the token of the next page, None at the end.

        A filter may end a page early: a page that is short, or empty, and has a token is not the last.
        """
        names, token = self.page_of_names(params, (lambda name: keep(self[name])) if keep else None, largest)
        return [self[name] for name in names], token

    def page_of_names(
        self, params: Mapping[str, Any], keep: Callable[[str], bool] | None = None, largest: int = PAGE_SIZE_MAX
    ) -> tuple[list[str], str | None]:
        """Return one page of the names that are kept, as `page` does."""
        size = page_size(params, largest)
        shown: list[str] = []
        last = None
        for count, name in enumerate(self.after(read_token(params.get("NextToken")))):
            if last is not None and (len(shown) >= size or count >= SCANNED_MAX):
                return shown, make_token(last)
            if keep is None or keep(name):
                shown.append(name)
            last = name
        return shown, None


def page_size(params: Mapping[str, Any], largest: int = PAGE_SIZE_MAX) -> int:
    """Return how many a list call wants, or raise SES's error for a number that makes no sense."""
    size: int = params.get("PageSize", 0)
    if not 0 <= size <= largest:
        raise bad_request(f"PageSize must lie between 1 and {largest}.")
    return size or min(PAGE_SIZE, largest)


def make_token(name: str) -> str:
    """Return the token that leads to what follows a name."""
    return base64.b64encode(name.encode()).decode()


def read_token(token: str | None) -> str | None:
    """Return the name of a token, or raise SES's error for one that was never given out."""
    if not token:
        return None
    try:
        return base64.b64decode(token.encode(), validate=True).decode()
    except (binascii.Error, ValueError):
        raise bad_request("The NextToken is not valid.") from None
