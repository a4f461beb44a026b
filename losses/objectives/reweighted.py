"""Losses on pairs weighed by the batch, running quantities or entropy: Dr., β-, α- and Mallows-DPO."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from losses.batch import Pairs
from losses.numerics import log_sigmoid
from losses.objective import Requires, State, objective
from losses.objectives.dpo import BETA, dpo
from losses.param import Param
from losses.space import Linear, Log

RATE = 0.9
LEAST_BETA = 1e-3
LEAST_STD = 1e-6
NEAR = 1e-3
WHOLE = 1e-9
LEAST_ENTROPY = 1e-6


def _average(before: float, now: Tensor) -> float:
    """Exponential average of a running quantity over the steps, this one included."""
    return RATE * before + (1 - RATE) * now.item()


@objective(
    params={
        "beta": BETA,
        "beta_prime": Param(
            default=1,
            space=Log(0.1, 10),
            symbol="β'",
            unit="nats",
            meaning="trust in the labels: as it grows, pairs of large loss count as much as others",
            low=1e-3,
            high=1000,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE | Requires.WHOLE_BATCH,
    reward="log_ratio",
    aggregation="sum",
    paper=(
        "arXiv 2407.07880, Towards Robust Alignment of Language Models: Distributionally Robustifying Direct "
        "Preference Optimization"
    ),
    checked_against="authors' code",
    equation="-β' log(1/N Σ_i e^(-ℓ_i/β')) for each of N pairs of the batch, ℓ = -log σ(β Δ)",
    optimum="no finite optimum on separable pairs: Δ → ∞",
    reduces_to=("beta_prime → ∞, mean over the batch: dpo", "a batch of one pair: dpo"),
    differs=("the authors' code takes the log-mean-exp over the local micro-batch, here over the global batch",),
    initial=lambda beta, beta_prime: math.log(2),
    version=1,
)
def dr_dpo(pairs: Pairs, *, beta: float, beta_prime: float) -> Float[Tensor, " examples"]:
    """DPO that gives less weight to the pairs of the batch with a large loss, whose labels may be wrong.

    The loss of the batch is this one number: every example has it, and the mean over them is the number itself.
    At policy = reference the loss is log 2 and the gradient of the batch that of dpo.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
        beta_prime: β', nats of loss. The weight of a pair is e^(-ℓ/β') over the sum of these: as β' grows weights
            become equal, as in dpo; near 0 only the pair of least loss counts.
    """
    losses = dpo.fn(pairs, beta=beta)
    whole = -beta_prime * (torch.logsumexp(-losses / beta_prime, 0) - math.log(pairs.examples))
    return whole.expand(pairs.examples)


@objective(
    params={
        "beta": BETA,
        "alpha": Param(
            default=0.6,
            space=Linear(0.2, 1),
            symbol="a",
            unit="1/nat",
            meaning="how far β follows the gap of the batch: as it grows, the more",
            low=0,
            high=100,
        ),
        "keep": Param(
            default=0.8,
            space=Linear(0.6, 1),
            symbol="1 - ρ",
            unit="1",
            meaning="share of pairs that are learnt from: as it grows, fewer with an unusual gap are left out",
            low=0.01,
            high=1,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE | Requires.WHOLE_BATCH,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2407.08639, β-DPO: Direct Preference Optimization with Dynamic β",
    checked_against="authors' code",
    equation=(
        "kept: -(N/k) log σ(b Δ), b = sg[max(0.001, β (1 + a (mean Δ of the kept - M)))]; others: 0; "
        "M = running mean of Δ; kept = the k = ⌊keep·N⌋ of N pairs with Δ nearest M"
    ),
    optimum="no finite optimum: Δ → ∞",
    reduces_to=("alpha = 0, keep = 1, beta >= 0.001: dpo",),
    differs=(
        "the authors' code draws the kept pairs with weight e^(-(Δ - M)²/(2s²)), here those of largest weight are "
        "kept, so that a run can be repeated",
    ),
    init=lambda: {"gap_mean": 0.0},
    version=2,
)
def beta_dpo(
    pairs: Pairs, state: State, *, beta: float, alpha: float, keep: float
) -> tuple[Float[Tensor, " examples"], State]:
    """DPO with a β that grows with the gap of the batch, on the pairs whose own gap is not unusual.

    M = 0.9·(M before) + 0.1·(mean Δ of the batch), from 0 at the start. The factor N/k makes the mean over the batch
    that over the kept pairs. Pairs as near to M as the k-th, to 0.001 nats, are kept too.
    At policy = reference and M = 0, b = β and the mean loss is log 2.

    Parameters:
        beta: β, 1/nat, where b starts; the space is that of sums.
        alpha: a, 1/nat. As it grows b follows the gap of the batch more; 0 leaves it at β.
        keep: 1 - ρ, a share of the pairs; k is rounded down, 1 at least. As it grows fewer are left out.
    """
    gap = pairs.chosen.log_ratio - pairs.rejected.log_ratio
    seen = gap.detach()
    usual = _average(state["gap_mean"], seen.mean())
    distance = (seen - usual).abs()
    # As near as the k-th, to NEAR: where policy = reference all are equal, and the last digits must not choose.
    # Rounded down, as the authors' int(); 0.29 · 100 is 29 and not 28, whatever the last bit says.
    count = max(1, math.floor(keep * pairs.examples + WHOLE))
    kept = distance <= distance.kthvalue(count).values + NEAR
    strength = (beta * (1 + alpha * (seen[kept].mean() - usual))).clamp(min=LEAST_BETA)
    weight = kept.to(seen.dtype) * (pairs.examples / int(kept.sum()))
    return -log_sigmoid(strength * gap) * weight, {"gap_mean": usual}


@objective(
    params={
        "beta": Param(
            default=2.5,
            space=Log(1, 20),
            symbol="β",
            unit="1/nat",
            meaning="steepness: as it grows, a smaller gap of averages satisfies a pair",
            low=1e-5,
            high=1000,
        ),
        "gamma_ratio": Param(
            default=0.3,
            space=Linear(0, 1.6),
            symbol="γ/β",
            unit="nats per token",
            meaning="margin: as it grows, the chosen average must lie further above the rejected one",
            low=0,
            high=100,
        ),
        "alpha": Param(
            default=0.1,
            space=Linear(0, 0.3),
            symbol="α",
            unit="nats per token",
            meaning="how far the margin follows Δ̄: as it grows, pairs already far apart must lie further apart",
            low=0,
            high=100,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE | Requires.WHOLE_BATCH,
    reward="mean_policy",
    aggregation="mean",
    paper="arXiv 2410.10148, AlphaDPO: Adaptive Reward Margin for Direct Preference Optimization",
    checked_against="authors' code",
    equation="-log σ(β (s̄_w - s̄_l - γ/β - α sg[z])), z = (Δ̄ - M)/S, M and S running mean and deviation of Δ̄",
    optimum="no finite optimum: s̄_w - s̄_l → ∞",
    reduces_to=("alpha = 0: simpo",),
    differs=(
        "the authors' code starts S at 0, which gives 0/0 at policy = reference; here it starts at 1",
        "AlphaPO (arXiv 2501.03884; here: alphapo) is another method",
    ),
    init=lambda: {"mean": 0.0, "std": 1.0},
    version=2,
)
def alpha_dpo(
    pairs: Pairs, state: State, *, beta: float, gamma_ratio: float, alpha: float
) -> tuple[Float[Tensor, " examples"], State]:
    """SimPO with a margin that is larger for pairs which the policy already tells apart better than the reference.

    M and S are 0.9·(before) + 0.1·(of this batch), from 0 and 1 at the start. In the authors' code α stands inside β,
    as γ/β does.

    Parameters:
        beta: β, 1/nat. As it grows a smaller gap satisfies a pair; the space is that of token averages.
        gamma_ratio: γ/β, nats per token. As it grows the averages have to lie further apart.
        alpha: α, nats per token for each standard deviation of Δ̄. As it grows the margin follows Δ̄ more; 0 is simpo.

    S counts as 1e-6 at least. Of a batch it is the deviation from the batch's mean with divisor N - 1, as in the
    authors' code; a batch of one pair gives 0, where theirs gives NaN.
    """
    gap = pairs.chosen.mean_policy - pairs.rejected.mean_policy
    moved = (pairs.chosen.mean_log_ratio - pairs.rejected.mean_log_ratio).detach()
    spread = moved.std(correction=min(1, pairs.examples - 1))
    after = {"mean": _average(state["mean"], moved.mean()), "std": _average(state["std"], spread)}
    unusual = (moved - after["mean"]) / max(after["std"], LEAST_STD)
    return -log_sigmoid(beta * (gap - gamma_ratio - alpha * unusual)), after


@objective(
    params={
        "beta": BETA,
        "scale": Param(
            default=0.29,
            space=Log(0.03, 3),
            symbol="c",
            unit="1",
            meaning="size of the dispersion: as it grows, pairs whose completions the reference is sure of count more",
            low=0,
            high=100,
        ),
    },
    batch=Pairs,
    requires=Requires.REFERENCE | Requires.ENTROPY,
    reward="log_ratio",
    aggregation="sum",
    paper="arXiv 2405.14953, MallowsPO: Fine-Tune Your LLM with Preference Dispersions",
    checked_against="authors' code",
    equation="-log σ(φ β Δ), φ = -c log h, h = (H̄_w + H̄_l)/2, H̄ = mean entropy of π_ref ÷ log |V|",
    optimum="no finite optimum: Δ → ∞",
    differs=("the authors' configuration averages over tokens and leaves the reference out by default; here sums",),
    initial=lambda beta, scale: math.log(2),
    version=1,
)
def mallows_dpo(pairs: Pairs, *, beta: float, scale: float) -> Float[Tensor, " examples"]:
    """DPO that counts a preference the more, the surer the reference is of the words on the way (Mallows-θ-DPO).

    At policy = reference the loss is log 2 and its gradient -φβ/2 on Δw, +φβ/2 on Δl.

    Parameters:
        beta: β, 1/nat, as for dpo; the space is that of sums.
        scale: c, pure number. It stands beside β: what counts is βc.

    h counts as 1e-6 at least and has no gradient.
    """
    entropy = (pairs.chosen.mean_reference_entropy + pairs.rejected.mean_reference_entropy) / 2
    dispersion = -scale * entropy.clamp(LEAST_ENTROPY, 1).log()
    return -log_sigmoid(dispersion * beta * (pairs.chosen.log_ratio - pairs.rejected.log_ratio))
