"""The performance figures, each a ratio taken in one run: `python -m bench`."""
