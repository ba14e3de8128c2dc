"""Owns the management and reading routes; leaves sending to the doors beside it."""
