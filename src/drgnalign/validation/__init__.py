"""Measures of how good maps and poses are."""
