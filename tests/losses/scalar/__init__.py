"""Scalar twins of the objectives: each loss of one example from lists of floats, written from its paper."""
