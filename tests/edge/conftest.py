"""Owns the doors that the tests of one file share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.edge.doorstep import Doorstep, doorstep


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Doorstep]:
    """A served app with two tenants; what one test makes, the next ones see."""
    async with doorstep(tmp_path_factory.mktemp("doors")) as step:
        yield step
