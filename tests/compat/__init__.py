"""Runs Flask's own tests and its examples', unmodified, on asyncflask: ``python -m tests.compat``."""
