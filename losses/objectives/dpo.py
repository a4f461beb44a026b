"""Owns the logistic losses on the summed gap Δ: DPO and its label-smoothed form cDPO."""

import math

from jaxtyping import Float
from torch import Tensor

from losses.batch import Pairs
from losses.numerics import log_sigmoid
from losses.objective import Param, Requires, objective
from losses.space import Linear, Log

BETA = Param(
    default=0.1,
    space=Log(0.005, 1),
    symbol="β",
    unit="1/nat",
    meaning="strength of the tie to the reference: as it grows, a smaller gap Δ satisfies a pair",
    low=1e-5,
    high=1000,
)


@objective(
    params={"beta": BETA},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2305.18290, Direct Preference Optimization: Your Language Model is Secretly a Reward Model",
    equation="-log σ(β Δ)",
    optimum="no finite optimum on separable pairs: Δ → ∞; with a share p of labels one way, Δ = logit(p)/β",
    initial=lambda beta: math.log(2),
    version=1,
)
def dpo(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """Fit a Bradley-Terry model of the preferences whose reward is β times the summed log-ratio.

    Equation: -log σ(β Δ), with Δ = Δw - Δl of sums over tokens.
    Source: arXiv 2305.18290, equation 7.
    At policy = reference the loss is log 2 and its gradient -β/2 on Δw, +β/2 on Δl.

    Parameters:
        beta: β, 1/nat. As it grows the loss saturates at a smaller gap, so the policy stays nearer to the reference.
            Sums grow with length: the space is that of sums, some 50 times below that of token averages.

    Differs from: nothing known; all peers agree on this one.
    """
    gap = pairs.chosen.log_ratio - pairs.rejected.log_ratio
    return -log_sigmoid(beta * gap)


@objective(
    params={
        "beta": BETA,
        "epsilon": Param(
            default=0.1,
            space=Linear(0.05, 0.3),
            symbol="ε",
            unit="1",
            meaning="assumed share of flipped labels: as it grows, the gap that is aimed at shrinks",
            low=0,
            high=0.499,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="no arXiv id; Mitchell 2023, A note on DPO with noisy preferences & relationship to IPO",
    equation="-(1 - ε) log σ(β Δ) - ε log σ(-β Δ)",
    optimum="Δ = logit(1 - ε)/β on every pair",
    reduces_to=("epsilon = 0: dpo",),
    differs=(
        "trl 0.29.1 to 1.16 ignores label_smoothing for loss 'sigmoid' without a warning, so it trains dpo",
        "Liger-Kernel has no label smoothing for its dpo",
    ),
    initial=lambda beta, epsilon: math.log(2),
    version=1,
)
def cdpo(pairs: Pairs, *, beta: float, epsilon: float) -> Float[Tensor, " examples"]:
    """DPO for labels of which a share ε is assumed to be flipped, so that no pair drives the gap to infinity.

    Equation: -(1 - ε) log σ(β Δ) - ε log σ(-β Δ), with Δ of sums over tokens.
    Source: Mitchell 2023, "A note on DPO with noisy preferences & relationship to IPO" (no arXiv id).
    At policy = reference the loss is log 2 and its gradient -β(1 - 2ε)/2 on Δw; optimum Δ = logit(1 - ε)/β.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
        epsilon: ε, a share in [0, 0.5). As it grows the target gap shrinks, to 0 at 0.5, where labels say nothing.

    Differs from: trl 0.29.1 to 1.16, which ignores label_smoothing for loss 'sigmoid' without a warning; the
    "robust" loss (arXiv 2403.00409), which is unbiased under flips but unbounded below.
    """
    gap = pairs.chosen.log_ratio - pairs.rejected.log_ratio
    return -(1 - epsilon) * log_sigmoid(beta * gap) - epsilon * log_sigmoid(-beta * gap)
