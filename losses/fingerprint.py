"""Fingerprint of a loss: its values and gradients on a fixed batch, so that a run shows what it trained."""

import hashlib
import json

import torch

from losses.batch import sides
from losses.objective import Bound
from losses.testing.synthetic import example_batch

DIGITS = 6


def fingerprint(bound: Bound) -> dict[str, object]:
    """Return the losses on a fixed batch in float64, the norm of their gradient, and a short hash of both.

    Two runs whose fingerprints differ were trained with different losses, whatever their names say; the same loss at
    the same parameters has the same fingerprint on every machine, to ``DIGITS`` significant digits.
    """
    batch = example_batch(bound.objective)
    losses = bound(batch)
    losses.sum().backward()
    grads = [side.policy_logps.grad for side in sides(batch)]
    norm = torch.stack([grad.square().sum() for grad in grads if grad is not None]).sum().sqrt()
    values = [_rounded(value) for value in (*losses.tolist(), norm.item())]
    digest = hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]
    return {"losses": values[:-1], "gradient_norm": values[-1], "hash": digest}


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
