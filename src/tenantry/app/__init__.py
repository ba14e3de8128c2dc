"""The composition root: real adapters wired to the flows, one file per kind of loop."""
