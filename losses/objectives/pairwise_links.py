"""Losses on the summed gap Δ with another link than the logistic one: EXO, DiscoPOP, hinge, RSO, Cauchy."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from losses.batch import Pairs
from losses.numerics import log_sigmoid
from losses.objective import Requires, objective
from losses.objectives.dpo import BETA
from losses.param import Param
from losses.space import Log

MARGIN = replace(
    BETA, space=Log(0.01, 1), meaning="strength of the tie to the reference: as it grows, the margin 1/β shrinks"
)


def _kl_at_even_odds(beta: float, epsilon: float) -> float:
    return -math.log(2) - math.log(epsilon * (1 - epsilon)) / 2


@objective(
    params={
        "beta": BETA,
        "epsilon": Param(
            default=1e-3,
            space=Log(1e-4, 1e-2),
            symbol="ε",
            unit="1",
            meaning="probability left to the rejected completion: as it grows, the gap that is aimed at shrinks",
            low=1e-6,
            high=0.499,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2402.00856, Towards Efficient Exact Optimization of Language Model Alignment",
    checked_against="peer code",
    equation="q (log q - log(1 - ε)) + (1 - q) (log(1 - q) - log ε), q = σ(β Δ)",
    optimum="Δ = logit(1 - ε)/β on every pair; the loss is 0 there",
    differs=("trl and Liger-Kernel refuse ε = 0 with an error; ms-swift and LLaMA-Factory fill in 1e-3 silently",),
    initial=_kl_at_even_odds,
    version=1,
)
def exo_pair(pairs: Pairs, *, beta: float, epsilon: float) -> Float[Tensor, " examples"]:
    """Bring the policy's odds within a pair to 1 - ε against ε, measured by the reverse KL from policy to target.

    The form of the paper for pairs: KL(q ‖ 1 - ε).
    At policy = reference the loss is -log 2 - log(ε (1 - ε))/2 and its gradient -β logit(1 - ε)/4 on Δw.

    A policy with q near 0 gets hardly any gradient, as the reverse KL is bounded: -log ε at q = 0.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
        epsilon: ε, a share in (0, 0.5). As it grows the target gap shrinks; near 0 the slope at the start is steep.
    """
    x = beta * (pairs.chosen.log_ratio - pairs.rejected.log_ratio)
    wins = torch.sigmoid(x) * (log_sigmoid(x) - math.log(1 - epsilon))
    return wins + torch.sigmoid(-x) * (log_sigmoid(-x) - math.log(epsilon))


@objective(
    params={
        "beta": replace(BETA, default=0.05),
        "tau": Param(
            default=0.05,
            space=Log(0.01, 1),
            symbol="τ",
            unit="1",
            meaning="width of the change from one loss to the other around Δ = 0: as it grows, they mix more",
            low=1e-4,
            high=10,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2406.08414, Discovering Preference Optimization Algorithms with and for Large Language Models",
    checked_against="peer code",
    equation="-(1 - m) log σ(x) + m e^-x, x = β Δ, m = σ(x/τ)",
    optimum="no finite optimum: Δ → ∞, the loss falls to 0; at τ = 0.05 also a local minimum at β Δ = -0.119",
    differs=(
        "trl has β = 0.1 by default, the paper 0.05",
        "trl and Liger-Kernel give NaN at βΔ = -100 in float32",
    ),
    initial=lambda beta, tau: math.log(2) / 2 + 1 / 2,
    version=1,
)
def discopop(pairs: Pairs, *, beta: float, tau: float) -> Float[Tensor, " examples"]:
    """Mix DPO's loss and an exponential one by the sign of the gap: the loss that a language model came up with.

    At policy = reference the loss is (log 2 + 1)/2 and its gradient β ((1 - log 2)/(4τ) - 3/4) on Δw.

    That gradient has the wrong sign for τ < 0.102: at τ = 0.05 the loss rises with the gap for x from -0.119 to 0.072,
    so the first steps may push gaps below 0.

    m e^-x is computed as e^(log m - x), which stays below 1 for τ <= 1; the exponent is clamped at 30 for larger τ.

    Parameters:
        beta: β, 1/nat. As it grows the loss saturates at a smaller gap; the space is that of dpo.
        tau: τ, pure number. As it grows the change from the logistic (Δ < 0) to the exponential loss is more gradual.
    """
    x = beta * (pairs.chosen.log_ratio - pairs.rejected.log_ratio)
    exponential = torch.exp((log_sigmoid(x / tau) - x).clamp(max=30))
    return -torch.sigmoid(-x / tau) * log_sigmoid(x) + exponential


@objective(
    params={"beta": MARGIN},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2309.06657, Statistical Rejection Sampling Improves Preference Optimization (hinge-norm)",
    checked_against="peer code",
    equation="[1 - β Δ]+",
    optimum="Δ ≥ 1/β nats on every pair: there the loss is 0 and has no gradient",
    reduces_to=("the same beta: rso",),
    differs=(
        "SimPO's repository has a hinge without reference under this name",
        "SLiC-HF itself (arXiv 2305.10425) is another loss, without reference and with an NLL",
    ),
    initial=lambda beta: 1.0,
    version=1,
)
def hinge(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """Push the gap up to a margin of 1/β nats with a constant force, then leave the pair alone: SLiC, normalised.

    The paper's hinge loss on normalised likelihoods, after SLiC (arXiv 2305.10425).
    At policy = reference the loss is 1 and its gradient -β on Δw, +β on Δl.

    Parameters:
        beta: β, 1/nat. As it grows the margin 1/β shrinks. Sums grow with length, so it is length that decides which
            pairs pass the margin, 10 nats at β = 0.1.
    """
    return (1 - beta * (pairs.chosen.log_ratio - pairs.rejected.log_ratio)).clamp(min=0)


@objective(
    params={"beta": replace(MARGIN, default=0.05, symbol="γ")},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2309.06657, Statistical Rejection Sampling Improves Preference Optimization",
    checked_against="peer code",
    equation="[1 - γ Δ]+",
    optimum="Δ ≥ 1/γ nats on every pair: there the loss is 0 and has no gradient",
    reduces_to=("the same beta: hinge",),
    differs=("torchtune's RSO loss, deprecated, has γ = 0.1 by default",),
    initial=lambda beta: 1.0,
    version=1,
)
def rso(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """The hinge loss at RSO's own strength; the method's other half is data, from rejection sampling.

    The formula is that of hinge: RSO differs in the data alone, pairs drawn by statistical rejection sampling, which is
    left to whoever provides the data.
    At policy = reference the loss is 1 and its gradient -γ on Δw, +γ on Δl.

    Parameters:
        beta: γ, 1/nat, as for hinge. As it grows the margin 1/γ shrinks; the default is the paper's.
    """
    return hinge.fn(pairs, beta=beta)


@objective(
    params={"beta": BETA},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2410.04203, RainbowPO: A Unified Framework for Combining Improvements in Preference Optimization",
    checked_against="secondary",
    equation="-log(1/2 + arctan(β Δ)/π)",
    optimum="no finite optimum on separable pairs: Δ → ∞; with a share p of labels one way, Δ = tan(π (p - 1/2))/β",
    initial=lambda beta: math.log(2),
    version=1,
)
def cauchy_dpo(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """DPO whose preferences follow a Cauchy distribution instead of a logistic one: a wrong label far out pulls less.

    The link function is one of RainbowPO's options.
    At policy = reference the loss is log 2 and its gradient -2β/π on Δw, +2β/π on Δl.

    The loss grows as the logarithm of a gap the wrong way, where that of dpo grows linearly.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
    """
    gap = beta * (pairs.chosen.log_ratio - pairs.rejected.log_ratio)
    # 1/2 + arctan(x)/π without cancellation at large negative x
    return math.log(math.pi) - torch.atan2(torch.ones_like(gap), -gap).log()
