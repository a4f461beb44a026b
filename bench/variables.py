"""Owns the names of environment variables that several parts know."""

STORAGE = "LOSSBENCH_STORAGE"
"""May hold the storage, so that a password is neither typed nor written into scripts."""
