"""Measures of how the code is laid out, computed from its own text."""
