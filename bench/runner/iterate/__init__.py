"""Iterative preference optimisation: rounds of sampling, labelling, pairing and training."""
