"""Scalar twin of KTO (arXiv 2402.01306): λ_y - v(x, y)."""

import math


def kto(completion, completion_ref, desirable, kl_baseline, *, beta, desirable_weight, undesirable_weight):
    z0 = max(0.0, kl_baseline)
    r = sum(policy - reference for policy, reference in zip(completion, completion_ref, strict=True))
    if desirable:
        return desirable_weight - desirable_weight / (1 + math.exp(-beta * (r - z0)))
    return undesirable_weight - undesirable_weight / (1 + math.exp(-beta * (z0 - r)))
