"""Stable arithmetic shared by the objectives: masked sums and means, log σ, log(1 - e^x), log odds."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional


def precise(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return values in float32 at least: half precision holds 3 digits, a summed log-prob needs more."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def masked_sum(
    values: Float[Tensor, "examples tokens"], mask: Bool[Tensor, "examples tokens"]
) -> Float[Tensor, " examples"]:
    """Sum each row where ``mask`` is True. What stands elsewhere, NaN and infinity included, has no effect."""
    return torch.where(mask, precise(values), 0.0).sum(-1)


def masked_mean(
    values: Float[Tensor, "examples tokens"], mask: Bool[Tensor, "examples tokens"]
) -> Float[Tensor, " examples"]:
    """Average each row over the places where ``mask`` is True; NaN for a row without any."""
    return masked_sum(values, mask) / mask.sum(-1)


def log_sigmoid(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return log σ(x) = -log(1 + e^-x), finite for every finite x."""
    return functional.logsigmoid(x)


def log1mexp(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return log(1 - e^x) for x <= 0 without cancellation (Mächler 2012, "Accurately computing log(1 - exp(-|a|))").

    log(-expm1(x)) is exact near 0, log1p(-e^x) far from it; they meet at -log 2. An x above -eps of its dtype counts as
    -eps and has no gradient: log(1 - e^0) is -inf, and one saturated completion would ruin a whole batch.
    """
    x = x.clamp(max=-torch.finfo(x.dtype).eps)
    near = x > -math.log(2)
    # Each branch sees only arguments it is exact for: the gradient of the branch not taken would be NaN · 0.
    exact_near_zero = torch.log(-torch.expm1(torch.where(near, x, -1.0)))
    exact_far = torch.log1p(-torch.exp(torch.where(near, -1.0, x)))
    return torch.where(near, exact_near_zero, exact_far)


def log_odds(logp: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return log(p / (1 - p)) for a log-probability ``logp`` = log p in nats."""
    return logp - log1mexp(logp)
