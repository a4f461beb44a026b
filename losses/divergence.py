"""Divergences of f-DPO (arXiv 2309.16240): what takes the place of a log-ratio z, g(z) = f'(e^z)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from losses.numerics import log_sigmoid

LARGEST_EXPONENT = 30.0
"""e^30 = 1e13 leaves room in float32 for β and for gradients; a completion 30 nats away is far out anyway."""
PAPER = (
    "arXiv 2309.16240, Beyond Reverse KL: Generalizing Direct Preference Optimization with Diverse Divergence "
    "Constraints"
)


def forward_kl(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """1 - e^-z, with the exponent clamped at ``LARGEST_EXPONENT``; g'(0) = 1."""
    return -torch.expm1((-z).clamp(max=LARGEST_EXPONENT))


def jensen_shannon(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log 2 + log σ(z); g'(0) = 1/2."""
    return math.log(2) + log_sigmoid(z)


def alpha_divergence(z: Float[Tensor, "*shape"], alpha: float) -> Float[Tensor, "*shape"]:
    """(e^((α-1) z) - 1)/(α - 1), with the exponent clamped at ``LARGEST_EXPONENT``; g'(0) = 1."""
    return torch.expm1(((alpha - 1) * z).clamp(max=LARGEST_EXPONENT)) / (alpha - 1)
