"""Policies as text: what is shipped reads back as itself, and whatever is wrong is said with its line and the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.policy import POLICIES, Policy
from tenantry.core.policy_text import Complaint, read_policy, write_policy

LINES = "policy: mine\nlines:\n  - counts: bounce\n    line: 5%\n"
RATIO = "policy: mine\nlines:\n  - counts: bounce\n    rule: ratio\n    line: 1%\n    watch: 1%\n"


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_what_is_shipped_reads_back_as_itself(name: str) -> None:
    """Each shipped policy can be written out, changed and stored again, and passes its own linter."""
    policy = POLICIES[name]
    assert read_policy(write_policy(policy), policy.version) == policy


def test_what_is_left_out_is_as_in_standard() -> None:
    """A short text says only what differs."""
    short = read_policy(
        "policy: standard\nlines:\n  - {counts: bounce, line: 5%}\n  - {counts: complaint, line: 0.1%}\n"
    )
    assert short == POLICIES["standard"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "empty"),
        ("policy: [", 1, "not YAML"),
        ("- a\n- b", 1, "keys and values"),
        ("policy: mine", 1, "lines is missing"),
        ("policy: Mine!\nlines:\n  - {counts: bounce, line: 5%}", 1, "small letters"),
        (LINES + "    lyne: 3%\n", 5, "'lyne' is not known"),
        (LINES + "    line: 3%\n", 5, "twice"),
        (LINES + "  - counts: bounce\n    line: 4%\n", 5, "counted twice, here and in line 3"),
        (LINES.replace("5%", "5"), 4, "percent sign"),
        (LINES.replace("5%", "500%"), 4, "up to 100%"),
        (LINES + "    prior: [2]\n", 5, "two numbers"),
        (LINES + "    prior: [2, 2000]\n", 5, "would find nobody"),
        (LINES + "    throttle: 5000\n", 5, "throttles later than it pauses"),
        (LINES + "    watch: 500\n", 5, "watches later"),
        (LINES + "    pause: 10%\n", 5, "number of odds"),
        (LINES + "    pause: .inf\n", 5, "not a number"),
        (LINES + "ramp: [50%, 10%]\n", 5, "must allow more"),
        (LINES + "throttled_to: 100%\n", 5, "not throttled"),
        (LINES + "stage_hours: 0\n", 5, "not between"),
        (LINES + "acts: yes please\n", 5, "true or false"),
        (LINES.replace("5%", "1%") + "    watch: 1\n    throttle: 1.5\n    pause: 2\n", 4, "pause everybody"),
        (RATIO + "    throttle: 1.5%\n    pause: never\n", 5, "throttle everybody"),
        (RATIO, 3, "needs watch, throttle and pause"),
        (RATIO + "    throttle: 0.5%\n    pause: 50%\n    least_recipients: 100\n", 6, "watches later"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, words: str) -> None:
    """A policy that contradicts itself, overlaps or would stop healthy senders is refused, and the person knows where."""
    complaints = read_policy(text)
    assert not isinstance(complaints, Policy)
    assert any(one.line == line and words in one.what for one in complaints), [str(one) for one in complaints]


@given(st.text(max_size=200) | st.text(alphabet="policy: lnes\n-{}[]&*!%#'\"0123", max_size=120).map(LINES.__add__))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever is pasted in is answered with a policy or with complaints about lines that it has."""
    found = read_policy(text)
    if not isinstance(found, Policy):
        assert found
        assert all(isinstance(one, Complaint) and 1 <= one.line <= text.count("\n") + 2 for one in found)


@pytest.mark.parametrize(
    "text", ["a: &a [*a]", "policy: !!python/object/apply:os.system ['true']", "[" * 5_000, "a: 1\n" * 5_000]
)
def test_yaml_that_attacks_is_only_wrong(text: str) -> None:
    """Aliases to itself, tags that would run something, and depth end in complaints."""
    assert not isinstance(read_policy(text), Policy)
