"""Owns the terminal that the tests of one file share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.cli.terminal import Terminal
from tests.edge.doorstep import doorstep


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def terminal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Terminal]:
    """A terminal with the operator's key; what one test makes, the next ones see."""
    async with doorstep(tmp_path_factory.mktemp("cli")) as doors:
        yield Terminal(doors)
