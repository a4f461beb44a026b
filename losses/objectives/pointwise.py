"""Losses that judge each completion of a pair by itself against the reference: NCA, BCO, APO."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from losses.batch import Pairs
from losses.numerics import log_sigmoid
from losses.objective import Requires, State, objective
from losses.param import Param
from losses.space import Log

BETA = Param(
    default=0.01,
    space=Log(1e-3, 0.1),
    symbol="β",
    unit="1/nat",
    meaning="strength of the tie to the reference: as it grows, a smaller log-ratio satisfies a completion",
    low=1e-5,
    high=1000,
)
ANCHORED = replace(BETA, default=0.1, space=Log(0.01, 0.5))
BCO = "arXiv 2404.04656, Binary Classifier Optimization for Large Language Model Alignment"
APO = (
    "arXiv 2408.06266, Anchored Preference Optimization and Contrastive Revisions: "
    "Addressing Underspecification in Alignment"
)


@objective(
    params={"beta": BETA},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2402.05369, Noise Contrastive Alignment of Language Models with Explicit Rewards",
    checked_against="peer code",
    equation="-log σ(β Δw) - log σ(-β Δw)/2 - log σ(-β Δl)/2",
    optimum="Δw = log(2)/β on every pair, Δl → -∞",
    initial=lambda beta: 2 * math.log(2),
    version=1,
)
def nca_pair(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """Tell completions of the data from noise drawn at the reference, so that the chosen one's likelihood stays up.

    The form of the paper for pairs.
    At policy = reference the loss is 2 log 2 and its gradient -β/4 on Δw, +β/4 on Δl.

    Each log-ratio counts by itself: a shift of both Δw and Δl changes the loss, unlike that of dpo.

    Parameters:
        beta: β, 1/nat. As it grows the log-ratio log(2)/β that chosen completions are brought to shrinks. The space is
            that of sums, a decade below dpo.
    """
    chosen, rejected = beta * pairs.chosen.log_ratio, beta * pairs.rejected.log_ratio
    return -log_sigmoid(chosen) - log_sigmoid(-chosen) / 2 - log_sigmoid(-rejected) / 2


@objective(
    params={"beta": BETA},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper=BCO,
    checked_against="peer code",
    equation="-log σ(β Δw) - log σ(-β Δl)",
    optimum="no finite optimum: Δw → ∞ and Δl → -∞; the loss falls to 0",
    differs=(
        "trl up to 0.28, ms-swift and LLaMA-Factory subtract a running mean under this name (here: bco_pair_shift)",
        "trl's documentation (repository of July 2026) prints the formula of dpo for it; its code does not",
    ),
    initial=lambda beta: 2 * math.log(2),
    version=1,
)
def bco_pair(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """Train the log-ratio as a binary classifier: chosen completions above the reference, rejected ones below.

    The paper's reward shift is left out.
    At policy = reference the loss is 2 log 2 and its gradient -β/2 on Δw, +β/2 on Δl.

    Parameters:
        beta: β, 1/nat. As it grows the loss saturates at smaller log-ratios. The space is that of sums, a decade below
            dpo.
    """
    return -log_sigmoid(beta * pairs.chosen.log_ratio) - log_sigmoid(-beta * pairs.rejected.log_ratio)


@objective(
    params={"beta": BETA},
    batch=Pairs,
    requires=Requires.REFERENCE | Requires.WHOLE_BATCH,
    reward="log_ratio",
    aggregation="sum",
    paper=BCO,
    checked_against="peer code",
    equation="-log σ(β Δw - δ) - log σ(-(β Δl - δ)), δ = sg[mean of all β Δw, β Δl so far, this batch included]",
    optimum="no finite optimum: β Δw - δ → ∞ and β Δl - δ → -∞; the loss falls to 0",
    differs=("trl since 0.29 and Liger-Kernel have no δ under the name bco_pair (here: bco_pair)",),
    initial=lambda beta: 2 * math.log(2),
    init=lambda: {"mean": 0.0, "count": 0.0},
    version=1,
)
def bco_pair_shift(pairs: Pairs, state: State, *, beta: float) -> tuple[Float[Tensor, " examples"], State]:
    """BCO with its reward shift: completions are judged against the mean reward so far and not against 0.

    At policy = reference in the first batch the loss is 2 log 2 and its gradient -β/2 on Δw, +β/2 on Δl.

    State: ``mean`` and ``count`` of the rewards so far. All weigh the same, so δ follows the policy more and more
    slowly, and a loss depends on what came before it.

    Parameters:
        beta: β, 1/nat, as for bco_pair; the space is that of sums.
    """
    chosen, rejected = beta * pairs.chosen.log_ratio, beta * pairs.rejected.log_ratio
    rewards = torch.cat((chosen, rejected)).detach()
    count = state["count"] + len(rewards)
    delta = state["mean"] + (rewards.mean().item() - state["mean"]) * len(rewards) / count
    return -log_sigmoid(chosen - delta) - log_sigmoid(delta - rejected), {"mean": delta, "count": count}


@objective(
    params={"beta": ANCHORED},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper=APO,
    checked_against="peer code",
    equation="1 - σ(β Δw) + σ(β Δl)",
    optimum="no finite optimum: Δw → ∞ and Δl → -∞; the loss falls to 0",
    initial=lambda beta: 1.0,
    version=1,
)
def apo_zero(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """Raise the chosen completion and lower the rejected one, for chosen ones better than the policy's own output.

    At policy = reference the loss is 1 and its gradient -β/4 on Δw, +β/4 on Δl.

    The gradient fades both for completions already moved far the right way and for those far the wrong way.

    Parameters:
        beta: β, 1/nat. As it grows the loss saturates at smaller log-ratios; the space is that of sums.
    """
    # 1 - σ(x) = σ(-x), without cancellation at large x
    return torch.sigmoid(-beta * pairs.chosen.log_ratio) + torch.sigmoid(beta * pairs.rejected.log_ratio)


@objective(
    params={"beta": ANCHORED},
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper=APO,
    checked_against="peer code",
    equation="σ(β Δw) + 1 - σ(β Δ)",
    optimum="no finite optimum: Δw → -∞ and Δ → ∞; the loss falls to 0",
    initial=lambda beta: 1.0,
    version=1,
)
def apo_down(pairs: Pairs, *, beta: float) -> Float[Tensor, " examples"]:
    """Lower both completions, the rejected one more, for chosen ones worse than the policy's own output.

    At policy = reference the loss is 1 and its gradient 0 on Δw, +β/4 on Δl: the chosen completion starts at rest.

    Parameters:
        beta: β, 1/nat. As it grows the loss saturates at smaller log-ratios; the space is that of sums.
    """
    gap = pairs.chosen.log_ratio - pairs.rejected.log_ratio
    return torch.sigmoid(beta * pairs.chosen.log_ratio) + torch.sigmoid(-beta * gap)
