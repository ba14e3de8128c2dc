"""Owns Local SES: Amazon SES v2 and its event queue as a program of its own, speaking the real protocols.

Leaves everything of Tenantry's to Tenantry: it knows nothing of tenants' keys, streams or guards, only SES's words.
"""

from tenantry.emulator.kept import StateError
from tenantry.emulator.local import Local, running
from tenantry.emulator.options import Options, RecipientRule
from tenantry.emulator.server import create_app, serve

__all__ = ["Local", "Options", "RecipientRule", "StateError", "create_app", "running", "serve"]
