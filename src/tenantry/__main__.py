"""Owns `python -m tenantry`; leaves all to the command line."""

from tenantry.cli import main

main()
