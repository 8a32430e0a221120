"""Runs Flask's own tests, its examples' too, on asyncflask: ``python -m tests.compat``."""
