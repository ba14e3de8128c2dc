"""Values and pure decisions of Tenantry; knows no I/O, clock, randomness or logging."""
