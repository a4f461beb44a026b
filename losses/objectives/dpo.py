"""Logistic losses on the gap: DPO, cDPO, robust DPO, FocalPO, and DPO on token averages."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from losses.batch import Pairs
from losses.numerics import log_sigmoid
from losses.objective import Requires, objective
from losses.param import Param
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
    checked_against=("paper", "peer code"),
    equation="-log σ(β Δ)",
    optimum="no finite optimum on separable pairs: Δ → ∞; with a share p of labels one way, Δ = logit(p)/β",
    initial=lambda beta: math.log(2),
    version=1,
)
def dpo(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """Fit a Bradley-Terry model of the preferences whose reward is β times the summed log-ratio.

    Equation 7 of the paper.
    At policy = reference the loss is log 2 and its gradient -β/2 on Δw, +β/2 on Δl.

    Parameters:
        beta: β, 1/nat. As it grows the loss saturates at a smaller gap, so the policy stays nearer to the reference.
            Sums grow with length: the space is that of sums, some 50 times below that of token averages.
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
    checked_against="peer code",
    equation="-(1 - ε) log σ(β Δ) - ε log σ(-β Δ)",
    optimum="Δ = logit(1 - ε)/β on every pair",
    reduces_to=("epsilon = 0: dpo",),
    differs=(
        "trl 0.29.1 to 1.16 ignores label_smoothing for loss 'sigmoid' without a warning, so it trains dpo",
        "Liger-Kernel has no label smoothing for its dpo",
        'the "robust" loss (arXiv 2403.00409; here: robust) is unbiased under flips but unbounded below',
    ),
    initial=lambda beta, epsilon: math.log(2),
    version=1,
)
def cdpo(pairs: Pairs, *, beta: float, epsilon: float) -> Float[Tensor, " examples"]:
    """DPO for labels of which a share ε is assumed to be flipped, so that no pair drives the gap to infinity.

    At policy = reference the loss is log 2 and its gradient -β(1 - 2ε)/2 on Δw; optimum Δ = logit(1 - ε)/β.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
        epsilon: ε, a share in [0, 0.5). As it grows the target gap shrinks, to 0 at 0.5, where labels say nothing.
    """
    gap = pairs.chosen.log_ratio - pairs.rejected.log_ratio
    return -(1 - epsilon) * log_sigmoid(beta * gap) - epsilon * log_sigmoid(-beta * gap)


@objective(
    params={
        "beta": BETA,
        "epsilon": Param(
            default=0.1,
            space=Linear(0.05, 0.3),
            symbol="ε",
            unit="1",
            meaning="assumed share of flipped labels: as it grows, pairs the policy has right are pushed on, harder",
            low=0,
            high=0.499,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2403.00409, Provably Robust DPO: Aligning Language Models with Noisy Feedback",
    checked_against="peer code",
    equation="(-(1 - ε) log σ(β Δ) + ε log σ(-β Δ)) / (1 - 2ε)",
    optimum="no finite optimum: Δ → ∞, where for ε > 0 the loss falls without bound",
    reduces_to=("epsilon = 0: dpo",),
    differs=(
        "trl and Liger-Kernel have ε = 0 by default, under which this is dpo",
        "cdpo's ε lowers the target instead and keeps the loss bounded below",
        "r_dpo shares the letters of rDPO alone",
    ),
    initial=lambda beta, epsilon: math.log(2),
    version=1,
)
def robust(pairs: Pairs, *, beta: float, epsilon: float) -> Float[Tensor, " examples"]:
    """DPO whose mean over randomly flipped labels is the DPO loss of the true ones, for a share ε of flips.

    At policy = reference the loss is log 2 and its gradient -β/(2(1 - 2ε)) on Δw, the opposite on Δl.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
        epsilon: ε, a share in [0, 0.5). The gradient is that of dpo and βε/(1 - 2ε) more on every pair: as ε grows,
            pairs that the policy has right are pushed on ever harder. At 0 it is dpo.
    """
    gap = pairs.chosen.log_ratio - pairs.rejected.log_ratio
    return (-(1 - epsilon) * log_sigmoid(beta * gap) + epsilon * log_sigmoid(-beta * gap)) / (1 - 2 * epsilon)


@objective(
    params={
        "beta": BETA,
        "gamma": Param(
            default=0.05,
            space=Linear(0, 2),
            symbol="γ",
            unit="1",
            meaning="how much pairs the policy has wrong are played down: as it grows, the more so",
            low=0,
            high=100,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2501.06645, FocalPO: Enhancing Preference Optimizing by Focusing on Correct Preference Rankings",
    checked_against="secondary",
    equation="-σ(β Δ)^γ log σ(β Δ)",
    optimum="no finite optimum: 0 as Δ → ∞, but for γ > 0 also as Δ → -∞; the top between is where -log σ(β Δ) = 1/γ",
    reduces_to=("gamma = 0: dpo",),
    differs=("the focal loss of classification has the factor (1 - σ)^γ, which plays down what is right",),
    initial=lambda beta, gamma: 2**-gamma * math.log(2),
    version=1,
)
def focal_po(pairs: Pairs, *, beta: float, gamma: float) -> Float[Tensor, " examples"]:
    """DPO that plays down the pairs the policy ranks wrongly, and so learns more from those it ranks rightly.

    At policy = reference the loss is 2^-γ log 2 and its gradient -β 2^-γ (1 - γ log 2)/2 on Δw.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
        gamma: γ, pure number. As it grows wrong pairs count less. Pairs with -log σ(β Δ) > 1/γ are pushed further
            apart the wrong way; from γ = 1/log 2 = 1.44 on these are all that start at Δ <= 0.
    """
    log_right = log_sigmoid(beta * (pairs.chosen.log_ratio - pairs.rejected.log_ratio))
    return -torch.exp(gamma * log_right) * log_right


@objective(
    params={"beta": replace(BETA, default=5, space=Log(0.5, 50))},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="mean_log_ratio",
    aggregation="mean",
    paper="arXiv 2411.15124, Tulu 3: Pushing Frontiers in Open Language Model Post-Training",
    checked_against="peer code",
    equation="-log σ(β Δ̄)",
    optimum="no finite optimum on separable pairs: Δ̄ → ∞; with a share p of labels one way, Δ̄ = logit(p)/β",
    reduces_to=("completions of one token: dpo", "completions of n tokens all, beta = n·β: dpo"),
    differs=(
        "trl's sigmoid_norm has the β of its other losses by default, 0.1: some 50 times too small",
        "open-instruct documents dpo with β 0.1 as its default, its code has this loss with β 5",
    ),
    initial=lambda beta: math.log(2),
    version=1,
)
def ln_dpo(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """DPO on the average log-ratio of a token, so that long completions have no larger gaps than short ones.

    The "length-normalized DPO" of the paper; also in the appendix of arXiv 2405.14734.
    At policy = reference the loss is log 2 and its gradient -β/2 on Δ̄w, +β/2 on Δ̄l.

    Parameters:
        beta: β, 1/nat. As it grows a smaller gap of averages satisfies a pair. The space is that of token averages,
            0.5 to 50, far above that of dpo, which sums.
    """
    gap = pairs.chosen.mean_log_ratio - pairs.rejected.mean_log_ratio
    return -log_sigmoid(beta * gap)
