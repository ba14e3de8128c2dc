"""Owns a cohort's counts in memory, in the blocks that the store would read for the same history; leaves judging to core.

One test holds both against each other (tests/conformance/test_lab_agreement.py).
"""

from __future__ import annotations

from tenantry.core.policy import Action, LineKind, Policy, Rule, Verdict, judge
from tenantry.core.reputation import BLOCK_BUCKETS, BUCKET_RECIPIENTS, Block

_SIZES = tuple(BUCKET_RECIPIENTS * buckets for buckets in BLOCK_BUCKETS)


class Cohort:
    """What one stream's mail amounts to since its cohort began; reporting_share: of its mail, evenly, to such providers."""

    def __init__(self, policy: Policy, reporting_share: float = 1.0) -> None:
        """Begin at nothing."""
        self.handed = 0
        self.policy = policy
        self._share = reporting_share
        self._bounces: tuple[dict[int, int], ...] = tuple({} for _ in _SIZES)
        self._complaints: tuple[dict[int, int], ...] = tuple({} for _ in _SIZES)
        self._domains: tuple[dict[int, set[str]], ...] = tuple({} for _ in _SIZES)
        lines = {line.kind: line for line in policy.lines}
        self._bounce, self._complaint = lines.get(LineKind.BOUNCE), lines.get(LineKind.COMPLAINT)

    def reports(self, ordinal: int) -> bool:
        """Say whether the recipient with this place has a provider that reports complaints."""
        return int((ordinal + 1) * self._share) > int(ordinal * self._share)

    def bounced(self, ordinal: int) -> Verdict | None:
        """Count a hard bounce of this recipient; return a verdict of throttle or worse."""
        worth = False
        handed, line = self.handed, self._bounce
        for size, row in zip(_SIZES, self._bounces, strict=True):
            start = ordinal - ordinal % size
            x = row[start] = row.get(start, 0) + 1
            if line is not None and x >= line.min_bad and not worth:
                n = min(size, handed - start)
                worth = x > n * line.line or (line.rule is Rule.RATIO and n >= line.min_recipients)
        return self._judged(ordinal) if worth else None

    def complained(self, ordinal: int, domain: str) -> Verdict | None:
        """Count the complaint of this recipient, who must report; return a verdict of throttle or worse."""
        worth = False
        line = self._complaint
        for place, size in enumerate(_SIZES):
            start = ordinal - ordinal % size
            row = self._complaints[place]
            x = row[start] = row.get(start, 0) + 1
            self._domains[place].setdefault(start, set()).add(domain)
            worth = worth or (line is not None and x >= line.min_bad)
        return self._judged(ordinal) if worth else None

    def blocks(self, ordinal: int) -> dict[LineKind, list[Block]]:
        """Return the counts, by kind, of the aligned doubling blocks that contain this recipient."""
        bounces, complaints = [], []
        for place, (size, buckets) in enumerate(zip(_SIZES, BLOCK_BUCKETS, strict=True)):
            start = ordinal - ordinal % size
            end = min(start + size, self.handed)
            n = end - start
            reporting = int(end * self._share) - int(start * self._share)
            first = start // BUCKET_RECIPIENTS
            bounces.append(Block(first, buckets, n, min(self._bounces[place].get(start, 0), n), 1))
            domains = len(self._domains[place].get(start, ()))
            x = min(self._complaints[place].get(start, 0), reporting)
            complaints.append(Block(first, buckets, reporting, x, domains))
        return {LineKind.BOUNCE: bounces, LineKind.COMPLAINT: complaints}

    def _judged(self, ordinal: int) -> Verdict | None:
        verdict = judge(self.blocks(ordinal), self.policy)
        return verdict if verdict.action.severity >= Action.THROTTLE.severity else None
