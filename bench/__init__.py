"""The bench: what Tenantry's speed is, as ratios measured within one run; see docs/performance.md."""
