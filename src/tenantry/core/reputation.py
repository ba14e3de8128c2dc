"""Owns the statistics of reputation: the e-value, the blocks that it is taken on, and the bounds shown beside a rate.

Leaves to others what a value means: lines, bars and actions are `policy`'s; counting recipients is the store's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf, lgamma, log, log1p
from typing import NamedTuple

BUCKET_RECIPIENTS = 50
BLOCK_BUCKETS = tuple(2**k for k in range(12))
"""Buckets in the blocks, in recipients: 50 recipients, 100, 200, ... 102,400."""

_TINY = 1e-300  # keeps Lentz's recurrence off a division by zero
_CLOSE = 1e-15
_MAX_STEPS = 100_000  # about sqrt(n) steps are needed; never reached for any n that an account can send


@dataclass(frozen=True, slots=True)
class Beta:
    """A Beta(a, b) belief about a rate; for the e-value it is cut off below the line and renormalised."""

    a: float
    b: float


BOUNCE_PRIOR = Beta(2, 18)
COMPLAINT_PRIOR = Beta(1, 499)
"""Provisional, chosen by simulation: docs/adr/0010-complaint-prior.md."""


class Span(NamedTuple):
    """A run of buckets: from `start`, a multiple of `buckets`, which is a power of two."""

    start: int
    buckets: int


@dataclass(frozen=True, slots=True)
class Block:
    """What a span's mail amounts to so far: n recipients handed, x of them bad, in this many distinct domains."""

    start: int
    buckets: int
    n: int
    x: int
    domains: int

    @property
    def first_recipient(self) -> int:
        """The block's first recipient, counted from 0 in sending order."""
        return self.start * BUCKET_RECIPIENTS

    @property
    def size(self) -> int:
        """Recipients of the block when it is full."""
        return self.buckets * BUCKET_RECIPIENTS


def blocks(bucket: int) -> tuple[Span, ...]:
    """Return the aligned doubling blocks that contain this bucket (counted from 0 in sending order), smallest first.

    Starting afresh at every power of two keeps a long good history from being banked as credit for a bad day.
    """
    return tuple(Span(bucket - bucket % size, size) for size in BLOCK_BUCKETS)


def log_evalue(n: int, x: int, line: float, prior: Beta) -> float:
    """Return log E: the evidence of x bad in n that the true rate is above the line (natural logarithm).

    E = integral[line..1] p^x (1-p)^(n-x) w(p) dp / (line^x (1-line)^(n-x)), w the prior cut off below the line. At or
    below the line E has expectation at most 1 (Ville: P(E ever reaches B) <= 1/B), and x/n <= line gives E <= 1 always.
    """
    if not 0 <= x <= n:
        raise ValueError(f"{x} bad of {n}")
    value = (
        _log_upper_mass(prior.a + x, prior.b + n - x, line)
        - _log_prior_mass(prior.a, prior.b, line)
        - x * log(line)
        - (n - x) * log1p(-line)
    )
    return min(value, 0.0) if x <= n * line else value  # rounding must not lift an innocent count above 1


def log_evalue_max(n: int, x: int, line: float) -> float:
    """Return a cheap upper bound of `log_evalue` for every prior: the best likelihood ratio above the line."""
    if x <= n * line:
        return 0.0
    good = (n - x) * (log((n - x) / n) - log1p(-line)) if x < n else 0.0
    return x * log(x / (n * line)) + good


def rate_bounds(n: int, x: int, level: float = 0.99) -> tuple[float, float]:
    """Return the exact (Clopper-Pearson 1934) two-sided confidence bounds of the rate behind x bad in n."""
    if not 0 <= x <= n:
        raise ValueError(f"{x} bad of {n}")
    tail = (1 - level) / 2
    lower = _solve(x, n - x + 1, tail) if x > 0 else 0.0
    upper = _solve(x + 1, n - x, 1 - tail) if x < n else 1.0
    return lower, upper


def beta_cdf(p: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_p(a, b)."""
    if not 0 < p < 1:
        return 0.0 if p <= 0 else 1.0
    front = exp(a * log(p) + b * log1p(-p) - _log_beta(a, b))
    if p < (a + 1) / (a + b + 2):
        return front * _fraction(p, a, b) / a
    return 1 - front * _fraction(1 - p, b, a) / b


def _log_upper_mass(a: float, b: float, p: float) -> float:
    """Return log of the unnormalised integral[p..1] t^(a-1) (1-t)^(b-1) dt, without underflow in either tail."""
    log_front = a * log(p) + b * log1p(-p)
    if p >= (a + 1) / (a + b + 2):
        return log_front + log(_fraction(1 - p, b, a)) - log(b)
    log_beta = _log_beta(a, b)
    return log_beta + log1p(-exp(log_front - log_beta) * _fraction(p, a, b) / a)


@lru_cache(maxsize=256)
def _log_prior_mass(a: float, b: float, line: float) -> float:
    return _log_upper_mass(a, b, line)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _fraction(p: float, a: float, b: float) -> float:
    """Return the continued fraction of I_p(a, b) (DLMF 8.17.22), by Lentz's method; quick for p < (a+1)/(a+b+2)."""
    total, c = a + b, 1.0
    d = 1 / ((1 - total * p / (a + 1)) or _TINY)
    h, m = d, 1
    while m < _MAX_STEPS:
        at = a + 2 * m
        even = m * (b - m) * p / ((at - 1) * at)
        d = 1 / ((1 + even * d) or _TINY)
        c = (1 + even / c) or _TINY
        h *= d * c
        odd = -(a + m) * (total + m) * p / (at * (at + 1))
        d = 1 / ((1 + odd * d) or _TINY)
        c = (1 + odd / c) or _TINY
        step = d * c
        h *= step
        if -_CLOSE < step - 1 < _CLOSE:
            return h
        m += 1
    return h


def _solve(a: float, b: float, mass: float) -> float:
    """Return the p with I_p(a, b) = mass: Newton's step where it stays inside the bracket, else bisection."""
    low, high, p = 0.0, 1.0, a / (a + b)
    log_beta = _log_beta(a, b)
    for _ in range(200):
        excess = beta_cdf(p, a, b) - mass
        low, high = (low, p) if excess > 0 else (p, high)
        log_density = (a - 1) * log(p) + (b - 1) * log1p(-p) - log_beta if 0 < p < 1 else -inf
        guess = p - excess / exp(log_density) if log_density > -700 else (low + high) / 2
        if not low < guess < high:
            guess = (low + high) / 2
        if abs(guess - p) <= 1e-14 * p:
            return guess
        p = guess
    return p
