"""Losses on the gap of token averages with little or no reference: SimPO, AlphaPO, RePO, RainbowPO."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from losses.batch import Completion, Pairs
from losses.numerics import log_sigmoid
from losses.objective import Requires, objective
from losses.param import Param
from losses.space import Linear, Log

STEEPNESS = Param(
    default=2.0,
    space=Log(1, 20),
    symbol="β",
    unit="1/nat",
    meaning="steepness: as it grows, a smaller gap of averages satisfies a pair",
    low=1e-5,
    high=1000,
)
MARGIN = Param(
    default=0.5,
    space=Linear(0, 1.6),
    symbol="γ/β",
    unit="nats per token",
    meaning="margin: as it grows, the chosen average must lie further above the rejected one",
    low=0,
    high=100,
)


@objective(
    params={"beta": STEEPNESS, "gamma_ratio": MARGIN},
    batch=Pairs,
    requires=Requires.NOTHING,
    reward="mean_policy",
    aggregation="mean",
    paper="arXiv 2405.14734, SimPO: Simple Preference Optimization with a Reference-Free Reward",
    checked_against=("paper", "authors' code", "peer code"),
    equation="-log σ(β (s̄_w - s̄_l) - γ), γ = β · gamma_ratio",
    optimum="no finite optimum: s̄_w - s̄_l → ∞",
    reduces_to=("gamma_ratio = 0, completions of one token, uniform reference: dpo",),
    differs=(
        "trl, axolotl and ms-swift add an NLL term of weight 1 under this name by default (CPO-SimPO)",
        "trl, LLaMA-Factory, axolotl, ms-swift and Liger-Kernel take γ itself, not γ/β: divide it by β",
        "the authors' configuration class has γ/β 0.25; their advice is to start from 0.5",
    ),
    version=1,
)
def simpo(pairs: Pairs, *, beta: float, gamma_ratio: float) -> Float[Tensor, " examples"]:
    """Make the policy's average token log-prob higher on the chosen completion by a margin; no reference.

    Equation 6 of the paper; γ/β as in the authors' code. The loss is also -log σ(β (s̄_w - s̄_l - γ/β)).

    Parameters:
        beta: β, 1/nat. As it grows a smaller gap satisfies a pair. The space is that of token averages, 1 to 20,
            far above that of dpo, which sums.
        gamma_ratio: γ/β, nats per token. As it grows the averages have to lie further apart.
    """
    gap = pairs.chosen.mean_policy - pairs.rejected.mean_policy
    return -log_sigmoid(beta * (gap - gamma_ratio))


@objective(
    params={
        "beta": replace(STEEPNESS, default=2.5),
        "gamma_ratio": replace(
            MARGIN, default=0.1, meaning="margin: as it grows, the rewards r have to lie further apart"
        ),
        "alpha": Param(
            default=0.25,
            space=Linear(-0.25, 0.5),
            symbol="α",
            unit="token/nat",
            meaning="shape of the reward: as it grows, completions with a low average count more",
            low=-2,
            high=2,
        ),
    },
    batch=Pairs,
    requires=Requires.NOTHING,
    reward="mean_policy",
    aggregation="mean",
    paper="arXiv 2501.03884, AlphaPO: Reward Shape Matters for LLM Alignment",
    checked_against="peer code",
    equation="-log σ(β (r(s̄_w) - r(s̄_l)) - γ), r(s̄) = (1 - e^(-α s̄))/α, γ = β · gamma_ratio",
    optimum="no finite optimum: s̄_l → -∞, for α < 0 with s̄_w → 0, where r(s̄_w) - r(s̄_l) = 1/|α|",
    reduces_to=("alpha = 0: simpo",),
    differs=("trl's 'alphapo' sets the NLL weight to 0 but leaves α at 0, so it trains simpo",),
    version=1,
)
def alphapo(pairs: Pairs, *, beta: float, gamma_ratio: float, alpha: float) -> Float[Tensor, " examples"]:
    """SimPO whose reward is a bent average log-prob, so that the bend decides which completions move most.

    At α = 0, r(s̄) = s̄. The default values are those published for Mistral (α 0.25, β 2.5, γ 0.1, read as γ/β).

    The slope of the reward is e^(-α s̄). The exponent is clamped at 30, where the slope ends: at α = 0.5, an average of
    -60 nats.

    Parameters:
        beta: β, 1/nat, as for simpo; the space is that of token averages.
        gamma_ratio: γ/β, as for simpo, on the scale of r, which is nats per token near s̄ = 0.
        alpha: α, token/nat. As it grows, completions with a low average count more; below 0 they count less.
    """
    gap = _bent(pairs.chosen.mean_policy, alpha) - _bent(pairs.rejected.mean_policy, alpha)
    return -log_sigmoid(beta * (gap - gamma_ratio))


def _bent(average: Float[Tensor, " examples"], alpha: float) -> Float[Tensor, " examples"]:
    """Return (1 - e^(-α s̄))/α, the exponent clamped at 30; s̄ itself at α = 0."""
    return -torch.expm1((-alpha * average).clamp(max=30)) / alpha if alpha else average


@objective(
    params={
        "gamma": Param(
            default=0.5,
            space=Linear(0.2, 1),
            symbol="γ",
            unit="nats per token",
            meaning="margin: as it grows, more pairs give a gradient",
            low=0,
            high=100,
        )
    },
    batch=Pairs,
    requires=Requires.NOTHING,
    reward="mean_policy",
    aggregation="mean",
    paper="arXiv 2503.07426, RePO: ReLU-based Preference Optimization",
    checked_against="authors' code",
    equation="[γ - (s̄_w - s̄_l)]+",
    optimum="any s̄_w - s̄_l >= γ; the loss is 0",
    version=1,
)
def repo(pairs: Pairs, *, gamma: float) -> Float[Tensor, " examples"]:
    """Push the averages apart at a constant rate until the margin is reached, and then leave the pair alone; no β.

    It is the limit of simpo divided by β for β → ∞ at gamma_ratio = γ.

    Parameters:
        gamma: γ, nats per token. As it grows, more pairs lie within the margin and give a gradient.
    """
    return (gamma - (pairs.chosen.mean_policy - pairs.rejected.mean_policy)).relu()


@objective(
    params={
        "beta": replace(STEEPNESS, default=10.0),
        "alpha": Param(
            default=0.5,
            space=Linear(0, 1),
            symbol="α",
            unit="1",
            meaning="share of the reference: as it grows, the reference's own gap takes the place of the margin h",
            low=0,
            high=1,
        ),
        "advantage": replace(MARGIN, default=0.3, symbol="h"),
    },
    batch=Pairs,
    requires=Requires.REFERENCE,
    reward="mean_policy",
    aggregation="mean",
    paper="arXiv 2410.04203, RainbowPO: A Unified Framework for Combining Improvements in Preference Optimization",
    checked_against="authors' code",
    equation="-log σ(β (s̄_w - s̄_l - α (r̄_w - r̄_l) - (1 - α) h))",
    optimum="no finite optimum: s̄_w - s̄_l → ∞",
    reduces_to=("alpha = 0, advantage = gamma_ratio: simpo", "alpha = 1: ln_dpo"),
    version=1,
)
def rainbow_po(pairs: Pairs, *, beta: float, alpha: float, advantage: float) -> Float[Tensor, " examples"]:
    """Between SimPO and DPO on averages: the margin is a mixture of a constant and of the gap of the reference.

    This is the authors' length normalisation and reference mixing, without their Mallows weight, SFT term and Cauchy
    link.
    The implicit reward is taken as s̄, which leaves the share α of the reference out.

    Parameters:
        beta: β, 1/nat, as for simpo; the space is that of token averages.
        alpha: α, a share. As it grows, the reference's own gap takes the place of the constant margin.
        advantage: h, nats per token, the home advantage. As it grows the averages have to lie further apart.
    """
    margin = alpha * (_reference_average(pairs.chosen) - _reference_average(pairs.rejected)) + (1 - alpha) * advantage
    return -log_sigmoid(beta * (pairs.chosen.mean_policy - pairs.rejected.mean_policy - margin))


def _reference_average(side: Completion) -> Float[Tensor, " examples"]:
    return side.reference / side.length
