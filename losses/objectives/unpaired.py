"""Losses on single completions labelled desirable or not: KTO, APO-zero, BCO."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from losses.batch import Singles
from losses.numerics import log_sigmoid
from losses.objective import Requires, State, objective
from losses.param import Param
from losses.space import Linear, Log

BETA = Param(
    default=0.1,
    space=Log(0.01, 0.5),
    symbol="β",
    unit="1/nat",
    meaning="strength of the tie to the reference: as it grows, the value saturates at a smaller log-ratio",
    low=1e-5,
    high=1000,
)


def _weight(symbol: str, side: str) -> Param:
    return Param(
        default=1.0,
        space=Linear(0.5, 2),
        symbol=symbol,
        unit="1",
        meaning=f"weight of {side} examples: as it grows they count more",
        low=0,
        high=1000,
    )


def _initial(beta: float, desirable_weight: float, undesirable_weight: float) -> float | None:
    return desirable_weight / 2 if desirable_weight == undesirable_weight else None


@objective(
    params={
        "beta": BETA,
        "desirable_weight": _weight("λ_D", "desirable"),
        "undesirable_weight": _weight("λ_U", "undesirable"),
    },
    batch=Singles,
    requires=Requires.REFERENCE | Requires.KL_BASELINE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2402.01306, KTO: Model Alignment as Prospect Theoretic Optimization",
    checked_against="peer code",
    equation="desirable: λ_D (1 - σ(β (Δ - z))); undesirable: λ_U (1 - σ(β (z - Δ))); z = sg[[KL estimate]+]",
    optimum="no finite optimum: Δ → ∞ for desirable, Δ → -∞ for undesirable completions; the loss falls to 0",
    reduces_to=("kl_baseline = 0, weights of 1: apo_zero_unpaired",),
    differs=(
        "HALOs takes the next completion whatever its label, of single completions that it shuffled; here pairs stand "
        "side by side, and z is of the next other prompt's completion of the row's own label",
        "trl pairs mismatched completions when the data are mapped, not after shuffling, and fixes their order",
        "trl averages rank means for z; HALOs sums and counts over ranks, as is done here",
        "the kto_pair of trl up to 0.11 took z from the opposite half of the batch: another, biased loss",
    ),
    initial=_initial,
    version=2,
)
def kto(
    singles: Singles, *, beta: float, desirable_weight: float, undesirable_weight: float
) -> Float[Tensor, " examples"]:
    """Maximise the Kahneman-Tversky value of each completion's log-ratio, judged from the policy's KL as zero point.

    z_0 of the paper is estimated as its authors do.
    At policy = reference (z = 0) the loss is λ/2 and its gradient -βλ_D/4 or +βλ_U/4 on Δ.

    z is ``singles.kl_baseline``: log-ratios of completions of *other* prompts, labels as in the batch, averaged over
    the whole global batch and clamped after that. The clamp and the stop of the gradient are repeated here and change
    nothing then.

    Parameters:
        beta: β, 1/nat. As it grows the value saturates at a smaller log-ratio; the space is that of sums.
        desirable_weight: λ_D, pure number. As it grows desirable examples count more. The paper keeps
            λ_D·n_D / (λ_U·n_U) between 1 and 4/3, for n_D desirable and n_U undesirable examples.
        undesirable_weight: λ_U, pure number, the same for undesirable examples.

    Raises:
        ValueError: when ``singles.kl_baseline`` is None.
    """
    if singles.kl_baseline is None:
        raise ValueError("kto needs Singles.kl_baseline, the KL estimate of the global batch; it is None")
    advantage = singles.completion.log_ratio - singles.kl_baseline.detach().clamp(min=0)
    # 1 - σ(a) = σ(-a), without cancellation at large a
    desirable = desirable_weight * torch.sigmoid(-beta * advantage)
    return torch.where(singles.desirable, desirable, undesirable_weight * torch.sigmoid(beta * advantage))


@objective(
    params={"beta": BETA},
    batch=Singles,
    requires=Requires.REFERENCE,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2408.06266, Anchored Preference Optimization and Contrastive Revisions: Addressing Underspecification "
    "in Alignment",
    checked_against="peer code",
    equation="desirable: 1 - σ(β Δ); undesirable: σ(β Δ)",
    optimum="no finite optimum: Δ → ∞ for desirable, Δ → -∞ for undesirable completions; the loss falls to 0",
    initial=lambda beta: 1 / 2,
    version=1,
)
def apo_zero_unpaired(singles: Singles, *, beta: float) -> Float[Tensor, " examples"]:
    """KTO judged from the reference itself as zero point: no KL estimate, so any batch and any order of data will do.

    The two terms of APO-zero on completions of different prompts; over the two completions of a pair they add up to
    APO-zero.
    At policy = reference the loss is 1/2 and its gradient -β/4 or +β/4 on Δ.

    Parameters:
        beta: β, 1/nat. As it grows the loss saturates at a smaller log-ratio; the space is that of sums.
    """
    reward = beta * singles.completion.log_ratio
    # 1 - σ(a) = σ(-a), without cancellation at large a
    return torch.where(singles.desirable, torch.sigmoid(-reward), torch.sigmoid(reward))


@objective(
    params={"beta": BETA},
    batch=Singles,
    requires=Requires.REFERENCE | Requires.WHOLE_BATCH,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2404.04656, Binary Classifier Optimization for Large Language Model Alignment",
    checked_against="secondary",
    equation="desirable: -log σ(β Δ - δ); undesirable: -log σ(δ - β Δ); δ = sg[mean of β Δ of all completions so far]",
    optimum="no finite optimum: Δ → ∞ for desirable, Δ → -∞ for undesirable completions; the loss falls to 0",
    differs=("trl up to 1.12 weights undesirable examples by a density ratio of prompts; trl 1.14 has no bco",),
    initial=lambda beta: math.log(2),
    version=1,
    init=lambda: {"mean": 0.0, "count": 0.0},
)
def bco(singles: Singles, state: State, *, beta: float) -> tuple[Float[Tensor, " examples"], State]:
    """Train a classifier of desirable against undesirable completions whose logit is the reward less its average.

    δ includes this batch. The paper's weight on undesirable examples is left out: it is a ratio of the densities of the
    prompts of both kinds, which needs embeddings of the prompts.
    At policy = reference in the first batch the loss is log 2 and its gradient -β/2 or +β/2 on Δ.

    State: ``mean`` and ``count`` of the rewards so far. All weigh the same, so δ follows the policy more and more
    slowly, and a loss depends on what came before it.

    Parameters:
        beta: β, 1/nat. As it grows the classifier is sure at a smaller log-ratio; the space is that of sums.
    """
    reward = beta * singles.completion.log_ratio
    count = state["count"] + len(reward)
    shift = (state["count"] * state["mean"] + reward.detach().sum().item()) / count
    logit = reward - shift
    return -log_sigmoid(torch.where(singles.desirable, logit, -logit)), {"mean": shift, "count": count}
