"""The pytest plugin: what a stranger's tests get by asking for `local_ses`. Its examples are those of the docs."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "local-ses.md"
EXAMPLES = re.findall(r"```python\n(# test_.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)

pytest_plugins = ["pytester"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split("\n", 1)[0].strip("# "))
def test_the_examples_of_the_docs_pass(pytester: pytest.Pytester, example: str) -> None:
    """Each example, alone in a file in an empty folder, passes as it is written."""
    pytester.makepyfile(example)
    pytester.runpytest_subprocess("-q", "-p", "no:asyncio").assert_outcomes(passed=example.count("\ndef test_"))


def test_there_are_six_examples() -> None:
    """The docs show sending, a bounce, a fault, time, another process, and a tenant that SES pauses."""
    assert len(EXAMPLES) == 6


def test_an_order_that_makes_no_sense_is_an_error_of_the_test(pytester: pytest.Pytester) -> None:
    """A misspelt fault does not pass silently."""
    pytester.makepyfile("def test_it(local_ses):\n    local_ses.fault(call='*', kind='explode')\n")
    result = pytester.runpytest_subprocess("-q", "-p", "no:asyncio")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ValueError: the kind 'explode' is none of*"])
