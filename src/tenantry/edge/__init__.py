"""Owns everything that listens: the doors and the management API; leaves decisions to the flows."""
