"""Owns the world of the neighbours' tests: a local SES whose clock only the test moves."""

from collections.abc import Iterator

import pytest

from tests.emulator.neighbours.around import Around, around


@pytest.fixture
def world() -> Iterator[Around]:
    with around(still=True) as made:
        yield made
