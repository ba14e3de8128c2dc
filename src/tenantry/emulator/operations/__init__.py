"""Owns the families of SES operations; leaves what they share to `emulator.state`."""
