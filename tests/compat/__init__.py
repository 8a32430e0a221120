"""Runs Flask's own test suite, unmodified, on asyncflask: ``python -m tests.compat``."""
