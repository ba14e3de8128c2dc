"""The simulation lab: fleets of tenants against the guard's own counters and decisions, seeded, without I/O or clock."""
