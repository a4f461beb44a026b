"""Forms of DPO with a margin or a one-sided term: R-DPO, ODPO, DPO-Positive, DPO-Shift, MinorDPO."""

import math
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from losses.batch import Pairs
from losses.numerics import log_sigmoid, precise
from losses.objective import Requires, objective
from losses.objectives.dpo import BETA
from losses.param import Param
from losses.space import Linear, Log

LEAST_SCORE_GAP = 1e-6


@objective(
    params={
        "beta": BETA,
        "alpha": Param(
            default=0.01,
            space=Linear(0, 0.05),
            symbol="α",
            unit="1/token",
            meaning="discount on length: as it grows, a chosen completion that is the longer one teaches less",
            low=0,
            high=10,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2403.19159, Disentangling Length from Quality in Direct Preference Optimization",
    checked_against="secondary",
    equation="-log σ(β Δ + α (n_w - n_l))",
    optimum="no finite optimum: Δ → ∞",
    reduces_to=("alpha = 0: dpo", "completions of equal length: dpo"),
    differs=(
        "oat puts the length term inside β: its coefficient is α/β",
        "the rDPO of the α-DPO authors' code has the opposite sign",
        'robust is the "rDPO" of arXiv 2403.00409',
    ),
    version=1,
)
def r_dpo(pairs: Pairs, *, beta: float, alpha: float) -> Float[Tensor, " examples"]:
    """DPO in which each token by which the chosen completion is longer already explains some of the preference.

    The sign and the position of α differ between codes: here +, outside β.
    At policy = reference the gradient on Δw is -β σ(α (n_l - n_w)).

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
        alpha: α, 1/token. As it grows pairs won by the longer completion push less, those won by the shorter more.
    """
    gap = pairs.chosen.log_ratio - pairs.rejected.log_ratio
    return -log_sigmoid(beta * gap + alpha * (pairs.chosen.length - pairs.rejected.length))


@objective(
    params={
        "beta": BETA,
        "alpha": Param(
            default=1,
            space=Linear(0, 2),
            symbol="α",
            unit="1",
            meaning="size of the offset: as it grows, pairs with a large score gap must lie further apart",
            low=0,
            high=1000,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE | Requires.SCORES,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2402.10571, Direct Preference Optimization with an Offset",
    checked_against="secondary",
    equation="-log σ(β Δ - α log(score gap))",
    optimum="no finite optimum: Δ → ∞",
    reduces_to=("alpha = 0: dpo", "score gaps of 1: dpo"),
    version=1,
)
def odpo(pairs: Pairs, *, beta: float, alpha: float) -> Float[Tensor, " examples"]:
    """DPO that asks for a larger gap where the chosen completion was scored further above the rejected one.

    The scaling function of the paper is here the logarithm; the score gap is score_w - score_l.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
        alpha: α, pure number. As it grows the offset counts more; score gaps below 1 make it negative.

    The score gap must be positive: one below 1e-6 counts as 1e-6, so that a tie is satisfied by nearly any Δ.

    Raises:
        ValueError: when ``pairs.score_gap`` is None.
    """
    if pairs.score_gap is None:
        raise ValueError("odpo needs Pairs.score_gap, by how much the chosen was scored above the rejected; it is None")
    gap = pairs.chosen.log_ratio - pairs.rejected.log_ratio
    offset = precise(pairs.score_gap.detach()).clamp(min=LEAST_SCORE_GAP).log()
    return -log_sigmoid(beta * gap - alpha * offset)


@objective(
    params={
        "beta": replace(BETA, default=0.3),
        "lam": Param(
            default=50,
            space=Log(1, 50),
            symbol="λ",
            unit="1",
            meaning="penalty on chosen completions below the reference: as it grows they are kept more probable",
            low=0,
            high=1000,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2402.13228, Smaug: Fixing Failure Modes of Preference Optimisation with DPO-Positive",
    checked_against="secondary",
    equation="-log σ(β (Δ - λ [-Δw]+))",
    optimum="no finite optimum: Δ → ∞ with Δw >= 0",
    reduces_to=("lam = 0: dpo", "Δw >= 0: dpo"),
    differs=("oat's flag for λ is 0 by default, which is dpo",),
    initial=lambda beta, lam: math.log(2),
    version=1,
)
def dpop(pairs: Pairs, *, beta: float, lam: float) -> Float[Tensor, " examples"]:
    """DPO with a penalty wherever the chosen completion is less probable than under the reference (DPO-Positive).

    At policy = reference the loss is log 2 and its gradient that of dpo, -β/2 on Δw; as Δw falls below 0 it becomes
    1 + λ times as steep.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
        lam: λ, pure number. As it grows the gap cannot be won by lowering both completions. It stands inside β: what
            counts is βλ.
    """
    chosen = pairs.chosen.log_ratio
    return -log_sigmoid(beta * (chosen - pairs.rejected.log_ratio - lam * (-chosen).relu()))


@objective(
    params={
        "beta": BETA,
        "lam": Param(
            default=0.75,
            space=Linear(0.5, 1),
            symbol="λ",
            unit="1",
            meaning="weight of the rejected completion: as it grows to 1 the loss comes nearer to dpo",
            low=0,
            high=1,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2502.07599, DPO-Shift: Shifting the Distribution of Direct Preference Optimization",
    checked_against="authors' code",
    equation="-log σ(β (Δw - λ Δl))",
    optimum="no finite optimum: Δw - λ Δl → ∞",
    reduces_to=("lam = 1: dpo",),
    differs=("the authors' code can also let λ run linearly over the steps",),
    initial=lambda beta, lam: math.log(2),
    version=1,
)
def dpo_shift(pairs: Pairs, *, beta: float, lam: float) -> Float[Tensor, " examples"]:
    """DPO with less weight on the rejected completion, so that the chosen one loses less probability.

    λ is fixed.
    At policy = reference the loss is log 2 and its gradient -β/2 on Δw, +λβ/2 on Δl.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
        lam: λ, pure number in [0, 1]. As it falls below 1 lowering the rejected completion pays less.
    """
    return -log_sigmoid(beta * (pairs.chosen.log_ratio - lam * pairs.rejected.log_ratio))


@objective(
    params={"beta": BETA},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2408.09834, Minor DPO reject penalty to increase training robustness",
    checked_against="secondary",
    equation="-log σ(β (Δw - [Δl]+))",
    optimum="no finite optimum: Δw → ∞ with Δl <= 0",
    reduces_to=("Δl >= 0: dpo",),
    initial=lambda beta: math.log(2),
    version=1,
)
def minor_dpo(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """DPO that pushes the rejected completion down only where it is more probable than under the reference.

    At policy = reference the loss is log 2 and its gradient -β/2 on Δw; on Δl it is 0, at the kink.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
    """
    return -log_sigmoid(beta * (pairs.chosen.log_ratio - pairs.rejected.log_ratio.relu()))
