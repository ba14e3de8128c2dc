"""Owns the loop under these tests: uvloop, as in every process that talks to AWS."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], AbstractEventLoop]]:
    """Run every asynchronous test of this folder on the loop of production."""
    return {"uvloop": uvloop.new_event_loop}
