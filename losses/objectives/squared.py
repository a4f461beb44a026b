"""Squared losses with finite targets: IPO on token averages and on sums, SPPO hard and soft, Cal-DPO."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from losses.batch import Pairs
from losses.numerics import log_sigmoid
from losses.objective import Requires, objective
from losses.param import Param
from losses.space import Log

TAU = Param(
    default=0.1,
    space=Log(0.01, 10),
    symbol="τ",
    unit="1/nat",
    meaning="strength of the tie to the reference: as it grows, the gap 1/(2τ) that is aimed at shrinks",
    low=1e-5,
    high=1000,
)
TARGET = Param(
    default=0.001,
    space=Log(1e-4, 0.1),
    symbol="β",
    unit="1/nat",
    meaning="strength of the tie to the reference: as it grows, the log-ratios that are aimed at shrink",
    low=1e-5,
    high=1000,
)
SPPO = "arXiv 2405.00675, Self-Play Preference Optimization for Language Model Alignment"


@objective(
    params={"beta": TAU},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="mean_log_ratio",
    aggregation="mean",
    paper="arXiv 2310.12036, A General Theoretical Paradigm to Understand Learning from Human Preferences",
    checked_against=("paper", "peer code"),
    equation="(Δ̄ - 1/(2τ))²",
    optimum="Δ̄ = 1/(2τ) nats per token on every pair",
    reduces_to=("completions of one token: ipo_sum",),
    differs=(
        "direct-preference-optimization, OpenRLHF, oat and trl's online DPO sum over tokens (here: ipo_sum)",
        "trl up to 0.7.9 summed, from 0.7.11 on averages",
        "HALOs divides by the count of non-zero token log-ratios: 0/0 at policy = reference",
    ),
    initial=lambda beta: (1 / (2 * beta)) ** 2,
    version=1,
)
def ipo(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """Regress the gap of per-token log-ratios on a finite target, so that certain preferences cannot overfit.

    Equation 17 of the paper, with averages over tokens: its authors confirmed them for their experiments, though the
    paper does not print them.
    At policy = reference the loss is 1/(4τ²) and its gradient -1/τ on Δ̄w, +1/τ on Δ̄l.

    Parameters:
        beta: τ, 1/nat. As it grows the target 1/(2τ) shrinks and the policy stays nearer to the reference. The space
            is that of token averages, 0.01 to 10; for sums see ipo_sum: the two never mix.

    Beware of clipping: at τ ≤ 0.1 the target is 5 nats *per token* or more, out of practical reach, so the gradient
    stays near its start, 1/(τ n) on each of n tokens (DPO: β/2). It is then clipped at every step and the learning
    rate alone decides how far the policy goes; sweep it together with τ.
    """
    gap = pairs.chosen.mean_log_ratio - pairs.rejected.mean_log_ratio
    return (gap - 1 / (2 * beta)) ** 2


@objective(
    params={"beta": replace(TAU, space=Log(1e-3, 1))},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2310.12036, A General Theoretical Paradigm to Understand Learning from Human Preferences",
    checked_against=("paper", "peer code"),
    equation="(Δ - 1/(2τ))²",
    optimum="Δ = 1/(2τ) nats on every pair",
    reduces_to=("completions of one token: ipo",),
    differs=("trl since 0.7.11, HALOs, LLaMA-Factory and ms-swift average over tokens (here: ipo)",),
    initial=lambda beta: (1 / (2 * beta)) ** 2,
    version=1,
)
def ipo_sum(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """IPO as its paper prints it: regress the gap of the summed log-ratios on a finite target.

    Equation 17 of the paper.
    At policy = reference the loss is 1/(4τ²) and its gradient -1/τ on Δw, +1/τ on Δl.

    Parameters:
        beta: τ, 1/nat. As it grows the target 1/(2τ) shrinks. The space is that of sums, 0.001 to 1, a decade below
            that of ipo: the same τ asks for a gap smaller by the number of tokens.

    Gradients start at 1/τ on each token, n times those of ipo, and are clipped as often; see there.
    """
    gap = pairs.chosen.log_ratio - pairs.rejected.log_ratio
    return (gap - 1 / (2 * beta)) ** 2


@objective(
    params={"beta": TARGET},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper=SPPO,
    checked_against="peer code",
    equation="(Δw - 1/(2β))² + (Δl + 1/(2β))²",
    optimum="Δw = 1/(2β) and Δl = -1/(2β) nats on every pair; the loss is 0 there",
    differs=("the authors' code has half of it, with soft win probabilities (here: sppo)",),
    initial=lambda beta: 1 / (2 * beta**2),
    version=1,
)
def sppo_hard(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """Regress each log-ratio on a finite target of its own, as if the chosen completion always won.

    The win probabilities are 1 and 0; β is the paper's 1/η.
    At policy = reference the loss is 1/(2β²), 5e5 at the default, and its gradient -1/β on Δw, +1/β on Δl.

    Gradients are clipped at every step unless β is large; see ipo. Each log-ratio counts by itself: a shift of both
    changes the loss.

    Parameters:
        beta: β, 1/nat. As it grows the targets ±1/(2β) shrink; at 0.001 they are 500 nats. The space is that of sums.
    """
    target = 1 / (2 * beta)
    return (pairs.chosen.log_ratio - target) ** 2 + (pairs.rejected.log_ratio + target) ** 2


@objective(
    params={"beta": TARGET},
    batch=Pairs,
    requires=Requires.REFERENCE | Requires.SCORES,
    reward="log_ratio",
    aggregation="sum",
    paper=SPPO,
    checked_against="authors' code",
    equation="((Δw - (P - 1/2)/β)² + (Δl + (P - 1/2)/β)²)/2, P = σ(score_gap)",
    optimum="Δw = (P - 1/2)/β and Δl = -Δw nats on every pair; the loss is 0 there",
    differs=(
        "the authors' code takes a win probability of each completion from PairRM; here that of the chosen one is P "
        "and that of the rejected one 1 - P",
    ),
    version=1,
)
def sppo(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """Regress each log-ratio on a target in proportion to how likely its completion wins.

    β is the paper's 1/η; the half is that of the authors' code. As P → 1 it becomes half of sppo_hard.
    At policy = reference its gradient is -(P - 1/2)/β on Δw and +(P - 1/2)/β on Δl.

    ``score_gap`` must be on the scale of log-odds: σ(score_gap) is the probability that the chosen completion wins.

    Parameters:
        beta: β, 1/nat. As it grows the targets ±(P - 1/2)/β shrink. The space is that of sums.

    Raises:
        ValueError: when ``pairs.score_gap`` is None.
    """
    if pairs.score_gap is None:
        raise ValueError("sppo needs Pairs.score_gap, on the scale of log-odds; it is None")
    target = (torch.sigmoid(pairs.score_gap) - 0.5) / beta
    return ((pairs.chosen.log_ratio - target) ** 2 + (pairs.rejected.log_ratio + target) ** 2) / 2


@objective(
    params={"beta": replace(TARGET, default=0.01, space=Log(1e-3, 0.1))},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2412.14516, Cal-DPO: Calibrated Direct Preference Optimization for Language Model Alignment",
    checked_against="authors' code",
    equation="-log σ(Δ) + ((Δw - 1/(2β))² + (Δl + 1/(2β))²)/2",
    optimum="Δw = -Δl = d nats on every pair with d = 1/(2β) + σ(-2d), so d ≈ 1/(2β) for small β",
    initial=lambda beta: math.log(2) + 1 / (4 * beta**2),
    version=1,
)
def cal_dpo(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """DPO at strength 1, calibrated: each log-ratio is also regressed on a finite target of its own.

    At policy = reference the loss is log 2 + 1/(4β²) and its gradient -1/2 - 1/(2β) on Δw, +1/2 + 1/(2β) on Δl.

    The squared terms dominate, and gradients are clipped at every step unless β is large; see ipo.

    Parameters:
        beta: β, 1/nat. As it grows the targets ±1/(2β) shrink; it does not stand inside σ. The space is that of sums.
    """
    chosen, rejected, target = pairs.chosen.log_ratio, pairs.rejected.log_ratio, 1 / (2 * beta)
    return -log_sigmoid(chosen - rejected) + ((chosen - target) ** 2 + (rejected + target) ** 2) / 2
