"""The main path, a verb a file: facts in, a decision, effects out; I/O only through the ports."""
