"""The real cloud: one module for each of its planes that the ports name."""
