"""Promises of the e-value and its blocks, held against scipy and against plain integration."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from tenantry.core.reputation import (
    BLOCK_BUCKETS,
    BOUNCE_PRIOR,
    COMPLAINT_PRIOR,
    Beta,
    Block,
    beta_cdf,
    blocks,
    log_evalue,
    log_evalue_max,
    rate_bounds,
)

BOUNCE, COMPLAINT = (0.05, BOUNCE_PRIOR), (0.001, COMPLAINT_PRIOR)
tests = st.sampled_from([BOUNCE, COMPLAINT, (0.02, Beta(0.5, 9.0)), (0.3, Beta(3.0, 2.0))])


@st.composite
def counts(draw: st.DrawFn, most: int = 200_000) -> tuple[int, int]:
    n = draw(st.integers(0, most) | st.integers(0, 200))
    return n, draw(st.integers(0, n) | st.integers(0, min(n, 30)))


def integrated(n: int, x: int, line: float, prior: Beta) -> float:
    """Log E by summing the integrand on a grid that is dense near the line and near 1; nothing clever."""
    u = np.concatenate([np.linspace(log(1e-16), -1e-3, 400_000), -np.geomspace(0.999e-3, 1e-12, 50_000)])
    p = line + (1 - line) * np.exp(u)
    weight = np.log(np.gradient(u)) + u + (prior.a - 1) * np.log(p) + (prior.b - 1) * np.log1p(-p)
    ratio = x * np.log(p / line) + (n - x) * (np.log1p(-p) - np.log1p(-line))
    return float(special.logsumexp(weight + ratio) - special.logsumexp(weight))


@given(counts(), tests)
def test_the_evalue_equals_scipys(count: tuple[int, int], test: tuple[float, Beta]) -> None:
    """Log E agrees with scipy's incomplete beta function wherever that does not underflow."""
    (n, x), (line, prior) = count, test
    a, b = prior.a + x, prior.b + n - x
    with np.errstate(all="ignore"):
        mass = special.betaln(a, b) + np.log(special.betaincc(a, b, line))
        norm = special.betaln(prior.a, prior.b) + np.log(special.betaincc(prior.a, prior.b, line))
    expected = mass - norm - x * log(line) - (n - x) * np.log1p(-line)
    if np.isfinite(expected):
        assert log_evalue(n, x, line, prior) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("test", [BOUNCE, COMPLAINT])
@pytest.mark.parametrize(("n", "x"), [(10**7, 0), (10**7, 400), (10**6, 10**6), (102_400, 20_000), (10**7, 700_000)])
def test_the_evalue_survives_both_tails(n: int, x: int, test: tuple[float, Beta]) -> None:
    """Ten million recipients, none or all of them bad: no underflow, and plain integration agrees."""
    line, prior = test
    assert log_evalue(n, x, line, prior) == pytest.approx(integrated(n, x, line, prior), rel=1e-6, abs=1e-3)


def test_no_mail_is_no_evidence() -> None:
    """E starts at 1."""
    assert log_evalue(0, 0, *BOUNCE) == 0


@given(counts(10**7), tests)
def test_a_rate_at_or_below_the_line_is_never_evidence(count: tuple[int, int], test: tuple[float, Beta]) -> None:
    """Nobody is held to account for mail within the line: E is at most 1."""
    (n, _), (line, prior) = count, test
    assert log_evalue(n, int(n * line), line, prior) <= 0


@given(counts(), tests)
def test_each_bad_outcome_adds_evidence_and_each_good_one_takes_some(
    count: tuple[int, int], test: tuple[float, Beta]
) -> None:
    """For the same recipients E grows in the bad ones; a further good recipient never raises it."""
    (n, x), (line, prior) = count, test
    here = log_evalue(n, x, line, prior)
    assert log_evalue(n + 1, x, line, prior) <= here + 1e-7
    if x < n:
        assert log_evalue(n, x + 1, line, prior) >= here - 1e-7


@given(counts(), tests)
def test_the_cheap_bound_is_a_bound(count: tuple[int, int], test: tuple[float, Beta]) -> None:
    """No prior gives more evidence than the best single rate above the line."""
    (n, x), (line, prior) = count, test
    assert log_evalue(n, x, line, prior) <= log_evalue_max(n, x, line) + 1e-7


@pytest.mark.parametrize(("line", "prior"), [BOUNCE, COMPLAINT])
@pytest.mark.parametrize("n", [50, 400])
def test_evidence_is_fair_at_the_line(n: int, line: float, prior: Beta) -> None:
    """For mail exactly at the line E is 1 on average, which is what makes 1/E a bound on the odds."""
    log_chances = stats.binom.logpmf(np.arange(n + 1), n, line)
    mean = sum(exp(log_chance + log_evalue(n, x, line, prior)) for x, log_chance in enumerate(log_chances))
    assert mean == pytest.approx(1)


@given(st.floats(0.0, 1.0), st.floats(0.1, 1e5), st.floats(0.1, 1e5))
def test_the_incomplete_beta_function_equals_scipys(p: float, a: float, b: float) -> None:
    """Our continued fraction is the regularised incomplete beta function."""
    assert beta_cdf(p, a, b) == pytest.approx(special.betainc(a, b, p), rel=1e-8, abs=1e-12)


@given(counts(10**6), st.sampled_from([0.9, 0.99, 0.999]))
def test_rate_bounds_are_clopper_and_pearsons(count: tuple[int, int], level: float) -> None:
    """The bounds beside a rate are the exact ones."""
    (n, x), tail = count, (1 - level) / 2
    lower, upper = rate_bounds(n, x, level)
    assert lower == pytest.approx(stats.beta.ppf(tail, x, n - x + 1) if x else 0.0, rel=1e-6)
    assert upper == pytest.approx(stats.beta.ppf(1 - tail, x + 1, n - x) if x < n else 1.0, rel=1e-6)
    assert lower <= (x / n if n else 0.0) <= upper


@pytest.mark.parametrize(("n", "x"), [(5, 6), (5, -1)])
def test_impossible_counts_are_refused(n: int, x: int) -> None:
    """More bad recipients than recipients is a defect of the caller, not evidence."""
    with pytest.raises(ValueError, match="bad of"):
        log_evalue(n, x, *BOUNCE)
    with pytest.raises(ValueError, match="bad of"):
        rate_bounds(n, x)


@given(st.integers(0, 10**6))
def test_a_bucket_lies_in_twelve_aligned_doubling_blocks(bucket: int) -> None:
    """From 50 to 102,400 recipients, each twice the one before, each holding the bucket and the smaller block."""
    spans = blocks(bucket)
    assert [span.buckets for span in spans] == list(BLOCK_BUCKETS) == [2**k for k in range(12)]
    for span in spans:
        assert span.start % span.buckets == 0
        assert span.start <= bucket < span.start + span.buckets
    sizes = [Block(span.start, span.buckets, 0, 0, 0).size for span in spans]
    assert (sizes[0], sizes[-1]) == (50, 102_400)
