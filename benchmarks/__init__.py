"""Measures asyncflask beside other frameworks: ``make bench``."""
