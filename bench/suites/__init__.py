"""Suites: data, start model, evaluations and protocol."""
