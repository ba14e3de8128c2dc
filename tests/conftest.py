"""Owns what every test shares: hypothesis without a deadline, since a shared machine's pauses are no defect."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("tenantry", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tenantry")
